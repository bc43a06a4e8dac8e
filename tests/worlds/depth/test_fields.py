"""What the renderer knows of each pixel, against hand-made shots and against the pictures themselves."""

import numpy as np
import pytest

from tubelet.worlds.depth.fields import fields_of, velocities
from tubelet.worlds.depth.render import render
from tubelet.worlds.depth.scene import Body, Camera, Ground, Motion, Paint, Picture, Shot, Sun

FPS, FOCAL, FRAMES = 16.0, 1.4, 9
T = np.arange(FRAMES) / FPS


def shot(*ways: np.ndarray, yaw: np.ndarray | float = 0.0) -> Shot:
    """Red balls whose centres go these ways [F, 3], seen level from 6 units before the origin."""
    still, ball = np.zeros((FRAMES, 3)), Body("ball", (0.5, 0.5, 0.5), Paint("red"))
    turn = np.broadcast_to(np.eye(3), (FRAMES, 3, 3))
    camera = Camera(np.tile([0.0, -6.0, 1.0], (FRAMES, 1)), np.zeros(FRAMES) + yaw, np.zeros(FRAMES), FOCAL)
    sun = Sun("sunny", np.full(FRAMES, 0.7), np.full(FRAMES, 0.5), np.zeros(FRAMES))
    motions = tuple(Motion(way, turn, still, still) for way in ways)
    return Shot((ball,) * len(ways), motions, Ground("concrete"), sun, camera, "none")


def line(start: tuple[float, float, float], velocity: tuple[float, float, float]) -> np.ndarray:
    return np.array(start) + T[:, None] * np.array(velocity)


def test_a_ball_across_the_picture_moves_by_focal_length_times_speed_over_depth():
    across = velocities(shot(line((-0.5, 0.0, 1.0), (1.5, 0.0, 0.0))), FPS)
    np.testing.assert_allclose(across, np.broadcast_to([FOCAL * 1.5 / 6, 0.0], (FRAMES, 1, 2)), atol=1e-12)
    up = velocities(shot(line((0.0, 2.0, 1.0), (0.0, 0.0, 2.0))), FPS)
    np.testing.assert_allclose(up, np.broadcast_to([0.0, -FOCAL * 2 / 8], (FRAMES, 1, 2)), atol=1e-12)


def test_a_camera_that_turns_moves_what_stands_still():
    rate = 0.1
    turned = velocities(shot(line((0.0, 0.0, 1.0), (0.0, 0.0, 0.0)), yaw=rate * (T - T[4])), FPS)
    assert turned[4, 0] == pytest.approx([-FOCAL * rate, 0.0], abs=1e-4)


def test_what_is_behind_the_camera_and_a_single_frame_do_not_move():
    assert not velocities(shot(line((0.0, -9.0, 1.0), (1.0, 0.0, 0.0))), FPS).any()
    alone = shot(line((0.0, 0.0, 1.0), (1.0, 0.0, 0.0)))
    first = Shot(
        alone.bodies, tuple(Motion(*(x[:1] for x in m)) for m in alone.motions), alone.ground,
        Sun("sunny", *(x[:1] for x in alone.sun[1:])), Camera(*(x[:1] for x in alone.camera[:3]), FOCAL), "none",
    )  # fmt: skip
    assert velocities(first, FPS).shape == (1, 1, 2) and not velocities(first, FPS).any()


def test_each_pixel_has_the_fields_of_its_own_body_and_none_where_it_shows_none():
    two = shot(line((-1.0, 0.0, 1.0), (1.5, 0.0, 0.0)), line((1.0, 0.0, 1.0), (-3.0, 0.0, 0.0)))
    ids = np.full((FRAMES, 2, 3), -2, np.int8)
    ids[:, 0, 0], ids[:, 1, 2] = 0, 1
    frames = np.zeros((FRAMES, 2, 3, 3), np.uint8)
    frames[:, 0, 0], frames[:, 1, 2], frames[:, 0, 1] = (255, 0, 0), (0, 255, 0), (255, 255, 255)
    found = fields_of(two, Picture(frames, ids), FPS)
    assert found.shape == (FRAMES, 2, 3, 6) and found.dtype == np.float32
    np.testing.assert_allclose(found[3, 0, 0], [1, FOCAL * 1.5 / 6, 0, 1, -1, -1], atol=1e-6)
    np.testing.assert_allclose(found[3, 1, 2], [1, -FOCAL * 3 / 6, 0, -1, 1, -1], atol=1e-6)
    found[:, 0, 0] = found[:, 1, 2] = 0
    assert not found.any()


def test_the_mean_velocity_is_that_of_the_pixels_that_show_the_ball():
    moving = shot(line((-0.6, 0.0, 1.0), (2.0, 0.0, 0.4)))
    found = fields_of(moving, render(moving, 96, 96, truth=True), FPS)
    body = found[..., 0]
    where = np.stack(np.meshgrid(np.arange(96), np.arange(96), indexing="xy"), -1) / 96
    centres = (body[..., None] * where).sum((1, 2)) / body.sum((1, 2))[:, None]  # [F, 2]
    seen = (centres[-1] - centres[0]) * FPS / (FRAMES - 1)
    assert found[..., 1:3].sum((0, 1, 2)) / body.sum() == pytest.approx(seen, abs=0.01)
    assert body.sum((1, 2)).mean() / 96**2 == pytest.approx(np.pi * (FOCAL * 0.5 / 6) ** 2, rel=0.05)
