"""The pictures: light, shadow, mirrors, and what holds for every shot."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.worlds.depth.render import render
from tubelet.worlds.depth.scene import (
    BACKDROPS,
    COLOURS,
    FURNITURE,
    GROUNDS,
    LIGHTS,
    METALS,
    SHAPES,
    Camera,
    Ground,
    Motion,
    Sun,
)
from worlds.depth.shots import body, camera, shot, still, sun, turned

WHITE = Ground("plain", ("white",))


def grey(frames):
    """Mean of the three colours, linear."""
    return (np.asarray(frames, float) / 255) ** 2 @ np.full(3, 1 / 3)


def darkened(things, light, eye, size=128):
    """How much darker the ground is with bodies than without [F, H, W]; nan where it is hidden."""
    with_them = render(shot(things, WHITE, light, eye, "none"), size, size, truth=True)
    without = render(shot([], WHITE, light, eye, "none"), size, size)
    loss = 1 - grey(with_them.frames) / grey(without.frames)
    return np.where(with_them.ids == -1, loss, np.nan)


# Shadows


@pytest.mark.parametrize("azimuth", [-140, -60, 0, 45, 100, 180])
@pytest.mark.parametrize(
    ("kind", "half"), [("ball", 0.4), ("cube", 0.4), ("cone", (0.4, 0.4, 0.5)), ("ramp", 0.4)]
)
def test_the_shadow_is_on_the_far_side_of_the_sun(kind, half, azimuth):
    thing = body(kind, half)
    eye = camera(height=6, distance=4, pitch=55)
    loss = darkened([(thing, still([0, 0, thing.half[2]]))], sun(elevation=35, azimuth=azimuth), eye)[0]
    rows, columns = np.nonzero(loss > 0.3)
    away = -np.array([np.sin(np.deg2rad(azimuth)), np.cos(np.deg2rad(azimuth)), 0])
    (there, _), (here, _) = (eye.project((away * way)[None, None], 128, 128) for way in (1.0, 0.0))
    assert (np.array([columns.mean(), rows.mean()]) - here[0, 0]) @ (there - here)[0, 0] > 0
    ahead, _ = eye.project((-away * 1.3)[None, None], 128, 128)
    column, row = ahead[0, 0].astype(int)
    assert abs(loss[row, column]) < 0.08


@pytest.mark.parametrize("elevation", [25, 40, 60])
@pytest.mark.parametrize(
    ("kind", "half"),
    [("block", (0.15, 0.15, 0.7)), ("beam", (0.1, 0.1, 0.7)), ("cylinder", (0.15, 0.15, 0.7))],
)
def test_a_shadows_tip_is_as_far_as_the_height_times_the_cotangent(kind, half, elevation):
    light, eye = sun(elevation=elevation, azimuth=-90), camera(height=6, distance=4, pitch=55)
    loss = darkened([(body(kind, half), still([-1.2, 0, 0.7]))], light, eye, 256)[0]
    tip = half[0] + 1.4 / np.tan(np.deg2rad(elevation))
    x = np.linspace(0.5 * tip, tip + 0.5, 400)
    points = np.stack([x - 1.2, 0 * x, 0 * x], -1)
    at, _ = eye.project(points[None], 256, 256)
    column, row = at[0].astype(int).T
    depth = loss[row, column]
    end = x[np.flatnonzero(depth > 0.5 * np.nanmax(depth)).max()]
    assert end == pytest.approx(tip, abs=0.06)


@pytest.mark.parametrize(
    ("kind", "width"), [("cylinder", 0.6 / np.sin(0.6)), ("block", 0.6 + 0.6 / np.tan(0.6))]
)
def test_a_lying_body_throws_the_shadow_of_its_outline(kind, width):
    eye, light = camera(height=6, distance=4, pitch=55), sun(elevation=np.rad2deg(0.6), azimuth=-90)
    things = [(body(kind, (0.3, 0.3, 0.8)), still([-1.5, 0, 1.0], turned(0, np.pi / 2)))]
    loss = darkened(things, light, eye, 256)[0]
    along = np.linspace(-1.6, 1.6, 400)
    for start, way, length in (
        ([-1.5 + 1 / np.tan(0.6), 0, 0], [1, 0, 0], width),
        ([-1.5 + 1 / np.tan(0.6), 0, 0], [0, 1, 0], 1.6),
    ):
        at, _ = eye.project((np.array(start) + along[:, None] * np.array(way))[None], 256, 256)
        column, row = at[0].astype(int).T
        dark = along[loss[row, column] > 0.5 * np.nanmax(loss)]
        assert dark.max() - dark.min() == pytest.approx(length, abs=0.1)
        assert dark.mean() == pytest.approx(0, abs=0.05)


def test_a_body_stands_in_the_shadow_of_another():
    front, light = still([-1.4, 0, 0.6]), sun(elevation=20, azimuth=-90)
    ball = (body("ball", 0.4, "white"), still([0, 0, 0.4]))
    alone = render(shot([ball], WHITE, light), 64, 64, truth=True)
    behind = render(shot([ball, (body("wall", (0.1, 0.8, 0.6)), front)], WHITE, light), 64, 64)
    lit = (alone.ids[0] == 0) & (np.arange(64) < 30)
    assert grey(behind.frames)[0][lit].mean() < 0.6 * grey(alone.frames)[0][lit].mean()


# Mirrors


def test_a_mirror_ball_shows_the_scene_turned_about():
    things = [(body("ball", 0.7, "silver"), still([0, 0, 0.7])), (body("ball", 0.5, "red"), still([-1.5, -0.6, 0.5])),
              (body("ball", 0.5, "green"), still([1.5, -0.6, 0.5]))]  # fmt: skip
    picture = render(shot(things, Ground("snow"), sun("grey")), 128, 128, truth=True)
    mine = np.nonzero(picture.ids[0] == 0)
    colours = picture.frames[0][mine].astype(float)
    redness, greenness = colours[:, 0] - colours[:, 1], colours[:, 1] - colours[:, 0]
    middle = mine[1].mean()
    assert redness.max() > 60 and greenness.max() > 30
    assert (
        mine[1][redness > 0.5 * redness.max()].mean()
        < middle
        < mine[1][greenness > 0.5 * greenness.max()].mean()
    )
    bright = render(shot(things[:1], Ground("plain", ("black",)), sun("grey")), 128, 128)
    upper, lower = mine[0] < mine[0].mean() - 8, mine[0] > mine[0].mean() + 8
    shades = grey(bright.frames)[0][mine]
    assert shades[upper].mean() > 3 * shades[lower].mean()


def test_still_water_shows_bodies_upside_down():
    things = [(body("cone", (0.6, 0.6, 0.8), "red"), still([0, 0, 0.8]))]
    place = (Ground("water"), sun("grey"), camera(height=0.8, pitch=6))
    picture, without = render(shot(things, *place), 128, 128, truth=True), render(shot([], *place), 128, 128)
    changed = np.abs(grey(picture.frames) - grey(without.frames))[0] > 0.004
    foot = np.nonzero(picture.ids[0] == 0)[0].max()
    widths = changed.sum(1)[foot + 3 :]
    assert widths[:8].mean() > 2 * widths[24:32].mean() > 8
    assert (widths[50:] == 0).all()


# Every shot


def randomly(draw_from):
    """A shot of up to four bodies anywhere, drawn by hypothesis."""
    rng = np.random.default_rng(draw_from)
    frames = int(rng.integers(1, 4))
    things = []
    for _ in range(rng.integers(0, 5)):
        kind = str(rng.choice(SHAPES + FURNITURE))
        half = tuple(rng.uniform(0.1, 1.0, 3))
        half = (half[0],) * 3 if kind == "ball" else (half[0], half[0], half[2]) if kind in SHAPES else half
        colour, second = rng.choice(COLOURS + METALS), rng.choice(COLOURS)
        pattern = str(rng.choice(["plain", "octants", "band"])) if kind == "ball" else "plain"
        place = rng.uniform([-4, -7, -0.3], [4, 9, 3], (frames, 3))
        rotation = np.stack([turned(*rng.uniform(-3, 3, 3)) for _ in range(frames)])
        things.append(
            (body(kind, half, str(colour), str(second), pattern), Motion(place, rotation, place, place))
        )
    light = Sun(
        str(rng.choice(LIGHTS)),
        rng.uniform(0.02, 1.57, frames),
        rng.uniform(-7, 7, frames),
        rng.random(frames),
    )
    eye = Camera(
        np.concatenate([rng.uniform(-6, 6, (frames, 2)), rng.uniform(0.05, 5, (frames, 1))], 1),
        rng.uniform(-7, 7, frames), rng.uniform(-0.6, 1.2, frames), rng.uniform(0.5, 3),
    )  # fmt: skip
    kind = str(rng.choice(GROUNDS))
    ground = Ground(
        kind, ("red", "white"), rng.uniform(0.3, 2), tuple(rng.random(2)), rng.random(), int(rng.integers(9))
    )
    return replace(shot(things, ground, light, eye, str(rng.choice(BACKDROPS))))


@given(st.integers(0, 2**31), st.sampled_from([(16, 16), (20, 34), (33, 17), (1, 1)]))
@settings(max_examples=40, deadline=None)
def test_any_shot_is_drawn_with_finite_numbers(number, size):
    with np.errstate(all="raise", under="ignore"):
        picture = render(randomly(number), *size, truth=True)
    assert picture.frames.dtype == np.uint8
    assert picture.frames.shape[1:] == (*size, 3)
    assert not np.isnan(picture.depth).any()
    assert (picture.depth > 0).all()
    assert ((picture.visible >= 0) & (picture.visible <= 1)).all()
    assert (picture.ids >= -2).all() and (picture.ids < picture.visible.shape[1]).all()


def rolling(frames=6, ground="grass", light="sunny"):
    """A patterned ball before a cone, a mirror and a wall, seen by a camera that turns."""
    t = np.arange(frames) / 8
    way = np.stack([1.4 * t - 0.8, 0 * t, 0 * t], -1)
    turn = np.stack([turned(0, 0, angle) for angle in 1.4 * t / 0.5])
    ball = Motion(np.array([0, 0, 0.5]) + way, turn, 0 * way, 0 * way)
    eye = camera(frames)
    eye = eye._replace(yaw=eye.yaw + 0.1 * t)
    things = [
        (body("ball", 0.5, "red", "white", "octants"), ball),
        (body("cone", (0.4, 0.4, 0.6), "purple"), still([-1.3, 1.2, 0.6], frames=frames)),
        (body("ball", 0.6, "gold"), still([1.2, 0.5, 0.6], frames=frames)),
        (body("ramp", (0.6, 0.4, 0.3), "blue"), still([0.2, 2.4, 0.3], turned(0.4), frames)),
    ]
    colours = {"checker": ("white", "blue"), "tiles": ("cyan",), "plain": ("navy",)}.get(ground, ())
    return shot(things, Ground(ground, colours, angle=0.4, seed=3), sun(light, frames), eye, "trees")


def first_frames(scene, count):
    """The first frames of a shot."""
    cut = [Motion(*(values[:count] for values in motion)) for motion in scene.motions]
    eye = scene.camera
    eye = Camera(eye.position[:count], eye.yaw[:count], eye.pitch[:count], eye.focal)
    light = scene.sun
    light = Sun(light.kind, light.elevation[:count], light.azimuth[:count], light.phase[:count])
    return replace(scene, motions=tuple(cut), camera=eye, sun=light)


@pytest.mark.parametrize("ground", ["grass", "water", "checker"])
def test_the_first_frames_of_a_longer_shot_are_the_same(ground):
    whole = rolling(6, ground)
    for count in (1, 4):
        np.testing.assert_array_equal(
            render(whole, 48, 48).frames[:count], render(first_frames(whole, count), 48, 48).frames
        )


def test_frames_worked_out_in_parts_are_the_same(monkeypatch):
    whole = render(rolling(), 32, 32, truth=True)
    monkeypatch.setattr("tubelet.worlds.depth.render.draw.CHUNK", 2 * 32 * 32)
    for mine, other in zip(render(rolling(), 32, 32, truth=True), whole, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_truth_does_not_change_the_picture():
    np.testing.assert_array_equal(
        render(rolling(2), 32, 32).frames, render(rolling(2), 32, 32, truth=True).frames
    )


@pytest.mark.parametrize("ground", ["sand", "water", "tiles"])
def test_the_middle_of_a_wide_or_tall_picture_is_the_square_one(ground):
    scene = rolling(2, ground)
    square = render(scene, 48, 48).frames.astype(int)
    wide, tall = render(scene, 48, 80).frames[:, :, 16:64], render(scene, 80, 48).frames[:, 16:64]
    assert np.abs(wide - square).max() <= 2
    assert np.abs(tall - square)[:, : 40 if ground == "water" else 48].max() <= 2


def test_a_body_that_is_nearer_than_the_lens_reaches_does_no_harm():
    inside = [(body("cube", 1.0), still([0, -5.6, 1.5])), (body("ball", 0.8), still([0, -5.6, 1.5]))]
    assert render(shot(inside), 24, 24, truth=True).frames.shape == (1, 24, 24, 3)


def test_the_sun_hangs_where_the_light_comes_from():
    eye = camera(pitch=-10)
    scene = shot([], light=sun("night", elevation=14, azimuth=9), eye=eye, backdrop="none")
    bright = grey(render(scene, 128, 128).frames)[0]
    row, column = np.argwhere(bright > 0.9 * bright.max()).mean(0)
    at, _ = eye.project((eye.position[0] + 1e4 * scene.sun.direction()[0])[None, None], 128, 128)
    assert np.hypot(column + 0.5 - at[0, 0, 0], row + 0.5 - at[0, 0, 1]) < 1


HASHES = {
    ("grass", "sunny"): "d795e230cf47dd9d",
    ("water", "sunset"): "9ab3431e701a2704",
    ("checker", "night"): "d54861a1071d3173",
}


@pytest.mark.parametrize(("ground", "light"), HASHES)
def test_three_shots_keep_their_bits(ground, light):
    frames = render(rolling(3, ground, light), 40, 56).frames
    assert hashlib.sha256(frames.tobytes()).hexdigest()[:16] == HASHES[ground, light]
