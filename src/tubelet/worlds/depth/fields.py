"""What the renderer knows of each pixel's body: how it moves in the picture, and its colour there."""

import numpy as np

from tubelet.worlds.depth.scene import Array, Picture, Shot


def velocities(shot: Shot, fps: float) -> Array:
    """Of each body's centre in the picture, the camera's own movement included: [F, bodies, 2], shorter sides a second.

    x to the right, y down, by differences of the frames before and after. 0 where the centre is behind the camera, and
    in a clip of a single frame.
    """
    centres = np.stack([motion.position for motion in shot.motions], 1)  # [F, bodies, 3]
    at, _ = shot.camera.project(centres, 1, 1)
    if len(at) < 2:
        return np.zeros_like(at)
    moved = np.gradient(at, axis=0) * fps  # nan behind the camera
    return np.nan_to_num(moved)


def fields_of(shot: Shot, picture: Picture, fps: float) -> Array:
    """Float32 [F, H, W, 6] of a shot drawn with truth: 1, velocity (x, y) and colour (r, g, b) in [-1, 1] of bodies.

    A pixel is the body's that it shows most of; where it shows none all are 0.
    """
    assert picture.ids is not None, "rendered without truth"
    moved = velocities(shot, fps)  # [F, bodies, 2]
    body = picture.ids >= 0  # [F, H, W]
    frame = np.arange(len(moved))[:, None, None]
    found = np.zeros((*body.shape, 6), np.float32)
    found[..., 0] = 1
    found[..., 1:3] = moved[frame, np.maximum(picture.ids, 0)]
    found[..., 3:] = picture.frames / 127.5 - 1
    return found * body[..., None]
