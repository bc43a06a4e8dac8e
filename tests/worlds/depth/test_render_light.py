"""Shadows, faces and reflections of the sky against rays from the ground to the sun and against one another."""

import numpy as np
import pytest

from tubelet.worlds.depth.render import render
from tubelet.worlds.depth.scene import Ground
from worlds.depth.casting import entry
from worlds.depth.shots import body, camera, shot, still, sun, turned

SIZE = 96
TURNS = [turned(), turned(0.9, 0.6, 0.3), turned(-1.2, 1.3, -0.8), turned(2.0, -0.4, 2.4)]
HALVES = {
    "ball": (0.6, 0.6, 0.6), "cube": (0.5, 0.5, 0.5), "cylinder": (0.4, 0.4, 0.7), "cone": (0.6, 0.6, 0.7),
    "wall": (0.9, 0.3, 0.8), "ramp": (1.0, 0.5, 0.6),
}  # fmt: skip


def grey(frames):
    """Mean of the three colours, linear."""
    return (np.asarray(frames, float) / 255) ** 2 @ np.full(3, 1 / 3)


@pytest.mark.parametrize("kind", HALVES)
@pytest.mark.parametrize("turn", range(len(TURNS)))
def test_the_ground_is_dark_where_a_ray_to_the_sun_meets_the_body(kind, turn):
    high = np.array([-1.5, 0.0, 2.4])  # so that the sky's own darkening does not reach the ground
    eye, light = camera(height=6, distance=4.5, pitch=52, focal=1.1), sun(elevation=55, azimuth=-70)
    things = [(body(kind, HALVES[kind]), still(high, TURNS[turn]))]
    white = Ground("plain", ("white",))
    picture = render(shot(things, white, light, eye, "none"), SIZE, SIZE, truth=True)
    loss = 1 - grey(picture.frames[0]) / grey(
        render(shot([], white, light, eye, "none"), SIZE, SIZE).frames[0]
    )
    right, down, forward = (axis[0] for axis in eye.axes())
    y, x = np.meshgrid(*[(np.arange(SIZE) + 0.5 - SIZE / 2) / (eye.focal * SIZE)] * 2, indexing="ij")
    way = x[..., None] * right + y[..., None] * down + forward
    points = (eye.position[0] - way * (eye.position[0, 2] / way[..., 2:])).reshape(-1, 3)
    towards = np.broadcast_to(light.direction()[0], points.shape)
    shaded = np.isfinite(entry(kind, HALVES[kind], (points - high) @ TURNS[turn], towards @ TURNS[turn]))
    seen, shaded = picture.ids[0] == -1, shaded.reshape(SIZE, SIZE)
    dark = loss > 0.5 * loss[seen].max()
    assert shaded[seen].sum() > 150
    assert dark[seen].sum() == pytest.approx(shaded[seen].sum(), rel=0.12, abs=40)
    assert (dark != shaded)[seen].sum() < 0.15 * shaded[seen].sum() + 15


def test_the_top_of_a_cylinder_is_as_bright_as_that_of_a_cube_and_even():
    eye, light = camera(height=3.5, distance=4, pitch=38), sun("grey", elevation=40, azimuth=-30)
    tops = []
    for kind, half in (("cylinder", (0.8, 0.8, 0.4)), ("cube", (0.7, 0.7, 0.4))):
        picture = render(
            shot([(body(kind, half, "blue"), still([0, 0, 0.4]))], None, light, eye), SIZE, SIZE, truth=True
        )
        spots = [[0.35 * a, 0.35 * b, 0.8] for a in (-1, 0, 1) for b in (-1, 0, 1)]
        columns, rows = eye.project(np.array([spots]), SIZE, SIZE)[0][0].astype(int).T
        assert (picture.ids[0, rows, columns] == 0).all()
        tops.append(picture.frames[0, rows, columns].astype(int))
    assert np.ptp(tops[1], axis=0).max() <= 12  # a highlight may pass
    assert np.abs(tops[0] - tops[1]).max() <= 2


def test_a_ball_is_brightest_where_it_faces_the_sun():
    for azimuth in (-120, 120, 170):
        light = sun(elevation=30, azimuth=azimuth)
        scene = shot([(body("ball", 0.8, "white"), still([0, 0, 0.8]))], light=light)
        bright = grey(render(scene, SIZE, SIZE).frames[0])
        spot = np.array([[0, 0, 0.8]]) + 0.8 * light.direction()
        at, _ = scene.camera.project(spot[None], SIZE, SIZE)
        dark, _ = scene.camera.project((spot * [-1, 1, 1])[None], SIZE, SIZE)
        (column, row), (other, _) = at[0, 0].astype(int), dark[0, 0].astype(int)
        assert abs(azimuth) == 170 or bright[row, column] > 1.5 * bright[row, other]


def test_water_mirrors_the_moon_below_it():
    eye = camera(height=0.5, pitch=0)
    scene = shot([], Ground("water"), sun("night", elevation=9, azimuth=8), eye, "none")
    bright = grey(render(scene, SIZE, SIZE).frames[0])
    (above, column), (below, image) = (
        np.argwhere(half > 0.8 * half.max()).mean(0) for half in (bright[: SIZE // 2], bright[SIZE // 2 :])
    )
    assert image == pytest.approx(column, abs=2)
    assert below == pytest.approx(SIZE // 2 - 1 - above, abs=5)
