"""Reference tokens: seen by the video's tokens, at the places they stand for, and never predicted."""

import re
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from model.models import FEW, SMALL, awake, random_text
from tubelet.errors import InputError
from tubelet.model.cost import flops
from tubelet.model.foldings import FOLDINGS, VIEWS
from tubelet.model.layout import layout_of
from tubelet.model.positions import positions
from tubelet.model.references import Outline, Place, Reference, located
from tubelet.model.transformer import VideoTransformer
from tubelet.model.tubelets import Grid

SIZE, GRID = (4, 4, 6), Grid(4, 2, 3)  # 13 frames of 32 x 48 pixels
SCALE = ((1, 2, 2), 4, 8)


def inputs():
    torch.manual_seed(1)
    return torch.randn(2, 3, *SIZE), torch.rand(2, 1, 1, 1, 1), random_text(2)


def image():
    return torch.randn(2, 3, 1, 4, 6)


def test_the_prediction_has_the_videos_shape_and_no_references_change_nothing():
    model, (latents, t, text) = awake(), inputs()
    with_some = model(latents, t, text, [Reference(image(), 12), Reference(torch.randn(2, 3, 2, 4, 6), 4)])
    assert with_some.shape == latents.shape
    assert torch.equal(model(latents, t, text, ()), model(latents, t, text))


@pytest.mark.parametrize("kind", ["plain", "joint"])
@pytest.mark.parametrize("folding", sorted(FOLDINGS))
def test_what_a_reference_shows_and_where_it_stands_matter(folding, kind):
    config = replace(SMALL, attention=(folding,), window=(2, 2, 2), **FEW[kind])
    model, (latents, t, text) = awake(config), inputs()
    shown = image()
    here = model(latents, t, text, [Reference(shown, 4)])
    for other in ([Reference(shown.flip(4), 4)], [Reference(shown, 12)], []):
        assert (model(latents, t, text, other) - here).abs().max() > 1e-3


@pytest.mark.parametrize("known", ["one time", "a time each frame", "a region", "a time each latent"])
@pytest.mark.parametrize("folding", sorted(FOLDINGS))
def test_a_reference_is_seen_as_a_token_known_in_place_at_the_same_position(folding, known):
    """The first latent and an image of frame 0 stand at one place: exchanged, they are the same to all others."""
    model = awake(replace(SMALL, attention=(folding,), depth=3, window=(2, 2, 2)))
    latents, t, text = inputs()
    each = {
        "one time": (1, 1, 1),
        "a time each frame": (4, 1, 1),
        "a region": (4, 4, 6),
        "a time each latent": SIZE,
    }
    t = t.expand(2, 1, *each[known]).clone()
    if known == "a time each latent":
        t = torch.rand_like(t)
    if known == "one time":  # all of the video known: the reference is then just more of it
        t = torch.zeros_like(t)
    t[:, :, 0] = 0
    if known == "a region":
        t[:, :, 2, :2] = 0
    shown = image()
    swapped = torch.cat((shown, latents[:, :, 1:]), dim=2)
    one = model(latents, t, text, [Reference(shown, 0)])
    other = model(swapped, t, text, [Reference(latents[:, :, :1], 0)])
    torch.testing.assert_close(one[:, :, 1:], other[:, :, 1:], atol=1e-5, rtol=1e-5)
    assert (one[:, :, 0] - other[:, :, 0]).abs().max() > 1e-3


def test_the_order_of_references_does_not_matter():
    model, (latents, t, text) = awake(), inputs()
    several = [Reference(image(), 12), Reference(torch.randn(2, 3, 2, 4, 6), 4)]
    torch.testing.assert_close(
        model(latents, t, text, several), model(latents, t, text, several[::-1]), atol=1e-5, rtol=1e-5
    )


def test_gradients_reach_a_reference_through_attention_only():
    model, (latents, t, text) = awake(), inputs()
    shown = image().requires_grad_()

    def gradient():
        return torch.autograd.grad(model(latents, t, text, [Reference(shown, 4)]).sum(), shown)[0]

    assert gradient().flatten(1).any(1).all()
    with torch.no_grad():
        for block in model.blocks:
            block.attention.out.weight.zero_()
    assert not gradient().any()


def test_a_fresh_model_predicts_zero_with_references_too():
    latents, t, text = inputs()
    assert not VideoTransformer(SMALL)(latents, t, text, [Reference(image(), 4)]).any()


def test_a_reference_lies_where_its_frames_lie():
    at, where = located(Place(Grid(2, 2, 3), 8), GRID, *SCALE)
    assert torch.equal(where, positions(Grid(2, 2, 3), *SCALE) + torch.tensor([8.0, 0, 0]))
    assert at[:6].tolist() == [[2, row, column] for row in range(2) for column in range(3)]
    assert at[6:, 0].tolist() == [3] * 6
    frames = [located(Place(Grid(1, 1, 1), frame), GRID, *SCALE)[0][0, 0].item() for frame in range(13)]
    assert frames == [0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]


def test_a_reference_of_another_resolution_covers_the_same_field():
    at, where = located(Place(Grid(1, 4, 6), 4), GRID, *SCALE)
    fine = positions(Grid(1, 4, 6), (1, 1, 1), 4, 8)  # the centres of half as large tokens
    assert torch.equal(where[:, 1:], fine[:, 1:])
    assert at[:, 1].view(4, 6).tolist() == [[row // 2] * 6 for row in range(4)]
    assert at[:, 2].view(4, 6).tolist() == [[0, 0, 1, 1, 2, 2]] * 4
    model, (latents, t, text) = awake(), inputs()
    assert model(latents, t, text, [Reference(torch.randn(2, 3, 1, 8, 12), 4)]).isfinite().all()


def test_every_view_puts_a_reference_with_what_it_stands_for():
    layout = layout_of([Outline(GRID, (Place(Grid(1, 2, 3), 7),))], *SCALE)
    for view in VIEWS.values():
        keys = view(layout, (2, 1, 2))
        assert torch.equal(keys[24:], keys[12:18])  # frame 7 lies in latent 2


@pytest.mark.parametrize("kind", FEW)
def test_references_in_a_packed_row_are_their_own_samples(kind):
    model = awake(replace(SMALL, attention=("joint", "split_heads"), **FEW[kind]))
    text = random_text(3)
    latents = [torch.randn(3, 2, 4, 6), torch.randn(3, *SIZE), torch.randn(3, *SIZE)]
    t = [torch.tensor(0.3), torch.tensor([0, 0.5, 0.5, 0.5]).view(1, 4, 1, 1), torch.tensor(0.7)]
    references = [
        [Reference(torch.randn(3, 1, 4, 6), 4)],
        [],
        [Reference(torch.randn(3, 1, 4, 6), frame) for frame in (3, 12)],
    ]
    for pick in ([0, 1, 2], [2, 1], [1, 2, 0], [2]):
        given = ([values[i] for i in pick] for values in (latents, t))
        packed = model.packed(*given, text[pick], [references[i] for i in pick])
        for i, prediction in zip(pick, packed, strict=True):
            own = [Reference(x[None], frame) for x, frame in references[i]]
            time = t[i][None] if t[i].dim() else t[i]
            alone = model(latents[i][None], time, text[[i]], own)[0]
            torch.testing.assert_close(prediction, alone, atol=1e-5, rtol=1e-5)
    with pytest.raises(InputError, match="2 lists of references for 3 videos"):
        model.packed(latents, t, text, references[:2])


def test_with_references_a_model_compiles_whole():
    model, (latents, t, text) = awake(), inputs()
    references = [Reference(image(), 4)]
    torch.compiler.reset()
    whole = torch.compile(model, dynamic=False, fullgraph=True, backend="eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for _ in range(2):
            torch.testing.assert_close(
                whole(latents, t, text, references), model(latents, t, text, references)
            )


@pytest.mark.parametrize(
    ("shape", "frame", "remedy"),
    [
        ((2, 4, 1, 4, 6), 0, "give [2, 3] and f, h, w"),
        ((1, 3, 1, 4, 6), 0, "give [2, 3] and f, h, w"),
        ((2, 3, 1, 4, 4), 0, "crop it to the video's aspect ratio"),
        ((2, 3, 1, 4, 6), 13, "for frames 13 to 13, but the video has frames 0 to 12"),
        ((2, 3, 2, 4, 6), 9, "for frames 9 to 13"),
        ((2, 3, 1, 4, 6), -1, "for frames -1 to -1"),
        ((2, 3, 1, 2, 3), 0, "1 x 2 x 2 or 1 x 2 x 4"),
    ],
)
def test_references_that_do_not_fit_are_refused_with_the_remedy(shape, frame, remedy):
    latents, t, text = inputs()
    with pytest.raises(InputError, match=re.escape(remedy)):
        VideoTransformer(SMALL)(latents, t, text, [Reference(torch.zeros(shape), frame)])


@pytest.mark.parametrize("stand", [False, True])
@pytest.mark.parametrize(("times", "levels"), [((1, 1, 1), 1), ((4, 1, 1), 4), (SIZE, 24)])
@pytest.mark.parametrize("kind", ["plain", "joint"])
def test_flops_count_references_and_levels(times, levels, stand, kind):
    config = replace(SMALL, attention=("joint", "split_heads"), **FEW[kind])
    model, text = VideoTransformer(config), random_text(2, tokens=7)
    places = (Place(Grid(1, 2, 3), 4), Place(Grid(2, 2, 3), 0)) if stand else ()
    references = [Reference(torch.randn(2, 3, place.grid.frames, 4, 6), place.frame) for place in places]
    with FlopCounterMode(display=False) as counter, torch.autocast("cpu", dtype=torch.bfloat16):
        model(torch.randn(2, 3, *SIZE), torch.rand(2, 1, *times), text, references)
    counted = counter.get_total_flops()
    assert 2 * flops(config, (3, *SIZE), 7, places, levels) == pytest.approx(counted, rel=0.01)
