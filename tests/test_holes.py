"""Holes: what lies in them is never read, a fill has no new extremes, and the latents they touch are whole tokens."""

import pytest
import torch

from tubelet.data.holes import LARGEST, LATER, SMALLEST, HoledClips, hole
from tubelet.draws import stream
from tubelet.holes import fill_hole, unknown_of
from tubelet.worlds.shapes.clips import ShapesClips
from tubelet.worlds.shapes.config import ShapesConfig

SHAPE = (5, 24, 40)


def test_a_fill_depends_on_what_is_outside_alone_and_keeps_it():
    frames = torch.randint(256, (*SHAPE, 3), dtype=torch.uint8)
    for number in range(20):
        where = hole(stream(number), *SHAPE)
        filled = fill_hole(frames, where)
        other = torch.where(where[..., None], torch.randint_like(frames, 256), frames)
        assert torch.equal(filled, fill_hole(other, where))
        assert torch.equal(filled[~where], frames[~where])


def test_a_plane_of_one_colour_is_filled_with_it_and_a_ramp_stays_within():
    where = torch.zeros(SHAPE, dtype=torch.bool)
    where[:, 6:18, 10:30] = True
    plain = torch.tensor([10, 200, 77], dtype=torch.uint8).expand(*SHAPE, 3)
    assert torch.equal(fill_hole(plain, where), plain)
    ramp = torch.linspace(0, 250, 40).view(1, 1, 40, 1).expand(*SHAPE, 3).byte()
    away = (fill_hole(ramp, where).int() - ramp.int()).abs()
    assert away.float().mean() < 8 and away.max() < 40
    assert (fill_hole(ramp, torch.ones_like(where)) == 128).all()  # 127.5 rounds to even


def test_holes_take_the_share_they_are_drawn_with():
    shares = [float(hole(stream(7, number), *SHAPE).float().mean()) for number in range(300)]
    assert SMALLEST - 0.01 <= min(shares) < 0.3 and 0.7 < max(shares) <= LARGEST + 0.01
    still = [torch.equal(each[0], each[-1]) for each in (hole(stream(7, n), *SHAPE) for n in range(100))]
    assert 25 < sum(still) < 75
    corners = [bool(hole(stream(7, n), *SHAPE)[:, ::23, ::39].all()) for n in range(200)]
    assert sum(corners) > 30  # what lies outside of a part


@pytest.mark.parametrize("tubelet", [(1, 1, 1), (1, 2, 2), (2, 1, 2)])
def test_unknown_latents_are_the_tokens_that_hold_a_hidden_pixel(tubelet):
    """Against a loop over pixels: latent 0 has frame 0, latent k the four frames up to 4 k."""
    frames = 1 + 4 * (2 * tubelet[0] - 1)
    where = torch.rand(frames, 16, 32, generator=torch.Generator().manual_seed(1)) < 0.01
    expected = torch.zeros(1, 2 * tubelet[0], 4, 8, dtype=torch.bool)
    for frame, row, column in where.nonzero().tolist():
        place = [-(-frame // 4) // tubelet[0], row // 4 // tubelet[1], column // 4 // tubelet[2]]
        a, b, c = (slice(at * part, (at + 1) * part) for at, part in zip(place, tubelet, strict=True))
        expected[0, a, b, c] = True
    assert torch.equal(unknown_of(where, 4, 4, tubelet), expected) and expected.any() and not expected.all()


def test_holed_clips_are_the_clips_filled_and_some_holes_come_later():
    clips = ShapesClips(ShapesConfig(num_frames=9, height=32, width=32), 60)
    holed = HoledClips(clips, 50)
    assert len(holed) == 50 and holed.fingerprint != clips.fingerprint and holed.captions(3) == [""]
    for number in (0, 5, LATER, LATER + 3):
        where = holed.hole(number, (9, 32, 32))
        assert torch.equal(holed.frames(number), fill_hole(clips.frames(number), where))
        begins = int(where.flatten(1).any(1).int().argmax())
        assert (begins == 0) if number < LATER else (begins % 4 == 1), number
