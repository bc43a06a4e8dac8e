import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.diffusion.paths import PATHS, make_path
from tubelet.diffusion.process import add_noise, q_xs, q_xt, spread
from tubelet.errors import InputError

# On the grid of thousandths, so that s < t by a step at least.
MOMENTS = st.tuples(st.integers(0, 1000), st.integers(0, 1000)).filter(lambda pair: pair[0] < pair[1])


def time(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


def posterior_terms(path, s, t):
    """The posterior's factor of x_t, factor of x0 and variance."""
    zero, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    of_xt, of_x0 = q_xs(path, zero, one, s, t).mean, q_xs(path, one, zero, s, t).mean
    return of_xt.item(), of_x0.item(), q_xs(path, zero, zero, s, t).var.item()


@pytest.mark.parametrize("name", PATHS)
@settings(deadline=None)
@given(MOMENTS)
def test_a_posterior_step_back_from_q_xt_gives_q_xs(name, moments):
    path = make_path(name)
    s, t = (time(moment / 1000) for moment in moments)
    of_xt, of_x0, var = posterior_terms(path, s, t)
    assert of_xt * path.alpha(t).item() + of_x0 == pytest.approx(path.alpha(s).item(), abs=1e-12)
    total = of_xt**2 * path.sigma(t).item() ** 2 + var
    assert total == pytest.approx(path.sigma(s).item() ** 2, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("name", ["ddpm_linear", "ddpm_cosine"])
@pytest.mark.parametrize("T", [50, 1000])
def test_one_step_is_the_posterior_of_ddpm_equation_7(name, T):
    path = make_path(name, T=T)
    beta, alpha_bar = path.beta[2:], path.alpha_bar[2:]  # t = 2 .. T
    before = path.alpha_bar[1:-1]
    t = torch.arange(2, T + 1, dtype=torch.float64)
    x0, xt = torch.randn(2, T - 1, 3, dtype=torch.float64)
    posterior = q_xs(path, x0, xt, (t - 1) / T, t / T)
    of_x0 = before.sqrt() * beta / (1 - alpha_bar)
    of_xt = (1 - beta).sqrt() * (1 - before) / (1 - alpha_bar)
    mean = of_x0[:, None] * x0 + of_xt[:, None] * xt
    torch.testing.assert_close(posterior.mean, mean, rtol=1e-9, atol=1e-9)
    var = (1 - before) / (1 - alpha_bar) * beta
    torch.testing.assert_close(posterior.var, var[:, None], rtol=1e-9, atol=0)


def test_where_alpha_is_0_the_posterior_forgets_x_t():
    path = make_path("rectified_flow")
    assert posterior_terms(path, time(0.25), time(1.0)) == (0.0, 0.75, pytest.approx(0.0625, rel=1e-14))


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("t", [0.001, 0.5, 1.0])
def test_at_s_0_the_posterior_is_a_point_on_x0(name, t):
    x0, xt = torch.randn(2, 1, 4, dtype=torch.float64)
    posterior = q_xs(make_path(name), x0, xt, time(0.0), time(t))
    assert torch.equal(posterior.mean, x0) and torch.equal(posterior.var, torch.zeros(1, 1).double())
    assert torch.equal(posterior.sample(torch.ones_like(x0)), x0)


@pytest.mark.parametrize(("s", "t"), [(0.5, 0.5), (0.6, 0.5), (0.0, 0.0)])
def test_a_step_that_does_not_go_back_is_refused(s, t):
    x = torch.zeros(1, 1)
    with pytest.raises(InputError, match="earlier s"):
        q_xs(make_path("rectified_flow"), x, x, time(s), time(t))


@pytest.mark.parametrize("name", PATHS)
def test_adding_noise_samples_q_xt(name):
    path, t = make_path(name), torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    x0, noise = torch.randn(2, 3, 2, 4, dtype=torch.float64)
    xt = add_noise(path, x0, noise, t)
    torch.testing.assert_close(q_xt(path, x0, t).sample(noise), xt)
    assert torch.equal(xt[0], x0[0])


def test_one_time_per_latent_is_one_time_per_sample_where_they_are_equal():
    path, t = make_path("ddpm_cosine"), torch.tensor([0.3, 0.8])
    x0, noise = torch.randn(2, 2, 3, 4, 5, 5)
    per_latent = t[:, None, None, None, None].expand(2, 1, 4, 5, 5)
    assert torch.equal(add_noise(path, x0, noise, t), add_noise(path, x0, noise, per_latent))


def test_a_frame_at_time_0_stays_clean_among_noisy_ones():
    t = torch.full((1, 1, 3, 2, 2), 0.7)
    t[:, :, 0] = 0
    x0, noise = torch.randn(2, 1, 4, 3, 2, 2)
    xt = add_noise(make_path("rectified_flow"), x0, noise, t)
    assert torch.equal(xt[:, :, 0], x0[:, :, 0]) and not torch.equal(xt[:, :, 1], x0[:, :, 1])


def test_spread_keeps_float32_for_the_coefficients_of_bfloat16():
    assert spread(time(0.1), torch.zeros(2, 3, dtype=torch.bfloat16)).dtype == torch.float32
    assert spread(time(0.1), torch.zeros(2, 3, dtype=torch.float64)).dtype == torch.float64
    x = torch.ones(1, 1, dtype=torch.bfloat16)
    assert add_noise(make_path("rectified_flow"), x, x, time(0.3)).item() == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("shape", [(3,), (2, 1), (2, 1, 2, 1, 1), (1, 2, 1)])
def test_a_time_that_does_not_fit_is_refused(shape):
    with pytest.raises(InputError, match="does not fit"):
        spread(torch.zeros(shape), torch.zeros(2, 3, 4, 5, 5))


@pytest.mark.parametrize("shape", [(), (1,), (2,), (2, 1, 1, 1, 1), (2, 1, 4, 5, 5)])
def test_a_time_that_fits_broadcasts(shape):
    x = torch.zeros(2, 3, 4, 5, 5)
    assert (spread(torch.zeros(shape), x) * x).shape == x.shape
