"""Which of two bodies is in front: a plane parts disjoint convex bodies, and the eye is on one side of it."""

import numpy as np

from tubelet.worlds.depth.render.rays import dot, unit
from tubelet.worlds.depth.render.solids import corners, frustum_radii, planes
from tubelet.worlds.depth.scene import Array, Body, Motion


def reach(body: Body, motion: Motion, normals: Array) -> Array:
    """How far a body extends from its centre along unit normals [F, K, 3]: [F, K]."""
    if body.kind == "ball":
        return np.full((len(motion.position), normals.shape[1]), body.half[0])
    own = (normals[..., None, :] * np.swapaxes(motion.rotation, 1, 2)[:, None]).sum(-1)  # [F, K, 3]
    if body.kind in ("cylinder", "cone"):
        flat = np.sqrt(own[..., 0] ** 2 + own[..., 1] ** 2)
        bottom, top = frustum_radii(body)
        return np.maximum(bottom * flat - own[..., 2] * body.half[2], top * flat + own[..., 2] * body.half[2])
    return (own[..., None, :] * corners(body)).sum(-1).max(-1)


def directions(body: Body, motion: Motion, other: Array) -> Array:
    """Normals [F, K, 3] of planes that touch a body and may part it from one whose centre is `other` [F, 3]."""
    gap = other - motion.position
    own = (np.swapaxes(motion.rotation, 1, 2) * gap[:, None]).sum(-1)
    if body.kind == "ball":
        found = unit(own)[:, None]
    elif body.kind in ("cylinder", "cone"):
        bottom, top = frustum_radii(body)
        slope = (bottom - top) / (2 * body.half[2])
        outward = unit(own * [1.0, 1.0, 0.0]) + np.array([0.0, 0.0, slope])
        found = np.stack([unit(outward), np.broadcast_to([0.0, 0.0, 1.0], own.shape)], 1)
    else:
        normals, _ = planes(body)
        nearest = own - np.clip(own, -np.array(body.half), np.array(body.half))
        found = np.concatenate(
            [np.broadcast_to(normals, (len(own), *normals.shape)), unit(nearest)[:, None]], 1
        )
    return (motion.rotation[:, None] * found[:, :, None]).sum(-1)


def hides(eye: Array, a: tuple[Body, Motion], b: tuple[Body, Motion]) -> Array:
    """Whether a may hide part of b and not the other way round, in each frame: bool [F]."""
    gap = b[1].position - a[1].position
    normals = np.concatenate(
        [directions(*a, b[1].position), -directions(*b, a[1].position), unit(gap)[:, None],
         unit(gap * [1.0, 1.0, 0.0])[:, None]], 1,
    )  # fmt: skip
    normals = np.concatenate([normals, -normals], 1)
    near = reach(*a, normals)
    space = dot(normals, gap[:, None]) - near - reach(*b, -normals)
    best = space.argmax(1)[:, None]
    normal = np.take_along_axis(normals, best[..., None], 1)[:, 0]
    middle = (np.take_along_axis(near, best, 1) + np.take_along_axis(space, best, 1) / 2)[:, 0]
    return dot(normal, eye - a[1].position) < middle


def back_to_front(eye: Array, things: list[tuple[Body, Motion]], overlap: Array) -> Array:
    """Numbers [F, N] of the things in the order of drawing; overlap [N, N]: whether their pictures may meet."""
    count = len(things)
    behind = np.zeros((len(eye), count, count), bool)  # [f, i, j]: j must be drawn before i
    for i in range(count):
        for j in range(i + 1, count):
            if overlap[i, j]:
                front = hides(eye, things[i], things[j])
                behind[:, i, j], behind[:, j, i] = front, ~front
    order = np.zeros((len(eye), count), int)
    left = np.ones((len(eye), count), bool)
    for step in range(count):
        waiting = (behind & left[:, None]).sum(2) + np.where(left, 0, count + 1)
        order[:, step] = waiting.argmin(1)
        np.put_along_axis(left, order[:, step, None], False, 1)
    return order
