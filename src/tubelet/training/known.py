"""Known content in training: which samples know what, in place at time 0 or beside the video as references."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from tubelet.draws import stream
from tubelet.errors import InputError

KNOWN = 0x4B  # sets the stream of kinds apart from the samples' own draws
NOTHING = "nothing"
REFERENCES = ("last", "keyframes")


@dataclass(frozen=True, kw_only=True)
class KnownConfig:
    """Shares of the training samples that know something; the rest know nothing. A micro-batch is of one kind.

    first: some first frames of latents in place; one of them for every other sample, else evenly from one to all but
    one. region: in place too, a box of whole tokens on all frames, or all but that box. last, keyframes: the clip's
    last frame, or one or two frames at the ends of latents, each encoded on its own, as references. each_frame: nothing
    is known, but every frame of latents has a time of its own [Forcing]. Clips of one frame of latents know nothing.
    A share outside of 0 to 1, or more than 1 of them all, raises InputError.
    """

    first: float = 0.0
    region: float = 0.0
    last: float = 0.0
    keyframes: float = 0.0
    each_frame: float = 0.0

    def __post_init__(self) -> None:
        shares = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise InputError(f"known.{name} is {share:g}, a share of samples; give 0 to 1")
        if sum(shares.values()) > 1 + 1e-9:
            raise InputError(f"the shares of known come to {sum(shares.values()):g}; leave 1 or less")

    @property
    def kinds(self) -> dict[str, float]:
        """Each kind that samples are of and its share, NOTHING last; the shares come to 1."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        kinds = {name: share for name, share in given.items() if share}
        return {**kinds, NOTHING: max(0.0, 1 - sum(kinds.values()))}

    @property
    def stills(self) -> bool:
        """Whether single frames have to be encoded on their own."""
        return any(name in self.kinds for name in REFERENCES)


def kind_of(config: KnownConfig, seed: int, unit: int) -> str:
    """The kind of a unit, a sample or a micro-batch; a function of (seed, unit), so a resumed run draws the same."""
    kinds = config.kinds
    if len(kinds) == 1:
        return NOTHING
    upto = np.cumsum(list(kinds.values()))
    place = int(np.searchsorted(upto, stream(seed, KNOWN, unit).random() * upto[-1], side="right"))
    return list(kinds)[min(place, len(kinds) - 1)]


def frames_of(kind: str, latents: int, seed: int, unit: int) -> tuple[int, ...]:
    """The frames of latents, above 0, whose last pixel frames the samples of a unit have as references, in order."""
    if kind == "last":
        return (latents - 1,)
    if kind != "keyframes":
        return ()
    source = stream(seed, KNOWN, unit, 1)
    count = min(1 + int(source.integers(2)), latents - 1)
    return tuple(sorted(1 + int(place) for place in source.permutation(latents - 1)[:count]))


def unknown_of(
    kind: str, size: tuple[int, int, int], tubelet: tuple[int, int, int], source: np.random.Generator
) -> Tensor | None:
    """Which latents of `size` (f, h, w) a sample does not know in place: bool [1, f, 1, 1] or [1, f, h, w], or None.

    What is known is whole tokens, and never all of them.
    """
    frames, rows, columns = (length // part for length, part in zip(size, tubelet, strict=True))
    if kind == "first":
        known = 1 if source.random() < 0.5 else 1 + int(source.integers(frames - 1))
        return (torch.arange(size[0]) >= known * tubelet[0]).view(1, -1, 1, 1)
    if kind != "region":
        return None
    inside = torch.zeros(rows, columns, dtype=torch.bool)
    (top, bottom), (left, right) = (_part(source, length) for length in (rows, columns))
    inside[top:bottom, left:right] = True
    # The box is what is unknown, or what is known; a box of everything is unknown.
    unknown = inside if source.random() < 0.5 or bool(inside.all()) else ~inside
    unknown = unknown.repeat_interleave(tubelet[1], 0).repeat_interleave(tubelet[2], 1)
    return unknown.expand(1, size[0], -1, -1)


def _part(source: np.random.Generator, length: int) -> tuple[int, int]:
    """Where a part of 1 to `length` places begins and ends, each length as likely and each place for it."""
    part = 1 + int(source.integers(length))
    start = int(source.integers(length - part + 1))
    return start, start + part
