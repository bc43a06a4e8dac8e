import math
from itertools import pairwise, product

import pytest
import torch

from oracles import Correlated, Gaussian1D, Mixture1D
from tubelet.diffusion.likelihood import (
    dequantise,
    exact_probes,
    flow_bits_per_dim,
    flow_log_prob,
    flow_times,
    rademacher_probes,
)
from tubelet.diffusion.paths import PATHS, RectifiedFlow, make_path
from tubelet.diffusion.targets import TARGETS
from tubelet.errors import InputError
from tubelet.gaussians import Gaussian

DATA = Gaussian1D(mean=0.7, std=0.6)
FLOW = make_path("rectified_flow")


def ones(x):
    """One probe; it is exact wherever elements do not mix, for it squares to 1."""
    return torch.ones_like(x)[None]


def draw(*shape, seed=0):
    """Standard normal float64 of a shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain_flow(denoise, x, path, times):
    """The same likelihood from dx_t/dt itself in Euler steps, with the whole Jacobian: [B, d] only."""
    t = torch.tensor(times, dtype=torch.float64)
    x, log_prob = path.alpha(t[0]) * x, x.shape[1] * path.alpha(t[0]).log()
    for now, later in pairwise(t):

        def velocity(row, now=now):
            return denoise(row[None], now[None])[0]

        jacobians = torch.stack([torch.autograd.functional.jacobian(velocity, row) for row in x])
        log_prob = log_prob + (later - now) * jacobians.diagonal(dim1=1, dim2=2).sum(1)
        x = x + (later - now) * torch.stack([velocity(row) for row in x])
    return log_prob + torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1)


# Against closed forms


@pytest.mark.parametrize(
    ("name", "target"),
    # On rectified flow, noise and score say nothing about x0 at t = 1.
    [each for each in product(PATHS, TARGETS) if each not in product(["rectified_flow"], ["noise", "score"])],
)
def test_on_gaussian_data_it_is_the_prior_pulled_back_along_the_exact_flow(name, target):
    path, x = make_path(name), DATA.mean + DATA.std * draw(2, 3, 1, 2)
    times = flow_times(path, 40, smoothing=0.05)
    found = flow_log_prob(DATA.denoise(path, target), x, path, target, probes=ones(x), times=times)
    exact = DATA.flow_log_prob(path, times[0], x).flatten(1).sum(1)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-6)


def test_a_path_may_end_in_noise_that_is_not_standard():
    class Louder(RectifiedFlow):
        def sigma(self, t):
            return 1.5 * t.double()

    path, x = Louder(), draw(4, 2)
    times = flow_times(path, 40, smoothing=0.05)
    found = flow_log_prob(DATA.denoise(path, "v"), x, path, "v", probes=ones(x), times=times)
    exact = DATA.flow_log_prob(path, times[0], x).sum(1)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-5)


def test_on_gaussian_data_and_a_path_that_ends_in_pure_noise_it_is_the_log_density():
    x = DATA.mean + DATA.std * draw(4, 2)
    times = flow_times(FLOW, 96, smoothing=1e-4)
    found = flow_log_prob(DATA.denoise(FLOW, "velocity"), x, FLOW, "velocity", probes=ones(x), times=times)
    exact = Gaussian(torch.tensor(DATA.mean), 2 * torch.tensor(DATA.std).double().log()).log_prob(x).sum(1)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-6)


def test_where_the_flow_stops_early_it_is_the_log_density_of_smoothed_data():
    x, smoothing = DATA.mean + DATA.std * draw(4, 1), 0.3
    times = flow_times(FLOW, 48, smoothing)
    found = flow_log_prob(DATA.denoise(FLOW, "x0"), x, FLOW, "x0", probes=ones(x), times=times)
    smooth = torch.tensor(DATA.std**2 + smoothing**2, dtype=torch.float64)
    exact = Gaussian(torch.tensor(DATA.mean), smooth.log()).log_prob(x).sum(1)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", PATHS)
def test_on_a_mixture_the_mean_of_minus_log_p_is_the_entropy(name):
    path, data = make_path(name), Mixture1D()
    x, distance = data.grid(401)
    times = flow_times(path, 32)
    found = flow_log_prob(
        data.denoise(path, "v"), x[:, None], path, "v", probes=ones(x[:, None]), times=times
    )
    p = data.log_prob(x).exp()
    assert distance * p.sum().item() == pytest.approx(1, abs=1e-9)
    assert -distance * (p * found).sum().item() == pytest.approx(data.entropy, abs=1e-5)
    if name == "ddpm_linear":  # its last alpha is 0.006, which costs the entropy nothing but shows here
        return
    likely = p > 1e-3
    torch.testing.assert_close(found[likely], data.log_prob(x)[likely], rtol=0, atol=5e-4)


def test_whatever_the_network_it_is_a_density():
    def wrong(xt, t):
        return 0.6 * (2 * xt - t[:, None]).sin() + 0.2 * xt

    x = torch.linspace(-12, 12, 2001, dtype=torch.float64)[:, None]
    found = flow_log_prob(wrong, x, FLOW, "v", probes=ones(x), times=flow_times(FLOW, 48, 1e-2))
    assert (found.exp().sum() * 24 / 2000).item() == pytest.approx(1, abs=1e-5)


def test_the_flow_in_time_itself_finds_the_same():
    data, x = Correlated(), 0.5 * draw(1, 3)
    denoise = data.denoise(FLOW, "velocity")
    exact = flow_log_prob(denoise, x, FLOW, "velocity", probes=exact_probes(x))
    coarse, fine = (plain_flow(denoise, x, FLOW, flow_times(FLOW, steps)) for steps in (40, 80))
    torch.testing.assert_close(2 * fine - coarse, exact, rtol=0, atol=2e-2)
    assert (fine - exact).abs().max() < 0.6 * (coarse - exact).abs().max()


@pytest.mark.parametrize("name", PATHS)
def test_twice_the_steps_make_the_error_16_times_smaller(name):
    path, x = make_path(name), DATA.mean + DATA.std * draw(8, 1)
    errors = []
    for steps in (20, 40):
        times = flow_times(path, steps)
        found = flow_log_prob(DATA.denoise(path, "v"), x, path, "v", probes=ones(x), times=times)
        errors.append((found - DATA.flow_log_prob(path, times[0], x)[:, 0]).abs().max().item())
    assert 12 < errors[0] / errors[1] < 20


# The trace


def test_with_exact_probes_correlated_data_have_their_log_density():
    data, x = Correlated(), Correlated().sample(draw(4, 3))
    times = flow_times(FLOW, 72, smoothing=1e-3)
    denoise = data.denoise(FLOW, "velocity")
    found = flow_log_prob(denoise, x, FLOW, "velocity", probes=exact_probes(x), times=times)
    torch.testing.assert_close(found, data.log_prob(x), rtol=0, atol=5e-5)


def test_over_all_signs_the_estimate_is_exact_and_one_alone_is_not():
    data, x, times = Correlated(), draw(2, 3), flow_times(FLOW, 12)
    signs = torch.tensor(list(product([-1.0, 1.0], repeat=3)), dtype=torch.float64)  # [8, 3]
    denoise = data.denoise(FLOW, "v")

    def estimate(probes):
        return flow_log_prob(denoise, x, FLOW, "v", probes=probes, times=times)

    exact = estimate(exact_probes(x))
    together = estimate(signs[:, None].expand(8, 2, 3))
    alone = torch.stack([estimate(sign.expand(1, 2, 3)) for sign in signs])
    torch.testing.assert_close(together, exact, rtol=0, atol=1e-10)
    torch.testing.assert_close(alone.mean(0), exact, rtol=0, atol=1e-10)
    assert (alone - exact).abs().min() > 0.1


def test_the_mean_over_many_random_probes_is_near_the_exact():
    data, times = Correlated(), flow_times(FLOW, 12)
    x = draw(1, 3).expand(4000, 3)
    uniform = torch.rand(1, 4000, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    denoise = data.denoise(FLOW, "v")
    found = flow_log_prob(denoise, x, FLOW, "v", probes=rademacher_probes(uniform), times=times)
    exact = flow_log_prob(denoise, x[:1], FLOW, "v", probes=exact_probes(x[:1]), times=times)
    error = (found.mean() - exact[0]).abs().item()
    assert error < 4 * found.std().item() / math.sqrt(4000) < 0.2


def test_probes_are_signs_and_unit_vectors():
    assert rademacher_probes(torch.tensor([0.0, 0.49, 0.5, 0.99])).tolist() == [-1, -1, 1, 1]
    probes = exact_probes(draw(5, 2, 3).bfloat16())
    assert probes.shape == (6, 5, 2, 3) and probes.dtype == torch.float32
    matrix = draw(6, 6).float()
    trace = torch.einsum("kbi, ij, kbj -> b", probes.flatten(2), matrix, probes.flatten(2)) / 6
    torch.testing.assert_close(trace, matrix.trace().expand(5))


# Conduct


def test_a_sample_has_the_same_likelihood_in_any_batch():
    data, x = Correlated(), draw(5, 3)
    probes = rademacher_probes(torch.rand(2, 5, 3, generator=torch.Generator().manual_seed(2)).double())
    denoise, times = data.denoise(FLOW, "v"), flow_times(FLOW, 8)
    whole = flow_log_prob(denoise, x, FLOW, "v", probes=probes, times=times)
    for rows in (slice(0, 1), slice(3, 5)):
        part = flow_log_prob(denoise, x[rows], FLOW, "v", probes=probes[:, rows], times=times)
        torch.testing.assert_close(part, whole[rows], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("target", ["v", "x0"])
def test_float32_loses_few_digits_and_bfloat16_is_taken_as_float32(name, target):
    path, x = make_path(name), (DATA.mean + DATA.std * draw(4, 2, 8)).bfloat16()
    denoise, times = DATA.denoise(path, target), flow_times(path, 10)
    exact = flow_log_prob(denoise, x.double(), path, target, probes=ones(x), times=times)
    assert exact.dtype == torch.float64
    for each in (x, x.float()):
        found = flow_log_prob(denoise, each, path, target, probes=ones(each), times=times)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), exact, rtol=0, atol=2e-4)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_network_in_a_mode_without_gradients_is_differentiated_and_stays_untouched(mode):
    network = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))

    def denoise(xt, t):
        return network(torch.cat([xt, t[:, None]], 1))

    x, times, state = draw(3, 2).float(), flow_times(FLOW, 4), torch.get_rng_state()
    outside = flow_log_prob(denoise, x, FLOW, "v", probes=exact_probes(x), times=times)
    with mode():
        found = flow_log_prob(denoise, x + 0, FLOW, "v", probes=exact_probes(x + 0), times=times)
    torch.testing.assert_close(found, outside)
    assert not found.requires_grad and all(weight.grad is None for weight in network.parameters())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", PATHS)
def test_default_times_rise_to_1_from_where_the_noise_is_the_smoothing(name):
    path, x, seen = make_path(name), draw(1, 1), []

    def denoise(xt, t):
        seen.append(t.item())
        return xt

    flow_log_prob(denoise, x, path, "v", probes=ones(x))
    times = flow_times(path)
    assert len(times) == 65 and times[-1] == 1
    assert sorted(set(seen))[::2] == times and len(seen) == 4 * 64  # the others are middles
    t = torch.tensor(times, dtype=torch.float64)
    ratio = path.alpha(t) / path.sigma(t)
    assert 1 / ratio[0].item() == pytest.approx(1e-3, rel=1e-9)
    lengths = ratio.asinh().diff()
    torch.testing.assert_close(lengths, lengths.mean().expand(64), rtol=0, atol=1e-9)


# 8-bit data


def test_a_uniform_density_over_256_bins_costs_8_bits():
    num_dims = 3 * 4 * 4
    log_prob = torch.full((2,), -num_dims * math.log(256 * 2 / 255), dtype=torch.float64)
    assert flow_bits_per_dim(log_prob, num_dims).tolist() == pytest.approx([8.0, 8.0], abs=1e-12)


def test_dequantised_bits_are_hardly_more_than_those_of_the_bins():
    values = (torch.arange(60, 200, dtype=torch.float64) / 127.5 - 1)[:, None]  # within 2.7 std
    uniform = (torch.arange(16, dtype=torch.float64) + 0.5) / 16
    data = Gaussian(torch.tensor(0.02).double(), 2 * torch.tensor(0.2).double().log())
    spread_out = dequantise(values.expand(-1, 16), uniform.expand(140, 16))
    bits = flow_bits_per_dim(data.log_prob(spread_out).mean(1), 1)
    exact = -data.log_prob_discretised(values)[:, 0] / math.log(2)
    assert (bits - exact).min() > -1e-6  # the mean over 16 draws is not quite that over all
    assert (bits - exact).max() < 1e-3


def test_dequantised_values_fill_their_bins():
    pixels = torch.tensor([[0, 255]]) / 127.5 - 1
    assert dequantise(pixels, torch.zeros(1, 2))[0].tolist() == pytest.approx([-1 - 1 / 255, 1 - 1 / 255])
    assert dequantise(pixels, torch.ones(1, 2))[0].tolist() == pytest.approx([-1 + 1 / 255, 1 + 1 / 255])
    assert torch.equal(dequantise(pixels, torch.full((1, 2), 0.5)), pixels)


# Bad input


@pytest.mark.parametrize(
    "times",
    [[], [1.0], [0.0, 1.0], [0.1, 0.9], [0.1, 0.1, 1.0], [0.5, 0.2, 1.0], [0.1, 1.1], [math.nan, 1.0]],
)
def test_times_that_do_not_rise_to_1_are_refused(times):
    x = draw(2, 3)
    with pytest.raises(InputError, match=r"rise strictly .* see flow_times"):
        flow_log_prob(DATA.denoise(FLOW, "v"), x, FLOW, "v", probes=ones(x), times=times)


@pytest.mark.parametrize("shape", [(2, 3), (0, 2, 3), (1, 2, 4), (1, 1, 3)])
def test_probes_that_do_not_fit_are_refused(shape):
    x = draw(2, 3)
    with pytest.raises(InputError, match=r"probe\[None\]"):
        flow_log_prob(DATA.denoise(FLOW, "v"), x, FLOW, "v", probes=torch.ones(shape))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_prediction_that_is_not_finite_is_an_error_that_says_where(bad):
    def denoise(xt, t):
        return torch.where(t[:, None] > 0.74, bad, xt)

    x = draw(2, 3)
    with pytest.raises(FloatingPointError, match=r"returned NaN or infinity at step 2, t = 0\.75"):
        flow_log_prob(denoise, x, FLOW, "v", probes=ones(x), times=[0.1, 0.4, 0.75, 1.0])


def test_a_derivative_that_is_not_finite_is_an_error_that_says_where():
    x = torch.zeros(2, 3)
    with pytest.raises(FloatingPointError, match=r"derivative is NaN or infinite at step 1, t = 0\.5"):
        flow_log_prob(lambda xt, t: xt.abs().sqrt(), x, FLOW, "v", probes=ones(x), times=[0.5, 1.0])


@pytest.mark.parametrize("target", ["v", "x0"])
@pytest.mark.parametrize(
    "cut",
    [
        torch.no_grad()(lambda xt, t: xt.tanh()),
        lambda xt, t: xt.detach() * torch.ones(3, requires_grad=True, dtype=torch.float64),
    ],
)
def test_a_network_that_autograd_cannot_see_through_is_refused(target, cut):
    x = draw(2, 3)
    with pytest.raises(InputError, match="without no_grad or detach"):
        flow_log_prob(cut, x, FLOW, target, probes=ones(x))


def test_a_prediction_of_another_shape_or_kind_is_refused():
    x = draw(2, 4)
    with pytest.raises(InputError, match="prediction of v alone"):
        flow_log_prob(lambda xt, t: torch.cat([xt, xt], 1), x, FLOW, "v", probes=ones(x))
    with pytest.raises(InputError, match="velocity"):
        flow_log_prob(lambda xt, t: xt, x, FLOW, "velocty", probes=ones(x))
    with pytest.raises(InputError, match="alpha is 0 at t = 1"):
        flow_log_prob(lambda xt, t: xt, x, FLOW, "noise", probes=ones(x), times=[0.5, 1.0])


def test_other_numbers_out_of_range_are_refused_with_the_remedy():
    for steps in (0, -1):
        with pytest.raises(InputError, match="try 64"):
            flow_times(FLOW, steps)
    for smoothing in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(InputError, match="try 1e-3"):
            flow_times(FLOW, 8, smoothing)
    for uniform in (torch.zeros(2), torch.full((1, 2), 1.5), torch.full((1, 2), math.nan)):
        with pytest.raises(InputError, match=r"pass torch\.rand"):
            dequantise(torch.zeros(1, 2), uniform)
    with pytest.raises(InputError, match="elements per sample"):
        flow_bits_per_dim(torch.zeros(1), 0)
