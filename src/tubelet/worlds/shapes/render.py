"""Scenes to pixels: signed distances, anti-aliased, at any size and length.

A pixel of frame k depends on k and the frame's size alone: what is evaluated over many frames at once uses
only operations whose result does not depend on the array around it (no sines, no sums), so a longer clip
continues a shorter one bit for bit.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tubelet.worlds.shapes.motion import State, state_at
from tubelet.worlds.shapes.scene import Background, Pair, Scene, Thing

Floats = NDArray[np.floating]  # float32, which numpy's types lose on the way
Where = tuple[int, slice, slice]
REACH = 1.25
"""No shape of radius one reaches further from its centre, however it is turned."""


@dataclass(frozen=True)
class Shape:
    """A signed distance over coordinates in radii (y down), and how far the upright shape reaches."""

    distance: Callable[[Floats, Floats], Floats]
    extent: tuple[float, float, float]  # half width, top, bottom


def circle(x: Floats, y: Floats) -> Floats:
    """Signed distance to a disc."""
    return np.sqrt(x * x + y * y) - np.float32(1)


def ring(x: Floats, y: Floats) -> Floats:
    """Signed distance to a ring with a wide hole."""
    return np.abs(np.sqrt(x * x + y * y) - np.float32(0.77)) - np.float32(0.23)


def square(x: Floats, y: Floats) -> Floats:
    """Signed distance to a square."""
    return np.maximum(np.abs(x), np.abs(y)) - np.float32(0.88)


def triangle(x: Floats, y: Floats) -> Floats:
    """Signed distance to an equilateral triangle that points up, about its centroid."""
    slope = np.abs(x) * np.float32(0.75**0.5) - y * np.float32(0.5)
    return np.maximum(slope, y) - np.float32(0.605)


def diamond(x: Floats, y: Floats) -> Floats:
    """Signed distance to a tall rhombus: a turning square never looks like it."""
    wide, tall = 0.72, 1.15
    scale = wide * tall / math.hypot(wide, tall)
    return (np.abs(x) * np.float32(1 / wide) + np.abs(y) * np.float32(1 / tall) - 1) * np.float32(scale)


def cross(x: Floats, y: Floats) -> Floats:
    """Signed distance to a plus sign."""
    x, y = np.abs(x), np.abs(y)
    return np.maximum(np.maximum(x, y) - np.float32(1), np.minimum(x, y) - np.float32(0.34))


def star(x: Floats, y: Floats) -> Floats:
    """Signed distance to a star of five points: folded onto one edge by its mirror lines."""
    cos, sin = np.float32(math.cos(math.pi / 5)), np.float32(math.sin(math.pi / 5))
    x, y = np.abs(x), -y
    fold = 2 * np.maximum(cos * x - sin * y, 0)
    x, y = x - fold * cos, y + fold * sin
    fold = 2 * np.maximum(-cos * x - sin * y, 0)
    x, y = np.abs(x + fold * cos), y + fold * sin - np.float32(1.15)
    edge_x, edge_y = np.float32(0.48) * sin, np.float32(0.48) * cos - 1
    along = (x * edge_x + y * edge_y) / (edge_x * edge_x + edge_y * edge_y)
    along = np.clip(along, 0, np.float32(1.15))
    far = np.sqrt((x - edge_x * along) ** 2 + (y - edge_y * along) ** 2)
    return far * np.sign(y * edge_x - x * edge_y)


def heart(x: Floats, y: Floats) -> Floats:
    """Signed distance to a heart: two arcs over a corner."""
    scale = np.float32(1.74)
    x, y = np.abs(x) / scale, np.float32(0.6) - y / scale
    arc = np.sqrt((x - np.float32(0.25)) ** 2 + (y - np.float32(0.75)) ** 2) - np.float32(0.125**0.5)
    edge = np.maximum(x + y, 0) * np.float32(0.5)
    tip = np.minimum(x * x + (y - 1) ** 2, (x - edge) ** 2 + (y - edge) ** 2)
    return np.where(x + y > 1, arc, np.sqrt(tip) * np.sign(x - y)) * scale


SHAPES = {
    "circle": Shape(circle, (1.0, 1.0, 1.0)),
    "square": Shape(square, (0.88, 0.88, 0.88)),
    "triangle": Shape(triangle, (1.048, 1.21, 0.605)),
    "star": Shape(star, (1.094, 1.15, 0.93)),
    "diamond": Shape(diamond, (0.72, 1.15, 1.15)),
    "ring": Shape(ring, (1.0, 1.0, 1.0)),
    "heart": Shape(heart, (1.05, 0.876, 1.044)),
    "cross": Shape(cross, (1.0, 1.0, 1.0)),
}


def render(scene: Scene, num_frames: int, height: int, width: int, fps: float) -> NDArray[np.uint8]:
    """The scene as pixels [F, H, W, 3]; frame k shows the time k / fps."""
    times = [frame / fps for frame in range(num_frames)]
    video = background_frames(scene.background, times, height, width)  # [F, H, W, 3]
    for thing in scene.things:
        paint(video, thing, times)
    video += np.float32(0.5)
    return video.clip(0, 255).astype(np.uint8)


def states_of(thing: Thing, times: list[float], height: int, width: int) -> list[State]:
    """The object at each time, in a frame of this shape."""
    short = min(height, width)
    half = (width / (2 * short), height / (2 * short))
    return [state_at(thing, seconds, half, SHAPES[thing.shape].extent) for seconds in times]


def coverage(thing: Thing, times: list[float], height: int, width: int) -> tuple[Floats, NDArray[np.int64]]:
    """How much of each pixel the object covers on a crop [F, K, K] that moves with it; the crops' corners.

    The corners [F, 2] are row and column; a crop may reach out of the frame.
    """
    states, short = states_of(thing, times, height, width), min(height, width)
    radius = np.array([state.radius * short for state in states])[:, None]  # [F, 1]
    centre = np.array([(state.y * short + height / 2, state.x * short + width / 2) for state in states])
    size = 2 * math.ceil(REACH * float(radius.max())) + 3
    corner = np.floor(centre).astype(np.int64) - size // 2  # [F, 2]
    grid = corner[:, :, None] + (np.arange(size) + 0.5)  # [F, 2, K]
    local = ((grid - centre[:, :, None]) / radius[:, :, None]).astype(np.float32)
    y, x = local[:, 0, :, None], local[:, 1, None, :]  # [F, K, 1], [F, 1, K]
    if thing.motion == "rotates":
        cos = np.array([math.cos(state.angle) for state in states], np.float32)[:, None, None]
        sin = np.array([math.sin(state.angle) for state in states], np.float32)[:, None, None]
        x, y = x * cos + y * sin, y * cos - x * sin
    distance = SHAPES[thing.shape].distance(x, y)  # [F, K, K]
    return np.clip(np.float32(0.5) - distance * radius[:, :, None].astype(np.float32), 0, 1), corner


def patches(
    thing: Thing, times: list[float], height: int, width: int
) -> Iterator[tuple[Where, Floats, State]]:
    """For each frame that shows the object: where in a video, its coverage there [h, w], its state."""
    covered, corner = coverage(thing, times, height, width)
    size = covered.shape[1]
    for frame, state in enumerate(states_of(thing, times, height, width)):
        row, column = (int(c) for c in corner[frame])
        top, left = max(-row, 0), max(-column, 0)
        bottom, right = min(height - row, size), min(width - column, size)
        if bottom > top and right > left:
            where = (frame, slice(row + top, row + bottom), slice(column + left, column + right))
            yield where, covered[frame, top:bottom, left:right], state


def paint(video: Floats, thing: Thing, times: list[float]) -> None:
    """Lay the object over the video [F, H, W, 3], in place."""
    for where, covered, state in patches(thing, times, *video.shape[1:3]):
        alpha = covered[..., None] * np.float32(state.opacity)
        video[where] += alpha * (np.array(state.rgb, np.float32) - video[where])


def masks(thing: Thing, times: list[float], height: int, width: int) -> Floats:
    """How much of each pixel the object covers, whatever its opacity: [F, H, W]."""
    canvas = np.zeros((len(times), height, width), np.float32)
    for where, covered, _ in patches(thing, times, height, width):
        canvas[where] = covered
    return canvas


def background_frames(background: Background, times: list[float], height: int, width: int) -> Floats:
    """The background [F, H, W, 3], in levels of 0 to 255."""
    if background.pan is None:
        still = background_at(background, (0.0, 0.0), height, width)
        return np.repeat(still[None], len(times), axis=0)
    away = [(background.velocity[0] * t, background.velocity[1] * t) for t in times]
    return np.stack([background_at(background, shift, height, width) for shift in away])


def background_at(background: Background, shift: Pair, height: int, width: int) -> Floats:
    """One frame of background [H, W, 3], seen by a camera that has moved by `shift`."""
    colour = np.array(background.rgb, np.float32)  # [1 or 2, 3]
    if background.kind == "plain":
        return np.broadcast_to(colour[0], (height, width, 3))
    if background.kind == "gradient":
        rows, columns = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
        along = rows[:, None] if background.direction == "top to bottom" else columns[None, :]
        share = np.broadcast_to(along.astype(np.float32), (height, width))[..., None]
        return colour[0] + share * (colour[1] - colour[0])
    short = min(height, width)
    x = (np.arange(width) + 0.5 - width / 2) / short + shift[0]
    y = (np.arange(height) + 0.5 - height / 2) / short + shift[1]
    level = pattern(background, x[None, :], y[:, None]).astype(np.float32)  # [H, W]
    level = np.broadcast_to(level, (height, width))[..., None]
    return colour[0] + np.float32(background.contrast) * level


def pattern(background: Background, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """The texture in [-1, 1] at columns [1, W] and rows [H, 1] in short sides; smooth at any size."""
    wave = 2 * math.pi / background.period
    x, y = wave * x + background.phase[0], wave * y + background.phase[1]
    if background.kind == "checks":
        return soft(np.sin(x)) * soft(np.sin(y))
    if background.kind == "dots":
        return soft(np.cos(x) + np.cos(y) - 0.9)
    if background.kind == "waves":
        return soft(np.sin(y + 1.3 * np.sin(x * 0.6)))
    if background.direction == "vertical":
        return soft(np.sin(x))
    return soft(np.sin(y if background.direction == "horizontal" else (x + y) * 0.5**0.5))


def soft(wave: NDArray[np.float64]) -> NDArray[np.float64]:
    """A wave with flatter tops and steeper sides, still smooth."""
    steep = 2.5 * wave
    return steep / np.sqrt(1 + steep * steep)
