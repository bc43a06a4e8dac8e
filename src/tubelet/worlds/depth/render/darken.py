"""Shadows on the ground: the sun's, and the soft one of the sky around points of contact."""

import numpy as np

from tubelet.worlds.depth.render.ground import Rows, meet
from tubelet.worlds.depth.render.order import reach
from tubelet.worlds.depth.render.rays import WORLD, View, f32, runs, wide
from tubelet.worlds.depth.render.shade import Place
from tubelet.worlds.depth.render.shadows import ground_spots, seen_along, shadow
from tubelet.worlds.depth.scene import Array, Body, Motion

CONTACT = 0.62  # share of the sky's light that a body on the ground keeps from the point below it
SPREAD = 0.9  # width of that darkening by the height of what casts it
REACH = 3.2  # how many of its least half extents above the ground a body still darkens it


def darken(planes: list[Array], view: View, rows: Rows, place: Place, first: int) -> None:
    """Lay all bodies' shadows on the ground's planes, whose first row is `first` of the picture."""
    sun, sky = np.ones(planes[0].shape, np.float32), np.ones(planes[0].shape, np.float32)
    overhead, always = np.broadcast_to(WORLD[2], place.towards.shape), np.ones(len(place.towards))
    low, high = list(planes[0].shape[1:]), [0, 0]
    for (body, motion), outline in zip(place.things, place.outlines, strict=True):
        casts = [(sun, outline, place.towards, place.light.soft, always)]
        near = CONTACT * np.clip(1 - lowest(body, motion) / (REACH * min(body.half)), 0, 1) ** 2
        if near.max() > 0.01:
            casts += [(sky, seen_along(body, motion, overhead), overhead, SPREAD * always, near)]
        for light, caster, direction, soft, strength in casts:
            soft = soft / direction[:, 2]
            margin = soft * (motion.position[:, 2] + max(body.half)) * 0.5 + 0.03
            tile = view.around(ground_spots(body, motion, direction, margin))
            if tile is None:
                continue
            rays = view.rays(tile)
            _, depth, blur = meet(rays)
            cut = 1 - shadow(caster, rays, f32(depth), soft, f32(blur)) * wide(strength)
            for frames, skip, inside, columns in runs(tile, first, slice(None)):
                light[frames, inside, columns] *= cut[frames, skip:]
                low = [min(low[0], inside.start), min(low[1], columns.start)]
                high = [max(high[0], inside.stop), max(high[1], columns.stop)]
    shade(planes, sun, sky, rows, (slice(low[0], high[0]), slice(low[1], high[1])))


def shade(planes: list[Array], sun: Array, sky: Array, rows: Rows, within: tuple[slice, slice]) -> None:
    """Multiply what the ground sends back by the shares of light that reach it; the haze before it stays."""
    for plane, part, veil in zip(planes, rows.sunlit, rows.veil[:, :, within[0]], strict=True):
        lit = sun[:, *within] * wide(part)
        lit += sky[:, *within] * wide(1 - part)
        target = plane[:, *within]
        target -= veil
        target *= lit
        target += veil


def lowest(body: Body, motion: Motion) -> Array:
    """Height [F] of a body's lowest point above the ground."""
    return (
        motion.position[:, 2]
        - reach(body, motion, np.broadcast_to([[[0.0, 0.0, -1.0]]], (len(motion.position), 1, 3)))[:, 0]
    )
