"""What each pixel shows, from the same layers as its colour: the body it shows most of, its depth, visible shares."""

import numpy as np

from tubelet.worlds.depth.render.ground import meet as meet_ground
from tubelet.worlds.depth.render.rays import View
from tubelet.worlds.depth.render.shade import Place
from tubelet.worlds.depth.render.solids import meet, tile_of
from tubelet.worlds.depth.scene import Array

GROUND, SKY = -1, -2
AROUND = 3  # how many times the picture's sides a body's whole picture is looked for in


def facts(view: View, place: Place, layers: list, order: Array) -> tuple[Array, Array, Array]:
    """ids [F, H, W], depth [F, H, W] and visible [F, N] of layers drawn in that order."""
    shape = (len(view.origin), view.height, view.width)
    down, ground, _ = meet_ground(view.rays(view.whole()))
    behind = (np.broadcast_to(np.where(down > 0, GROUND, SKY), shape).astype(np.int8),
              np.broadcast_to(np.where(down > 0, ground, np.inf), shape).astype(np.float32))  # fmt: skip
    ids, depth = behind[0].copy(), behind[1].copy()
    visible = np.zeros((shape[0], len(place.things)), np.float32)
    areas = {layer.number: area(view, place, layer.number) for layer in layers}
    for frame in range(shape[0]):
        left, most = np.ones(shape[1:], np.float32), np.zeros(shape[1:], np.float32)
        for number in order[frame, ::-1]:
            layer = layers[number]
            inside = layer.tile.inside(frame)
            seen = layer.hit.cover[frame] * left[inside]
            left[inside] -= seen
            visible[frame, layer.number] = min(seen.sum() / max(areas[layer.number][frame], 1e-6), 1)
            here = seen > most[inside]
            np.copyto(most[inside], seen, where=here)
            np.copyto(ids[frame][inside], np.int8(layer.number), where=here)
            np.copyto(depth[frame][inside], layer.hit.t[frame], where=here)
        for field, other in zip((ids, depth), behind, strict=True):
            np.copyto(field[frame], other[frame], where=left >= most)
    return ids, depth, visible


def area(view: View, place: Place, number: int) -> Array:
    """Pixels [F] that a body's picture has with nothing before it, those outside the frame included."""
    body, motion = place.things[number]
    larger = View(view.origin, view.axes, AROUND * view.height, AROUND * view.width, view.pixel)
    tile = tile_of(body, motion, larger)
    if tile is None:
        return np.zeros(len(view.origin))
    return meet(body, motion, larger.rays(tile)).cover.sum((1, 2))
