"""A shot becomes pictures: sky and ground, shadows, reflections in the ground, then bodies from back to front."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from tubelet.worlds.depth.render.background import Background
from tubelet.worlds.depth.render.darken import darken, lowest
from tubelet.worlds.depth.render.ground import Floor
from tubelet.worlds.depth.render.order import back_to_front
from tubelet.worlds.depth.render.palette import Light, light_of, towards
from tubelet.worlds.depth.render.rays import WORLD, Tile, View, runs
from tubelet.worlds.depth.render.shade import Place, colour_of
from tubelet.worlds.depth.render.shadows import seen_along
from tubelet.worlds.depth.render.solids import Hit, meet, share, tile_of
from tubelet.worlds.depth.render.truth import facts
from tubelet.worlds.depth.scene import Array, Motion, Picture, Shot

CHUNK = 1 << 20  # pixels that are worked on at a time
CACHED = 1 << 16  # pixels that are encoded at a time
SUNK = 0.02  # bodies deeper in the ground than this are cut off at it


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
    frames, *facts = (
        None if field[0] is None else np.concatenate(field) for field in zip(*parts, strict=True)
    )
    assert frames is not None
    return Picture(frames, *facts)


def chunk_picture(shot: Shot, floor: Floor, view: View, which: slice, truth: bool) -> Picture:
    """The pictures of some frames."""
    view, place = view.frames(which), place_of(shot, floor, which)
    background = Background.of(view, place)
    planes, cover = background.picture()
    below = [plane[:, background.first :] for plane in planes]
    rows = background.rows()
    darken(below, view, rows, place, background.first)
    if rows.fresnel.any():
        mirrored, up = background.mirrored(), view.mirrored()
        images = layers_of(up, place)
        paint(mirrored, images, order_of(up, place, images), background.first)
        if floor.kind == "water":
            index = background.ripple()
            mirrored = [values.reshape(-1).take(index) for values in mirrored]
        fresnel = rows.fresnel * cover[:, background.first :]
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
    """Linear light as uint8 [F, H, W, 3], gamma 2: 256 steps of equal width."""
    frames = np.empty((*planes[0].shape, 3), np.uint8)
    step = max(1, CACHED // planes[0][0].size)
    for start in range(0, len(frames), step):
        for k, plane in enumerate(planes):
            part = plane[start : start + step]
            np.maximum(part, np.float32(0), out=part)
            np.minimum(part, np.float32(1), out=part)
            np.sqrt(part, out=part)
            part *= np.float32(255.99)
            frames[start : start + step, ..., k] = part
    return frames
