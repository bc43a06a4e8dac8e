"""Levels of time: as few as the shape or the values allow, and the same as one for each token."""

from dataclasses import replace

import pytest
import torch

from model.models import FEW, SMALL, awake, random_text
from tubelet.model import transformer
from tubelet.model.times import Part, Times, pack, times_of, token_times

SIZE, TUBELET = (3, 4, 6), (1, 2, 2)
TOKENS = 18


def first_known(t):
    """[B, 1, 3, 1, 1] from [B, 1, 1, 1, 1]."""
    return t * torch.tensor([0.0, 1, 1]).view(1, 1, 3, 1, 1)


def a_region_known(t):
    """Whole tokens at time 0, others in each sample."""
    t = t.expand(-1, 1, *SIZE).clone()
    t[0, :, :, :2] = 0
    t[1, :, 1, 2:, :4] = 0
    return t


# By name: (t of a batch of two, levels of time that its shape and values need)
TIMES = {
    "one for each sample": (torch.tensor([0.3, 0.8]).view(2, 1, 1, 1, 1), 1),
    "one for all": (torch.tensor(0.4), 1),
    "the first latent known": (first_known(torch.tensor([0.3, 0.8]).view(2, 1, 1, 1, 1)), 3),
    "each frame its own": (torch.rand(2, 1, 3, 1, 1), 3),
    "each frame the same in all samples": (torch.rand(1, 1, 3, 1, 1), 3),
    "a region known": (a_region_known(torch.tensor([0.3, 0.8]).view(2, 1, 1, 1, 1)), 2),
    "all known": (torch.zeros(2, 1, *SIZE), 2),
    "each latent its own": (torch.rand(2, 1, *SIZE), TOKENS),
    "each row its own": (torch.rand(2, 1, 1, 4, 1), TOKENS),
}


def per_token(t, size, tubelet):
    """The reference: one level for each token."""
    each = token_times(t.expand(t.shape[0] if t.dim() else 1, 1, *size), size, tubelet)
    return Times(each, (Part(each.shape[1], each.shape[1]),))


def test_a_token_has_the_latest_time_of_its_latents():
    t = torch.zeros(1, 1, 2, 2, 4)
    t[0, 0, 1, 0, 3] = 0.7
    assert token_times(t, (2, 2, 4), (1, 2, 2)).tolist() == torch.tensor([[0, 0, 0, 0.7]]).tolist()
    assert token_times(t, (2, 2, 4), (2, 2, 2)).tolist() == torch.tensor([[0, 0.7]]).tolist()


def test_times_that_vary_along_one_axis_only_are_spread_over_the_others():
    t = torch.tensor([0.0, 0.3]).view(1, 1, 2, 1, 1)
    assert torch.equal(token_times(t, (2, 2, 4), (1, 2, 2))[0], torch.tensor([0, 0, 0.3, 0.3]))


@pytest.mark.parametrize("which", TIMES)
def test_there_are_as_few_levels_as_the_shape_or_the_values_allow(which):
    t, levels = TIMES[which]
    times = times_of(t, SIZE, TUBELET)
    assert times.levels.shape[1] == levels
    spread = times.spread(times.levels[..., None])[..., 0]
    expected = per_token(t, SIZE, TUBELET).levels
    assert torch.equal(spread.expand_as(expected), expected)


def test_a_tubelet_of_several_frames_has_a_level_of_the_latest():
    times = times_of(torch.tensor([0.0, 0.2, 0.5, 0.3]).view(1, 1, 4, 1, 1), (4, 2, 4), (2, 2, 2))
    assert torch.equal(times.levels, torch.tensor([[0.2, 0.5]]))
    assert times_of(torch.rand(1, 1, 2, 1, 1), (2, 2, 4), (2, 2, 2)).levels.shape == (1, 1)


@pytest.mark.parametrize("kind", FEW)
@pytest.mark.parametrize("which", TIMES)
def test_levels_predict_what_a_modulation_for_each_token_predicts(which, kind, monkeypatch):
    t, _ = TIMES[which]
    model = awake(replace(SMALL, attention=("joint", "window"), **FEW[kind]))
    latents, text = torch.randn(2, 3, *SIZE, requires_grad=True), random_text(2)
    found = []
    for reckon in (times_of, per_token):
        monkeypatch.setattr(transformer, "times_of", reckon)
        prediction = model(latents, t, text)
        gradients = torch.autograd.grad(prediction.square().mean(), [latents, *model.parameters()])
        found.append([prediction, *gradients])
    for levels, reference in zip(*found, strict=True):
        torch.testing.assert_close(levels, reference, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("which", TIMES)
def test_known_tokens_after_the_others_have_time_zero(which):
    times = times_of(TIMES[which][0], SIZE, TUBELET)
    more = times.followed_by_known(5)
    spread = more.spread(more.levels[..., None])[..., 0]
    before = times.spread(times.levels[..., None])[..., 0]
    assert spread.shape[1] == TOKENS + 5
    assert torch.equal(spread[:, :TOKENS], before.expand(-1, TOKENS))
    assert not spread[:, TOKENS:].any()
    cut = more.first([TOKENS])
    assert torch.equal(cut.spread(cut.levels[..., None])[..., 0], before.expand(-1, TOKENS))


@pytest.mark.parametrize("which", TIMES)
def test_tokens_may_follow_at_the_times_of_others(which):
    times, others = times_of(TIMES[which][0], SIZE, TUBELET), torch.tensor([5, 5, 11, 17])
    before = times.spread(times.levels[..., None])[..., 0].expand(-1, TOKENS)
    more = times.followed_by(others)
    spread = more.spread(more.levels[..., None])[..., 0].expand(-1, TOKENS + 4)
    assert torch.equal(spread, torch.cat((before, before[:, others]), dim=1))
    assert more.levels.shape[1] == times.levels.shape[1] or times.levels.shape[1] == TOKENS


def test_the_levels_of_a_packed_row_lie_sample_by_sample():
    each = [
        times_of(t[:1], SIZE, TUBELET) for t in (TIMES["each frame its own"][0], torch.rand(1, 1, 1, 1, 1))
    ]
    row = pack(each)
    assert row.levels.shape == (1, 4)
    spread = row.spread(row.levels[..., None])[0, :, 0]
    assert torch.equal(spread[:TOKENS], each[0].spread(each[0].levels[..., None])[0, :, 0])
    assert torch.equal(spread[TOKENS:], each[1].levels[0].expand(TOKENS))
    assert torch.equal(
        row.per_level(torch.tensor([[1.0], [2.0]]))[0, :, 0], torch.tensor([1.0, 1.0, 1.0, 2.0])
    )


@pytest.mark.parametrize("which", TIMES)
def test_the_latest_level_of_a_sample_is_that_of_its_latest_token(which):
    each = [times_of(t, SIZE, TUBELET) for t in (TIMES[which][0], torch.rand(1, 1, 1, 1, 1))]
    for times in (each[0], pack([Times(one.levels[:1], one.parts) for one in each])):
        values = torch.stack((times.levels, torch.randn_like(times.levels)), dim=-1)
        latest = times.latest(values)
        assert latest.shape == (len(times.levels) * len(times.parts), 1, 2)
        levels = times.levels.split([part.levels for part in times.parts], dim=1)
        assert torch.equal(latest[:, 0, 0], torch.cat([each.amax(1) for each in levels]))
        assert all((values.flatten(0, 1) == row).all(1).any() for row in latest[:, 0])


def test_what_the_shape_tells_compiles_whole():
    t, _ = TIMES["the first latent known"]
    model, latents, text = awake(), torch.randn(2, 3, *SIZE), random_text(2)
    torch.compiler.reset()
    whole = torch.compile(model, dynamic=False, fullgraph=True, backend="eager")
    torch.testing.assert_close(whole(latents, t, text), model(latents, t, text))


def test_what_values_tell_compiles_with_a_break_and_once():
    t, _ = TIMES["a region known"]
    model, latents, text = awake(), torch.randn(2, 3, *SIZE), random_text(2)

    def loss(latents, t, text):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return (model(latents, t, text) - latents).square().mean()

    torch.compiler.reset()
    compiled = torch.compile(loss, dynamic=False, backend="eager")
    # In bfloat16 a compiler's norms and rotations round elsewhere.
    torch.testing.assert_close(compiled(latents, t, text), loss(latents, t, text), rtol=5e-3, atol=0)
    with torch._dynamo.config.patch(error_on_recompile=True):
        compiled(latents, t.roll(2, 3), text)
