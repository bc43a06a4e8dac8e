"""Brute-force ray casting, written without a look at the renderer: many rays a pixel, the nearest hit of each."""

import numpy as np


def entry(kind, half, start, way):
    """Distance along rays start + t way [N, 3], in a body's own axes, at which they enter it; infinite where they miss.

    Every body is the set of points where some functions, each quadratic along a ray, are at most 0.
    """
    half = np.array(half)
    near, far = np.zeros(len(way)), np.full(len(way), np.inf)
    faces = [(sign * np.eye(3)[k], half[k]) for k in range(3) for sign in (1, -1)]
    if kind in ("cylinder", "cone"):
        faces = faces[4:]
    if kind == "ramp":
        faces.append((np.array([half[2], 0, half[0]]), 0.0))
    for normal, offset in faces if kind != "ball" else []:
        speed, gap = way @ normal, offset - start @ normal
        with np.errstate(divide="ignore", invalid="ignore"):
            at = gap / speed
        near = np.where(speed < 0, np.maximum(near, at), near)
        far = np.where(speed > 0, np.minimum(far, at), far)
        far = np.where((speed == 0) & (gap < 0), -np.inf, far)
    if kind in ("ball", "cylinder", "cone"):
        form = np.diag([1.0, 1.0, 1.0 if kind == "ball" else 0.0])
        point, apex = start.copy(), np.zeros(3)
        if kind == "cone":
            form[2, 2] = -((half[0] / (2 * half[2])) ** 2)
            apex[2] = half[2]
            point = point - apex
        a, b = ((way @ form) * way).sum(1), ((point @ form) * way).sum(1)
        c = ((point @ form) * point).sum(1) - (0 if kind == "cone" else half[0] ** 2)
        inside = b * b - a * c
        root = np.sqrt(np.maximum(inside, 0))
        low, high = (-b - root) / a, (-b + root) / a
        # Where a < 0 the ray is inside the double cone before the one root and after the other; one of both parts
        # lies between the planes of base and tip.
        turned = a < 0
        low, high = np.where(turned, high, low), np.where(turned, low, high)
        late, early = np.maximum(near, high), np.minimum(far, low)
        through = np.where(turned, np.where(near < early, near, late), np.maximum(near, low))
        leaves = np.where(turned, np.where(near < early, early, far), np.minimum(far, high))
        missed = (inside < 0) & ~turned
        near, far = np.where(missed, 1.0, through), np.where(missed, 0.0, leaves)
    return np.where((near < far) & (near > 0), near, np.inf)


def cast(shot, frame, height, width, samples=8):
    """ids and depths [H, W, samples^2] of one frame: -1 ground, -2 sky; only the body numbers in `only` if given."""
    right, down, forward = (axis[frame] for axis in shot.camera.axes())
    eye = shot.camera.position[frame]
    rows = (np.arange(height * samples) + 0.5) / samples - height / 2
    columns = (np.arange(width * samples) + 0.5) / samples - width / 2
    y, x = np.meshgrid(rows, columns, indexing="ij")
    way = (x[..., None] * right + y[..., None] * down) / (shot.camera.focal * min(height, width)) + forward
    way = way.reshape(-1, 3)
    with np.errstate(divide="ignore"):
        depths = [np.where(way[:, 2] < 0, -eye[2] / way[:, 2], np.inf)]
    for body, motion in zip(shot.bodies, shot.motions, strict=True):
        turn = motion.rotation[frame]
        start = (eye - motion.position[frame]) @ turn
        depths.append(entry(body.kind, body.half, np.tile(start, (len(way), 1)), way @ turn))
    stack = np.stack(depths)
    ids = stack.argmin(0) - 1
    depth = stack.min(0)
    ids[np.isinf(depth)] = -2

    def pixels(values):
        grid = values.reshape(height, samples, width, samples)
        return grid.swapaxes(1, 2).reshape(height, width, samples * samples)

    return pixels(ids), pixels(depth), [pixels(np.isfinite(values)) for values in depths[1:]]
