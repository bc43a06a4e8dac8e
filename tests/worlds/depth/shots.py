"""Small shots made by hand, for tests of the pictures."""

import numpy as np

from tubelet.worlds.depth.scene import Body, Camera, Ground, Motion, Paint, Shot, Sun


def turned(yaw=0.0, pitch=0.0, roll=0.0):
    """A rotation [3, 3]: about z, then about x, then about y."""
    (sz, sx, sy), (cz, cx, cy) = np.sin([yaw, pitch, roll]), np.cos([yaw, pitch, roll])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return about_z @ about_x @ about_y


def still(position, rotation=None, frames=1):
    """A motion that stays where it is."""
    rotation = np.eye(3) if rotation is None else rotation
    return Motion(
        np.tile(np.array(position, float), (frames, 1)), np.tile(rotation, (frames, 1, 1)),
        np.zeros((frames, 3)), np.zeros((frames, 3)),
    )  # fmt: skip


def camera(frames=1, height=1.5, distance=5.6, pitch=13.0, yaw=0.0, x=0.0, focal=1.374):
    """A camera before the origin; angles in degrees."""
    full = np.ones(frames)
    place = np.array([x - distance * np.sin(np.deg2rad(yaw)), -distance * np.cos(np.deg2rad(yaw)), height])
    return Camera(np.tile(place, (frames, 1)), np.deg2rad(yaw) * full, np.deg2rad(pitch) * full, focal)


def sun(kind="sunny", frames=1, elevation=40.0, azimuth=-60.0, phase=0.0):
    """A light that does not move; angles in degrees."""
    full = np.ones(frames)
    return Sun(kind, np.deg2rad(elevation) * full, np.deg2rad(azimuth) * full, phase * full)


def shot(things, ground=None, light=None, eye=None, backdrop="hills"):
    """A shot of (body, motion) pairs."""
    frames = len(things[0][1].position) if things else 1
    return Shot(
        tuple(body for body, _ in things), tuple(motion for _, motion in things),
        ground or Ground("grass"), light or sun(frames=frames), eye or camera(frames), backdrop,
    )  # fmt: skip


def body(kind, half, colour="red", second=None, pattern="plain"):
    """A body; a number as `half` stands for three."""
    half = (half, half, half) if isinstance(half, float) else half
    return Body(kind, half, Paint(colour, second, pattern))
