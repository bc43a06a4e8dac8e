"""Rays through the pixels of rectangles of a picture, for all frames at once.

A ray is origin + t d with d = x right + y down + forward, so t is the depth along the camera's axis. What is linear in
d is a sum of a row and a column; it costs one addition a pixel.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from tubelet.worlds.depth.scene import Array, Camera

WORLD = np.eye(3)[:, None]  # the world's axes, for any number of frames [3, 1, 3]
NEAR = 0.05  # of what lies nearer than this along the axis no rectangle is worked out: it may be anywhere


def f32(values: Array) -> Array:
    """The same numbers in single precision."""
    return np.asarray(values, np.float32)


def wide(values: Array) -> Array:
    """One number per frame [F], to be combined with pixels: float32 [F, 1, 1]."""
    return f32(values)[..., None, None]


def dot(a: Array, b: Array) -> Array:
    """Scalar product over the last axis."""
    return np.vecdot(a, b)


def combine(parts: Sequence[Array], vectors: Array) -> Array:
    """Scalar product of three arrays [F, h, w] and a vector per frame [F, 3]."""
    total = parts[0] * wide(vectors[:, 0])
    total += parts[1] * wide(vectors[:, 1])
    total += parts[2] * wide(vectors[:, 2])
    return total


def unit(vectors: Array) -> Array:
    """Vectors of length 1 along the given ones; zero stays zero."""
    return vectors / np.maximum(np.sqrt(dot(vectors, vectors)), 1e-12)[..., None]


@dataclass(frozen=True)
class Tile:
    """A rectangle of the picture in each frame: its first row and column [F], and one size for all frames."""

    top: Array
    left: Array
    height: int
    width: int

    def inside(self, frame: int) -> tuple[slice, slice]:
        """Its rows and columns in that frame."""
        top, left = int(self.top[frame]), int(self.left[frame])
        return slice(top, top + self.height), slice(left, left + self.width)

    def moved(self) -> Array:
        """Whether it lies elsewhere than in the frame before, bool [F]; the first frame counts as moved."""
        return np.r_[True, (self.top[1:] != self.top[:-1]) | (self.left[1:] != self.left[:-1])]


def runs(tile: Tile, first: int, frames: slice) -> Iterator[tuple[slice, int, slice, slice]]:
    """Frames in a row in which a tile stays where it is, its rows above `first`, its other rows from there, columns."""
    start, stop, _ = frames.indices(len(tile.top))
    moved = tile.moved()[start + 1 : stop].nonzero()[0] + start + 1
    for low, high in pairwise([start, *moved.tolist(), stop]):
        rows, columns = tile.inside(low)
        skip = max(first - rows.start, 0)
        if rows.start + skip < rows.stop:
            yield slice(low, high), skip, slice(rows.start + skip - first, rows.stop - first), columns


@dataclass(frozen=True)
class Rays:
    """Rays of a tile: origin and axes [F, 3], x [F, 1, w], y [F, h, 1]; pixel is the side of a pixel in x and y.

    columns [F, 3, 3]: the axes side by side.
    """

    origin: Array
    axes: tuple[Array, Array, Array]
    x: Array
    y: Array
    pixel: float
    columns: Array

    def along(self, vectors: Array) -> Array:
        """Scalar products of vectors [..., F, 3] (or 1 for F) and every d: float32 [..., F, h, w]."""
        parts = (vectors[..., None, :] @ self.columns)[..., 0, :, None, None]  # [..., F, 3, 1, 1]
        return f32(parts[..., 0, :, :] * self.x) + f32(parts[..., 1, :, :] * self.y + parts[..., 2, :, :])

    def slope(self, vectors: Array) -> Array:
        """How much `along` changes from one pixel to the next, across its level lines: [..., F]."""
        right, down = dot(vectors, self.axes[0]), dot(vectors, self.axes[1])
        return np.sqrt(right * right + down * down) * self.pixel

    def points(self, t: Array, vectors: Array) -> Array:
        """Scalar products of vectors [..., F, 3] and the points at depth t [F, h, w or 1]."""
        return t * self.along(vectors) + wide(dot(vectors, self.origin))

    def squared(self) -> Array:
        """|d|^2, float32 [F, h, w]."""
        return f32(self.x * self.x) + f32(self.y * self.y + 1)


@dataclass(frozen=True)
class View:
    """A camera and a picture's size; `mirrored` is what a level mirror on the ground shows in place of each pixel."""

    origin: Array
    axes: tuple[Array, Array, Array]
    height: int
    width: int
    pixel: float

    @classmethod
    def of(cls, camera: Camera, height: int, width: int) -> "View":
        """The view of a camera in a picture of that size."""
        pixel = 1 / (camera.focal * min(height, width))
        return cls(np.asarray(camera.position, float), camera.axes(), height, width, pixel)

    @cached_property
    def columns(self) -> Array:
        """The axes side by side, [F, 3, 3]."""
        return np.stack(self.axes, -1)

    def mirrored(self) -> "View":
        """The same pixels looking up from below the ground: the reflected rays."""
        flip = np.array([1.0, 1.0, -1.0])
        right, down, forward = self.axes
        return View(
            self.origin * flip,
            (right * flip, down * flip, forward * flip),
            self.height,
            self.width,
            self.pixel,
        )

    def frames(self, which: slice | Array) -> "View":
        """Some of its frames."""
        right, down, forward = (axis[which] for axis in self.axes)
        return View(self.origin[which], (right, down, forward), self.height, self.width, self.pixel)

    def rays(self, tile: Tile) -> Rays:
        """The rays of a tile."""
        column = tile.left[:, None] + np.arange(tile.width) + 0.5 - self.width / 2
        row = tile.top[:, None] + np.arange(tile.height) + 0.5 - self.height / 2
        x, y = column[:, None, :] * self.pixel, row[:, :, None] * self.pixel
        return Rays(self.origin, self.axes, x, y, self.pixel, self.columns)

    def whole(self, rows: slice | None = None) -> Tile:
        """The tile of whole rows."""
        start, stop, _ = (rows or slice(None)).indices(self.height)
        zero = np.zeros(len(self.origin), int)
        return Tile(zero + start, zero, stop - start, self.width)

    def coordinates(self, points: Array) -> tuple[Array, Array, Array]:
        """(x, y, depth) of points [F, K, 3] in the camera's axes, x and y times depth: each [F, K]."""
        offset = points - self.origin[:, None]
        right, down, forward = (dot(offset, axis[:, None]) for axis in self.axes)
        return right, down, forward

    def around(self, points: Array) -> Tile | None:
        """The tile that holds the hull of points [F, K, 3]; none where it lies outside in every frame."""
        right, down, depth = self.coordinates(points)
        at = np.stack([down, right]) / np.maximum(depth, NEAR)
        return self.bounded(at.min(2), at.max(2), depth.min(1), depth.max(1))

    def around_ball(self, centre: Array, radius: float) -> Tile | None:
        """The tile that holds a ball at centre [F, 3]."""
        right, down, depth = (values[:, 0] for values in self.coordinates(centre[:, None]))
        side, flat = np.stack([down, right]), depth * depth - radius * radius
        safe = np.where(flat > 0, flat, 1.0)
        root = radius * np.sqrt(np.maximum(side * side + flat, 0))
        return self.bounded(
            (side * depth - root) / safe, (side * depth + root) / safe, depth - radius, depth + radius
        )

    def bounded(self, low: Array, high: Array, near: Array, far: Array) -> Tile | None:
        """The tile of one size that holds low to high in (y, x) [2, F]; all rows and columns where part is behind."""
        sizes = np.array([self.height, self.width])[:, None]
        starts, stops = low / self.pixel + (sizes / 2 - 1), high / self.pixel + (sizes / 2 + 2)
        (top, left), (bottom, right) = (
            np.minimum(np.maximum(edge, 0), sizes).astype(int) for edge in (starts, stops)
        )
        behind, out = (near < NEAR) & (far > NEAR), (far <= NEAR) | (bottom <= top) | (right <= left)
        top, left = (np.where(behind, 0, edge) for edge in (top, left))
        bottom, right = np.where(behind, self.height, bottom), np.where(behind, self.width, right)
        height, width = (int(np.where(out, 0, size).max(initial=0)) for size in (bottom - top, right - left))
        if not height or not width:
            return None
        return Tile(
            np.minimum(top, self.height - height), np.minimum(left, self.width - width), height, width
        )
