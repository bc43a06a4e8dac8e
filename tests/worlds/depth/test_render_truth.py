"""Masks, depths and visible shares against brute-force ray casting."""

import numpy as np
import pytest

from tubelet.worlds.depth.render import render
from tubelet.worlds.depth.scene import Ground, Motion
from worlds.depth.casting import cast
from worlds.depth.shots import body, camera, shot, still, sun, turned

SIZE = 40
TURNS = [turned(), turned(0.5), turned(0.9, 0.6, 0.3), turned(-1.2, 1.3, -0.8), turned(2.0, -0.4, 2.4)]
HALVES = {
    "ball": (0.6, 0.6, 0.6), "cube": (0.5, 0.5, 0.5), "cylinder": (0.45, 0.45, 0.6), "cone": (0.5, 0.5, 0.7),
    "wall": (0.9, 0.15, 0.8), "ramp": (1.0, 0.5, 0.5), "block": (0.3, 0.3, 0.8), "beam": (0.12, 0.12, 1.0),
}  # fmt: skip


def agrees(scene, height=SIZE, width=SIZE):
    """The picture's truth and that of many rays agree: ids but at edges, depths, covered areas, visible shares."""
    picture = render(scene, height, width, truth=True)
    for frame in range(len(scene)):
        ids, depths, hits = cast(scene, frame, height, width)
        sure = (ids == ids[..., :1]).all(-1)
        np.testing.assert_array_equal(picture.ids[frame][sure], ids[..., 0][sure])
        shares = np.stack([(ids == k).mean(-1) for k in range(-2, len(scene.bodies))])
        shown = np.take_along_axis(shares, picture.ids[frame][None].astype(int) + 2, 0)[0]
        assert np.count_nonzero(shown < shares.max(0) - 0.4) <= 3  # sharp corners
        flat = sure & (ids[..., 0] >= 0)
        depth = picture.depth[frame][flat]
        assert (depth > depths[flat].min(-1) - 0.005).all()
        assert (depth < depths[flat].max(-1) + 0.005).all()
        for k, hit in enumerate(hits):
            whole, seen = hit.mean(-1).sum(), (ids == k).mean(-1).sum()
            border = hit.any(-1)
            border[1:-1, 1:-1] = False
            if whole > 4 and not border.any():
                assert picture.visible[frame, k] * whole == pytest.approx(seen, abs=1 + 0.02 * whole)


@pytest.mark.parametrize("kind", HALVES)
@pytest.mark.parametrize("turn", range(len(TURNS)))
def test_every_shape_at_every_rotation_is_where_rays_find_it(kind, turn):
    agrees(shot([(body(kind, HALVES[kind]), still([0.3, 0.4, 1.0], TURNS[turn]))]))


def test_bodies_hide_one_another_as_rays_find():
    things = [
        (body("wall", (0.9, 0.1, 0.6), "blue"), still([0.2, -0.6, 0.6], turned(0.2))),
        (body("ball", 0.64), still([-0.5, 0.4, 0.64])),
        (body("cone", (0.5, 0.5, 0.7), "green"), still([0.9, 0.5, 0.7])),
        (body("ramp", (0.9, 0.5, 0.5), "yellow"), still([0.2, 1.6, 0.5])),
        (body("cylinder", (0.4, 0.4, 0.6), "cyan"), still([-1.2, 1.4, 0.6])),
    ]
    for yaw in (-50, 0, 35, 90, 180):
        agrees(shot(things, eye=camera(yaw=yaw)))


def test_a_ball_on_a_ramp_and_on_a_block_lies_before_or_behind_them():
    slope = np.arctan2(0.5, 0.9)
    rests = np.array([-0.1, 0, 0.5]) + 0.4 * np.array([np.sin(slope), 0, np.cos(slope)])
    rests[2] += 0.1 * 0.5 / 0.9
    things = [
        (body("ramp", (0.9, 0.6, 0.5)), still([0, 0, 0.5])),
        (body("ball", 0.4), still(rests + np.array([0, 0, 0.002]))),
    ]
    for yaw in (-80, -20, 40, 100, 170):
        agrees(shot(things, eye=camera(yaw=yaw)))
    things = [(body("block", (0.6, 0.6, 0.3)), still([0, 0, 0.3])), (body("ball", 0.4), still([0.5, 0, 1.0]))]
    for yaw in (-80, 0, 130):
        agrees(shot(things, eye=camera(yaw=yaw, height=1.0, pitch=5)))


@pytest.mark.parametrize(("height", "width"), [(24, 40), (40, 24), (16, 16)])
def test_it_agrees_at_other_sizes(height, width):
    things = [
        (body("cube", 0.5), still([-0.4, 0, 0.5], turned(0.7))),
        (body("ball", 0.5), still([0.9, 0.5, 0.5])),
    ]
    agrees(shot(things), height, width)


def test_parts_outside_the_picture_do_not_count_as_visible():
    scene = shot([(body("ball", 0.6), still([0, 0, 0.6]))], eye=camera(x=0.0))
    assert render(scene, SIZE, SIZE, truth=True).visible[0, 0] == pytest.approx(1)
    edge = np.tan(np.arctan(0.5 / 1.374)) * 5.6
    scene = shot([(body("ball", 0.6), still([edge, 0, 0.6]))])
    assert render(scene, SIZE, SIZE, truth=True).visible[0, 0] == pytest.approx(0.5, abs=0.04)


def test_what_a_wall_hides_has_no_visible_share():
    frames = 5
    x = np.linspace(-2.2, 2.2, frames)
    motion = still([0, 1.2, 0.4], frames=frames)
    motion = Motion(motion.position + np.stack([x, 0 * x, 0 * x], -1), *motion[1:])
    things = [
        (body("ball", 0.4), motion),
        (body("wall", (0.8, 0.1, 0.9), "blue"), still([0, 0, 0.9], frames=frames)),
    ]
    visible = render(shot(things, eye=camera(frames)), 64, 64, truth=True).visible
    assert visible[2, 0] == 0
    assert (visible[[0, 4], 0] > 0.9).all()
    assert (visible[:, 1] > 0.9).all()


@pytest.mark.parametrize("kind", HALVES)
def test_covered_shares_add_up_to_the_projected_area(kind):
    scene = shot(
        [(body(kind, HALVES[kind], "white"), still([0.1, 0.2, 1.1], TURNS[2]))],
        ground=Ground("plain", ("black",)), light=sun("night"), backdrop="none",
    )  # fmt: skip
    picture = render(scene, 32, 32, truth=True)
    ids, _, _ = cast(scene, 0, 32, 32, samples=16)
    assert picture.visible[0, 0] == pytest.approx(1)
    assert np.count_nonzero(picture.ids == 0) == pytest.approx((ids == 0).mean(-1).sum(), rel=0.05, abs=3)
