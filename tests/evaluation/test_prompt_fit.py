"""The judge reads clips that the test draws itself, and clips of the procedural world, as what they are."""

import numpy as np
import pytest

from tubelet.data.world import WorldClips, WorldConfig
from tubelet.data.world_scene import COLOURS
from tubelet.data.world_scene import MOTIONS as WORLD_MOTIONS
from tubelet.errors import InputError
from tubelet.evaluation.prompt_fit import MOTIONS, PALETTE, read_clip, score, wilson

F, SIDE = 17, 64
TIME = np.arange(F)
RED, YELLOW, BLUE, GREY = (220, 40, 40), (248, 220, 48), (44, 92, 236), (110, 110, 112)


def disc(x=32.0, y=32.0, radius=9.0, colour=RED, alpha=1.0):
    """A soft disc on grey, uint8 [F, H, W, 3]; every number may change over the frames."""
    x, y, radius, alpha = (
        np.broadcast_to(np.asarray(v, float), F)[:, None, None] for v in (x, y, radius, alpha)
    )
    rows, columns = np.mgrid[:SIDE, :SIDE]
    inside = np.clip(radius - np.hypot(columns - x, rows - y) + 0.5, 0, 1) * alpha  # [F, H, W]
    colour = np.broadcast_to(np.asarray(colour, float), (F, 3))[:, None, None]
    return (np.array(GREY) + inside[..., None] * (colour - np.array(GREY)) + 0.5).astype(np.uint8)


def bar(angle):
    """A blue bar turned by each angle, in radians: uint8 [F, H, W, 3]."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - 31.5
    turn = np.asarray(angle, float)[:, None, None]
    along = np.abs(columns * np.cos(turn) + rows * np.sin(turn)) < 16
    across = np.abs(rows * np.cos(turn) - columns * np.sin(turn)) < 5
    return np.where((along & across)[..., None], np.array(BLUE), np.array(GREY)).astype(np.uint8)


def fall():
    """Heights of a ball that is dropped and comes back once."""
    return 54 - np.abs(np.where(TIME < 7, 44 * (1 - (TIME / 7) ** 2), 25 * (1 - ((TIME - 12) / 5) ** 2)))


CASES = {
    "moves left": lambda: disc(x=44 - 1.5 * TIME),
    "moves right": lambda: disc(x=20 + 1.5 * TIME),
    "moves up": lambda: disc(y=44 - 1.5 * TIME),
    "moves down": lambda: disc(y=20 + 1.5 * TIME),
    "moves up left": lambda: disc(x=44 - TIME, y=44 - TIME),
    "moves up right": lambda: disc(x=20 + TIME, y=44 - TIME),
    "moves down left": lambda: disc(x=44 - TIME, y=20 + TIME),
    "moves down right": lambda: disc(x=20 + TIME, y=20 + TIME),
    "bounces": lambda: disc(x=54 - 2 * np.abs(TIME - 5), y=54 - 1.6 * np.abs(TIME - 10)),
    "falls": lambda: disc(y=fall()),
    "orbits": lambda: disc(x=32 + 9 * np.cos(TIME / 4), y=32 + 9 * np.sin(TIME / 4)),
    "rotates": lambda: bar(TIME * 0.15),
    "grows": lambda: disc(radius=7 + TIME * 0.5),
    "shrinks": lambda: disc(radius=15 - TIME * 0.5),
    "fades": lambda: disc(alpha=1 - TIME / 16),
    "changes colour": lambda: disc(colour=np.where(TIME[:, None] < 8, RED, YELLOW)),
    "stays": disc,
}


@pytest.mark.parametrize("motion", CASES)
def test_each_motion_drawn_by_hand_is_read(motion):
    reading = read_clip(CASES[motion]())
    assert reading.found
    assert (reading.colour, reading.motion) == ("blue" if motion == "rotates" else "red", motion)


@pytest.mark.parametrize("motion", ["moves left", "falls", "grows", "stays", "fades"])
def test_blur_speckle_and_flicker_are_borne(motion):
    rng = np.random.default_rng(0)
    clip = CASES[motion]().astype(float)
    clip = (clip + np.roll(clip, 1, axis=1) + np.roll(clip, 1, axis=2)) / 3
    clip += rng.normal(0, 16, clip.shape) + rng.normal(0, 3, (F, 1, 1, 3))
    assert read_clip(clip.clip(0, 255).astype(np.uint8)).motion == motion


@pytest.mark.parametrize("colour", PALETTE)
def test_each_colour_is_named(colour):
    assert read_clip(disc(colour=PALETTE[colour])).colour == colour


def test_the_names_are_those_of_the_world():
    assert set(MOTIONS) == set(WORLD_MOTIONS) == set(CASES)
    assert set(PALETTE) == set(COLOURS)


@pytest.mark.parametrize("there,back", [("moves left", "moves right"), ("grows", "shrinks")])
def test_a_clip_played_backwards_reads_the_other_way(there, back):
    assert read_clip(CASES[there]()[::-1].copy()).motion == back


def test_an_empty_clip_is_not_found():
    for clip in (disc(alpha=0.0), np.zeros((F, SIDE, SIDE, 3), np.uint8), disc(alpha=0.0)[:1, :5, :5]):
        reading = read_clip(clip)
        assert (reading.found, reading.colour, reading.motion) == (False, None, None)


def test_what_appears_late_or_is_one_frame_does_not_fail():
    assert not read_clip(disc(alpha=TIME >= 12)).found
    assert read_clip(disc()[:1]).motion is None
    noise = np.random.default_rng(0).integers(0, 256, (F, SIDE, SIDE, 3), dtype=np.uint8)
    read_clip(noise)
    with pytest.raises(InputError, match="uint8"):
        read_clip(disc().astype(np.float32))


@pytest.fixture(scope="module")
def judged():
    """Sixty true clips of one object under a still camera: what was read, what is there."""
    clips = WorldClips(WorldConfig(two_objects=0.0, pan=0.0), 60, split="held_out")
    return [read_clip(clips.frames(i).numpy()) for i in range(60)], [clips.attributes(i) for i in range(60)]


def test_true_clips_score_high(judged):
    table = score(*judged)
    assert table["colour"]["accuracy"] >= 0.95
    assert table["motion"]["accuracy"] >= 0.9


def test_shuffled_attributes_fall_to_chance(judged):
    readings, attributes = judged
    order = np.random.default_rng(0).permutation(len(readings))
    table = score(readings, [attributes[k] for k in order])
    for name in ("colour", "motion"):
        assert table[name]["accuracy"] < table[name]["chance"] + 0.1


def test_what_is_not_found_counts_as_wrong():
    asked = [{"objects": [{"colour": "red", "motion": "stays"}]}] * 2
    table = score([read_clip(disc()), read_clip(disc(alpha=0.0))], asked)
    assert table["both"]["accuracy"] == 0.5 and table["both"]["count"] == 2 and table["both"]["chance"] == 1
    with pytest.raises(InputError, match="0 readings"):
        score([], [])


def test_wilson_interval_has_the_textbook_values():
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
