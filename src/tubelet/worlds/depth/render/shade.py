"""The colour of a body's surface: sunlight that others may block, light of sky and ground, a highlight, or a mirror."""

from typing import NamedTuple

import numpy as np

from tubelet.worlds.depth.render.bounce import environment
from tubelet.worlds.depth.render.ground import Floor
from tubelet.worlds.depth.render.palette import Light, paint
from tubelet.worlds.depth.render.rays import WORLD, Rays, combine, dot, wide
from tubelet.worlds.depth.render.shadows import Discs, Polygon, shadow
from tubelet.worlds.depth.render.solids import Hit, share
from tubelet.worlds.depth.scene import Array, Body, Motion

GLOSS = 0.42  # of the highlight
TINY = np.float32(1e-6)


class Place(NamedTuple):
    """What surrounds the bodies of some frames.

    towards [F, 3] unit vectors to the light; things: all bodies with their motions, outlines: as the light sees them.
    """

    floor: Floor
    light: Light
    towards: Array
    things: list[tuple[Body, Motion]]
    outlines: list[Discs | Polygon]
    backdrop: str
    seed: int
    indoors: bool


def colour_of(number: int, hit: Hit, rays: Rays, place: Place) -> list[Array]:
    """Three linear float32 planes [F, h, w] of a body where it is hit, with the haze in front of it."""
    body, motion = place.things[number]
    light = place.light
    planes = (environment if body.paint.mirror else painted)(number, hit, rays, place)
    offset = motion.position - rays.origin
    clear = np.exp(-((np.sqrt(dot(offset, offset)) / light.haze) ** 1.5))
    if (clear > 0.999).all():
        return planes
    for plane, veil in zip(planes, light.horizon.T, strict=True):
        plane *= wide(clear)
        plane += wide(veil * (1 - clear))
    return planes


def painted(number: int, hit: Hit, rays: Rays, place: Place) -> list[Array]:
    """Diffuse paint with a soft highlight."""
    body, motion = place.things[number]
    light, normal = place.light, hit.normal
    facing = combine(normal, place.towards)
    shiny = highlight(hit, rays, place.towards, facing)
    lit = np.maximum(facing, np.float32(0))
    open_share = unblocked(number, hit, rays, place)
    if open_share is not None:
        lit = lit * open_share
        shiny *= open_share
    sky = normal[2] * np.float32(0.5) + np.float32(0.5)
    dim = 1 / (
        1 + (np.sqrt(dot(motion.position - rays.origin, motion.position - rays.origin)) / light.lamp) ** 2
    )
    dim = np.minimum(dim * 1.6, 1.0) if place.indoors else dim
    first, second, mix = pattern(body, motion, hit, rays)
    planes = []
    for k in range(3):
        below = light.below[:, k] * (0.5 + 1.4 * place.floor.mean[k])
        plane = lit * wide(light.sun[:, k] * dim)
        plane += sky * wide((light.above[:, k] - below) * dim)
        plane += wide(below * dim)
        plane *= (
            np.float32(first[k])
            if mix is None
            else np.float32(first[k]) + mix * np.float32(second[k] - first[k])
        )
        plane += shiny * wide(light.sun[:, k] * dim)
        planes.append(plane)
    return planes


def highlight(hit: Hit, rays: Rays, towards: Array, facing: Array) -> Array:
    """The 32nd power of the cosine between the mirrored ray and the light, times GLOSS."""
    d = rays.along(WORLD)
    outward = d[0] * hit.normal[0]
    outward += d[1] * hit.normal[1]
    outward += d[2] * hit.normal[2]
    outward *= facing
    shiny = rays.along(towards)
    shiny -= 2 * outward
    np.maximum(shiny, np.float32(0.2), out=shiny)  # its powers are numbers that a processor is quick with
    shiny *= shiny
    shiny /= rays.squared()
    for _ in range(4):
        shiny *= shiny
    shiny *= np.float32(GLOSS)
    return shiny


def unblocked(number: int, hit: Hit, rays: Rays, place: Place) -> Array | None:
    """Share of sunlight that the other bodies let through to the points of one; none where nothing is in its way."""
    body, motion = place.things[number]
    size, towards = float(np.sqrt(np.square(body.half).sum())), place.towards
    result = None
    for other, (caster, moving) in enumerate(place.things):
        if other == number:
            continue
        gap = moving.position - motion.position
        ahead = dot(gap, towards)
        beside = np.sqrt(np.maximum(dot(gap, gap) - ahead**2, 0))
        large = float(np.sqrt(np.square(caster.half).sum()))
        if not ((beside < size + large) & (ahead > -size - large)).any():
            continue
        outline = place.outlines[other]
        rise = np.maximum(ahead, 0.3 * large)
        level = outline._replace(heights=np.broadcast_to(rise, outline.heights.shape))
        cut = shadow(
            level, rays, hit.t, place.light.soft, wide(3 * rays.pixel * np.sqrt(dot(gap, gap)) + 0.03)
        )
        further = wide(dot(moving.position, towards)) - rays.points(hit.t, towards)
        cut *= share(further * np.float32(2 / large))
        result = 1 - cut if result is None else result * (1 - cut)
    return result


def pattern(body: Body, motion: Motion, hit: Hit, rays: Rays) -> tuple[Array, Array, Array | None]:
    """Both colours, and the share of the second in each pixel, none where there is no pattern."""
    first = paint(body.paint.colour)
    if body.paint.second is None or body.paint.pattern == "plain":
        return first, first, None
    second = paint(body.paint.second)
    offset = motion.position - rays.origin
    sharp = body.half[0] / (rays.pixel * np.sqrt(dot(offset, offset)) * 1.2)  # pixels in a radius, nearly
    if body.paint.pattern == "band":
        level = np.abs(combine(hit.normal, motion.rotation[:, :, 2]))
        return first, second, share((np.float32(0.34) - level) * wide(sharp))
    mix = np.ones_like(hit.t)
    for k in range(3):
        side = combine(hit.normal, motion.rotation[:, :, k]) * wide(sharp * 2)
        mix *= np.maximum(np.minimum(side, np.float32(1)), np.float32(-1))
    return first, second, mix * np.float32(0.5) + np.float32(0.5)
