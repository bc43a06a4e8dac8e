"""Samplers against closed forms: on Gaussian data each is an affine recursion, and the flow is known."""

import math
from functools import cache, partial

import numpy as np
import pytest
import torch

import recursions
from oracles import Gaussian1D
from tubelet.diffusion import multistep
from tubelet.diffusion.grids import GRIDS, time_at, time_grid
from tubelet.diffusion.multistep import dpmpp, moments, unipc
from tubelet.diffusion.paths import PATHS, make_path
from tubelet.diffusion.reverse import Reverse
from tubelet.diffusion.samplers import SAMPLERS, ancestral, ddim, euler

DATA = Gaussian1D(mean=0.7, std=0.6)
RANDOM = ("ancestral", "dpmpp_2m_sde", "dpmpp_3m_sde")
RECURSIONS = {
    "euler": recursions.euler,
    "heun": recursions.heun,
    "ddim": recursions.ddim,
    "ancestral": recursions.ancestral,
    "dpmpp_2m": recursions.dpmpp_2m,
    "dpmpp_2m_sde": partial(recursions.dpmpp_2m, sde=True),
    "dpmpp_3m": recursions.dpmpp_3m,
    "dpmpp_3m_sde": partial(recursions.dpmpp_3m, sde=True),
    "unipc_bh1": partial(recursions.unipc, b_h="bh1"),
    "unipc_bh2": partial(recursions.unipc, b_h="bh2"),
}
#          order at which the distance from the flow falls
ORDERS = {
    "euler": 1,
    "heun": 2,
    "ddim": 1,
    "dpmpp_2m": 2,
    "dpmpp_3m": 3,
    "unipc_bh1": 3,
    "unipc_bh2": 3,
}


def no_noise():
    raise AssertionError("a deterministic sampler asked for noise")


def last(steps):
    return list(steps)[-1]


@cache  # a bisection that takes as long as a short run
def grid_of(steps, shift, grid, name):
    return time_grid(steps, shift, grid, make_path(name))


def row_of(sampler, reverse, times):
    """Offset, slope in the start and weight of each noise: all that a sampler does to Gaussian data."""
    unit = torch.eye(len(times) + 1, dtype=torch.float64)[:, :, None]  # a 1 in one row, for each of them
    draws = iter(unit[2:])
    denoise = DATA.denoise(reverse.path, reverse.target)
    end = last(sampler(denoise, unit[1], reverse, times, noise=lambda: next(draws)))[:, 0]
    return torch.cat([end[:1], end[1:] - end[0]]).numpy()


def expected_row(recursion, name, times):
    """The same from the sampler's recursion in plain floats."""
    unit = np.eye(len(times) + 1)
    draws = iter(unit[2:])
    return recursion([recursions.At(name, t, DATA) for t in times], unit[1], lambda: next(draws))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_on_gaussian_data_a_sampler_is_an_affine_recursion(sampler, name, grid):
    path = make_path(name)
    for steps, shift in [(1, 1.0), (2, 3.0), (10, 1.0)]:
        times = grid_of(steps, shift, grid, name)
        row = row_of(SAMPLERS[sampler], Reverse(path, "v"), times)
        expected = expected_row(RECURSIONS[sampler], name, times)
        np.testing.assert_allclose(row, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize(
    ("sampler", "recursion", "variance"),
    [
        (ancestral, partial(recursions.ancestral, variance="large"), "large"),
        (partial(ddim, eta=0.6), partial(recursions.ddim, eta=0.6), "small"),
        (partial(dpmpp, order=1), recursions.ddim, "small"),
        (partial(dpmpp, order=1, eta=1.0), recursions.ancestral, "small"),
    ],
)
def test_other_settings_are_affine_recursions_too(name, sampler, recursion, variance):
    path, times = make_path(name), time_grid(20)
    row = row_of(sampler, Reverse(path, "x0", variance), times)
    np.testing.assert_allclose(row, expected_row(recursion, name, times), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["ddpm_cosine", "rectified_flow"])
@pytest.mark.parametrize("sampler", ORDERS)
def test_the_distance_from_the_flow_falls_at_the_stated_order(name, sampler):
    worst = [distance_from_the_flow(make_path(name), SAMPLERS[sampler], steps) for steps in (50, 100)]
    # Euler's method in t feels the corners of a chain's interpolated log alpha.
    assert math.log2(worst[0] / worst[1]) == pytest.approx(ORDERS[sampler], abs=0.15)
    assert worst[1] < 0.03


def test_with_half_its_curvature_the_third_order_would_be_the_second(monkeypatch):
    def halved(H, count):
        return [moment / (1 + k) for k, moment in enumerate(moments(H, count))]

    monkeypatch.setattr(multistep, "moments", halved)
    path, sampler = make_path("rectified_flow"), SAMPLERS["dpmpp_3m"]
    worst = [distance_from_the_flow(path, sampler, steps) for steps in (100, 200)]
    assert math.log2(worst[0] / worst[1]) == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc_gains_one_order_by_its_corrector(order):
    sampler = partial(unipc, order=order)
    path = make_path("rectified_flow")
    worst = [distance_from_the_flow(path, sampler, steps, exact_steps=0) for steps in (50, 100)]
    assert math.log2(worst[0] / worst[1]) == pytest.approx(order + 1, abs=0.15)


def distance_from_the_flow(path, sampler, steps, exact_steps=2):
    """The most over a run in which log(alpha / sigma) goes from -4 to 4, in steps that grow on the way.

    The first steps are replaced by exact ones, so that a sampler with a memory has an exact one.
    """
    even = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    times = time_at(path, 2 * (8 * even**1.3 - 4)).tolist()
    mean, var = DATA.marginal(path, torch.tensor(times, dtype=torch.float64))
    exact = mean[:, None] + var.sqrt()[:, None] * torch.tensor([-1.5, 0.3, 2.0])  # [steps + 1, 3]
    run = sampler(
        DATA.denoise(path, "v"), exact[0, :, None], Reverse(path, "v"), [*times, 0.0], noise=no_noise
    )
    worst = 0.0
    for step, (x, true) in enumerate(zip(run, exact[1:, :, None], strict=False), start=1):
        worst = max(worst, (x - true).abs().max().item())
        if step <= exact_steps:
            x.copy_(true)
        if step == steps:
            return worst


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("sampler", [ddim, euler])
def test_twice_the_steps_halve_the_distance_from_where_the_exact_flow_ends(name, sampler):
    # Steps finer than the chain's, for Euler notices the corners of its interpolated log alpha.
    path = make_path(name) if name == "rectified_flow" else make_path(name, T=30)
    x = torch.tensor([[-1.0], [0.5], [2.0]], dtype=torch.float64)
    exact, denoise = DATA.flow(path, x), DATA.denoise(path, "v")
    errors = []
    for steps in (60, 120):
        end = last(sampler(denoise, x, Reverse(path, "v"), time_grid(steps), noise=no_noise))
        errors.append((end - exact).abs().max().item())
    assert errors[1] < 0.06
    assert 1.8 < errors[0] / errors[1] < 2.3


@pytest.mark.parametrize("sampler", RANDOM)
def test_random_samplers_reach_the_moments_of_the_data(sampler):
    path = make_path("rectified_flow")
    errors = []
    for steps in (50, 100):
        row = row_of(SAMPLERS[sampler], Reverse(path, "v"), time_grid(steps, 1.0, "log_snr", path))
        assert row[0] == pytest.approx(DATA.mean, abs=1e-12)
        errors.append(abs(math.hypot(*row[1:]) - DATA.std))
    assert errors[1] < (0.04 if sampler == "ancestral" else 2e-3)
    assert errors[0] / errors[1] > (1.8 if sampler == "ancestral" else 3.8)  # order 1, and 2
