"""Bodies as camera rays meet them: covered share of each pixel, depth and normal, all in closed form.

A covered share is clip(distance to the outline in pixels + 1/2): anti-aliasing without more rays.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tubelet.worlds.depth.render.rays import WORLD, Rays, Tile, View, combine, dot, unit, wide
from tubelet.worlds.depth.scene import Array, Body, Motion

FAR = 1e6  # stands for a line or face that does not count in a frame


class Hit(NamedTuple):
    """What rays meet of a body: covered share, depth t, unit normal: float32 [F, h, w], normal as three of them."""

    cover: Array
    t: Array
    normal: tuple[Array, Array, Array]


def share(distance: Array) -> Array:
    """clip(distance + 1/2, 0, 1), in place."""
    distance += np.float32(0.5)
    np.maximum(distance, np.float32(0), out=distance)
    return np.minimum(distance, np.float32(1), out=distance)


def product(shares: Array) -> Array:
    """Product over the first axis, in place."""
    result = shares[0]
    for other in shares[1:]:
        result *= other
    return result


def frustum_radii(body: Body) -> tuple[float, float]:
    """Radii of the bottom and the top of a cylinder or cone."""
    return body.half[0], body.half[0] if body.kind == "cylinder" else 0.0


@lru_cache(maxsize=256)
def planes(body: Body) -> tuple[Array, Array]:
    """Outward normals [P, 3] and offsets [P] of a box's or ramp's faces in its own axes."""
    half = np.array(body.half)
    normals, offsets = np.concatenate([np.eye(3), -np.eye(3)]), np.concatenate([half, half])
    if body.kind == "ramp":  # the slope is in place of the faces at +x and +z
        slope = unit(np.array([half[2], 0.0, half[0]]))
        normals, offsets = (
            np.concatenate([slope[None], normals[[1, 3, 4, 5]]]),
            np.r_[0.0, offsets[[1, 3, 4, 5]]],
        )
    return normals, offsets


@lru_cache(maxsize=256)
def corners(body: Body) -> Array:
    """Corners [K, 3] of a body's box, or of a ramp, in its own axes."""
    signs = np.stack(np.meshgrid([-1, 1], [-1, 1], [-1, 1], indexing="ij"), -1).reshape(8, 3)
    if body.kind == "ramp":
        signs = signs[(signs[:, 0] < 0) | (signs[:, 2] < 0)]
    return signs * np.array(body.half)


def placed(body: Body, motion: Motion) -> Array:
    """Its corners in the world [F, K, 3]."""
    return motion.position[:, None] + (motion.rotation[:, None] * corners(body)[:, None]).sum(-1)


def tile_of(body: Body, motion: Motion, view: View) -> Tile | None:
    """The tile that holds a body's picture."""
    if body.kind == "ball":
        return view.around_ball(motion.position, body.half[0])
    return view.around(placed(body, motion))


def meet(body: Body, motion: Motion, rays: Rays) -> Hit:
    """What camera rays see of a body, as if it were alone."""
    kind = {"ball": ball, "cylinder": frustum, "cone": frustum}.get(body.kind, polyhedron)
    return kind(body, motion, rays)


def ball(body: Body, motion: Motion, rays: Rays) -> Hit:
    """A sphere: covered by how much further than its radius the ray passes its centre."""
    radius, centre = body.half[0], motion.position - rays.origin
    distance2 = dot(centre, centre)
    depth = np.maximum(dot(centre, rays.axes[2]), 1e-3)
    tangent = np.sqrt(np.maximum(distance2 - radius * radius, 1e-6))
    pixel = rays.pixel * tangent * (depth / np.maximum(np.sqrt(distance2), 1e-3)) ** 1.5
    b, d2 = rays.along(centre), rays.squared()
    foot = b / d2
    miss2 = wide(distance2) - b * foot
    np.maximum(miss2, np.float32(0), out=miss2)
    cover = share(wide(radius / pixel) - np.sqrt(miss2) * wide(1 / pixel))
    cover *= b > 0
    inner = np.maximum(np.float32(radius**2) - miss2, np.float32(0))
    t = foot - np.sqrt(inner / d2)
    scale = np.float32(1 / radius)
    normal = rays.along(WORLD) * t
    normal -= wide(centre.T)
    normal *= scale / np.sqrt(
        np.maximum(miss2 * (scale * scale), np.float32(1))
    )  # sideways beyond the outline
    return Hit(cover, t, (normal[0], normal[1], normal[2]))


def first(vectors: Array, counts: Array, other: Array) -> Array:
    """Vectors [F, K, 3] that count [F, K] moved to the front, `other` [F, 3] in place of the rest: [k, F, 3]."""
    order = np.argsort(~counts, axis=1, kind="stable")[:, : max(int(counts.sum(1).max()), 1)]
    kept = np.take_along_axis(vectors, order[..., None], 1)
    kept = np.where(np.take_along_axis(counts, order, 1)[..., None], kept, FAR * other[:, None])
    return np.moveaxis(kept, 1, 0)


def within(rays: Rays, lines: Array) -> Array:
    """Share of each pixel on the positive side of every line, given as vectors [K, F, 3]."""
    return share(rays.along(lines / np.maximum(rays.slope(lines), 1e-12)[..., None]).min(0))


def outline(rays: Rays, lines: Array, counts: Array) -> Array:
    """Share of each pixel inside a convex polygon of lines [F, K, 3] that count [F, K].

    Edges that face each other are in different groups, whose shares are multiplied, so that thin bodies are faint;
    within a group the nearest edge decides, so that two edges in one line count once.
    """
    group = dot(lines, (rays.axes[0] + 0.37 * rays.axes[1])[:, None]) > 0
    cover = within(rays, first(lines, counts & group, rays.axes[2]))
    cover *= within(rays, first(lines, counts & ~group, rays.axes[2]))
    return cover


@lru_cache(maxsize=256)
def pairs_of(body: Body) -> tuple[Array, Array]:
    """Pairs of faces, each [E], that share an edge of a box or ramp: all that are not parallel."""
    normals, _ = planes(body)
    i, j = np.triu_indices(len(normals), 1)
    edge = np.abs((normals[i] * normals[j]).sum(-1)) < 1 - 1e-9
    return i[edge], j[edge]


def polyhedron(body: Body, motion: Motion, rays: Rays) -> Hit:
    """A box or ramp: 1 / t of each face's plane is linear in the picture, so outlines and edges are lines."""
    normals, offsets = planes(body)
    faces = (motion.rotation[:, None] * normals[:, None]).sum(-1)  # [F, P, 3]
    above = dot(faces, (rays.origin - motion.position)[:, None]) - offsets  # [F, P]
    front = above > 1e-9  # from a face's own plane the face is not seen
    inverse = faces / np.where(front, -above, np.maximum(-above, 1e-9))[..., None]
    i, j = pairs_of(body)
    sign = np.where(front[:, i], 1.0, -1.0)[..., None]
    cover = outline(rays, (inverse[:, i] - inverse[:, j]) * sign, front[:, i] != front[:, j])
    seen = first(inverse, front, rays.axes[2])
    nearness = rays.along(seen)
    near = nearness.min(0)
    cover *= near > 0
    cover *= wide(front.max(1))
    weights = face_weights(rays, seen)
    towards = np.moveaxis(np.take_along_axis(faces, np.argsort(~front, 1, kind="stable")[..., None], 1), 1, 0)
    normal = np.zeros((3, *near.shape), np.float32)
    for weight, face in zip(weights, towards, strict=False):
        normal += weight * wide(face.T)
    return Hit(cover, 1 / np.maximum(near, np.float32(1e-4)), (normal[0], normal[1], normal[2]))


def face_weights(rays: Rays, seen: Array) -> list[Array]:
    """Which of up to three faces [k, F, 3] a pixel shows, as shares that sum to 1: the one with the least 1 / t."""
    count = len(seen)
    weights = [np.ones((1, 1, 1), np.float32) for _ in range(count)]
    for i in range(count):
        for j in range(i + 1, count):
            mine = within(rays, (seen[j] - seen[i])[None])
            weights[i] = weights[i] * mine
            weights[j] = weights[j] * (1 - mine)
    total = np.maximum(np.sum(weights, 0), np.float32(1e-6))
    return [weight / total for weight in weights]


def disc(rays: Rays, local: tuple[Array, Array, Array], origin: Array, height: float, radius: float) -> Array:
    """Signed distance in pixels to the outline of a disc at a height on a body's own z axis, above 0 inside.

    local: the body's axes [F, 3] in the world; origin [F, 3] the eye in its axes.
    """
    gap = height - origin[:, 2]
    planar = [origin[:, k, None] * local[2] + gap[:, None] * local[k] for k in (0, 1)]
    x, y, z = (rays.along(v) for v in (*planar, local[2] * radius))
    inside = z * z - x * x - y * y
    square = np.float32(0)
    for axis in rays.axes[:2]:
        dx, dy, dz = (wide(dot(v, axis) * rays.pixel) for v in (*planar, local[2] * radius))
        change = z * dz - x * dx - y * dy
        square = square + change * change
    return inside / np.sqrt(4 * square + np.float32(1e-12))


def frustum(body: Body, motion: Motion, rays: Rays) -> Hit:
    """A cylinder or cone: the hull of two discs, and the surface of second order between them."""
    (bottom, top), half = frustum_radii(body), body.half[2]
    local = motion.rotation[:, :, 0], motion.rotation[:, :, 1], motion.rotation[:, :, 2]
    from_centre = rays.origin - motion.position
    origin = np.stack([dot(from_centre, axis) for axis in local], -1)  # [F, 3]
    middle, slope = (bottom + top) / 2, (bottom - top) / (2 * half)
    ends = [disc(rays, local, origin, h, r) for h, r in ((-half, bottom), (half, top)) if r > 0]
    cap, radius = np.sign(origin[:, 2]), middle - np.sign(origin[:, 2]) * slope * half
    capped = (np.abs(origin[:, 2]) > half) & (radius > 1e-6)
    cap_share = np.zeros_like(ends[0])
    for level, end in zip((-1, 1), ends, strict=False):
        cap_share = np.where(wide(capped & (cap == level)) > 0, share(end.copy()), cap_share)
    lines, touched = sides(origin, local, (bottom, top), half)
    cover = outline(rays, lines, np.broadcast_to(touched[:, None], lines.shape[:2]))
    cover *= touched[:, None, None]
    for end in ends:
        np.maximum(cover, share(end), out=cover)
    x, y, z = (rays.along(axis) for axis in local)
    ox, oy = wide(origin[:, 0]), wide(origin[:, 1])
    k, rest = np.float32(slope), wide(middle - slope * origin[:, 2])
    a = x * x + y * y - (k * k) * z * z
    b = ox * x + oy * y + k * rest * z
    c = ox * ox + oy * oy - rest * rest
    root = np.sqrt(np.maximum(b * b - a * c, np.float32(0)))
    t = c / np.maximum(root - b, np.float32(1e-4))
    px, py = ox + t * x, oy + t * y
    length = np.sqrt(px * px + py * py + np.float32(1e-9)) * np.float32(np.sqrt(1 + slope * slope))
    level = np.float32(slope / np.sqrt(1 + slope * slope))
    on_cap = cap_share > 0.5
    flat = wide(cap * half - origin[:, 2]) / np.where(np.abs(z) > 1e-6, z, np.float32(1e-6))
    t = np.where(on_cap, flat, t)
    own = [
        px / length * (1 - cap_share),
        py / length * (1 - cap_share),
        level + cap_share * (wide(cap) - level),
    ]
    normal = [combine(own, motion.rotation[:, i]) for i in range(3)]
    cover *= t > 0
    return Hit(cover, t, (normal[0], normal[1], normal[2]))


def sides(origin: Array, local: tuple, radii: tuple[float, float], half: float) -> tuple[Array, Array]:
    """Lines [F, 3 or 4, 3] around the points where the planes through the eye that touch a frustum touch its discs.

    Also whether there are such planes, [F]: the eye may be above or below the whole body.
    """
    (bottom, top), slope = radii, (radii[0] - radii[1]) / (2 * half)
    reach = np.sqrt(origin[:, 0] ** 2 + origin[:, 1] ** 2)
    cosine = ((bottom + top) / 2 - slope * origin[:, 2]) / np.maximum(reach, 1e-9)
    sine = np.sqrt(np.maximum(1 - cosine * cosine, 0))
    to_eye = origin[:, :2] / np.maximum(reach, 1e-9)[:, None]
    turned = np.stack([-to_eye[:, 1], to_eye[:, 0]], -1)
    touching = [to_eye * cosine[:, None] + turned * (side * sine)[:, None] for side in (-1, 1)]  # each [F, 2]

    def world(vectors: Array) -> Array:
        return (vectors[:, None] * np.stack(local, -1)).sum(-1)

    def at(direction: Array, radius: float, height: float) -> Array:
        return np.concatenate([direction * radius, np.full((len(direction), 1), height)], 1) - origin

    lines = [world(-np.concatenate([touch, np.full((len(touch), 1), slope)], 1)) for touch in touching]
    for radius, height, other in ((bottom, -half, top), (top, half, bottom)):
        left, right = (at(touch, radius, height) for touch in touching)
        line = np.cross(left, right)
        line *= np.sign(dot(line, at(touching[0], other, -height)))[:, None]
        lines += [world(line)] if radius > 0 else []
    return np.stack(lines, 1), np.abs(cosine) < 1
