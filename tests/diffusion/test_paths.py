import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.diffusion.paths import PATHS, Chain, PathConfig, make_path, path_config
from tubelet.errors import InputError

CHAINS = ["ddpm_linear", "ddpm_cosine", "ddpm_sigmoid"]
LINE = torch.linspace(0, 1, 3001, dtype=torch.float64)
BETWEEN = (torch.arange(1000, dtype=torch.float64) + 0.37) / 1000  # never on a table entry


@pytest.mark.parametrize("name", PATHS)
def test_a_path_starts_at_clean_data(name):
    path, zero = make_path(name), torch.zeros(1)
    assert path.alpha(zero).item() == 1 and path.sigma(zero).item() == 0
    assert path.log_snr(zero).item() == math.inf


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_preserves_variance(name):
    path = make_path(name)
    total = path.alpha(LINE).square() + path.sigma(LINE).square()
    torch.testing.assert_close(total, torch.ones_like(LINE), rtol=0, atol=1e-15)


def test_rectified_flow_is_the_straight_line():
    path = make_path("rectified_flow")
    assert torch.equal(path.alpha(LINE) + path.sigma(LINE), torch.ones_like(LINE))
    assert path.alpha(torch.ones(1)).item() == 0 and path.log_snr(torch.ones(1)).item() == -math.inf


@pytest.mark.parametrize("name", PATHS)
def test_the_signal_to_noise_ratio_falls_strictly(name):
    path = make_path(name)
    log_snr = path.log_snr(LINE)
    assert (log_snr.diff() < 0).all()
    inner = LINE[1:-1]
    torch.testing.assert_close(log_snr[1:-1], 2 * (path.alpha(inner) / path.sigma(inner)).log())


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("T", [50, 1000])
def test_the_betas_come_back_from_alpha_at_the_paper_s_t(name, T):
    path = make_path(name, T=T)
    assert isinstance(path, Chain) and path.T == T and path.beta[0] == 0 and path.alpha_bar[0] == 1
    alpha_bar = path.alpha(torch.arange(T + 1, dtype=torch.float64) / T).square()
    torch.testing.assert_close(alpha_bar, path.alpha_bar)
    torch.testing.assert_close(1 - alpha_bar[1:] / alpha_bar[:-1], path.beta[1:], rtol=1e-9, atol=1e-12)


def test_the_linear_betas_are_those_of_the_paper():
    path = make_path("ddpm_linear")
    assert path.beta[1].item() == pytest.approx(1e-4) and path.beta[1000].item() == pytest.approx(0.02)
    assert path.beta[1:].diff().std().item() < 1e-15
    assert path.alpha_bar[1000].item() == pytest.approx(4.0358e-5, rel=1e-4)


def test_fewer_linear_steps_end_in_about_the_same_noise():
    assert make_path("ddpm_linear", T=100).alpha_bar[-1].item() == pytest.approx(4e-5, rel=0.5)


def test_the_cosine_chain_follows_the_cosine_until_beta_is_clipped():
    path = make_path("ddpm_cosine")
    f = ((LINE[::3] + 0.008) / 1.008 * math.pi / 2).cos().square()
    torch.testing.assert_close(path.alpha_bar[:-1], (f / f[0])[:-1])
    assert path.beta[1000].item() == 0.999


def test_log_alpha_is_a_straight_line_between_two_entries():
    path = make_path("ddpm_linear", T=100)
    alpha = path.alpha(torch.tensor([0.30, 0.3025, 0.31], dtype=torch.float64)).log()
    assert alpha[1].item() == pytest.approx(0.75 * alpha[0].item() + 0.25 * alpha[2].item(), rel=1e-12)


@pytest.mark.parametrize("name", PATHS)
def test_the_derivatives_are_those_autograd_finds(name):
    path, t = make_path(name), BETWEEN.clone().requires_grad_()
    for value, derivative in [(path.alpha, path.d_alpha), (path.sigma, path.d_sigma)]:
        (expected,) = torch.autograd.grad(value(t).sum(), t)
        torch.testing.assert_close(derivative(BETWEEN), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", PATHS)
def test_the_derivatives_are_finite_differences(name):
    path, h = make_path(name), 1e-6
    for value, derivative in [(path.alpha, path.d_alpha), (path.sigma, path.d_sigma)]:
        expected = (value(BETWEEN + h) - value(BETWEEN - h)) / (2 * h)
        torch.testing.assert_close(derivative(BETWEEN), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_a_table_entry_the_derivative_looks_right_and_at_the_end_left(dtype):
    path = make_path("ddpm_linear")
    entries = (torch.arange(1001, dtype=torch.float64) / 1000).to(dtype)
    slope = path.d_alpha(entries) / path.alpha(entries)
    log_alpha = 0.5 * path.alpha_bar.log()
    expected = torch.cat([log_alpha.diff(), log_alpha.diff()[-1:]]) * 1000
    torch.testing.assert_close(slope, expected, rtol=1e-9, atol=1e-9)


def test_sigma_of_a_chain_rises_vertically_from_clean_data():
    assert make_path("ddpm_cosine").d_sigma(torch.zeros(1)).item() == math.inf


@pytest.mark.parametrize("name", PATHS)
@settings(deadline=None)
@given(st.floats(0, 1, width=32))
def test_every_time_has_a_float64_alpha_and_sigma_within_bounds(name, t):
    path, t = make_path(name), torch.full((2, 1, 3, 1, 1), t)
    for value in (path.alpha(t), path.sigma(t)):
        assert value.dtype == torch.float64 and value.shape == t.shape
        assert ((value >= 0) & (value <= 1)).all()


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("bad", [-1e-6, 1.001, math.nan, math.inf])
def test_a_time_outside_0_and_1_is_refused(name, bad):
    path = make_path(name)
    for function in (path.alpha, path.sigma, path.log_snr, path.d_alpha, path.d_sigma):
        with pytest.raises(InputError, match=r"\[0, 1\]"):
            function(torch.tensor([0.5, bad]))


def test_an_unknown_path_or_option_is_refused_with_the_near_miss():
    with pytest.raises(InputError, match="ddpm_linear"):
        make_path("ddpm_linaer")
    with pytest.raises(InputError, match="leave out T"):
        make_path("rectified_flow", T=10)
    with pytest.raises(InputError, match="leave out zero_terminal"):
        make_path("rectified_flow", zero_terminal=True)


def test_the_sigmoid_chain_follows_the_sigmoid_until_beta_is_clipped():
    path = make_path("ddpm_sigmoid")
    f = (3 - 6 * LINE[::3]).sigmoid() - torch.tensor(-3.0, dtype=torch.float64).sigmoid()
    torch.testing.assert_close(path.alpha_bar[:-1], (f / f[0])[:-1])
    assert path.beta[1000].item() == 0.999


def test_betas_of_a_list_are_the_chain_that_has_them():
    linear = make_path("ddpm_linear", T=50)
    own = PathConfig(name="betas", betas=tuple(linear.beta[1:].tolist()))
    assert torch.equal(own.make().alpha(LINE), linear.alpha(LINE))


@pytest.mark.parametrize("betas", [(0.1, 0.0), (0.1, -0.2), (1.0, 0.5), (0.5, 1.5), (0.1, math.nan)])
def test_betas_that_are_no_chain_are_refused(betas):
    with pytest.raises(InputError, match="above 0 and below 1"):
        PathConfig(name="betas", betas=betas)


@pytest.mark.parametrize("given", [{"name": "betas"}, {"name": "ddpm_linear", "betas": (0.1,)}])
def test_a_list_of_betas_and_its_name_go_together(given):
    with pytest.raises(InputError, match="give both"):
        PathConfig(**given)


def test_a_path_is_read_from_its_name_or_its_values():
    assert (
        path_config("ddpm_cosine") == path_config({"name": "ddpm_cosine"}) == PathConfig(name="ddpm_cosine")
    )
    assert path_config({"name": "betas", "betas": [0.1, 0.2]}).betas == (0.1, 0.2)


@pytest.mark.parametrize("name", CHAINS)
def test_a_zero_terminal_chain_begins_as_it_was_and_ends_in_noise_alone(name):
    before, path = make_path(name), make_path(name, zero_terminal=True)
    first, end = torch.full((1,), 1e-3, dtype=torch.float64), torch.ones(1)
    assert path.alpha(first).item() == pytest.approx(before.alpha(first).item(), rel=1e-12)
    assert (
        path.alpha(end).item() == 0 and path.sigma(end).item() == 1 and path.log_snr(end).item() == -math.inf
    )
    assert (path.log_snr(LINE).diff() < 0).all() and (path.alpha(LINE).diff() < 0).all()


def test_the_zero_terminal_chain_is_that_of_diffusers():
    ddim = pytest.importorskip("diffusers.schedulers.scheduling_ddim")
    chain = make_path("ddpm_linear")
    theirs = ddim.rescale_zero_terminal_snr(chain.beta[1:])
    torch.testing.assert_close(
        make_path("ddpm_linear", zero_terminal=True).beta[1:], theirs, rtol=1e-9, atol=0
    )


def test_alpha_falls_straight_to_zero_in_the_last_step_of_a_zero_terminal_chain():
    path = make_path("ddpm_linear", zero_terminal=True)
    t = torch.tensor([0.999, 0.99925, 0.9995, 0.99975, 1.0], dtype=torch.float64, requires_grad=True)
    alpha = path.alpha(t)
    torch.testing.assert_close(
        alpha, alpha[0] * torch.tensor([1, 0.75, 0.5, 0.25, 0]).double(), atol=1e-12, rtol=1e-9
    )
    (slope,) = torch.autograd.grad(alpha[1:-1].sum(), t)
    torch.testing.assert_close(path.d_alpha(t.detach())[1:-1], slope[1:-1], rtol=1e-9, atol=0)
    assert path.d_alpha(t.detach())[-1].item() == pytest.approx(slope[2].item())


@pytest.mark.parametrize(("name", "T"), [("ddpm_linear", 20), ("ddpm_cosine", 0)])
def test_a_chain_that_cannot_be_is_refused(name, T):
    with pytest.raises(InputError, match="T >="):
        make_path(name, T=T)
