import math
from functools import partial
from itertools import pairwise

import pytest
import torch

from oracles import Gaussian1D, TwoPoints
from tubelet.diffusion.paths import PATHS, make_path
from tubelet.diffusion.reverse import Reverse
from tubelet.diffusion.samplers import SAMPLERS, ancestral, ddim, euler, time_grid
from tubelet.diffusion.targets import TARGETS
from tubelet.errors import InputError

DATA = Gaussian1D(mean=0.7, std=0.6)


def no_noise():
    raise AssertionError("a deterministic sampler asked for noise")


def normal(like, seed=0):
    """Standard normal draws like `like`, from their own stream."""
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(like.shape, generator=generator, dtype=like.dtype)


def last(steps):
    return list(steps)[-1]


def slope_and_offset(sampler, path, target, times):
    """A and b of the affine map x -> A x + b that a deterministic sampler is on Gaussian data."""
    x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    end = last(sampler(DATA.denoise(path, target), x, Reverse(path, target), times, noise=no_noise))
    return (end[1] - end[0]).item(), end[0].item()


class Numbers:
    """alpha, sigma and the shrinkage of Gaussian data at one time, in plain floats, from the definitions."""

    def __init__(self, name, t):
        if name == "rectified_flow":
            self.alpha, self.sigma = 1 - t, t
            self.drift = None
        else:
            T, n = 1000, round(1000 * t)
            beta = [
                1e-4 + (0.02 - 1e-4) * step / (T - 1) for step in range(T)
            ]  # beta[0] is the paper's beta_1
            if name == "ddpm_cosine":
                f = [math.cos((step / T + 0.008) / 1.008 * math.pi / 2) ** 2 for step in range(T + 1)]
                beta = [min(1 - later / now, 0.999) for now, later in pairwise(f)]
            log_alpha_bar = math.fsum(math.log1p(-each) for each in beta[:n])
            self.alpha, self.sigma = math.exp(log_alpha_bar / 2), math.sqrt(-math.expm1(log_alpha_bar))
            self.drift = 0.5 * T * math.log1p(-beta[min(n, T - 1)])  # d log alpha / dt to the right of t
        self.var = self.alpha**2 * DATA.std**2 + self.sigma**2
        self.shrink = self.alpha * DATA.std**2 / self.var  # E[x0 | x] = mean + shrink (x - alpha mean)


def ddim_recursion(name, times):
    slope, offset = 1.0, 0.0
    for now, after in pairwise([Numbers(name, t) for t in times]):
        x0_slope, x0_offset = now.shrink, DATA.mean * (1 - now.shrink * now.alpha)
        step = after.alpha * x0_slope + after.sigma * (1 - now.alpha * x0_slope) / now.sigma
        shift = after.alpha * x0_offset - after.sigma * now.alpha * x0_offset / now.sigma
        slope, offset = step * slope, step * offset + shift
    return slope, offset


def euler_recursion(name, times):
    slope, offset = 1.0, 0.0
    moments = [(t, Numbers(name, t)) for t in times]
    for (t, now), (s, _) in pairwise(moments):
        if s == 0:
            step, shift = now.shrink, DATA.mean * (1 - now.shrink * now.alpha)
        elif name == "rectified_flow":  # dx/dt = (x - E[x0 | x]) / t
            step = 1 + (s - t) * (1 - now.shrink) / t
            shift = -(s - t) * DATA.mean * (1 - now.shrink * now.alpha) / t
        else:  # dx/dt = f x - g^2 score / 2 with f = d log alpha / dt and g^2 = -2 f
            step = 1 + (s - t) * now.drift * (1 - 1 / now.var)
            shift = (s - t) * now.drift * now.alpha * DATA.mean / now.var
        slope, offset = step * slope, step * offset + shift
    return slope, offset


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize(("sampler", "recursion"), [(ddim, ddim_recursion), (euler, euler_recursion)])
@pytest.mark.parametrize("steps", [1, 4, 50])
def test_on_gaussian_data_a_deterministic_sampler_is_an_affine_recursion(name, sampler, recursion, steps):
    times = time_grid(steps)
    measured = slope_and_offset(sampler, make_path(name), "v", times)
    assert measured == pytest.approx(recursion(name, times), rel=1e-11, abs=1e-11)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("variance", ["small", "large"])
def test_on_gaussian_data_ancestral_moments_follow_their_recursion(name, variance):
    times = time_grid(20)
    path, n = make_path(name), len(times)
    # Row 0 sees no randomness; row k > 0 sees a one in the k-th draw alone: it reads off that draw's weight.
    draws = iter(torch.eye(n, dtype=torch.float64)[:, :, None][1:])
    x = torch.zeros(n, 1, dtype=torch.float64)
    x[-1] = 1  # the start itself
    steps = ancestral(
        DATA.denoise(path, "x0"), x, Reverse(path, "x0", variance), times, noise=lambda: next(draws)
    )
    end = last(steps)[:, 0]
    mean, var = end[0].item(), (end[1:] - end[0]).square().sum().item()

    expected_mean, expected_var = 0.0, 1.0
    for now, after in pairwise([Numbers(name, t) for t in times]):
        ratio = now.alpha / after.alpha
        fresh = now.sigma**2 - ratio**2 * after.sigma**2
        of_xt, of_x0 = ratio * after.sigma**2 / now.sigma**2, after.alpha * fresh / now.sigma**2
        step = of_xt + of_x0 * now.shrink
        expected_mean = step * expected_mean + of_x0 * DATA.mean * (1 - now.shrink * now.alpha)
        norm, norm_after = (each.alpha**2 + each.sigma**2 for each in (now, after))  # 1 but on rectified flow
        added = fresh * (norm_after / norm if variance == "large" else after.sigma**2 / now.sigma**2)
        expected_var = step**2 * expected_var + (added if after.sigma else 0)
    assert mean == pytest.approx(expected_mean, rel=1e-11)
    assert var == pytest.approx(expected_var, rel=1e-11)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("sampler", [ddim, euler])
def test_twice_the_steps_halve_the_distance_from_the_exact_flow(name, sampler):
    # Steps finer than the chain's, for Euler notices the corners of its interpolated log alpha.
    path = make_path(name) if name == "rectified_flow" else make_path(name, T=100)
    x = torch.tensor([[-1.0], [0.5], [2.0]], dtype=torch.float64)
    exact = DATA.flow(path, x)
    denoise, reverse = DATA.denoise(path, "v"), Reverse(path, "v")
    errors = []
    for steps in (200, 400):
        end = last(sampler(denoise, x, reverse, time_grid(steps), noise=no_noise))
        errors.append((end - exact).abs().max().item())
    assert errors[1] < 0.02
    assert 1.9 < errors[0] / errors[1] < 2.2


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_target_leads_to_the_same_sample(name, sampler):
    path, x = make_path(name), normal(torch.empty(3, 2, 4, dtype=torch.float64))()
    ends = []
    for target in TARGETS:
        if name == "rectified_flow" and target in ("noise", "score"):
            continue  # at t = 1 they say nothing about x0
        denoise, reverse = DATA.denoise(path, target), Reverse(path, target)
        ends.append(last(SAMPLERS[sampler](denoise, x, reverse, time_grid(12), noise=normal(x, seed=1))))
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", PATHS)
def test_ddim_with_eta_1_is_ancestral(name):
    path, x = make_path(name), normal(torch.empty(3, 2, dtype=torch.float64))()
    denoise, reverse = DATA.denoise(path, "v"), Reverse(path, "v", "small")
    one = ddim(denoise, x, reverse, time_grid(10), noise=normal(x, seed=1), eta=1.0)
    other = ancestral(denoise, x, reverse, time_grid(10), noise=normal(x, seed=1))
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


def test_on_rectified_flow_ddim_and_euler_are_one():
    path, x = make_path("rectified_flow"), normal(torch.empty(3, 2, dtype=torch.float64))()
    denoise, reverse = TwoPoints().denoise(path, "v"), Reverse(path, "v")
    one, other = (s(denoise, x, reverse, time_grid(9, 3.0), noise=no_noise) for s in (ddim, euler))
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_two_points_are_found_half_and_half(name, sampler):
    path, x = make_path(name), normal(torch.empty(4000, 1))()
    steps = SAMPLERS[sampler](
        TwoPoints().denoise(path, "v"), x, Reverse(path, "v"), time_grid(60), noise=normal(x, seed=1)
    )
    end = last(steps)
    assert ((end.abs() - 1).abs() < 0.05).float().mean() > 0.98
    assert end.mean().abs() < 0.06


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_yields_each_step_and_works_only_when_asked(sampler):
    path, calls, x = make_path("rectified_flow"), [], torch.randn(2, 3, 2, 4, 4)

    def denoise(xt, t):
        calls.append(t)
        return torch.full_like(xt, 0.25)

    steps = SAMPLERS[sampler](denoise, x, Reverse(path, "x0"), time_grid(4), noise=normal(x))
    assert next(steps).shape == x.shape and len(calls) == 1
    rest = list(steps)
    assert len(rest) == 3 and torch.equal(rest[-1], torch.full_like(x, 0.25))
    assert [t.tolist() for t in calls] == [[time] * 2 for time in (1.0, 0.75, 0.5, 0.25)]


@pytest.mark.parametrize(
    ("sampler", "expected"), [(euler, 0), (ddim, 0), (partial(ddim, eta=0.5), 4), (ancestral, 4)]
)
def test_noise_is_drawn_once_for_each_random_step_and_never_for_the_last(sampler, expected):
    path, x, draws = make_path("ddpm_linear"), torch.randn(2, 3), []

    def noise():
        draws.append(torch.zeros_like(x))
        return draws[-1]

    last(sampler(DATA.denoise(path, "v"), x, Reverse(path, "v"), time_grid(5), noise=noise))
    assert len(draws) == expected


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_leaves_the_global_seed_and_its_start_alone(sampler):
    x = torch.randn(2, 3)
    before, state = x.clone(), torch.get_rng_state()
    path = make_path("ddpm_cosine")
    last(
        SAMPLERS[sampler](
            DATA.denoise(path, "noise"), x, Reverse(path, "noise"), time_grid(3), noise=normal(x)
        )
    )
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(x, before)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_start_in_bfloat16_is_sampled_in_float32(sampler):
    path, x = make_path("rectified_flow"), torch.randn(2, 3, dtype=torch.bfloat16)
    for step in SAMPLERS[sampler](
        lambda xt, t: xt.bfloat16(), x, Reverse(path, "v"), time_grid(3), noise=normal(x)
    ):
        assert step.dtype == torch.float32


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_start_on_the_way_is_a_shorter_grid(sampler):
    path, x = make_path("rectified_flow"), torch.randn(2, 3)
    times = [0.6, 0.3, 0.0]
    assert (
        len(list(SAMPLERS[sampler](DATA.denoise(path, "v"), x, Reverse(path, "v"), times, noise=normal(x))))
        == 2
    )


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_prediction_that_is_not_finite_is_an_error_that_says_where(sampler, bad):
    path, x = make_path("rectified_flow"), torch.randn(2, 3)

    def denoise(xt, t):
        return torch.where(t[:, None] < 0.6, bad, xt)

    with pytest.raises(FloatingPointError, match=r"step 3, t = 0\.5"):
        last(SAMPLERS[sampler](denoise, x, Reverse(path, "v"), time_grid(4), noise=normal(x)))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(
    "times", [[], [1.0], [0.0], [1.0, 0.5], [1.0, 1.0, 0.0], [0.5, 1.0, 0.0], [1.1, 0.0]]
)
def test_times_that_do_not_fall_to_0_are_refused(sampler, times):
    path, x = make_path("rectified_flow"), torch.randn(2, 3)
    with pytest.raises(InputError, match="fall strictly"):
        last(SAMPLERS[sampler](DATA.denoise(path, "v"), x, Reverse(path, "v"), times, noise=no_noise))


@pytest.mark.parametrize("eta", [-0.1, 1.1, math.nan])
def test_an_eta_outside_0_and_1_is_refused(eta):
    path, x = make_path("rectified_flow"), torch.randn(2, 3)
    with pytest.raises(InputError, match="eta"):
        last(ddim(DATA.denoise(path, "v"), x, Reverse(path, "v"), time_grid(2), noise=no_noise, eta=eta))


@pytest.mark.parametrize("shift", [0.1, 1.0, 3.0, 12.0])
@pytest.mark.parametrize("steps", [1, 2, 30, 1000])
def test_a_time_grid_falls_from_1_to_0(steps, shift):
    times = time_grid(steps, shift)
    assert len(times) == steps + 1 and times[0] == 1 and times[-1] == 0
    assert all(t > s for t, s in pairwise(times))


def test_a_time_grid_hits_the_steps_of_the_paper():
    assert time_grid(1000) == [n / 1000 for n in range(1000, -1, -1)]
    assert time_grid(4, 3.0) == pytest.approx([1, 0.9, 0.75, 0.5, 0])


@pytest.mark.parametrize("steps", [0, -3])
def test_a_time_grid_without_steps_is_refused(steps):
    with pytest.raises(InputError, match="--num-inference-steps"):
        time_grid(steps)
