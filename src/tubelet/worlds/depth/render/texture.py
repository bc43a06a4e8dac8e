"""Periodic textures, each blurred to a row of footprints, so that a pixel is one gather whatever its distance."""

from functools import lru_cache

import numpy as np

from tubelet.worlds.depth.scene import Array

SIDE = 256  # texels of a tile
TEXEL = 1 / 40  # units; a tile is 6.4 units wide
STEPS = 2  # levels per doubling of the footprint
LEVELS = 13
FAR_OFF = 1 << 15  # texels, whole tiles


def blurred(values: Array, size: int, axis: int) -> Array:
    """Mean of `size` neighbours along an axis of a periodic array, centred to half a texel."""
    if size < 2:
        return values
    values = np.moveaxis(values, axis, -1)
    around = np.concatenate(
        [values[..., -(size // 2) - 1 :], values, values[..., : size - size // 2 - 1]], -1
    )
    total = np.cumsum(around, -1)
    return np.moveaxis((total[..., size:] - total[..., :-size]) / size, -1, axis)


def soft(values: Array, rows: int, columns: int) -> Array:
    """Two box blurs in each direction."""
    for _ in range(2):
        values = blurred(blurred(values, rows, 0), columns, 1)
    return values


def noise(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """Smooth noise of that size of blot, deviation 1."""
    values = soft(rng.random((SIDE, SIDE)) - 0.5, rows, columns)
    return (values - values.mean()) / values.std()


def planks(rng: np.random.Generator) -> Array:
    """Boards 32 texels wide with grain along them, each of its own shade, dark joints between them."""
    grain = 0.5 * noise(rng, 2, 24) + 0.35 * noise(rng, 5, 60)
    shade, joint = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))
    for board in range(0, SIDE, 32):
        start = int(rng.integers(SIDE))
        for end in range(2):
            columns = (start + end * SIDE // 2 + np.arange(SIDE // 2)) % SIDE
            shade[board : board + 32, columns] = rng.random() - 0.5
            joint[board : board + 32, columns[:2]] = 1
        joint[board : board + 2] = 1
    return grain + 1.5 * shade - 3.2 * joint


def raw(name: str) -> Array:
    """A texture of about deviation 1, float64 [SIDE, SIDE]."""
    rng = np.random.default_rng([ord(letter) for letter in name])
    if name == "wood":
        return planks(rng)
    mixes = {
        "grass": ((0.75, 1, 2), (0.6, 5, 5), (0.55, 24, 24)),
        "sand": ((0.5, 1, 1), (0.65, 4, 10), (0.6, 30, 30)),
        "snow": ((0.25, 1, 1), (0.7, 12, 16), (0.7, 36, 36)),
        "concrete": ((0.5, 1, 1), (0.5, 8, 8), (0.7, 30, 30)),
        "water": ((0.7, 4, 12), (0.7, 10, 34)),
        "clouds": ((0.35, 6, 8), (0.55, 16, 24), (0.8, 36, 52)),
        "plain": ((0.4, 2, 2), (0.8, 30, 30)),
    }[name]
    return np.sum([weight * noise(rng, rows, columns) for weight, rows, columns in mixes], 0)


@lru_cache(maxsize=16)
def tile(name: str) -> Array:
    """A texture's levels one after the other, uint8 [LEVELS * SIDE * SIDE]; 128 is its mean, 42 one deviation."""
    base = raw(name)
    base = (base - base.mean()) / base.std()
    levels = [soft(base, size, size) for size in (round(2 ** (level / STEPS)) for level in range(LEVELS))]
    return np.clip(np.round(128 + 42 * np.stack(levels)), 0, 255).astype(np.uint8).reshape(-1)


def level(footprint: Array) -> Array:
    """Number of the level for a footprint in units, int32."""
    doublings = np.log2(np.maximum(np.asarray(footprint, float) / TEXEL, 1e-6))
    return np.clip(np.round(doublings * STEPS), 0, LEVELS - 1).astype(np.int32)


def look_up(name: str, u: Array, v: Array, levels: Array) -> Array:
    """The texture at (u, v) units, at given levels: uint8 of their common shape."""
    column = (u * np.float32(1 / TEXEL) + np.float32(FAR_OFF)).astype(
        np.int32
    )  # truncation floors what is positive
    row = (v * np.float32(1 / TEXEL) + np.float32(FAR_OFF)).astype(np.int32)
    column &= SIDE - 1
    row &= SIDE - 1
    return tile(name).take(row * SIDE + column + levels * (SIDE * SIDE))
