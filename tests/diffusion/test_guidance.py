"""Guidance: one convention, closed forms, and what leaves a prediction as it is."""

import math
from itertools import permutations

import pytest
import torch

from oracles import Gaussian1D
from tubelet.diffusion.guidance import (
    MAX_FURTHER,
    RANGES,
    Guidance,
    check_weights,
    compose,
    guide,
    guided,
    projected,
    rescaled,
)
from tubelet.diffusion.paths import PATHS, make_path
from tubelet.diffusion.reverse import Reverse
from tubelet.diffusion.targets import TARGETS, convert
from tubelet.errors import InputError

SHAPE = (2, 3, 2, 4)
SETTINGS = [
    {},
    {"interval": (0.1, 0.9)},
    {"rescale": 0.7},
    {"parallel": 0.0},
    {"threshold": 0.3},
    {"momentum": -0.5},
    {"rescale": 1.0, "parallel": 0.5, "threshold": 0.2, "momentum": 0.3},
]


def draws(count: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, *(shape or SHAPE), dtype=torch.float64, generator=generator)


def at(t: float) -> torch.Tensor:
    return torch.full((SHAPE[0],), t, dtype=torch.float64)


def fixed(conditional, unconditional, variance=None, asked=None):
    """Branches that always answer the same; `asked` notes whether both were wanted."""

    def branches(xt, t, both):
        if asked is not None:
            asked.append(both)
        return conditional, variance, unconditional if both else None

    return branches


def one_step(settings, conditional, unconditional, xt, t, reverse, variance=None):
    return guided(fixed(conditional, unconditional, variance), reverse, Guidance(**settings))(xt, t)


# One convention.


def test_0_ignores_the_prompt_and_1_is_the_model_as_trained_to_the_bit():
    conditional, unconditional = torch.randn(2, 3, 4, 5)
    assert torch.equal(guide(conditional, unconditional, 0), unconditional)
    assert torch.equal(guide(conditional, unconditional, 1), conditional)


@pytest.mark.parametrize("w", [-0.5, 0.5, 3.0])
def test_the_scale_is_1_plus_w_of_the_paper(w):
    conditional, unconditional = torch.randn(2, 3, 4, dtype=torch.float64)
    expected = (1 + w) * conditional - w * unconditional
    torch.testing.assert_close(guide(conditional, unconditional, 1 + w), expected)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize(("frm", "to"), [*permutations(TARGETS, 2)])
def test_guiding_and_composing_commute_with_converting(name, frm, to):
    path, t = make_path(name), torch.tensor([0.2, 0.7], dtype=torch.float64)
    xt, *predictions = draws(5)  # conditional, unconditional, and two further prompts of each video
    weights = torch.tensor([[0.5, 0.0, -0.2, 0.0], [0.0, -0.7, 0.0, 1.0]], dtype=torch.float64)

    def combined(conditional, unconditional, *further):
        composed = compose(conditional, unconditional, torch.cat(further), weights)
        return guide(composed, unconditional, 4.0)

    after = convert(combined(*predictions), frm, to, path, xt, t)
    before = combined(*(convert(prediction, frm, to, path, xt, t) for prediction in predictions))
    torch.testing.assert_close(after, before)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("scale", [0.0, 2.5])
def test_guidance_between_two_gaussians_of_one_width_exaggerates_the_mean(name, target, scale):
    path, xt, t = make_path(name), draws(1)[0], at(0.6)
    mean, std = {"conditional": 0.7, "unconditional": -0.2}, 0.6
    both = [Gaussian1D(value, std).denoise(path, target)(xt, t) for value in mean.values()]
    exact = Gaussian1D(-0.2 + scale * 0.9, std).denoise(path, target)(xt, t)
    torch.testing.assert_close(one_step({"scale": scale}, *both, xt, t, Reverse(path, target)), exact)


@pytest.mark.parametrize("name", PATHS)
def test_guiding_away_from_a_weaker_model_narrows_a_gaussian(name):
    """Precisions of x_t add like scores: l_weak + scale (l_strong - l_weak)."""
    path, xt, t, scale = make_path(name), draws(1)[0], at(0.4), 2.0
    strong, weak = Gaussian1D(0.0, 0.5), Gaussian1D(0.0, 0.9)
    score = guide(*(each.denoise(path, "score")(xt, t) for each in (strong, weak)), scale)
    precision, weaker = (1 / each.marginal(path, t)[1][0] for each in (strong, weak))
    torch.testing.assert_close(score, -(weaker + scale * (precision - weaker)) * xt)


# When it acts.


def test_the_interval_is_open_below_and_closed_above_in_float32_too():
    guidance = Guidance(interval=(0.3, 0.7))
    for dtype in (torch.float32, torch.float64):
        acts = [guidance.acts(torch.full((2,), t, dtype=dtype)) for t in (0.2, 0.3, 0.31, 0.7, 0.71)]
        assert acts == [False, False, True, True, False]
    assert all(Guidance().acts(at(t)) for t in (1.0, 1e-6))
    assert not Guidance(scale=1.0).acts(at(0.5))


@pytest.mark.parametrize("settings", SETTINGS)
def test_where_guidance_does_not_act_the_conditional_comes_out_and_nothing_else_is_asked_for(settings):
    xt, conditional, unconditional = draws(3)
    asked = []
    branches = fixed(conditional, unconditional, asked=asked)
    reverse = Reverse(make_path("rectified_flow"), "velocity")
    assert torch.equal(
        guided(branches, reverse, Guidance(**{**settings, "scale": 1.0}))(xt, at(0.5)), conditional
    )
    denoise = guided(branches, reverse, Guidance(**{**settings, "interval": (0.4, 0.6)}))
    assert torch.equal(denoise(xt, at(0.7)), conditional)
    assert torch.equal(denoise(xt, at(0.4)), conditional)
    assert not torch.equal(denoise(xt, at(0.6)), conditional)
    assert asked == [False, False, False, True]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("target", TARGETS)
def test_every_channel_is_guided_and_a_learned_variance_is_the_conditional_ones(settings, target):
    xt, conditional, unconditional, variance = draws(4)
    reverse = Reverse(make_path("ddpm_cosine"), target, "learned")
    out = one_step(settings, conditional, unconditional, xt, at(0.5), reverse, variance)
    guided_part, variance_part = reverse.split(out, xt)
    assert torch.equal(variance_part, variance)
    plain = one_step(settings, conditional, unconditional, xt, at(0.5), Reverse(reverse.path, target))
    assert torch.equal(guided_part, plain)
    moved = (guided_part - conditional).abs().amax((0, 2, 3))
    assert bool((moved > 1e-3).all()), moved


# What is not linear.


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("target", TARGETS)
def test_on_x0_with_nothing_switched_on_it_is_plain_guidance(name, target):
    """A threshold that nothing reaches takes the way through x0."""
    xt, conditional, unconditional = draws(3)
    reverse = Reverse(make_path(name), target)
    for settings in ({"threshold": 1000.0}, {"momentum": -0.5}):  # the first step has no step before it
        assert not Guidance(**settings).linear
        out = one_step(settings, conditional, unconditional, xt, at(0.3), reverse)
        torch.testing.assert_close(out, guide(conditional, unconditional, 4.0))


def test_only_plain_guidance_is_linear():
    assert [Guidance(**settings).linear for settings in SETTINGS] == [True, True, *[False] * 5]


@pytest.mark.parametrize("settings", SETTINGS)
def test_on_any_target_it_does_the_same_to_x0(settings):
    path, t = make_path("ddpm_linear"), at(0.4)
    xt, x0, away = draws(3)
    expected = one_step(settings, x0, away, xt, t, Reverse(path, "x0"))
    for target in TARGETS:
        both = [convert(each, "x0", target, path, xt, t) for each in (x0, away)]
        out = one_step(settings, *both, xt, t, Reverse(path, target))
        torch.testing.assert_close(convert(out, target, "x0", path, xt, t), expected)


def test_rescaling_brings_the_spread_of_each_sample_back():
    moved, x0 = 3 * draws(1)[0] + 1, draws(2)[1]
    assert torch.equal(rescaled(moved, x0, 0.0), moved)
    full, half = rescaled(moved, x0, 1.0), rescaled(moved, x0, 0.5)
    torch.testing.assert_close(full.flatten(1).std(1), x0.flatten(1).std(1))
    torch.testing.assert_close(half, (full + moved) / 2)


def test_the_projected_update_keeps_its_orthogonal_part_alone():
    update, x0 = draws(2)
    orthogonal = projected(update, x0, 0.0, 0.0)
    torch.testing.assert_close((orthogonal * x0).flatten(1).sum(1), torch.zeros(2, dtype=torch.float64))
    assert torch.equal(projected(update, x0, 1.0, 0.0), update)
    along = (update - orthogonal) / x0
    torch.testing.assert_close(along, along[:, :1, :1, :1].expand(SHAPE))
    torch.testing.assert_close(projected(update, x0, 0.3, 0.0), orthogonal + 0.3 * (update - orthogonal))


def test_the_threshold_cuts_long_updates_alone_and_zeros_stay_zeros():
    update = draws(1)[0] * torch.tensor([0.01, 10.0]).double().view(2, 1, 1, 1)
    cut = projected(update, torch.ones(SHAPE).double(), 1.0, 0.5)
    assert torch.equal(cut[0], update[0])
    torch.testing.assert_close(cut[1].square().mean().sqrt(), torch.tensor(0.5).double())
    torch.testing.assert_close(cut[1] / cut[1].norm(), update[1] / update[1].norm())
    zeros = torch.zeros(SHAPE)
    assert torch.equal(projected(zeros, zeros, 0.0, 0.5), zeros)


@pytest.mark.parametrize("momentum", [-0.75, 0.5])
def test_momentum_sums_the_differences_of_one_run_and_no_other(momentum):
    xt, away, *x0s = draws(5)
    reverse, guidance = Reverse(make_path("ddpm_linear"), "x0"), Guidance(scale=3.0, momentum=momentum)

    def run():
        answers = iter(x0s)
        denoise = guided(lambda *_: (next(answers), None, away), reverse, guidance)
        return [denoise(xt, at(t)) for t in (0.9, 0.6, 0.3)]

    first, second = run(), run()
    assert all(map(torch.equal, first, second))
    update = torch.zeros(SHAPE).double()
    for out, x0 in zip(first, x0s, strict=True):
        update = momentum * update + x0 - away
        torch.testing.assert_close(out, x0 + 2 * update)


@pytest.mark.slow  # for the import
def test_diffusers_projects_and_rescales_alike():
    pytest.importorskip("diffusers")
    from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance
    from diffusers.guiders.guider_utils import rescale_noise_cfg

    xt, *x0s, away = draws(5)
    buffer, threshold = MomentumBuffer(-0.5), 0.4
    guidance = Guidance(scale=5.0, rescale=0.7, parallel=0.2, threshold=threshold, momentum=-0.5)
    answers = iter(x0s)
    denoise = guided(
        lambda *_: (next(answers), None, away), Reverse(make_path("rectified_flow"), "x0"), guidance
    )
    norm = threshold * math.sqrt(xt[0].numel())
    for x0 in x0s:
        theirs = normalized_guidance(x0, away, 4.0, buffer, 0.2, norm, use_original_formulation=True)
        torch.testing.assert_close(denoise(xt, at(0.5)), rescale_noise_cfg(theirs, x0, 0.7))


# Composition.


def test_without_further_prompts_the_prediction_keeps_its_bits():
    conditional = torch.randn(SHAPE)
    nothing = conditional[:0]
    assert torch.equal(compose(conditional, nothing, nothing, torch.zeros(2, 0)), conditional)


def test_a_prompt_composed_with_itself_is_plain_guidance():
    conditional, unconditional = draws(2)
    for weight in (-1.0, -0.3, 0.0, 1.0):
        composed = compose(conditional, unconditional, conditional, weight * torch.eye(2).double())
        torch.testing.assert_close(composed, guide(conditional, unconditional, 1 + weight))


def test_two_equal_prompts_weigh_as_much_as_one():
    conditional, unconditional, other, _ = draws(4)
    first, second = 0.3 * torch.eye(2).double(), torch.diag(torch.tensor([-0.9, 0.4])).double()
    twice = compose(conditional, unconditional, torch.cat([other, other]), torch.cat([first, second], 1))
    torch.testing.assert_close(twice, compose(conditional, unconditional, other, first + second))


def test_every_video_has_its_own_further_prompts():
    conditional, unconditional, others = draws(3)
    weights = torch.tensor([[0.5, -0.5], [0.0, 0.0]]).double()
    composed = compose(conditional, unconditional, others, weights)
    torch.testing.assert_close(composed[0], conditional[0] + 0.5 * (others[0] - others[1]))
    torch.testing.assert_close(composed[1], conditional[1])


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("target", TARGETS)
def test_gaussians_of_one_width_compose_to_the_sum_of_their_shifts(name, target):
    path, xt, t = make_path(name), draws(1)[0], at(0.6)
    shifts, weights = (0.5, -1.0, 2.0), (1.0, 0.4, -0.7)
    means = [0.1, *(0.1 + shift for shift in shifts)]
    unconditional, conditional, *others = (Gaussian1D(mean).denoise(path, target)(xt, t) for mean in means)
    # One row for each further prompt of the two videos: [4, ...] with weights [2, 4].
    rows = torch.stack([row for other in others for row in other])
    table = torch.tensor([[weights[1], 0, weights[2], 0], [0, weights[1], 0, weights[2]]]).double()
    composed = compose(conditional, unconditional, rows, table)
    mean = 0.1 + sum(w * shift for w, shift in zip(weights, shifts, strict=True))
    torch.testing.assert_close(composed, Gaussian1D(mean).denoise(path, target)(xt, t))


@pytest.mark.parametrize("scale", [0.5, 1.0, 8.0])
@pytest.mark.parametrize(
    ("weights", "allowed"),
    [((), True), ((1.0,), True), ((-1.0,), True), ((-0.5, -0.5), True), ((1.0, -1.0, -1.0), True),
     ((-0.6, -0.6), False), ((-1.0, -1.0), False), ((0.5, -1.0, -1.0), False)],
)  # fmt: skip
def test_within_the_bounds_a_composition_is_no_wider_than_what_no_prompt_was_asked_for(
    weights, allowed, scale
):
    path, xt, t = make_path("ddpm_cosine"), torch.ones(1, 1).double(), at(0.2)[:1]
    unconditional = Gaussian1D(0.0, 1.0).denoise(path, "score")(xt, t)
    conditional = Gaussian1D(0.0, 0.2).denoise(path, "score")(xt, t)
    table = torch.tensor([weights]).double().view(1, len(weights))
    composed = compose(conditional, unconditional, conditional.expand(len(weights), 1), table)
    precision = -guide(composed, unconditional, scale).item()  # the score of N(0, 1 / precision) at 1
    assert (precision >= -unconditional.item() - 1e-9) is allowed
    if allowed:
        check_weights(weights)
    else:
        with pytest.raises(InputError, match="below -1"):
            check_weights(weights)


# Refused.


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1001.0])
@pytest.mark.parametrize("name", RANGES)
def test_a_number_out_of_range_is_refused_by_its_flag(name, value):
    with pytest.raises(InputError, match=f"--guidance-{name} must be a number from .* leave it out for"):
        Guidance(**{name: value})
    for end in RANGES[name]:
        assert getattr(Guidance(**{name: end}), name) == end


@pytest.mark.parametrize("interval", [(0.5, 0.5), (0.7, 0.3), (-0.1, 1), (0, 1.1), (math.nan, 1), (0.5,), ()])
def test_an_interval_that_is_none_is_refused(interval):
    with pytest.raises(InputError, match="--guidance-interval"):
        Guidance(interval=interval)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.5], "weight 1.5 is outside -1 to 1"),
        ([-1.01], "outside -1 to 1"),
        ([math.nan], "weight nan"),
        ([0.1] * (MAX_FURTHER + 1), "5 further prompts"),
    ],
)
def test_weights_out_of_bounds_are_refused(weights, words):
    with pytest.raises(InputError, match=f"--compose: .*{words}"):
        check_weights(weights)
