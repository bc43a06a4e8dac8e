"""A shot becomes pictures: sky and ground, shadows, reflections in the ground, then bodies from back to front."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from tubelet.worlds.depth.render.background import Background
from tubelet.worlds.depth.render.ground import Floor, Plane
from tubelet.worlds.depth.render.ground import meet as meet_ground
from tubelet.worlds.depth.render.order import back_to_front, reach
from tubelet.worlds.depth.render.palette import Light, light_of, towards
from tubelet.worlds.depth.render.rays import WORLD, Tile, View, f32, wide
from tubelet.worlds.depth.render.shade import Place, colour_of
from tubelet.worlds.depth.render.shadows import ground_spots, seen_along, shadow
from tubelet.worlds.depth.render.solids import Hit, meet, share, tile_of
from tubelet.worlds.depth.render.truth import facts
from tubelet.worlds.depth.scene import Array, Body, Motion, Picture, Shot

CHUNK = 1 << 20  # pixels that are worked on at a time, so that their planes stay in the cache
CONTACT = 0.62  # share of the sky's light that a body on the ground keeps from the point below it
SPREAD = 0.9  # width of that darkening by the height of what casts it
SUNK = 0.02  # bodies deeper in the ground than this are cut off at it
REACH = 1.6  # how many of its sizes above the ground a body still darkens it


class Layer(NamedTuple):
    """A body's picture in its tile: covered share, depth and normal, and three colour planes [F, h, w]."""

    number: int
    tile: Tile
    hit: Hit
    colour: list[Array]


def render(shot: Shot, height: int, width: int, truth: bool = False) -> Picture:
    """The pictures of a shot, and with truth what each pixel shows.

    A frame depends on its own state alone: the first frames of a longer shot are those of a shorter one.
    """
    length = max(1, CHUNK // (height * width))
    floor = Floor(shot.ground)
    chunks = [slice(start, min(start + length, len(shot))) for start in range(0, len(shot), length)]
    parts = [
        chunk_picture(shot, floor, View.of(shot.camera, height, width), which, truth) for which in chunks
    ]
    return Picture(
        *(None if field[0] is None else np.concatenate(field) for field in zip(*parts, strict=True))
    )


def chunk_picture(shot: Shot, floor: Floor, view: View, which: slice, truth: bool) -> Picture:
    """The pictures of some frames."""
    view, place = view.frames(which), place_of(shot, floor, which)
    background = Background.of(view, place)
    planes, cover = background.picture()
    below = [plane[:, background.first :] for plane in planes]
    rows = view.whole(slice(background.first, None))
    plane = Plane(floor, view.rays(rows), place.light, place.towards)
    darken(below, view, plane, place, background.first)
    fresnel = plane.fresnel()
    if fresnel.any():
        mirrored, up = background.mirrored(), view.mirrored()
        images = layers_of(up, place)
        paint(mirrored, images, order_of(up, place, images), background.first)
        if floor.kind == "water":
            index = background.ripple()
            mirrored = [values.reshape(-1).take(index) for values in mirrored]
        fresnel = fresnel * cover[:, background.first :]
        for target, image in zip(below, mirrored, strict=True):
            image -= target
            image *= fresnel
            target += image
    layers = layers_of(view, place)
    order = order_of(view, place, layers)
    paint(planes, layers, order, 0)
    return Picture(encoded(planes), *(facts(view, place, layers, order) if truth else (None, None, None)))


def place_of(shot: Shot, floor: Floor, which: slice) -> Place:
    """Light and bodies of some frames."""
    light = Light(*(field[which] for field in light_of(shot.sun)))
    direction = towards(shot.sun)[which]
    motions = [Motion(*(values[which] for values in motion)) for motion in shot.motions]
    things = list(zip(shot.bodies, motions, strict=True))
    outlines = [seen_along(*thing, direction) for thing in things]
    indoors = shot.sun.kind == "dark room"
    return Place(floor, light, direction, things, outlines, shot.backdrop, shot.ground.seed, indoors)


def darken(planes: list[Array], view: View, plane: Plane, place: Place, first: int) -> None:
    """Lay the bodies' shadows on the ground: the sun's, and the sky's soft one around points of contact."""
    sun, sky = np.ones(planes[0].shape, np.float32), np.ones(planes[0].shape, np.float32)
    overhead = np.broadcast_to([0.0, 0.0, 1.0], place.towards.shape)
    always = np.ones(len(overhead))
    rows = [len(planes[0][0]), 0]
    for (body, motion), outline in zip(place.things, place.outlines, strict=True):
        near = CONTACT * np.clip(1 - lowest(body, motion) / (REACH * 2 * min(body.half)), 0, 1) ** 2
        casts = [(sun, outline, place.towards, place.light.soft, always)]
        casts += (
            [(sky, seen_along(body, motion, overhead), overhead, SPREAD * always, near)] if near.any() else []
        )
        for light, caster, direction, soft, strength in casts:
            soft = soft / direction[:, 2]
            margin = soft * (motion.position[:, 2] + max(body.half)) * 0.5 + 0.03
            tile = view.around(ground_spots(body, motion, direction, margin))
            if tile is None:
                continue
            rays = view.rays(tile)
            _, depth, blur = meet_ground(rays)
            cut = 1 - shadow(caster, rays, f32(depth), soft, f32(blur)) * wide(strength)
            for frames, skip, inside, columns in runs(tile, first, slice(None)):
                light[frames, inside, columns] *= cut[frames, skip:]
                rows = [min(rows[0], inside.start), max(rows[1], inside.stop)]
    if rows[0] < rows[1]:
        shade(planes, sun, sky, plane, slice(*rows))


def shade(planes: list[Array], sun: Array, sky: Array, plane: Plane, rows: slice) -> None:
    """Multiply what the ground sends back by the shares of light that reach it; the haze before it stays."""
    for target, part, veil in zip(planes, plane.sunlit, plane.veil, strict=True):
        lit = sun[:, rows] * wide(part)
        lit += sky[:, rows] * wide(1 - part)
        target = target[:, rows]
        target -= veil[:, rows]
        target *= lit
        target += veil[:, rows]


def lowest(body: Body, motion: Motion) -> Array:
    """Height [F] of a body's lowest point above the ground."""
    return (
        motion.position[:, 2]
        - reach(body, motion, np.broadcast_to([[[0.0, 0.0, -1.0]]], (len(motion.position), 1, 3)))[:, 0]
    )


def layers_of(view: View, place: Place) -> list[Layer]:
    """The picture of every body that is seen, as if it were alone; what is below the ground is not seen."""
    layers = []
    for number, (body, motion) in enumerate(place.things):
        tile = tile_of(body, motion, view)
        if tile is not None:
            rays = view.rays(tile)
            hit = meet(body, motion, rays)
            if (lowest(body, motion) < -SUNK).any():
                high = rays.points(hit.t, WORLD[2]) / (hit.t * np.float32(view.pixel))
                hit.cover[...] *= share(high + np.float32(0.5))
            layers.append(Layer(number, tile, hit, colour_of(number, hit, rays, place)))
    return layers


def order_of(view: View, place: Place, layers: list[Layer]) -> Array:
    """Numbers [F, N] of the layers from back to front."""
    meets = np.zeros((len(layers), len(layers)), bool)
    for i, a in enumerate(layers):
        for j, b in enumerate(layers[:i]):
            rows = (a.tile.top < b.tile.top + b.tile.height) & (b.tile.top < a.tile.top + a.tile.height)
            columns = (a.tile.left < b.tile.left + b.tile.width) & (b.tile.left < a.tile.left + a.tile.width)
            meets[i, j] = meets[j, i] = (rows & columns).any()
    return back_to_front(view.origin, [place.things[layer.number] for layer in layers], meets)


def runs(tile: Tile, first: int, frames: slice) -> Iterator[tuple[slice, int, slice, slice]]:
    """Frames in a row in which a tile stays where it is, its rows above `first`, its other rows from there, columns."""
    start, stop, _ = frames.indices(len(tile.top))
    moved = tile.moved()[start + 1 : stop].nonzero()[0] + start + 1
    for low, high in pairwise([start, *moved.tolist(), stop]):
        rows, columns = tile.inside(low)
        skip = max(first - rows.start, 0)
        if rows.start + skip < rows.stop:
            yield slice(low, high), skip, slice(rows.start + skip - first, rows.stop - first), columns


def paint(planes: list[Array], layers: list[Layer], order: Array, first: int) -> None:
    """Blend the layers over planes whose first row is `first`, in the order of each frame."""
    swaps = (order[1:] != order[:-1]).any(1).nonzero()[0] + 1
    for start, stop in pairwise([0, *swaps.tolist(), len(order)]):
        for number in order[start]:
            layer = layers[number]
            for frames, skip, rows, columns in runs(layer.tile, first, slice(start, stop)):
                cover = layer.hit.cover[frames, skip:]
                for plane, colour in zip(planes, layer.colour, strict=True):
                    target = plane[frames, rows, columns]
                    target += (colour[frames, skip:] - target) * cover


def encoded(planes: list[Array]) -> Array:
    """Linear light as uint8 [F, H, W, 3], gamma 2."""
    frames = np.empty((*planes[0].shape, 3), np.uint8)
    for k, plane in enumerate(planes):
        np.maximum(plane, np.float32(0), out=plane)
        np.minimum(plane, np.float32(1), out=plane)
        np.sqrt(plane, out=plane)
        plane *= np.float32(255)
        plane += np.float32(0.5)
        frames[..., k] = plane
    return frames
