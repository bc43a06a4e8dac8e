"""What lies behind the objects: its kind, colours and direction, how it slides, and its pixels.

A background is one colour, a gradient across the frame, or a texture that is lighter and darker than one colour.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from tubelet.worlds.shapes.judge.colours import nearest_ground
from tubelet.worlds.shapes.judge.pixels import Floats, Mask, blurred, distance, tint_distance, widened

PATTERNS: dict[str, tuple[str, str | None]] = {
    "vertical": ("stripes", "vertical"),
    "horizontal": ("stripes", "horizontal"),
    "diagonal": ("stripes", "diagonal"),
    "checks": ("checks", None),
    "dots": ("dots", None),
    "waves": ("waves", None),
}
"""Kind and direction of each texture that the judge tells apart."""

CONTRAST = 30.0
"""Least distance in RGB levels from the background of what counts as an object."""
OBVIOUS = 44.0
"""The same before the background is known, with lightness at half its weight: no texture is so far off."""
BLENDS = 28.0
"""Least distance in RGB levels between the two ends of a gradient."""
ROUGH = 6.0
"""Levels of grey, root mean square, by which a texture departs from its colour."""
LIKE = 0.3
"""Least share of a texture's variance that its pattern explains."""
FASTEST = 0.03
"""Short sides a frame that a background slides at most."""
SLIDES = 0.008
"""Short sides a frame from which on a background slides."""
PERIODS = 0.2 * 1.06 ** np.arange(13)
PHASES = np.arange(12) * math.pi / 6
GRID = 32
"""Points along the short side at which textures are compared."""


@dataclass(frozen=True)
class Ground:
    """A background in words: kind, colours, direction, and the way the camera pans over it (None: it stands)."""

    kind: str
    colours: tuple[str, ...]
    direction: str | None = None
    pan: str | None = None


@dataclass(frozen=True)
class Backdrop:
    """The background in words, its pixels [F, H, W, 3], and how far in RGB levels an object stands out."""

    ground: Ground
    pixels: Floats
    threshold: float


def backdrop_of(video: Floats) -> Backdrop:
    """The background of a video [F, H, W, 3] in RGB levels."""
    smooth = blurred(video)
    height, width = video.shape[1:3]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    basis = np.stack([np.ones_like(x), x, y], axis=-1)  # [H, W, 3]
    plane, threshold = border_plane(smooth, basis)
    bare = ~widened(tint_distance(smooth, basis @ plane) > max(threshold, OBVIOUS), 2)  # [F, H, W]
    if bare.mean() < 0.05:
        bare = np.ones_like(bare)
    plane = refitted(smooth, bare, basis, plane)
    level = (smooth - basis @ plane).mean(-1)  # [F, H, W]
    flat = Backdrop(flat_ground(plane), np.broadcast_to(basis @ plane, video.shape), threshold)
    if math.sqrt(float(np.square(level[bare]).mean())) < ROUGH:
        return settled(smooth, bare, flat)
    found = textured(smooth, bare, plane, level)
    return found or settled(smooth, bare, flat)


def border_plane(smooth: Floats, basis: Floats) -> tuple[Floats, float]:
    """The plane of colour [3, 3] along the border, and the least distance of an object from it.

    It minimises the sum of distances, so that an object there does not bend it.
    """
    height, width = smooth.shape[1:3]
    margin = max(2, min(height, width) // 16)
    edge = np.ones((height, width), bool)
    edge[margin:-margin, margin:-margin] = False
    border, here = np.median(smooth[:, edge], axis=0), basis[edge]  # [N, 3] both
    plane = nearest_plane(here, border, np.ones(len(here)), 12)
    spread = float(np.quantile(np.median(tint_distance(smooth[:, edge], here @ plane), axis=0), 0.9))
    return plane, min(max(CONTRAST, 1.3 * spread), 2 * CONTRAST)


def nearest_plane(here: Floats, colour: Floats, weight: Floats, rounds: int) -> Floats:
    """The plane [3, 3] over points [N, 3] with the least weighted sum of distances to colours [N, 3]."""
    pull, plane = weight, np.zeros((3, 3))
    for _ in range(rounds):
        root = np.sqrt(pull)[:, None]
        plane = np.linalg.lstsq(here * root, colour * root, rcond=None)[0]
        pull = weight / np.maximum(distance(colour, here @ plane), 2.0)
    return plane


def refitted(smooth: Floats, bare: Mask, basis: Floats, plane: Floats) -> Floats:
    """The plane through everything that shows the background."""
    seen = bare.sum(0)
    if (seen > 0).mean() < 0.2:
        return plane
    average = (smooth * bare[..., None]).sum(0) / np.maximum(seen, 1)[..., None]
    some = seen > 0
    return nearest_plane(basis[some], average[some], seen[some] / len(smooth), 6)


def settled(smooth: Floats, bare: Mask, flat: Backdrop) -> Backdrop:
    """A still background as it is seen where it is seen in most frames, and as it was fitted elsewhere."""
    seen = bare.sum(0)
    average = (smooth * bare[..., None]).sum(0) / np.maximum(seen, 1)[..., None]
    known = (2 * seen >= len(smooth))[..., None]
    return Backdrop(flat.ground, np.where(known, average, flat.pixels), flat.threshold)


def flat_ground(plane: Floats) -> Ground:
    """A plane of colour in words: plain, or a gradient and its direction."""
    across, down = (float(np.linalg.norm(2 * slope)) for slope in plane[1:])
    if max(across, down) < BLENDS:
        return Ground("plain", (nearest_ground(plane[0]),))
    slope, direction = (plane[1], "left to right") if across > down else (plane[2], "top to bottom")
    ends = nearest_ground(plane[0] - slope), nearest_ground(plane[0] + slope)
    return Ground("gradient", ends, direction)


# Textures


def textured(smooth: Floats, bare: Mask, plane: Floats, level: Floats) -> Backdrop | None:
    """The textured background of a video, still or sliding; None where no pattern explains it."""
    axis, speed = slide_of(level, bare)
    grey = smooth - plane[0]
    canvas, seen = unrolled(grey, bare, axis, speed)  # [H', W', 3], [H', W']
    height, width = level.shape[1:]
    extra = (np.array(seen.shape) - (height, width)) // 2
    middle = slice(extra[0], extra[0] + height), slice(extra[1], extra[1] + width)
    match = best_pattern(canvas[middle].mean(-1), seen[middle])
    if match is None:
        return None
    name, period, phase = match
    short = min(height, width)
    rows = (np.arange(seen.shape[0]) - extra[0] + 0.5 - height / 2) / short
    columns = (np.arange(seen.shape[1]) - extra[1] + 0.5 - width / 2) / short
    pattern = pattern_at(name, period, phase, columns[None, :], rows[:, None])  # [H', W']
    weight = np.sqrt(seen)[..., None]
    basis = np.stack([np.ones(seen.shape), pattern], axis=-1)
    sides = (basis * weight).reshape(-1, 2), (canvas * weight).reshape(-1, 3)
    fit = np.linalg.lstsq(*sides, rcond=None)[0]  # [2, 3]
    canvas = np.where((seen >= 2)[..., None], canvas, basis @ fit)
    pixels = plane[0] + rolled(canvas, axis, speed, smooth.shape)
    kind, direction = PATTERNS[name]
    pan = None
    if abs(speed) >= SLIDES * short:
        pan = (("up", "down"), ("left", "right"))[axis][int(speed > 0)]
    ground = Ground(kind, (nearest_ground(plane[0] + fit[0]),), direction, pan)
    off = distance(smooth, pixels)[bare]
    return Backdrop(ground, pixels, max(CONTRAST, 1.3 * float(np.quantile(off, 0.95))))


def slide_of(level: Floats, bare: Mask) -> tuple[int, float]:
    """Axis (0 down, 1 across) and pixels a frame along which the camera moves over a texture; 0 if it stands.

    Frames four apart measure it; frames two apart tell a slide from one by a period more.
    """
    short = min(level.shape[1:])
    most = max(1, round(4 * short * FASTEST))
    lag = min(4, len(level) - 1)
    if lag < 1:
        return 1, 0.0

    def off(axis: int, shift: int) -> float:
        halves = (shift // 2, shift - shift // 2) if lag >= 4 else ()
        return misfit(level, bare, axis, shift, lag) + sum(misfit(level, bare, axis, k, 2) for k in halves)

    found = {(axis, shift): off(axis, shift) for axis in (0, 1) for shift in range(-most, most + 1)}
    axis, shift = min(found, key=lambda key: found[key])
    if found[axis, shift] > 0.6 * found[1, 0] or shift == 0:
        return 1, 0.0
    around = [misfit(level, bare, axis, shift + k, lag) for k in (-1, 0, 1)]
    bend = around[0] - 2 * around[1] + around[2]
    offset = (around[0] - around[2]) / (2 * bend) if math.isfinite(bend) and bend > 1e-9 else 0.0
    return axis, (shift + min(max(offset, -1.0), 1.0)) / lag


def misfit(level: Floats, bare: Mask, axis: int, shift: int, lag: int) -> float:
    """Mean square difference of frames `lag` apart when the later is read `shift` pixels further back."""
    size = level.shape[axis + 1]
    late, early = slice(max(-shift, 0), size - max(shift, 0)), slice(max(shift, 0), size - max(-shift, 0))
    cut = (slice(None),) * axis
    one, two = level[:-lag][(slice(None), *cut, early)], level[lag:][(slice(None), *cut, late)]
    both = bare[:-lag][(slice(None), *cut, early)] & bare[lag:][(slice(None), *cut, late)]
    return float(np.square(one - two)[both].mean()) if both.sum() > 50 else math.inf


def shifts_of(speed: float, frames: int) -> Floats:
    """How far the camera has come in each frame, in pixels of the canvas, from 0 on."""
    away = speed * np.arange(frames)
    return away - away.min()


def unrolled(video: Floats, bare: Mask, axis: int, speed: float) -> tuple[Floats, Floats]:
    """All frames laid on one canvas that does not slide: mean colour [H', W', 3], how often it is seen [H', W']."""
    shifts = shifts_of(speed, len(video))
    size = [*video.shape[1:3]]
    size[axis] += math.ceil(shifts.max())
    total, seen = np.zeros((*size, 3)), np.zeros(size)
    for frame, mask, shift in zip(video, bare, shifts, strict=True):
        start = round(shift)
        where = tuple(slice(start, start + video.shape[1 + k]) if k == axis else slice(None) for k in (0, 1))
        total[where] += frame * mask[..., None]
        seen[where] += mask
    return total / np.maximum(seen, 1)[..., None], seen


def rolled(canvas: Floats, axis: int, speed: float, shape: tuple[int, ...]) -> Floats:
    """The frames [F, H, W, 3] that a canvas shows as the camera moves over it."""
    frames = []
    for shift in shifts_of(speed, shape[0]):
        start = round(float(shift))
        cut = slice(start, start + shape[1 + axis])
        frames.append(canvas[cut] if axis == 0 else canvas[:, cut])
    return np.stack(frames)


def best_pattern(level: Floats, seen: Floats) -> tuple[str, float, tuple[float, float]] | None:
    """Name, period in short sides and phase of the pattern that explains most of a level [H, W]; None if little."""
    step = max(1, min(level.shape) // GRID)
    value = level[::step, ::step].ravel().astype(np.float32)
    weight = (seen[::step, ::step].ravel() / max(float(seen.max()), 1.0)).astype(np.float32)
    total = float(weight.sum())
    if total < 50:
        return None
    value = value - float(weight @ value) / total
    power = float(weight @ np.square(value))
    best, match = LIKE, None
    for name in PATTERNS:
        bank, keys = patterns(name, *level.shape, step)  # [K, N]
        mean = bank @ weight / total
        spread = np.square(bank) @ weight - total * np.square(mean)
        share = (bank @ (weight * value)).clip(0) ** 2 / np.maximum(spread * power, 1e-6)
        top = int(share.argmax())
        if share[top] > best:
            best, match = float(share[top]), (name, *keys[top])
    return match


@cache
def patterns(
    name: str, height: int, width: int, step: int
) -> tuple[Floats, list[tuple[float, tuple[float, float]]]]:
    """The texture at every period and phase [K, N], and those periods and phases."""
    short = min(height, width)
    rows = (np.arange(0, height, step) + 0.5 - height / 2)[:, None] / short
    columns = (np.arange(0, width, step) + 0.5 - width / 2)[None, :] / short
    one_way = PATTERNS[name][0] == "stripes"
    keys = [
        (float(period), (float(first), float(second)))
        for period in PERIODS
        for first in PHASES
        for second in (PHASES[:1] if one_way else PHASES)
    ]
    shape = (len(rows), columns.shape[1])
    bank = [np.broadcast_to(pattern_at(name, *key, columns, rows), shape).ravel() for key in keys]
    return np.array(bank, np.float32), keys


def pattern_at(name: str, period: float, phase: tuple[float, float], x: Floats, y: Floats) -> Floats:
    """A texture from -1 (dark) to 1 (light) at columns x and rows y in short sides."""
    wave = 2 * math.pi / period
    x, y = wave * x, wave * y
    if name == "vertical":
        return flattened(np.sin(x + phase[0])) + 0 * y
    if name == "horizontal":
        return flattened(np.sin(y + phase[0])) + 0 * x
    if name == "diagonal":
        return flattened(np.sin((x + y) * math.sqrt(0.5) + phase[0]))
    if name == "checks":
        return flattened(np.sin(x + phase[0])) * flattened(np.sin(y + phase[1]))
    if name == "dots":
        return flattened(np.cos(x + phase[0]) + np.cos(y + phase[1]) - 0.9)
    return flattened(np.sin(y + phase[1] + 1.3 * np.sin(0.6 * x + phase[0])))


def flattened(wave: Floats) -> Floats:
    """A wave with flat tops and steep sides."""
    return np.tanh(1.8 * wave)
