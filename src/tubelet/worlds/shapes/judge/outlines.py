"""Which shape an object has: eight outlines laid over its soft cover, the best overlap wins."""

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from tubelet.worlds.shapes.judge.pixels import FAINT, SCALE, Floats, Labels, Mask
from tubelet.worlds.shapes.judge.tracking import Track


def arc(x: float, y: float, radius: float, start: float, end: float, steps: int) -> list[tuple[float, float]]:
    """Points of a circle between two angles in degrees, y down."""
    angles = np.radians(np.linspace(start, end, steps))
    return [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]


def zigzag(points: int, outer: float, inner: float) -> list[tuple[float, float]]:
    """Points of a star that stands upright, y down."""
    turn = math.pi / points
    radii = [(outer, inner)[k % 2] for k in range(2 * points)]
    return [(r * math.sin(k * turn), -r * math.cos(k * turn)) for k, r in enumerate(radii)]


ARM = 0.34
OUTLINES: dict[str, list[tuple[float, float]]] = {
    "circle": arc(0, 0, 1, 0, 352.5, 48),
    "square": [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
    "triangle": [(0, -1.21), (1.048, 0.605), (-1.048, 0.605)],
    "star": zigzag(5, 1.15, 0.48),
    "diamond": [(0, -1.15), (0.72, 0), (0, 1.15), (-0.72, 0)],
    "ring": arc(0, 0, 1, 0, 352.5, 48),
    "heart": [
        (0, 1.044),
        *arc(-0.435, -0.261, 0.615, 135, 315, 16),
        *arc(0.435, -0.261, 0.615, 225, 405, 16),
    ],
    "cross": [
        *((-ARM, -1), (ARM, -1), (ARM, -ARM), (1, -ARM), (1, ARM), (ARM, ARM)),
        *((ARM, 1), (-ARM, 1), (-ARM, ARM), (-1, ARM), (-1, -ARM), (-ARM, -ARM)),
    ],
}
"""Corners of each shape, y down, in units of half its nominal size."""
HOLES = {"ring": 0.54}
"""Radius of the hole of a shape that has one."""

EXTENT, CELLS = 1.6, 257
"""The tables of distances reach so far from the centre, in so many cells."""
REACH = 24
"""Pixels to each side of an object that are compared; of larger ones every other pixel, or fewer."""
VIEWS = 8
"""Frames of a clip that a shape is compared with."""
TURNS = np.arange(24) * math.pi / 12
STEPS = (0.08, 0.04, 0.02)
"""By which places (in radii) and scales are improved."""
BLURS = (0, 1, 2)
"""Means over 3 x 3 pixels, one after the other, that an outline is seen through."""
ALIKE = 0.005
"""What an overlap lacks of 1 for reasons that tell nothing."""


@cache
def table(shape: str) -> Floats:
    """Signed distance from the outline [CELLS, CELLS], negative inside, in units of half the nominal size."""
    axis = np.linspace(-EXTENT, EXTENT, CELLS)
    x, y = axis[None, :], axis[:, None]
    corners = OUTLINES[shape]
    nearest, inside = np.full((CELLS, CELLS), np.inf), np.zeros((CELLS, CELLS), bool)
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        length = (bx - ax) ** 2 + (by - ay) ** 2
        along = (((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / max(length, 1e-12)).clip(0, 1)
        nearest = np.minimum(nearest, np.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay)))
        crosses = (y < ay) != (y < by)
        inside ^= crosses & (x < ax + (y - ay) * (bx - ax) / (by - ay if by != ay else 1.0))
    signed = np.where(inside, -nearest, nearest)
    if shape in HOLES:
        signed = np.maximum(signed, HOLES[shape] - np.hypot(x, y))
    return signed.astype(np.float32)


@cache
def moments(shape: str) -> tuple[float, float, float]:
    """Area of the outline and its centre of mass x, y, in units of half the nominal size."""
    cell = 2 * EXTENT / (CELLS - 1)
    inside = (0.5 - table(shape) / cell).clip(0, 1)
    axis = np.linspace(-EXTENT, EXTENT, CELLS)
    total = float(inside.sum())
    return total * cell**2, float(inside.sum(0) @ axis) / total, float(inside.sum(1) @ axis) / total


@dataclass(frozen=True)
class Fit:
    """An outline laid over an object: x, y and radius in 64ths of the short side for each frame; overlap 0 to 1."""

    shape: str
    overlap: float
    place: Floats  # [F, 2]
    radius: Floats  # [F]
    angle: Floats  # [F], radians clockwise


@dataclass(frozen=True)
class Views:
    """Some frames of an object cut out around its centre of mass; lengths are pixels.

    `x`, `y` [N, K, K] lead away from that centre, `cover` is to be explained where `known`.
    """

    x: Floats
    y: Floats
    cover: Floats
    known: Floats
    area: Floats  # [N]
    time: Floats  # [N], frames from the middle one
    power: Floats  # [N], sum of squares of what is covered and known


@dataclass(frozen=True)
class Pose:
    """How an outline departs from what area and centre of mass suggest: radii, a ratio, radians.

    `spin` is in radians a frame and `angle` that of the middle frame.
    """

    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    angle: float = 0.0
    spin: float = 0.0


def fit_outline(track: Track, speed: float = 0.0) -> Fit:
    """The outline that overlaps an object best, turning at `speed` radians a frame."""
    shown = np.flatnonzero(np.isfinite(track.area))
    views = views_of(track, chosen_frames(track, shown))
    starts = [Pose(angle=float(a), spin=speed) for a in TURNS] if speed else [Pose()]
    if (track.hidden & (track.cover > 0)).any():
        away = (-0.35, 0.0, 0.35)
        starts = [
            replace(p, x=x, y=y, scale=s) for p in starts for x in away for y in away for s in (1.0, 1.2)
        ]
    first = {
        shape: min((misfit(overlaps(views, shape, pose, (1,))), k) for k, pose in enumerate(starts))
        for shape in OUTLINES
    }
    found = []
    for shape in sorted(OUTLINES, key=lambda name: first[name][0])[:4]:
        pose = improved(views, shape, starts[first[shape][1]], turns=bool(speed))
        each = overlaps(views, shape, pose)
        found.append((misfit(each), shape, pose, float(each.mean())))
    _, shape, pose, overlap = min(found, key=lambda each: each[0])
    return laid(track, shape, pose, overlap)


def misfit(overlap: Floats) -> float:
    """Mean logarithm of what overlaps [N] lack: a sharp view that tells shapes apart counts more than a blurred one."""
    return float(np.log(1 + ALIKE - overlap).mean())


def chosen_frames(track: Track, shown: Labels) -> Labels:
    """Frames that show an object well: strong, away from the border, spread over the clip."""
    strong = shown[track.contrast[shown] >= 0.5 * track.contrast[shown].max()]
    cover = track.cover[strong]
    border = cover[:, [0, -1]].sum((1, 2)) + cover[:, :, [0, -1]].sum((1, 2))
    covered = (track.hidden[strong] & (cover > 0)).sum((1, 2))
    clear = (border <= np.quantile(border, 0.5)) & (covered <= np.quantile(covered, 0.7))
    some = strong[clear] if clear.sum() >= min(3, len(strong)) else strong
    some = np.union1d(shown[:1], some)
    return some[np.unique(np.linspace(0, len(some) - 1, VIEWS).round().astype(int))]


def views_of(track: Track, frames: Labels) -> Views:
    """An object cut out of some frames, with a margin."""
    height, width = track.cover.shape[1:]
    unit = SCALE / min(height, width)
    area = track.area[frames] / unit**2
    reach = math.ceil(1.9 * math.sqrt(float(area.max()) / 1.5)) + 2
    reach = min(reach, max(height, width))
    grid = np.arange(-reach, reach + 1, max(1, reach // REACH))
    place = track.place[frames] / unit  # [N, 2]
    corner = place.round().astype(int)
    rows, columns = corner[:, 1, None] + grid, corner[:, 0, None] + grid  # [N, K]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    at = frames[:, None, None], rows.clip(0, height - 1)[:, :, None], columns.clip(0, width - 1)[:, None, :]
    cover = np.where(inside, track.cover[at], 0).astype(np.float32)
    known = (inside & ~track.hidden[at]).astype(np.float32)
    return Views(
        x=(columns - place[:, :1])[:, None, :].astype(np.float32),
        y=(rows - place[:, 1:])[:, :, None].astype(np.float32),
        cover=cover,
        known=known,
        area=area,
        time=frames - (len(track.area) - 1) / 2,
        power=np.square(cover * known).sum((1, 2)),
    )


def overlaps(views: Views, shape: str, pose: Pose, blurs: tuple[int, ...] = BLURS) -> Floats:
    """What outline and cover share, as a part of what either has, in each view at the blur that suits it: [N]."""
    size, middle_x, middle_y = moments(shape)
    radius = (pose.scale * np.sqrt(views.area / size)).astype(np.float32)[:, None, None]
    turn = (pose.spin * views.time + pose.angle).astype(np.float32)[:, None, None]
    cos, sin = np.cos(turn), np.sin(turn)
    x, y = views.x / radius - np.float32(pose.x), views.y / radius - np.float32(pose.y)
    x, y = x * cos + y * sin + np.float32(middle_x), y * cos - x * sin + np.float32(middle_y)
    cell = np.float32((CELLS - 1) / (2 * EXTENT))
    i = ((y + np.float32(EXTENT)) * cell + np.float32(0.5)).clip(0, CELLS - 1).astype(np.intp)
    j = ((x + np.float32(EXTENT)) * cell + np.float32(0.5)).clip(0, CELLS - 1).astype(np.intp)
    drawn = (np.float32(0.5) - table(shape)[i, j] * radius).clip(0, 1)
    best = np.zeros(len(views.area))
    for blur in range(max(blurs) + 1):
        if blur in blurs:
            seen = np.where(drawn < FAINT, 0, drawn) * views.known
            shared = (seen * views.cover).sum((1, 2))
            either = np.square(seen).sum((1, 2)) + views.power - shared
            best = np.maximum(best, shared / np.maximum(either, 1e-6))
        drawn = softened(drawn) if blur < max(blurs) else drawn
    return best


def softened(drawn: Floats) -> Floats:
    """Each pixel as the mean over its 3 x 3 neighbourhood, nothing beyond the edges: [N, K, K]."""
    tall = drawn.copy()
    tall[:, 1:] += drawn[:, :-1]
    tall[:, :-1] += drawn[:, 1:]
    wide = tall.copy()
    wide[:, :, 1:] += tall[:, :, :-1]
    wide[:, :, :-1] += tall[:, :, 1:]
    wide /= 9
    return wide


def improved(views: Views, shape: str, pose: Pose, *, turns: bool) -> Pose:
    """The pose after small steps in each of its numbers, as long as they help."""
    best = misfit(overlaps(views, shape, pose))
    for step in STEPS:
        moves = [("scale", step), ("x", step), ("y", step)]
        moves += [("angle", 1.5 * step), ("spin", 0.15 * step)] if turns else []
        for name, size in moves:
            for sign in (-1, 1):
                tried = replace(pose, **{name: getattr(pose, name) + sign * size})
                value = misfit(overlaps(views, shape, tried))
                if value < best:
                    pose, best = tried, value
                    break
    return pose


def laid(track: Track, shape: str, pose: Pose, best: float) -> Fit:
    """The outline in every frame that shows the object."""
    size, middle_x, middle_y = moments(shape)
    radius = pose.scale * np.sqrt(track.area / size)
    angle = pose.angle + pose.spin * (np.arange(len(radius)) - (len(radius) - 1) / 2)
    away = np.stack(
        [
            pose.x - middle_x * np.cos(angle) + middle_y * np.sin(angle),
            pose.y - middle_x * np.sin(angle) - middle_y * np.cos(angle),
        ],
        axis=1,
    )  # [F, 2]
    return Fit(shape, best, track.place + away * radius[:, None], radius, angle)


def drawn_in(fit: Fit, frame: int, height: int, width: int) -> Mask:
    """The pixels [H, W] of a frame that the outline takes in."""
    unit = SCALE / min(height, width)
    (x, y), radius = fit.place[frame] / unit, fit.radius[frame] / unit
    across, down = (np.arange(width)[None, :] - x) / radius, (np.arange(height)[:, None] - y) / radius
    cos, sin = math.cos(fit.angle[frame]), math.sin(fit.angle[frame])
    across, down = across * cos + down * sin, down * cos - across * sin
    cell = (CELLS - 1) / (2 * EXTENT)
    i = ((down + EXTENT) * cell).round().clip(0, CELLS - 1).astype(int)
    j = ((across + EXTENT) * cell).round().clip(0, CELLS - 1).astype(int)
    return table(fit.shape)[i, j] < 0
