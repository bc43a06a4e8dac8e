"""No two bodies enter each other, and none the ground: separating axes, from what each body fills alone."""

import random
from itertools import combinations

import numpy as np
import pytest

from tubelet.worlds.depth.draw import draw_scene
from tubelet.worlds.depth.scene import Body, Motion, Paint

TIMES = np.arange(49) / 12  # 4 s, twice the clock
TURN = np.linspace(0, np.pi, 24, endpoint=False)
CORNER = np.sqrt(0.5**2 + 0.5**2 + 0.6**2) - 0.5  # from a ball to the corner of a box
LEVEL = np.stack([np.cos(TURN), np.sin(TURN), 0 * TURN], -1)


def furthest(body: Body, motion: Motion, way: np.ndarray) -> np.ndarray:
    """How far a body reaches along unit vectors [F, N, 3] of the world, [F, N]."""
    own = np.einsum("fji,fnj->fni", motion.rotation, way)  # the ways in its own axes
    x, y, z = body.half
    flat = np.hypot(own[..., 0], own[..., 1])
    if body.kind == "ball":
        extent = np.full(own.shape[:2], x)
    elif body.kind == "cylinder":
        extent = x * flat + z * np.abs(own[..., 2])
    elif body.kind == "cone":
        extent = np.maximum(z * own[..., 2], x * flat - z * own[..., 2])
    elif body.kind == "ramp":
        corners = np.array([(-x, s, h) for s in (-y, y) for h in (-z, z)] + [(x, -y, -z), (x, y, -z)])
        extent = (own @ corners.T).max(-1)
    else:
        extent = np.abs(own) @ np.array(body.half)
    return np.einsum("fi,fni->fn", motion.position, way) + extent


def faces(body: Body, motion: Motion) -> np.ndarray:
    """Unit normals of its flat sides [F, n, 3]."""
    normals = np.eye(3)
    if body.kind == "ramp":
        x, _, z = body.half
        normals = np.concatenate([normals, [np.array([z, 0, x]) / np.hypot(x, z)]])
    return np.einsum("fij,nj->fni", motion.rotation, normals)


def nearest_way(ball: Motion, body: Body, motion: Motion) -> np.ndarray:
    """From the nearest point of a box to a ball's centre [F, 1, 3]."""
    own = np.einsum("fji,fj->fi", motion.rotation, ball.position - motion.position)
    offset = own - np.clip(own, -np.array(body.half), body.half)
    return np.einsum("fij,fj->fi", motion.rotation, offset)[:, None]


def gaps(one, two) -> np.ndarray:
    """Widest slab that separates two bodies in each frame [F]; below 0 if none of the axes tried does."""
    (a, here), (b, there) = one, two
    sides, others = faces(a, here), faces(b, there)
    crossed = np.cross(sides[:, :, None], others[:, None]).reshape(len(sides), -1, 3)
    centres = (there.position - here.position)[:, None]
    ways = [sides, others, crossed, centres, np.broadcast_to(LEVEL, (len(sides), *LEVEL.shape))]
    ways += [nearest_way(here, b, there)] if a.kind == "ball" else []
    ways += [nearest_way(there, a, here)] if b.kind == "ball" else []
    way = np.concatenate(ways, 1)
    length = np.linalg.norm(way, axis=-1, keepdims=True)
    way = np.where(length > 1e-9, way / np.maximum(length, 1e-9), [0.0, 0.0, 1.0])
    way = np.concatenate([way, -way], 1)
    return (-furthest(b, there, -way) - furthest(a, here, way)).max(1)


def placed(kind, half, position, turn=0.0):
    """A body that stands for one frame."""
    cosine, sine = np.cos(turn), np.sin(turn)
    rotation = np.array([[[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]]])
    zero = np.zeros((1, 3))
    return Body(kind, half, Paint("red")), Motion(np.array([position], float), rotation, zero, zero)


@pytest.mark.parametrize(
    ("one", "two", "gap"),
    [
        (("ball", (0.5,) * 3, (0, 0, 0.5)), ("ball", (0.5,) * 3, (0.6, 0.8, 0.5)), 0.0),
        (("ball", (0.5,) * 3, (0, 0, 0.5)), ("wall", (0.1, 1.0, 1.0), (0.7, 0, 1)), 0.1),
        (("ball", (0.5,) * 3, (0, 0, 1.6)), ("wall", (0.5, 0.5, 0.5), (1.0, 1.0, 0.5)), CORNER),
        (("ball", (0.5,) * 3, (0, 0, 0.5)), ("cone", (0.5, 0.5, 0.6), (0.9, 0, 0.6)), -0.1),
        (("cube", (0.5,) * 3, (0, 0, 0.5)), ("cube", (0.5,) * 3, (1.3, 0, 0.5), np.pi / 4), 0.8 - 0.5**0.5),
    ],
)
def test_the_gap_between_two_bodies_is_known_in_simple_cases(one, two, gap):
    found = gaps(placed(*one), placed(*two))
    assert found == pytest.approx([gap], abs=1e-12) if gap >= 0 else found < 0


@pytest.mark.parametrize("part", range(4))
def test_bodies_never_enter_each_other_nor_the_ground(part):
    for number in range(part, 320, 4):
        scene = draw_scene(random.Random(f"touch {number}"))
        shot = scene.shot(TIMES)
        parts = list(zip(shot.bodies, shot.motions, strict=True))
        down = np.broadcast_to(np.array([0.0, 0.0, -1.0]), (len(TIMES), 1, 3))
        for body, motion in parts:
            lowest = -furthest(body, motion, down).max()
            assert lowest > (-0.75 * body.half[2] * 2 if scene.event == "float" else -1e-9), scene.event
        for one, two in combinations(parts, 2):
            assert gaps(one, two).min() > -1e-9, (number, scene.event, one[0].kind, two[0].kind)
