"""What all samplers promise: the same signature, whose randomness it is, what is refused."""

import inspect
import math
from functools import cache, partial

import pytest
import torch

from oracles import Gaussian1D, TwoPoints
from tubelet.diffusion.grids import GRIDS, time_grid
from tubelet.diffusion.multistep import dpmpp, unipc
from tubelet.diffusion.paths import PATHS, PathConfig, make_path
from tubelet.diffusion.reverse import Reverse
from tubelet.diffusion.samplers import SAMPLERS, ancestral, ddim, euler, heun, sampler_named
from tubelet.diffusion.targets import TARGETS
from tubelet.errors import InputError

DATA = Gaussian1D(mean=0.7, std=0.6)
ZERO = PathConfig(name="ddpm_linear", zero_terminal=True)
RANDOM = ("ancestral", "dpmpp_2m_sde", "dpmpp_3m_sde")


@cache  # a bisection that takes as long as a short run
def grid_of(steps, shift, grid, name):
    return time_grid(steps, shift, grid, make_path(name))


def no_noise():
    raise AssertionError("a deterministic sampler asked for noise")


def normal(like, seed=0):
    """Standard normal draws like `like`, from their own stream."""
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(like.shape, generator=generator, dtype=like.dtype)


def last(steps):
    return list(steps)[-1]


@pytest.mark.parametrize("name", [*PATHS, ZERO], ids=str)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_target_leads_to_the_same_sample(name, sampler):
    path, x = make_path(name), normal(torch.empty(3, 2, 4, dtype=torch.float64))()
    ends = []
    for target in TARGETS:
        if path.alpha(torch.ones(1)).item() == 0 and target in ("noise", "score"):
            continue  # at t = 1 they say nothing about x0
        denoise, reverse = DATA.denoise(path, target), Reverse(path, target)
        ends.append(last(SAMPLERS[sampler](denoise, x, reverse, time_grid(6), noise=normal(x, seed=1))))
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_learned_variance_changes_only_what_draws_from_it(sampler):
    path, x = make_path("ddpm_linear"), normal(torch.empty(3, 2, 4, dtype=torch.float64))()
    plain = DATA.denoise(path, "noise")

    def small(xt, t):
        return torch.cat([plain(xt, t), torch.zeros_like(xt)], 1)

    ends = [
        last(SAMPLERS[sampler](denoise, x, reverse, time_grid(6), noise=normal(x, seed=1)))
        for denoise, reverse in [
            (plain, Reverse(path, "noise")),
            (small, Reverse(path, "noise", "learned")),
        ]
    ]
    torch.testing.assert_close(*ends, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        (partial(ddim, eta=1.0), ancestral, "ddpm_cosine"),
        (ddim, euler, "rectified_flow"),
        (ddim, partial(dpmpp, order=1), "rectified_flow"),
        (ancestral, partial(dpmpp, order=1, eta=1.0), "rectified_flow"),
    ],
)
def test_samplers_that_are_one_are_one(one, other, name):
    path, x = make_path(name), normal(torch.empty(3, 2, dtype=torch.float64))()
    denoise, reverse = TwoPoints().denoise(path, "v"), Reverse(path, "v", "small")
    runs = (s(denoise, x, reverse, time_grid(9, 3.0), noise=normal(x, seed=1)) for s in (one, other))
    for mine, theirs in zip(*runs, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", [*PATHS, ZERO], ids=str)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_two_points_are_found_half_and_half(name, sampler):
    path, x = make_path(name), normal(torch.empty(2000, 1))()
    steps = SAMPLERS[sampler](
        TwoPoints().denoise(path, "v"), x, Reverse(path, "v"), time_grid(40), noise=normal(x, seed=1)
    )
    end = last(steps)
    assert ((end.abs() - 1).abs() < 0.05).float().mean() > 0.98
    assert end.mean().abs() < 0.08


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", [*PATHS, ZERO], ids=str)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_grid_from_1_to_0_leads_to_a_nan(sampler, name, grid):
    path = make_path(name)
    x = normal(torch.empty(4, 1))()
    for steps, shift, target in [(1, 1.0, "v"), (2, 8.0, "x0"), (3, 0.2, "velocity"), (7, 30.0, "v")]:
        times = grid_of(steps, shift, grid, name)
        denoise = DATA.denoise(path, target)
        states = list(SAMPLERS[sampler](denoise, x, Reverse(path, target), times, noise=normal(x)))
        assert len(states) == steps and all(bool(state.isfinite().all()) for state in states)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_yields_each_step_and_works_only_when_asked(sampler):
    path, calls, x = make_path("rectified_flow"), [], torch.randn(2, 3, 2, 4, 4)

    def denoise(xt, t):
        calls.append(t)
        return torch.full_like(xt, 0.25)

    steps = SAMPLERS[sampler](denoise, x, Reverse(path, "x0"), time_grid(4), noise=normal(x))
    twice = sampler == "heun"
    assert next(steps).shape == x.shape and len(calls) == 1 + twice
    rest = list(steps)
    assert len(rest) == 3 and torch.equal(rest[-1], torch.full_like(x, 0.25))
    expected = (1.0, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25) if twice else (1.0, 0.75, 0.5, 0.25)
    assert [t.tolist() for t in calls] == [[time] * 2 for time in expected]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_the_caller_writes_into_x_is_where_the_next_step_starts(sampler):
    path, x, asked = make_path("rectified_flow"), torch.randn(2, 3), []

    def denoise(xt, t):
        asked.append(xt.clone())
        return torch.zeros_like(xt)

    steps = SAMPLERS[sampler](denoise, x, Reverse(path, "x0"), time_grid(4), noise=normal(x))
    for step in steps:
        step.fill_(7.0)
        asked.clear()
        next(steps)
        assert bool((asked[0] == 7).all())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_all_samplers_have_one_signature(sampler):
    parameters = list(inspect.signature(SAMPLERS[sampler]).parameters.values())
    assert [each.name for each in parameters[:5]] == ["denoise", "x", "reverse", "times", "noise"]
    assert all(each.default is not each.empty for each in parameters[5:])


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [(name, 4 * (name in RANDOM)) for name in SAMPLERS] + [(partial(ddim, eta=0.5), 4)],
)
def test_noise_is_drawn_once_for_each_random_step_and_never_for_the_last(sampler, expected):
    path, x, draws = make_path("ddpm_linear"), torch.randn(2, 3), []

    def noise():
        draws.append(torch.zeros_like(x))
        return draws[-1]

    sampler = SAMPLERS[sampler] if isinstance(sampler, str) else sampler
    last(sampler(DATA.denoise(path, "v"), x, Reverse(path, "v"), time_grid(5), noise=noise))
    assert len(draws) == expected


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_leaves_the_global_seed_and_its_start_alone(sampler):
    x = torch.randn(2, 3)
    before, state = x.clone(), torch.get_rng_state()
    path = make_path("ddpm_cosine")
    denoise, reverse = DATA.denoise(path, "noise"), Reverse(path, "noise")
    last(SAMPLERS[sampler](denoise, x, reverse, time_grid(3), noise=normal(x)))
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(x, before)


@pytest.mark.parametrize("target", ["v", "x0", "velocity"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_start_in_bfloat16_is_sampled_in_float32(sampler, target):
    path, x = make_path("rectified_flow"), torch.randn(2, 3, dtype=torch.bfloat16)
    for step in SAMPLERS[sampler](
        lambda xt, t: xt.bfloat16(), x, Reverse(path, target), time_grid(3), noise=normal(x)
    ):
        assert step.dtype == torch.float32


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_start_on_the_way_is_a_shorter_grid(sampler):
    path, x = make_path("rectified_flow"), torch.randn(2, 3)
    denoise, reverse, times = DATA.denoise(path, "noise"), Reverse(path, "noise"), [0.6, 0.3, 0.0]
    assert len(list(SAMPLERS[sampler](denoise, x, reverse, times, noise=normal(x)))) == 2


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_prediction_that_is_not_finite_is_an_error_that_says_where(sampler, bad):
    path, x = make_path("rectified_flow"), torch.randn(2, 3)

    def denoise(xt, t):
        return torch.where(t[:, None] < 0.6, bad, xt)

    step = 2 if sampler == "heun" else 3  # its second step ends at t = 0.5
    with pytest.raises(FloatingPointError, match=rf"step {step}, t = 0\.5"):
        last(SAMPLERS[sampler](denoise, x, Reverse(path, "v"), time_grid(4), noise=normal(x)))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_x_that_is_not_finite_is_an_error_that_says_where(sampler, bad):
    path, x = make_path("ddpm_linear"), torch.randn(2, 3)
    steps = SAMPLERS[sampler](
        lambda xt, t: torch.zeros_like(xt), x, Reverse(path, "x0"), time_grid(4), noise=normal(x)
    )
    next(steps)[0, 0] = bad
    with pytest.raises(FloatingPointError, match=r"step 2, which leads to t = 0\.5"):
        next(steps)


@pytest.mark.parametrize("sampler", RANDOM)
def test_noise_that_is_not_finite_is_an_error(sampler):
    path, x = make_path("rectified_flow"), torch.randn(2, 3)
    with pytest.raises(FloatingPointError, match="step 1"):
        next(
            SAMPLERS[sampler](
                DATA.denoise(path, "v"), x, Reverse(path, "v"), time_grid(4), noise=lambda: x / 0
            )
        )


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_times_that_do_not_fall_to_0_are_refused(sampler):
    path, x = make_path("rectified_flow"), torch.randn(2, 3)
    same_in_float32 = [1.0, 0.5, 0.5 - 1e-9, 0.0]
    wrong = [[], [1.0], [0.0], [1.0, 0.5], [1.0, 1.0, 0.0], [0.5, 1.0, 0.0], [1.1, 0.0], [1.0, math.nan, 0.0]]
    for times in [*wrong, same_in_float32]:
        with pytest.raises(InputError, match="fall strictly"):
            last(SAMPLERS[sampler](DATA.denoise(path, "v"), x, Reverse(path, "v"), times, noise=no_noise))


@pytest.mark.parametrize("eta", [-0.1, 1.1, math.nan])
@pytest.mark.parametrize("sampler", [ddim, dpmpp])
def test_an_eta_outside_0_and_1_is_refused(sampler, eta):
    path, x = make_path("rectified_flow"), torch.randn(2, 3)
    with pytest.raises(InputError, match="eta"):
        last(sampler(DATA.denoise(path, "v"), x, Reverse(path, "v"), time_grid(2), noise=no_noise, eta=eta))


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (partial(dpmpp, order=4), "order 1, 2 or 3, got 4"),
        (partial(unipc, order=0), "order 1, 2 or 3, got 0"),
        (partial(unipc, b_h="bh_2"), "did you mean 'bh2'"),
    ],
)
def test_an_unknown_setting_is_refused(sampler, message):
    path, x = make_path("rectified_flow"), torch.randn(2, 3)
    with pytest.raises(InputError, match=message):
        last(sampler(DATA.denoise(path, "v"), x, Reverse(path, "v"), time_grid(2), noise=no_noise))


def test_a_sampler_is_found_by_name_and_a_wrong_one_is_answered_with_the_near_miss():
    assert sampler_named("heun") is heun
    with pytest.raises(InputError, match="unknown sampler 'dpmpp2m': did you mean 'dpmpp_2m'"):
        sampler_named("dpmpp2m")
