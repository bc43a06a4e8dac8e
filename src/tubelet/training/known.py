"""Known content in training: what the samples of a micro-batch know, in place at time 0 or beside the video.

A task is a combination of parts: an image to begin with is `first`, images at both ends are `first` and `last`, two
clips to be joined are a longer beginning and a longer ending. So the parts are drawn one by one, and combine.
"""

from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from tubelet.data.latents import Span, Spans
from tubelet.draws import stream
from tubelet.errors import InputError

KNOWN = 0x4B  # sets the stream of kinds apart from the samples' own draws
PATTERNS = 24  # clips of one number modulo this have the same frames encoded as references
MOST = 3  # latents of references beside one video: each number of them is a shape to compile
IN_TIME = ("first", "last", "keyframes")
PARTS = (*IN_TIME, "region", "each_frame")


@dataclass(frozen=True, kw_only=True)
class KnownConfig:
    """How often training samples know something. Each part is drawn on its own; a micro-batch draws once.

    share: of the samples, those in which first, last and keyframes are drawn at all. first: the beginning in place, one
    latent (the first frame) for every other one, else evenly from two to all but one. last: the ending, encoded on its
    own as a reference; the last frame for every other one, else evenly one of `endings`, numbers of frames 1 + 4j.
    keyframes: one or two frames at the ends of latents, as references.
    region, each_frame: drawn whatever else is known. region: a hole in the main size's clips, see data.holes; with
    `first` the hole begins later. each_frame: every frame of latents has a time of its own [Forcing], but in a region.
    What a clip is too short for it does not know, and an image knows nothing.
    holes, references: how many of the clips, at most, are encoded with a hole, and how many have references.
    Raises InputError for a share outside of 0 to 1, an ending that fills no latents, or a number below 1.
    """

    share: float = 1.0
    first: float = 0.0
    last: float = 0.0
    keyframes: float = 0.0
    region: float = 0.0
    each_frame: float = 0.0
    endings: tuple[int, ...] = ()
    holes: int = 5000
    references: int = 30_000

    def __post_init__(self) -> None:
        for name in ("share", *PARTS):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise InputError(f"known.{name} is {share:g}, a share of samples; give 0 to 1")
        for frames in self.endings:
            if frames < 5 or frames % 4 != 1:
                raise InputError(f"known.endings has {frames}, and is of 5, 9, 13 ... frames; leave it out")
        for name in ("holes", "references"):
            if getattr(self, name) < 1:
                raise InputError(f"known.{name} is {getattr(self, name)}; it must be at least 1")

    @property
    def anything(self) -> bool:
        """Whether any sample is other than one that knows nothing."""
        return any(parts and share for parts, share in self.shares().items())

    @property
    def beside(self) -> bool:
        """Whether frames have to be encoded on their own."""
        return self.share > 0 and (self.last > 0 or self.keyframes > 0)

    def shares(self) -> dict[tuple[str, ...], float]:
        """The share of the samples that draw exactly these parts, for every combination; they come to 1."""
        found = {}
        for drawn in product((False, True), repeat=len(PARTS)):
            given = dict(zip(PARTS, drawn, strict=True))
            chance = {name: getattr(self, name) if given[name] else 1 - getattr(self, name) for name in PARTS}
            in_time = self.share * float(np.prod([chance[name] for name in IN_TIME]))
            if not any(given[name] for name in IN_TIME):
                in_time += 1 - self.share
            parts = tuple(name for name in PARTS if given[name])
            found[parts] = in_time * chance["region"] * chance["each_frame"]
        return found


class Kind(NamedTuple):
    """What all samples of a micro-batch know: all that decides shapes, and where references stand.

    first: frames of tokens known from the beginning. references: which frames of the clip stand beside it, and
    `pattern` which clips have them, those of this number modulo PATTERNS.
    """

    first: int = 0
    region: bool = False
    each_frame: bool = False
    pattern: int = 0
    references: tuple[Span, ...] = ()

    @property
    def by_frame(self) -> bool:
        """Whether t is given for each frame of latents: one shape for all but regions and where nothing is known."""
        return not self.region and (self.first > 0 or self.each_frame or bool(self.references))


NOTHING = Kind()


def kind_of(
    config: KnownConfig, seed: int, unit: int, latents: int, depth: int = 1, holes: bool = True, clips: int = PATTERNS
) -> Kind:  # fmt: skip
    """The kind of a unit, a sample or a micro-batch, of clips of so many frames of latents, `depth` to a token.

    holes: whether there are any of this size; clips: how many of it have references. A function of all these, so that a
    resumed run draws the same.
    """
    source = stream(seed, KNOWN, unit)
    gate, *drawn = source.random(1 + len(PARTS))
    pattern, single = int(source.integers(min(PATTERNS, clips))), source.random() < 0.5
    longer, two = source.random(), source.random() < 0.5
    frames = latents // depth
    if frames < 2:
        return NOTHING
    has = {name: bool(chance < getattr(config, name)) for name, chance in zip(PARTS, drawn, strict=True)}
    has |= {name: has[name] and gate < config.share for name in IN_TIME}
    first = (1 if single or frames < 3 else 2 + int(longer * (frames - 2))) if has["first"] else 0
    beside = beside_of(config, pattern, latents, has["last"], (1 + two) * has["keyframes"])
    region = holes and has["region"]
    return Kind(first, region, has["each_frame"] and not region, pattern if beside else 0, beside)


def beside_of(
    config: KnownConfig, pattern: int, latents: int, last: bool, keyframes: int
) -> tuple[Span, ...]:
    """Which frames of clips of a pattern are their references, in order, where they have an ending and keyframes.

    An ending leaves a latent before it, keyframes lie before the ending, and all come to MOST latents.
    """
    source, total = stream(KNOWN, pattern), 1 + 4 * (latents - 1)
    longer = config.endings[pattern // 2 % len(config.endings)] if config.endings else 1
    ending = min(1 if pattern % 2 == 0 else longer, total - 4)
    places = 1 + source.permutation(latents - 1)[:2]
    room = MOST - (ending // 4 + 1) * last
    before = [int(place) for place in places if not last or 4 * place < total - ending]
    stills = [Span(4 * place) for place in sorted(before[: min(keyframes, room)])]
    return (*stills, Span(total - ending, ending)) if last else tuple(stills)


def spans_of(config: KnownConfig, latents: int, clips: int) -> Spans | None:
    """The frames that each clip of a training set needs encoded as references, by its number; None where none does."""
    if latents < 2 or not config.beside:
        return None
    with_some, last, keyframes = min(clips, config.references), config.last > 0, 2 * (config.keyframes > 0)

    def spans(clip: int) -> tuple[Span, ...]:
        if clip >= with_some:
            return ()
        pattern = clip % min(PATTERNS, with_some)
        each = (beside_of(config, pattern, latents, *parts) for parts in ((last, 0), (False, keyframes)))
        return tuple(sorted({span for some in each for span in some}))

    return spans


def outlines_of(config: KnownConfig, latents: int, clips: int) -> list[tuple[float, Kind]]:
    """A kind for each number of latents that references come to, and the share of samples that have so many."""
    found: dict[int, tuple[float, Kind]] = {}
    patterns = min(PATTERNS, clips, config.references)
    for pattern, last, keyframes in product(range(patterns), (False, True), (0, 1, 2)):
        share = (config.last if last else 1 - config.last) / patterns
        share *= config.share * (config.keyframes / 2 if keyframes else 1 - config.keyframes)
        if not share:
            continue
        beside = beside_of(config, pattern, latents, last, keyframes) if latents > 1 else ()
        size = sum(1 + span.count // 4 for span in beside)
        before, kind = found.get(size, (0.0, Kind(pattern=pattern, references=beside)))
        found[size] = before + share, kind
    none = found.pop(0, (0.0, NOTHING))[0] + 1 - config.share
    return [(none, NOTHING)] * (none > 0) + [found[size] for size in sorted(found)]


def measured_kinds(config: KnownConfig, latents: int, depth: int = 1) -> dict[str, Kind]:
    """The kinds that held-out loss is measured of, by name: each part, and the tasks of both ends."""
    frames, total = latents // depth, 1 + 4 * (latents - 1)
    if frames < 2:
        return {}
    longest = min(max(config.endings, default=1), total - 4)
    last, ending = (Span(total - count, count) for count in (1, longest))
    stills = tuple(Span(4 * place) for place in sorted({latents // 3 or 1, 2 * latents // 3}))
    both = config.share * config.first * config.last
    kinds = {
        "first": (config.share * config.first, Kind(first=1)),
        "prefix": (config.share * config.first, Kind(first=max(1, frames // 2))),
        "last": (config.share * config.last, Kind(references=(last,))),
        "ending": (config.share * config.last, Kind(references=(ending,))),
        "keyframes": (config.share * config.keyframes, Kind(references=stills)),
        "first_last": (both, Kind(first=1, references=(last,))),
        "prefix_ending": (both, Kind(first=max(1, frames // 3), references=(ending,))),
        "region": (config.region, Kind(region=True)),
        "each_frame": (config.each_frame, Kind(each_frame=True)),
    }
    found: dict[str, Kind] = {}
    for name, (share, kind) in kinds.items():  # short clips have some twice
        if share > 0 and kind not in found.values():
            found[name] = kind
    return found
