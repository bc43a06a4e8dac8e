"""The judge reads clips that the tests draw themselves, and clips of the procedural world, as what they are."""

import warnings

import numpy as np
import pytest

from tubelet.errors import InputError
from tubelet.evaluation.scores import score, shuffled_score
from tubelet.worlds.shapes.clips import ShapesClips
from tubelet.worlds.shapes.config import ShapesConfig
from tubelet.worlds.shapes.judge.colours import GROUNDS, PALETTE
from tubelet.worlds.shapes.judge.compare import compared
from tubelet.worlds.shapes.judge.motions import MOTIONS
from tubelet.worlds.shapes.judge.outlines import OUTLINES
from tubelet.worlds.shapes.judge.prompt_fit import read_clip
from tubelet.worlds.shapes.render import SHAPES as WORLD_SHAPES
from tubelet.worlds.shapes.scene import BACKGROUNDS, COLOURS
from tubelet.worlds.shapes.scene import MOTIONS as WORLD_MOTIONS
from worlds.shapes.drawn import (
    BEIGE,
    BLUE,
    GREY,
    NAVY,
    RED,
    SHAPES,
    SIDE,
    TEAL,
    TIME,
    WHITE,
    YELLOW,
    F,
    away,
    bar,
    disc,
    ground,
    laid,
    painted,
    pixels,
    round_cover,
)


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


# Drawn by hand


@pytest.mark.parametrize("motion", CASES)
def test_each_motion_drawn_by_hand_is_read(motion):
    reading = read_clip(CASES[motion]())
    assert reading.found and reading.count == 1
    assert (reading.colour, reading.motion) == ("blue" if motion == "rotates" else "red", motion)
    to_colour = reading.objects[0].to_colour
    assert to_colour == ("yellow" if motion == "changes colour" else None)


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


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [7.0, 15.3])
def test_each_shape_drawn_by_hand_is_read(shape, size):
    drift = np.arange(F) * 0.9
    thing = read_clip(painted(SHAPES[shape], x=24.3 + drift, size=size)).objects[0]
    assert (thing.shape, thing.size) == (shape, "small" if size < 10 else "large")


@pytest.mark.parametrize("shape", ["square", "triangle", "star", "diamond", "heart", "cross"])
def test_a_shape_is_known_while_it_turns(shape):
    thing = read_clip(painted(SHAPES[shape], size=11, angle=0.1 * TIME)).objects[0]
    assert (thing.shape, thing.motion, thing.speed) == (shape, "rotates", "slow")


@pytest.mark.parametrize("diameter,size", [(14, "small"), (22, "medium"), (31, "large")])
def test_sizes_are_parts_of_the_short_side(diameter, size):
    assert read_clip(disc(radius=diameter / 2)).objects[0].size == size
    wide = laid(ground(GREY, 48, 80), round_cover(40, 24, diameter * 0.375, (48, 80)), RED)
    assert read_clip(pixels(wide)).objects[0].size == size


@pytest.mark.parametrize("motion", ["moves left", "orbits", "grows", "rotates"])
def test_slow_and_fast_are_told_by_the_clock(motion):
    clip = bar(TIME * 0.1) if motion == "rotates" else CASES[motion]()
    speeds = [read_clip(clip, fps=fps).objects[0].speed for fps in (3, 24)]
    assert speeds == ["slow", "fast"]


def test_what_stays_has_no_speed_and_what_grows_no_size():
    assert read_clip(disc()).objects[0].speed is None
    assert read_clip(CASES["grows"]()).objects[0].size is None


def wave(kind, period=17.0):
    """Patterns in -1 .. 1 over a frame."""
    rows, columns = (np.mgrid[:SIDE, :SIDE] * 2 * np.pi / period)[:, None]
    steep = {
        "vertical": np.sin(columns),
        "horizontal": np.sin(rows),
        "diagonal": np.sin((rows + columns) * 0.7071),
        "checks": 2 * np.sin(rows * 0.8) * np.sin(columns * 0.8),
        "dots": np.cos(rows) + np.cos(columns) - 0.9,
        "waves": np.sin(0.8 * rows + 1.3 * np.sin(0.5 * columns)),
    }
    return np.tanh(2 * steep[kind])[..., None]


def backgrounds():
    across, down = away(0, 0)[0] / (SIDE - 1), away(0, 0)[1] / (SIDE - 1)
    yield ("plain", ("teal",), None), ground(TEAL)
    yield ("gradient", ("navy", "beige"), "left to right"), laid(ground(NAVY), across, BEIGE)
    yield ("gradient", ("beige", "teal"), "top to bottom"), laid(ground(BEIGE), down, TEAL)
    for kind in ("vertical", "horizontal", "diagonal"):
        yield ("stripes", ("teal",), kind), ground(TEAL) + 20 * wave(kind)
    for kind in ("checks", "dots", "waves"):
        yield (kind, ("navy",), None), ground(NAVY) + 20 * wave(kind)


@pytest.mark.parametrize(
    "wanted,behind", list(backgrounds()), ids=lambda v: v[2] or v[0] if len(v) == 3 else ""
)
def test_each_background_drawn_by_hand_is_read(wanted, behind):
    reading = read_clip(pixels(laid(behind, round_cover(20 + TIME, 30, 9), RED)))
    found = reading.background
    assert (found.kind, found.colours, found.direction, found.pan) == (*wanted, None)
    assert (reading.count, reading.motion) == (1, "moves right")


@pytest.mark.parametrize("pan", ["left", "right", "up", "down"])
def test_a_sliding_background_does_not_move_the_object(pan):
    step = {"left": (1, 2), "right": (-1, 2), "up": (1, 1), "down": (-1, 1)}[pan]
    still = (ground(NAVY) + 20 * wave("dots", 16.0))[0]
    behind = np.stack([np.roll(still, step[0] * k, axis=step[1] - 1) for k in range(F)])
    reading = read_clip(pixels(laid(behind, round_cover(30, 30, 9), RED)))
    assert reading.background.pan == pan
    assert (reading.count, reading.motion, reading.background.kind) == (1, "stays", "dots")


def test_two_objects_and_their_relation():
    apart = laid(ground(), round_cover(16, 30, 8), RED), round_cover(46, 34, 8)
    reading = read_clip(pixels(laid(*apart, WHITE)))
    assert (reading.count, reading.relation) == (2, "left of")
    assert [each.colour for each in reading.objects] == ["red", "white"]
    below = laid(ground(), round_cover(30, 50, 8), RED)
    reading = read_clip(pixels(laid(below, round_cover(34 + TIME, 12, 8), WHITE)))
    assert [(each.colour, each.motion) for each in reading.objects] == [
        ("white", "moves right"),
        ("red", "stays"),
    ]
    assert reading.relation == "above"


def test_what_is_partly_hidden_is_behind_and_keeps_its_shape_and_size():
    back = laid(ground(), round_cover(26, 30, 11), RED)
    reading = read_clip(pixels(laid(back, round_cover(37, 36, 10), BLUE)))
    assert (reading.relation, [each.colour for each in reading.objects]) == ("behind", ["red", "blue"])
    assert [(each.shape, each.size, each.motion) for each in reading.objects] == [
        ("circle", "medium", "stays")
    ] * 2


def test_a_doubled_object_is_counted_and_a_speck_is_not():
    once = laid(ground(), round_cover(14 + TIME, 20, 8), RED)
    twice = read_clip(pixels(laid(once, round_cover(14 + TIME, 48, 8), RED)))
    assert (twice.count, {each.colour for each in twice.objects}) == (2, {"red"})
    assert read_clip(pixels(laid(once, round_cover(14, 50, 1.5), WHITE))).count == 1
    flash = round_cover(30, 48, np.where((TIME > 5) & (TIME < 8), 6, -1))
    assert read_clip(pixels(laid(once, flash, WHITE))).count == 1


@pytest.mark.parametrize(
    "there,back", [("moves left", "moves right"), ("grows", "shrinks"), ("moves up left", "moves down right")]
)
def test_a_clip_played_backwards_reads_the_other_way(there, back):
    assert read_clip(CASES[there]()[::-1].copy()).motion == back


@pytest.mark.parametrize("motion", ["falls", "fades"])
def test_what_happens_one_way_does_not_happen_backwards(motion):
    assert read_clip(CASES[motion]()[::-1].copy()).motion != motion


# What is no clip of an object


def test_an_empty_clip_is_not_found():
    for clip in (disc(alpha=0.0), np.zeros((F, SIDE, SIDE, 3), np.uint8), disc(alpha=0.0)[:1, :5, :5]):
        reading = read_clip(clip)
        assert (reading.found, reading.colour, reading.motion) == (False, None, None)
        assert (reading.count, reading.background.kind) == (0, "plain")


def test_what_appears_late_or_is_one_frame_does_not_fail():
    assert not read_clip(disc(alpha=TIME >= 12)).found
    assert read_clip(disc()[:1]).motion is None
    with pytest.raises(InputError, match="uint8"):
        read_clip(disc().astype(np.float32))
    with pytest.raises(InputError, match="fps"):
        read_clip(disc(), fps=0)


@pytest.mark.parametrize("size", [(1, 64, 64), (2, 5, 5), (3, 1, 1), (17, 64, 64), (5, 48, 80), (33, 20, 16)])
def test_garbage_is_read_without_complaint(size):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for clip in (noise, np.sort(noise, axis=1), np.sort(noise, axis=0), (noise > 250) * np.uint8(255)):
            read_clip(clip).words()


# The procedural world


def test_the_names_are_those_of_the_world():
    assert set(MOTIONS) == set(WORLD_MOTIONS) == set(CASES)
    assert set(PALETTE) == set(COLOURS)
    assert set(OUTLINES) == set(WORLD_SHAPES) == set(SHAPES)
    assert set(GROUNDS) == set(BACKGROUNDS)


def world(count, **config):
    clips = ShapesClips(ShapesConfig(**config), count, split="held_out")
    return [clips.frames(i).numpy() for i in range(count)], [clips.attributes(i) for i in range(count)]


@pytest.fixture(scope="module")
def one():
    """Forty true clips of one object under a still camera: pixels, what was read, what is there."""
    clips, attributes = world(40, two_objects=0.0, pan=0.0)
    return clips, [read_clip(clip) for clip in clips], attributes


def test_true_clips_score_high(one):
    table = score(compared, *one[1:])
    assert set(table) >= {"shape", "colour", "size", "motion", "speed", "background", "count", "both", "all"}
    assert all(row["accuracy"] >= 0.95 for row in table.values()), table


def test_shuffled_attributes_fall_to_chance(one):
    table = score(compared, *one[1:])
    for name, accuracy in shuffled_score(compared, *one[1:]).items():
        assert accuracy <= table[name]["chance"] + 0.02, name


def test_frozen_clips_stay_and_exchanged_channels_change_the_colour(one):
    clips, _, attributes = one
    frozen = score(
        compared, [read_clip(np.repeat(clip[:1], F, axis=0)) for clip in clips[:12]], attributes[:12]
    )
    stays = np.mean([each["objects"][0]["motion"] == "stays" for each in attributes[:12]])
    assert frozen["motion"]["accuracy"] == pytest.approx(stays, abs=0.06)
    assert frozen["shape"]["accuracy"] >= 0.95
    other = score(compared, [read_clip(clip[..., [2, 0, 1]].copy()) for clip in clips[:12]], attributes[:12])
    assert other["colour"]["accuracy"] <= other["colour"]["chance"] + 0.1
    assert min(other[name]["accuracy"] for name in ("shape", "motion", "size")) >= 0.95


@pytest.mark.parametrize("config", [{"two_objects": 1.0, "pan": 0.0}, {"two_objects": 0.0, "pan": 1.0}])
def test_two_objects_and_panning_cameras_are_read(config):
    clips, attributes = world(8, **config)
    table = score(compared, [read_clip(clip) for clip in clips], attributes)
    assert all(row["accuracy"] >= 0.8 for row in table.values()), table


@pytest.mark.parametrize(
    "config", [{"num_frames": 33}, {"height": 48, "width": 80}, {"height": 128, "width": 128}]
)
def test_other_sizes_and_lengths_are_read(config):
    clips, attributes = world(4, two_objects=0.0, pan=0.0, **config)
    table = score(compared, [read_clip(clip) for clip in clips], attributes)
    assert all(table[name]["accuracy"] >= 0.75 for name in ("shape", "colour", "size", "background", "count"))


def test_twice_the_size_at_twice_the_rate_is_read_as_well():
    config = {"num_frames": 33, "height": 128, "width": 128, "fps": 16.0}
    clips, attributes = world(16, two_objects=0.0, pan=0.0, **config)
    table = score(compared, [read_clip(clip, fps=16.0) for clip in clips], attributes)
    assert all(row["accuracy"] >= 0.93 for row in table.values()), table
