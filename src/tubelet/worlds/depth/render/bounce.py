"""What a mirror shows: one reflected ray per pixel, into the other bodies, the ground and the sky."""

from typing import TYPE_CHECKING

import numpy as np

from tubelet.worlds.depth.render.palette import paint
from tubelet.worlds.depth.render.rays import WORLD, Rays, combine, f32, wide
from tubelet.worlds.depth.render.sky import gradient
from tubelet.worlds.depth.render.solids import Hit, frustum_radii, planes
from tubelet.worlds.depth.render.texture import level
from tubelet.worlds.depth.scene import Array, Body, Motion

if TYPE_CHECKING:
    from tubelet.worlds.depth.render.shade import Place

TABLE = 256
HAZY = 9.0  # distance at which a mirrored ground is half haze
GREYING = {"gold": 0.65}  # how much of the reflected hues a metal swallows: a blue sky in gold would be green
SOLID = 4.0  # a mirrored body is opaque where rays are inside it for 1 / SOLID units: its edges are soft
FAR = np.float32(1e4)
Vector = tuple[Array, Array, Array]


def environment(number: int, hit: Hit, rays: Rays, place: "Place") -> list[Array]:
    """Three linear float32 planes of what the mirror `number` reflects, in its own tint."""
    body, motion = place.things[number]
    light = place.light
    d = tuple(rays.along(WORLD))
    facing = 2 * (d[0] * hit.normal[0] + d[1] * hit.normal[1] + d[2] * hit.normal[2])
    scale = 1 / np.sqrt(rays.squared())
    turned = tuple((a - facing * n) * scale for a, n in zip(d, hit.normal, strict=True))
    point = tuple(hit.t * a + wide(rays.origin[:, k]) for k, a in enumerate(d))
    sky, ground = sky_colours(turned, place), ground_colours(body, motion, point, turned, place)
    upper = np.minimum(np.maximum(turned[2] * np.float32(40) + np.float32(0.5), np.float32(0)), np.float32(1))
    seen = [g + (s - g) * upper for s, g in zip(sky, ground, strict=True)]
    nearest = np.full_like(hit.t, FAR)
    for other, (thing, moving) in enumerate(place.things):
        if other == number:
            continue
        distance, chord, normal = trace(thing, moving, point, turned)
        cover = np.minimum(chord * np.float32(SOLID), np.float32(1)) * (distance < nearest)
        if not cover.any():
            continue
        facing = combine(normal, place.towards)
        colour = paint(thing.paint.colour)
        colour = colour if thing.paint.second is None else (colour + paint(thing.paint.second)) / 2
        for k in range(3):
            lit = np.maximum(facing, np.float32(0)) * wide(light.sun[:, k] * 0.9)
            lit += normal[2] * wide((light.above[:, k] - light.below[:, k]) * 0.5)
            lit += wide((light.above[:, k] + light.below[:, k]) * 0.5)
            lit *= np.float32(colour[k])
            seen[k] += (lit - seen[k]) * cover
        nearest = np.where(cover > 0, distance, nearest)
    grey = np.float32(GREYING.get(body.paint.colour, 0))
    bright = (seen[0] + seen[1] + seen[2]) * (grey / 3)
    tints = f32(paint(body.paint.colour))
    return [(plane * (1 - grey) + bright) * tint for plane, tint in zip(seen, tints, strict=True)]


def sky_colours(turned: Vector, place: "Place") -> list[Array]:
    """The sky by elevation, and the sun's bright spot."""
    light, frames = place.light, len(place.towards)
    rise = np.broadcast_to(np.linspace(0, 1, TABLE), (frames, TABLE))
    table = gradient(light, rise)
    low = np.clip(1 - rise / 0.045, 0, 1) * (
        0.0 if place.indoors else 0.75
    )  # hills, or what else is on the horizon
    table += (light.hills.T[..., None] - table) * low
    index = (np.maximum(turned[2], np.float32(0)) * np.float32(TABLE - 1)).astype(np.int32)
    index += (np.arange(frames, dtype=np.int32) * TABLE)[:, None, None]
    spot = np.maximum(combine(turned, place.towards), np.float32(0.3))  # so that its powers are not too small
    for _ in range(6):
        spot = spot * spot  # 64th power
    spot *= np.float32(0.9)
    return [
        f32(plane).reshape(-1).take(index) + spot * wide(sun)
        for plane, sun in zip(table, light.sun.T, strict=True)
    ]


def ground_colours(body: Body, motion: Motion, point: Vector, turned: Vector, place: "Place") -> list[Array]:
    """The ground where reflected rays meet it, darker under the mirror itself."""
    light, floor = place.light, place.floor
    far = point[2] / np.maximum(-turned[2], np.float32(0.01))
    np.maximum(far, np.float32(0), out=far)
    np.minimum(far, np.float32(80), out=far)
    x, y = point[0] + far * turned[0], point[1] + far * turned[1]
    u, v = (x * np.float32(a[0]) + y * np.float32(a[1]) - np.float32(s)
            for a, s in zip(floor.axes, floor.start, strict=True))  # fmt: skip
    width = np.float32(0.02) + far * np.float32(0.02)
    albedo = floor.albedo(u, v, level(np.array(0.09)), (width, width))
    dx, dy = x - wide(motion.position[:, 0]), y - wide(motion.position[:, 1])
    size = np.float32(1 / body.half[0] ** 2)
    dark = 1 - np.float32(0.75) / (1 + (dx * dx + dy * dy) * size * np.float32(1.3))
    clear = np.float32(HAZY) / (far + np.float32(HAZY))
    lift = 0.3 + 0.7 * place.towards[:, 2]
    planes = []
    for k in range(3):
        lit = albedo[k] * dark * wide(light.sun[:, k] * lift + light.above[:, k])
        horizon = wide(light.horizon[:, k])
        planes.append(horizon + (lit - horizon) * clear)
    return planes


def trace(body: Body, motion: Motion, point: Vector, turned: Vector) -> tuple[Array, Array, Vector]:
    """Distance along general rays to a body, how long they are inside it, 0 where they miss, and the normal."""
    offset = [p - wide(motion.position[:, i]) for i, p in enumerate(point)]
    start, way = (
        [combine(values, motion.rotation[:, :, k]) for k in range(3)] for values in (offset, turned)
    )
    if body.kind in ("ball", "cylinder", "cone"):
        near, far, normal = round_interval(body, start, way)
    else:
        near, far, normal = flat_interval(*planes(body), start, way)
    if body.kind in ("cylinder", "cone"):
        caps = flat_interval(np.array([[0, 0, 1.0], [0, 0, -1.0]]), np.array([body.half[2]] * 2), start, way)
        later = caps[0] > near
        normal = [np.where(later, c, n) for c, n in zip(caps[2], normal, strict=True)]
        near, far = np.maximum(near, caps[0]), np.minimum(far, caps[1])
    hit = (near < far) & (near > 0)
    x, y, z = (combine(normal, motion.rotation[:, i]) for i in range(3))
    return near, (far - near) * hit, (x, y, z)


def flat_interval(normals: Array, offsets: Array, start: list, way: list) -> tuple[Array, Array, list]:
    """Where rays are inside all half spaces: first and last distance, and the normal at the first."""
    near, far = np.full_like(start[0], -FAR), np.full_like(start[0], FAR)
    normal = [np.zeros_like(near) for _ in range(3)]
    for n, offset in zip(normals, offsets, strict=True):
        speed, gap = combine(way, n[None]), np.float32(offset) - combine(start, n[None])
        safe = np.where(np.abs(speed) > 1e-6, speed, np.float32(1e-6))
        at = gap / safe
        enters = (safe < 0) & (at > near)
        near = np.where(enters, at, near)
        normal = [np.where(enters, np.float32(a), old) for a, old in zip(n, normal, strict=True)]
        far = np.where(safe > 0, np.minimum(far, at), far)
    return near, far, normal


def round_interval(body: Body, start: list, way: list) -> tuple[Array, Array, list]:
    """Where rays are inside a ball or an endless cylinder or cone, and the normal at the first of both distances."""
    if body.kind == "ball":
        turn, slope, middle = np.float32(1), 0.0, body.half[0]
    else:
        bottom, top = frustum_radii(body)
        turn, slope, middle = np.float32(0), (bottom - top) / (2 * body.half[2]), (bottom + top) / 2
    k = np.float32(slope)
    rest = np.float32(middle) - k * start[2]
    a = way[0] * way[0] + way[1] * way[1] + way[2] * way[2] * (turn - k * k)
    b = start[0] * way[0] + start[1] * way[1] + start[2] * way[2] * turn + k * rest * way[2]
    c = start[0] * start[0] + start[1] * start[1] + start[2] * start[2] * turn - rest * rest
    inside = b * b - a * c
    root = np.sqrt(np.maximum(inside, np.float32(0)))
    safe = np.where(np.abs(a) > 1e-6, a, np.float32(1e-6))
    near, far = (-b - root) / safe, (-b + root) / safe
    near = np.where(inside > 0, near, FAR)
    points = [s + near * w for s, w in zip(start, way, strict=True)]
    length = (
        np.float32(middle)
        if body.kind == "ball"
        else np.sqrt(points[0] * points[0] + points[1] * points[1] + np.float32(1e-9))
        * np.float32(np.sqrt(1 + slope * slope))
    )
    up = (
        points[2] / length
        if body.kind == "ball"
        else np.float32(slope / np.sqrt(1 + slope * slope)) + 0 * near
    )
    return near, far, [points[0] / length, points[1] / length, up]
