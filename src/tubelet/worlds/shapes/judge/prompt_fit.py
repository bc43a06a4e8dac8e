"""Prompt fit: what a clip shows, read from its pixels alone, to be held against what was asked for.

The judge knows nothing of how clips are made but the names that it may answer with and what they mean. It
expects one or two objects, each of one colour at a time, over a background that stands or slides evenly.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tubelet.errors import InputError
from tubelet.worlds.shapes.judge.backdrop import Ground, backdrop_of
from tubelet.worlds.shapes.judge.colours import nearest_colour
from tubelet.worlds.shapes.judge.motions import motion_of, speed_of, turning
from tubelet.worlds.shapes.judge.outlines import Fit, drawn_in, fit_outline
from tubelet.worlds.shapes.judge.pixels import SCALE, Floats
from tubelet.worlds.shapes.judge.tracking import Track, tracks_of

SIZES = {"small": 0.28, "medium": 0.405, "large": float("inf")}
"""Diameters in short sides at which each size ends."""
RESIZING = ("grows", "shrinks")
UNLIKE = 0.6
"""Overlap with the best outline below which a thing has no shape."""
OVERLAPS = 0.06
"""Share of the smaller of two outlines from which on one of them hides the other."""


@dataclass(frozen=True)
class ReadObject:
    """One object in words; None for what does not apply or could not be read.

    `colour` is the first one, `to_colour` what it changes to. `size` has no word where it changes, `speed`
    none for what has no slow and fast. `fit` is where the best outline lies.
    """

    shape: str | None
    colour: str
    to_colour: str | None
    size: str | None
    motion: str | None
    speed: str | None
    fit: Fit

    def words(self) -> dict[str, str | None]:
        """The six words, ready for JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "fit"}


@dataclass(frozen=True)
class Reading:
    """What the judge saw: none, one or two objects, and the background.

    `main` is the number of the object with most pixels. Of two objects the first is left of, above or behind
    the second, as `relation` says.
    """

    objects: tuple[ReadObject, ...]
    background: Ground
    relation: str | None = None
    main: int = 0

    @property
    def count(self) -> int:
        """Number of objects."""
        return len(self.objects)

    @property
    def found(self) -> bool:
        """Whether there is any object."""
        return bool(self.objects)

    @property
    def colour(self) -> str | None:
        """The colour of the main object."""
        return self.objects[self.main].colour if self.objects else None

    @property
    def motion(self) -> str | None:
        """The motion of the main object."""
        return self.objects[self.main].motion if self.objects else None

    def words(self) -> dict[str, Any]:
        """Everything in words, ready for JSON: count, objects, relation, background, pan."""
        ground = asdict(self.background)
        return {
            "count": self.count,
            "objects": [each.words() for each in self.objects],
            "relation": self.relation,
            "background": {name: ground[name] for name in ("kind", "colours", "direction")},
            "pan": ground["pan"],
        }


def read_clip(frames: NDArray[np.uint8], *, fps: float = 8.0) -> Reading:
    """What a clip uint8 [F, H, W, 3] shows; `fps` frames a second tell slow from fast.

    Clips of fewer than 4 frames have no motion. What is not seen in the first third is not an object. Raises
    InputError for arrays of another shape or type and for fps that are not above 0.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise InputError(f"frames {frames.dtype} {list(frames.shape)}: give one clip as uint8 [F, H, W, 3]")
    if not fps > 0:
        raise InputError(f"fps {fps} is not positive; try 8")
    video, fps = as_known(frames, fps)
    backdrop = backdrop_of(video)
    tracks = tracks_of(video, backdrop)
    early = max(1, len(video) // 3)
    if not tracks or not np.isfinite(tracks[0].area[:early]).any():
        return Reading((), backdrop.ground)
    things = [read_object(track, fps) for track in tracks]
    if len(things) == 1:
        return Reading((things[0],), backdrop.ground)
    relation, swapped = relation_of((tracks[0], things[0].fit), (tracks[1], things[1].fit))
    ordered = (things[1], things[0]) if swapped else (things[0], things[1])
    return Reading(ordered, backdrop.ground, relation, int(swapped))


def as_known(frames: NDArray[np.uint8], fps: float) -> tuple[Floats, float]:
    """A clip at the size and rate that the rules are tuned for, and that rate.

    64 to 127 pixels along the short side where there are so many, as means of squares; and 5 to 12 frames a second.
    """
    fold, step = max(1, min(frames.shape[1:3]) // 64), max(1, round(fps / 8))
    height, width = (size // fold for size in frames.shape[1:3])
    some = frames[::step, : height * fold, : width * fold].astype(np.float64)
    return some.reshape(-1, height, fold, width, fold, 3).mean((2, 4)), fps / step


def read_object(track: Track, fps: float) -> ReadObject:
    """The words for one track."""
    first = int(np.isfinite(track.area).argmax())
    motion = motion_of(track) if len(track.area) >= 4 else None
    fit = fit_outline(track, turning(track) if motion == "rotates" else 0.0)
    return ReadObject(
        shape=fit.shape if fit.overlap >= UNLIKE else None,
        colour=nearest_colour(np.median(track.colour[first : first + 3], axis=0)),
        to_colour=nearest_colour(np.median(track.colour[-3:], axis=0))
        if motion == "changes colour"
        else None,
        size=None if motion in RESIZING else size_of(fit),
        motion=motion,
        speed=speed_of(track, motion, fit, fps) if motion else None,
        fit=fit,
    )


def size_of(fit: Fit) -> str:
    """The word for the nominal diameter of an outline."""
    diameter = 2 * float(np.nanmedian(fit.radius)) / SCALE
    return next(name for name, end in SIZES.items() if diameter < end)


def relation_of(one: tuple[Track, Fit], other: tuple[Track, Fit]) -> tuple[str | None, bool]:
    """The relation of two objects, and whether it is the second that is left, above or behind."""
    both = np.flatnonzero(np.isfinite(one[0].area) & np.isfinite(other[0].area))
    if not len(both):
        return None, False
    shares, leads = zip(*(overlap_in(one, other, int(k)) for k in both), strict=True)
    if np.median(shares) > OVERLAPS:
        return "behind", sum(leads) > 0
    away = np.median(other[1].place[both] - one[1].place[both], axis=0)
    if abs(away[0]) >= abs(away[1]):
        return "left of", bool(away[0] < 0)
    return "above", bool(away[1] < 0)


def overlap_in(one: tuple[Track, Fit], other: tuple[Track, Fit], frame: int) -> tuple[float, float]:
    """The share of the smaller outline that lies in both, and how far the first object's colour prevails there."""
    height, width = one[0].cover.shape[1:]
    masks = [drawn_in(fit, frame, height, width) for _, fit in (one, other)]
    shared = masks[0] & masks[1]
    least = max(1, min(int(mask.sum()) for mask in masks))
    lead = float((one[0].cover[frame][shared] - other[0].cover[frame][shared]).sum())
    return float(shared.sum() / least), lead
