"""Buckets: clips of several sizes and sources mixed by probability, a pure function of (seed, number)."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from tubelet.data.clips import Clips
from tubelet.data.loader import clip_of
from tubelet.data.source import DataConfig, held_out_clips, other_clips, training_clips
from tubelet.data.views import CroppedClips, KeptClips, crop
from tubelet.draws import stream
from tubelet.errors import InputError

BUCKETS = 0x51  # sets the stream that buckets are drawn from apart from the samples' own draws
CROPS = 0xC5  # and that of the places of crops


class Bucket(NamedTuple):
    """Clips of one size, rate and source.

    name: in the log and in losses. share: of the training samples. clips: those to train on, whole. held_out: those to
    measure on, of `size`. size: F, H, W of what is trained on, less than `clips` have where a config asks for crops.
    crops: samples in a row that are parts of one clip; 0 where clips are not cropped.
    """

    name: str
    share: float
    clips: Clips
    held_out: Clips
    size: tuple[int, int, int]
    crops: int = 0

    def frames(self, seed: int, number: int) -> Tensor:
        """Training sample `number`, uint8 [F, H, W, 3]: the clip that `clip_of` says, cropped by (seed, number)."""
        if not self.crops:
            return self.clips.frames(clip_of(seed, number, len(self.clips)))
        frames = self.clips.frames(clip_of(seed, number // self.crops, len(self.clips)))
        source, (_, height, width) = stream(seed, CROPS, number), self.size
        top, left = (
            int(source.integers(side - part + 1))
            for side, part in zip(frames.shape[1:3], (height, width), strict=True)
        )
        return crop(frames, (top, left), (height, width))

    @property
    def content(self) -> str:
        """What is trained on, as a hash."""
        part = f" cropped to {self.size[1]}x{self.size[2]}, {self.crops} times" if self.crops else ""
        return f"{len(self.clips)} of {self.clips.fingerprint}{part}"


def buckets_of(config: DataConfig) -> list[Bucket]:
    """The main bucket, then one for each of data.other, in order.

    Sample (or micro-batch) `number` has the one of `bucket_of(seed, number, [bucket.share for bucket in buckets])`, and
    its pixels are that bucket's `frames(seed, number)`. Raises InputError for clips smaller than data.crop.
    """
    found = [(None, training_clips(config), held_out_clips(config))]
    found += [(size.label, *other_clips(config, size)) for size in config.other]
    return [
        _bucket(name, share, clips, held_out, config.crop, config.crops)
        for (name, clips, held_out), share in zip(found, config.shares, strict=True)
    ]


def bucket_of(seed: int, unit: int, shares: Sequence[float]) -> int:
    """Which bucket unit `unit` has, a sample or a micro-batch: 0, the main one, or 1 .. len(shares) - 1.

    shares: of all buckets, summing to 1. A function of (seed, unit, shares), so a resumed run draws the same.
    """
    _, *others = shares
    if not others:
        return 0
    source, total = stream(seed, BUCKETS, unit), sum(others)
    if not source.random() < total:
        return 0
    if len(set(others)) == 1:
        return 1 + int(source.integers(len(others)))
    place = source.random() * total
    ends = [sum(others[: end + 1]) for end in range(len(others))]
    return 1 + next((number for number, end in enumerate(ends) if place < end), len(others) - 1)


def _bucket(
    name: str | None, share: float, clips: Clips, held_out: Clips, part: tuple[int, int] | None, crops: int
) -> Bucket:
    """A bucket of clips of one size; the main one is called by its size."""
    frames, height, width = clips.frames(0).shape[:3]
    name = name or f"{frames}x{height}x{width}"
    if part is None or part == (height, width):
        return Bucket(name, share, clips, held_out, (frames, height, width))
    if part[0] > height or part[1] > width:
        raise InputError(
            f"data.crop is {part[0]} x {part[1]}, but the clips of {name} are {height} x {width}; give a smaller crop, "
            "or larger clips"
        )
    return Bucket(name, share, KeptClips(clips), CroppedClips(held_out, *part), (frames, *part), crops)
