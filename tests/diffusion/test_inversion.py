"""From data to noise and back."""

import math

import pytest
import torch

from oracles import Gaussian1D
from tubelet.diffusion.grids import time_grid
from tubelet.diffusion.paths import PATHS, make_path
from tubelet.diffusion.reverse import Reverse
from tubelet.diffusion.samplers import ddim, invert
from tubelet.diffusion.targets import TARGETS
from tubelet.errors import InputError

DATA = Gaussian1D(mean=0.7, std=0.6)


def no_noise():
    raise AssertionError("a deterministic sampler asked for noise")


def last(steps):
    return list(steps)[-1]


def inverted(name, target, steps, iterations):
    """Data, the noise it is inverted to, and what ddim makes of that noise."""
    path = make_path(name)
    data = torch.tensor([[-0.2], [0.9], [1.9]], dtype=torch.float64)
    denoise, reverse, times = DATA.denoise(path, target), Reverse(path, target), time_grid(steps)
    noise = last(invert(denoise, data, reverse, times[::-1], iterations=iterations))
    return data, noise, last(ddim(denoise, noise, reverse, times, noise=no_noise))


@pytest.mark.parametrize("iterations", [1, 2])
@pytest.mark.parametrize("name", PATHS)
def test_inverting_and_sampling_returns_at_one_order_more_than_iterations(name, iterations):
    errors = []
    for steps in (40, 80):
        data, _, back = inverted(name, "v", steps, iterations)
        errors.append((back - data).abs().max().item())
    assert errors[1] < 8e-3
    assert math.log2(errors[0] / errors[1]) == pytest.approx(iterations + 1, abs=0.3)


@pytest.mark.parametrize("name", PATHS)
def test_inversion_approaches_the_exact_noise_at_order_1(name):
    errors = []
    for steps in (40, 80):
        data, noise, _ = inverted(name, "v", steps, 1)
        errors.append((DATA.flow(make_path(name), noise) - data).abs().max().item())
    assert errors[1] < 0.06
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", PATHS)
def test_inversion_is_the_same_for_every_target_and_never_asks_at_t_0(name):
    known = [target for target in TARGETS if name != "rectified_flow" or target not in ("noise", "score")]
    noises = [inverted(name, target, 10, 1)[1] for target in known]  # x0 and score would fail at t = 0
    for noise in noises[1:]:
        torch.testing.assert_close(noise, noises[0], rtol=1e-9, atol=1e-9)


def test_inversion_yields_each_step_and_may_stop_on_the_way():
    path, calls, x0 = make_path("rectified_flow"), [], torch.randn(2, 3)

    def denoise(xt, t):
        calls.append(t[0].item())
        return torch.zeros_like(xt)

    steps = list(invert(denoise, x0, Reverse(path, "noise"), [0.0, 0.25, 0.5]))
    assert calls == [0.25, 0.5] and len(steps) == 2
    torch.testing.assert_close(steps[-1], x0 / 2)  # no noise is what was predicted


@pytest.mark.parametrize("times", [[], [0.0], [1.0, 0.0], [0.1, 1.0], [0.0, 0.5, 0.5, 1.0], [0.0, 1.1]])
def test_times_that_do_not_rise_from_0_are_refused(times):
    path, x0 = make_path("rectified_flow"), torch.randn(2, 3)
    with pytest.raises(InputError, match="rise strictly"):
        last(invert(DATA.denoise(path, "v"), x0, Reverse(path, "v"), times))


def test_bad_input_to_an_inversion_is_an_error():
    path, x0, times = make_path("rectified_flow"), torch.randn(2, 3), time_grid(3)[::-1]
    with pytest.raises(InputError, match="iterations"):
        last(invert(DATA.denoise(path, "v"), x0, Reverse(path, "v"), times, iterations=0))
    with pytest.raises(FloatingPointError, match=r"step 1, t = 0\.333"):
        last(invert(lambda xt, t: xt / 0, x0, Reverse(path, "v"), times))
    x0[0, 0] = math.nan
    with pytest.raises(FloatingPointError, match="step 1"):
        last(invert(lambda xt, t: torch.zeros_like(xt), x0, Reverse(path, "v"), times))
