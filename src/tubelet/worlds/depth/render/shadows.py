"""How much of a light each point is cut off from, in closed form: bodies seen along the light are discs or polygons.

A body's outline along the light is the hull of two discs (ball, cylinder and cone, after a linear map that makes their
ends round) or a convex polygon (boxes and ramps). The same outlines serve the ground and other bodies, the sun, and the
sky overhead, whose shadow is the darkening around a point of contact.
"""

from typing import NamedTuple

import numpy as np

from tubelet.worlds.depth.render.rays import Rays, dot, unit, wide
from tubelet.worlds.depth.render.solids import frustum_radii, pairs_of, placed, planes, product, share
from tubelet.worlds.depth.scene import Array, Body, Motion

THIN = 0.15  # a disc seen from its edge is taken to be this wide


class Discs(NamedTuple):
    """The hull of two discs, both of a body's ends.

    forms [2, F, 3] across and along the line of their centres; start [2, F]: where the first centre lies in them;
    length [F]: the distance of the centres; radii [2, F]; heights [2, F] above the ground.
    """

    forms: Array
    start: Array
    length: Array
    radii: Array
    heights: Array


class Polygon(NamedTuple):
    """Outward lines [E, F, 3] with their offsets [E, F], infinite where they do not count, and heights [E, F]."""

    lines: Array
    offsets: Array
    heights: Array


def basis(direction: Array) -> tuple[Array, Array]:
    """Two unit vectors [F, 3] across a direction [F, 3], the first level."""
    level = np.stack([direction[:, 1], -direction[:, 0], 0 * direction[:, 0]], -1)
    level = np.where((dot(level, level) > 1e-12)[:, None], level, [1.0, 0.0, 0.0])
    level = unit(level)
    return level, np.cross(level, direction)


def seen_along(body: Body, motion: Motion, direction: Array) -> Discs | Polygon:
    """A body's outline from a light in the direction [F, 3]."""
    if body.kind in ("ball", "cylinder", "cone"):
        return discs(body, motion, direction)
    return polygon(body, motion, direction)


def discs(body: Body, motion: Motion, direction: Array) -> Discs:
    """The outline of a ball, or of a cylinder or cone."""
    across, up = basis(direction)
    centre, zero = motion.position, np.zeros(len(motion.position))
    if body.kind == "ball":
        radius, forms = np.full((2, len(zero)), body.half[0]), np.stack([across, up])
        return Discs(forms, dot(forms, centre), zero, radius, np.stack([centre[:, 2], centre[:, 2]]))
    axis = motion.rotation[:, :, 2]
    major = np.cross(axis, direction)
    sine = np.sqrt(dot(major, major))
    major = np.where((sine > 1e-6)[:, None], major / np.maximum(sine, 1e-6)[:, None], across)
    minor = np.cross(direction, major) / np.maximum(np.abs(dot(axis, direction)), THIN)[:, None]
    ends = np.stack([centre - axis * body.half[2], centre + axis * body.half[2]])
    along = dot(
        minor, ends[1] - ends[0]
    )  # the axis lies across `major`, so the centres differ in `minor` alone
    forms = np.stack([major, minor * np.where(along < 0, -1, 1)[:, None]])
    radii = np.array(frustum_radii(body))[:, None] + np.zeros((2, len(zero)))
    return Discs(forms, dot(forms, ends[0]), np.abs(along), radii, ends[..., 2])


def polygon(body: Body, motion: Motion, direction: Array) -> Polygon:
    """The outline of a box or ramp: edges between a face that the light reaches and one that it does not."""
    normals, offsets = planes(body)
    i, j = pairs_of(body)
    cosine = (normals[i] * normals[j]).sum(-1)
    a, b = ((offsets[p] - cosine * offsets[q]) / (1 - cosine**2) for p, q in ((i, j), (j, i)))
    on_edge = a[:, None] * normals[i] + b[:, None] * normals[j]  # [E, 3], a point of each edge's line
    inner = np.array(body.half) * [-1 / 3, 0, -1 / 3] if body.kind == "ramp" else np.zeros(3)

    def turn(vectors: Array) -> Array:
        return (motion.rotation[:, None] * vectors[:, None]).sum(-1)

    lit = dot(turn(normals), direction[:, None]) > 1e-9
    counts = lit[:, i] != lit[:, j]
    points = motion.position[:, None] + turn(on_edge)
    lines = unit(np.cross(turn(np.cross(normals[i], normals[j])), direction[:, None]))
    lines *= np.where(dot(lines, turn(on_edge - inner)) < 0, -1, 1)[..., None]
    order = np.argsort(~counts, axis=1, kind="stable")[:, : max(int(counts.sum(1).max()), 1)]
    counts = np.take_along_axis(counts, order, 1)
    offset = np.where(counts, np.take_along_axis(dot(lines, points), order, 1), np.inf)
    height = np.where(counts, np.take_along_axis(points[..., 2], order, 1), 0)
    lines = np.where(counts[..., None], np.take_along_axis(lines, order[..., None], 1), 0)
    return Polygon(np.moveaxis(lines, 1, 0), offset.T, height.T)


def shadow(caster: Discs | Polygon, rays: Rays, t: Array, soft: Array, blur: Array) -> Array:
    """Share of the light that a body keeps from the points at depth t: float32 [F, h, w].

    soft [F]: width of the edge per unit of the height of what casts it; blur: least width, that of a pixel.
    """
    if isinstance(caster, Polygon):
        lines, offsets = np.where(np.isinf(caster.offsets)[..., None], 0, caster.lines), caster.offsets
        distance = wide(np.where(np.isinf(offsets), 1e6, offsets)) - rays.points(t, lines)
        distance /= wide(soft * np.maximum(caster.heights, 0)) + blur
        return product(share(distance))
    length = np.maximum(caster.length, 1e-9)
    fall = np.clip((caster.radii[0] - caster.radii[1]) / length, -0.999, 0.999) * (caster.length > 1e-9)
    x, y = rays.points(t, caster.forms)
    x, y = np.abs(x - wide(caster.start[0])), y - wide(caster.start[1])
    place = (y - x * wide(fall / np.sqrt(1 - fall * fall))) * wide((caster.length > 1e-9) / length)
    np.maximum(place, np.float32(0), out=place)
    np.minimum(place, np.float32(1), out=place)
    y -= place * wide(caster.length)
    distance = (
        wide(caster.radii[0]) + place * wide(caster.radii[1] - caster.radii[0]) - np.sqrt(x * x + y * y)
    )
    low, high = np.maximum(caster.heights, 0) * soft
    return share(distance / (place * wide(high - low) + wide(low) + blur))


def ground_spots(body: Body, motion: Motion, direction: Array, margin: Array) -> Array:
    """Points [F, K, 3] of the ground around a body's shadow."""
    if body.kind == "ball":
        r = body.half[0]
        level, _ = basis(direction)
        along = np.stack([-level[:, 1], level[:, 0], 0 * level[:, 0]], -1) / direction[:, 2:3]
        foot = motion.position - direction * (motion.position[:, 2:3] / direction[:, 2:3])
        reach = (r + margin)[:, None]
        return np.stack([foot + reach * (a * level + b * along) for a in (-1, 1) for b in (-1, 1)], 1)
    points = placed(body, motion)
    points = points - direction[:, None] * (points[..., 2:] / direction[:, None, 2:])
    middle = points.mean(1, keepdims=True)
    size = np.sqrt(dot(points - middle, points - middle)).max(1)[:, None, None]
    return middle + (points - middle) * (1 + margin[:, None, None] / size)
