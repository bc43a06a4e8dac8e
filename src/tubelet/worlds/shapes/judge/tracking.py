"""The tracks of one or two objects in a video, from its pixels and those of the background."""

from dataclasses import dataclass, field

import numpy as np

from tubelet.worlds.shapes.judge.backdrop import Backdrop
from tubelet.worlds.shapes.judge.pixels import (
    FAINT,
    SCALE,
    Floats,
    Mask,
    blurred,
    centre,
    distance,
    labelled,
    narrowed,
    segment_distance,
    widened,
)

LEAST_AREA = 16.0
"""In 64ths of the short side, squared; what is smaller is not an object."""
OTHER_TINT = 40.0
"""Least distance in RGB levels of a second colour in one region from the first colour and its soft edge."""
OTHER_COLOUR = 60.0
"""Least distance in RGB levels of two objects' colours where they touch."""
PATCH = 0.2
"""Area of the smaller of two objects that touch, as a share of the larger one's: what is less is a patch."""
JUMP = 0.5
"""Short sides that an object moves between two frames at most, a change of colour by 500 levels counting as one."""
REPAINT = 150.0
"""RGB levels by which an object's colour changes at most while it is lost."""
PERSISTS = 0.35
"""Share of the frames in which a second object is seen."""
SUBSTANTIAL = 0.15
"""Area of a second object, as a share of the first one's."""


@dataclass(frozen=True, eq=False)
class Region:
    """A part of one frame [H, W] that stands out in one colour; its place is x, y in pixels."""

    mask: Mask
    colour: Floats
    contrast: float
    place: Floats


@dataclass(eq=False)
class Path:
    """Regions that are taken for one object, by frame."""

    regions: dict[int, Region] = field(default_factory=dict)

    @property
    def weight(self) -> int:
        """Pixels in all frames together."""
        return sum(int(region.mask.sum()) for region in self.regions.values())

    @property
    def area(self) -> float:
        """Median number of pixels."""
        return float(np.median([region.mask.sum() for region in self.regions.values()]))


@dataclass(frozen=True)
class Track:
    """The object in each frame; where it cannot be seen, its place and area are NaN.

    `place` [F, 2] is x, y and `area` [F] is in 64ths of the short side; `colour` [F, 3] and `contrast` [F]
    are in RGB levels; `cover` [F, H, W] is how much of each pixel it covers; `hidden` [F, H, W] is where
    another object may hide it.
    """

    place: Floats
    area: Floats
    colour: Floats
    contrast: Floats
    cover: Floats
    hidden: Mask


def tracks_of(video: Floats, backdrop: Backdrop) -> list[Track]:
    """The tracks of the objects of a video [F, H, W, 3], the one with most pixels first: none, one or two."""
    smooth = blurred(video)
    found = regions_of(video, smooth, backdrop)
    paths = chosen(linked(found, min(video.shape[1:3])), len(video))
    covers = covers_of(video, backdrop.pixels, paths)
    tracks = []
    for k, path in enumerate(paths):
        others = [cover for j, cover in enumerate(covers) if j != k]
        hidden = widened(others[0] > 0.25) if others else np.zeros(video.shape[:3], bool)
        tracks.append(track_along(smooth, backdrop.pixels, path, covers[k], hidden))
    return tracks


# Regions


def regions_of(video: Floats, smooth: Floats, backdrop: Backdrop) -> list[list[Region]]:
    """What stands out in each frame of a video, once it is blurred."""
    away = distance(smooth, backdrop.pixels)  # [F, H, W]
    mask = away > backdrop.threshold
    label = np.where(mask, labelled(widened(mask)), 0)
    least = LEAST_AREA * (min(mask.shape[1:]) / SCALE) ** 2
    found: list[list[Region]] = []
    for frame, labels in enumerate(label):
        names, sizes = np.unique(labels[mask[frame]], return_counts=True)
        whole = [labels == name for name in names[sizes >= least]]
        found.append(
            [
                part
                for one in whole
                for part in parted(video[frame], smooth[frame], backdrop.pixels[frame], one, least)
            ]
        )
    return found


def parted(frame: Floats, smooth: Floats, behind: Floats, mask: Mask, least: float) -> list[Region]:
    """The region as one, or as two of different colours."""
    first = region(frame, smooth, behind, mask)
    off = segment_distance(smooth, behind, first.colour)
    other = mask & (off > OTHER_TINT)
    if narrowed(other).sum() < least / 4:
        return [first]
    tint, _ = core(frame, other, off)
    if distance(tint, first.colour) < OTHER_COLOUR:
        return [first]
    near = segment_distance(smooth, behind, tint) < off
    masks = mask & ~near, mask & near
    small, big = sorted(int(part.sum()) for part in masks)
    if small < PATCH * big or min(narrowed(part).sum() for part in masks) < least / 4:
        return [first]
    return [region(frame, smooth, behind, part) for part in masks]


def region(frame: Floats, smooth: Floats, behind: Floats, mask: Mask) -> Region:
    """The part of a frame under a mask, with its colour where it stands out most."""
    colour, contrast = core(frame, mask, distance(smooth, behind))
    return Region(mask, colour, contrast, centre(mask.astype(np.float64)))


def core(frame: Floats, mask: Mask, away: Floats) -> tuple[Floats, float]:
    """The median colour [3] of what is furthest away under a mask, and how far that is."""
    depth = away[mask]
    inner = depth >= 0.85 * np.quantile(depth, 0.9)
    return np.median(frame[mask][inner], axis=0), float(np.median(depth[inner]))


# Paths


def linked(found: list[list[Region]], short: int) -> list[Path]:
    """Regions of successive frames joined to paths, each to the nearest in place and colour."""
    paths: list[Path] = []
    for frame, regions in enumerate(found):
        costs = [
            (cost, p, r)
            for p, path in enumerate(paths)
            for r, one in enumerate(regions)
            if (cost := step_cost(path, frame, one, short)) is not None
        ]
        used: set[int] = set()
        taken: set[int] = set()
        for _, p, r in sorted(costs):
            if p not in used and r not in taken:
                used.add(p)
                taken.add(r)
                paths[p].regions[frame] = regions[r]
        paths += [Path({frame: one}) for r, one in enumerate(regions) if r not in taken]
    return paths


def step_cost(path: Path, frame: int, one: Region, short: int) -> float | None:
    """How little a region continues a path; None where it cannot."""
    last = max(path.regions)
    known = path.regions[last]
    place = known.place
    if last - 1 in path.regions:  # as it went, if less far, so it goes on
        place = place + (frame - last) * 0.7 * (place - path.regions[last - 1].place)
    jump = float(np.hypot(*(one.place - place))) / short
    tint = float(distance(one.colour, known.colour))
    if jump + tint / 500 > JUMP:
        return None
    grown = abs(float(np.log(one.mask.sum() / known.mask.sum())))
    return jump + tint / 255 + 0.1 * grown


def chosen(paths: list[Path], frames: int) -> list[Path]:
    """The one or two paths that are objects, the one with most pixels first; pieces of a path are joined."""
    rest = sorted(paths, key=lambda path: path.weight, reverse=True)
    whole: list[Path] = []
    while rest:
        path = rest.pop(0)
        for piece in list(rest):
            if joins(path, piece):
                path.regions |= piece.regions
                rest.remove(piece)
        whole.append(path)
    whole.sort(key=lambda path: path.weight, reverse=True)
    enough = max(min(3, frames), PERSISTS * frames)
    seconds = [
        path for path in whole[1:] if len(path.regions) >= enough and path.area >= SUBSTANTIAL * whole[0].area
    ]
    return whole[:1] + seconds[:1]


def joins(path: Path, piece: Path) -> bool:
    """Whether two paths are one that was lost for a while: never in one frame, and alike where they meet."""
    if path.regions.keys() & piece.regions.keys():
        return False
    near = min(((abs(a - b), a, b) for a in path.regions for b in piece.regions), key=lambda key: key[0])
    return float(distance(path.regions[near[1]].colour, piece.regions[near[2]].colour)) < REPAINT


# Covers and tracks


def covers_of(video: Floats, behind: Floats, paths: list[Path]) -> list[Floats]:
    """How much of each pixel each object covers, 0 to 1, near where it was found: each [F, H, W]."""
    covers: list[Floats] = [np.zeros(video.shape[:3]) for _ in paths]
    for frame in range(len(video)):
        here = [path.regions.get(frame) for path in paths]
        shown = [one for one in here if one is not None]
        off = video[frame] - behind[frame]
        for k, one in enumerate(here):
            if one is None:
                continue
            near = widened(one.mask, 2)
            others = [other for other in shown if other is not one]
            share = alone(off, one.colour - behind[frame])
            for other in others:
                if distance(one.colour, other.colour) < OTHER_TINT:
                    near &= ~other.mask
                elif (near & widened(other.mask, 2)).any():
                    share = mixed(off, one.colour - behind[frame], other.colour - behind[frame])
            covers[k][frame] = np.where(near & (share > FAINT), share.clip(0, 1), 0.0)
    return covers


def alone(off: Floats, way: Floats) -> Floats:
    """The share of a colour in pixels that mix it with the background; both less the background [H, W, 3]."""
    return (off * way).sum(-1) / np.maximum(np.square(way).sum(-1), 1.0)


def mixed(off: Floats, one: Floats, other: Floats) -> Floats:
    """The share of one colour in pixels that mix two with the background; all less the background [H, W, 3]."""
    aa, bb, ab = np.square(one).sum(-1), np.square(other).sum(-1), (one * other).sum(-1)
    va, vb = (off * one).sum(-1), (off * other).sum(-1)
    free = np.maximum(aa * bb - ab * ab, 1e-3)
    a, b = (bb * va - ab * vb) / free, (aa * vb - ab * va) / free
    single = np.where(a < 0, 0.0, alone(off, one))
    full = alone(off - other, one - other)  # where the two leave nothing of the background
    return np.where((a < 0) | (b < 0), single, np.where(a + b > 1, full.clip(0, 1), a))


def track_along(smooth: Floats, behind: Floats, path: Path, cover: Floats, hidden: Mask) -> Track:
    """The numbers of a path, frame by frame; where it is lost, what is left where it was last or is next seen."""
    unit = SCALE / min(cover.shape[1:])
    count = len(cover)
    place, area = np.full((count, 2), np.nan), np.full(count, np.nan)
    colour, contrast = np.zeros((count, 3)), np.zeros(count)
    last = min(path.regions)
    for frame in range(count):
        one = path.regions.get(frame)
        if one is None:
            colour[frame], contrast[frame] = core(
                smooth[frame], path.regions[last].mask, distance(smooth[frame], behind[frame])
            )
            continue
        last = frame
        colour[frame], contrast[frame] = one.colour, one.contrast
        place[frame] = centre(cover[frame]) * unit
        area[frame] = cover[frame].sum() * unit**2
    return Track(place, area, colour, contrast, cover, hidden)
