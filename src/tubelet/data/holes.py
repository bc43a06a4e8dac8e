"""Clips with a hole that is filled from its border, as a user's are who wants it painted anew."""

import math

import numpy as np
import torch
from torch import Tensor

from tubelet.data.clips import Clips
from tubelet.data.views import OtherClips
from tubelet.draws import stream
from tubelet.holes import fill_hole

HOLES = 0x40  # sets the stream of holes apart from others
LATER = 24  # of so many clips in turn the hole is there from the first frame on, of the next as many it comes later
SMALLEST, LARGEST = 0.25, 0.75  # share of the frames that it takes


def hole(source: np.random.Generator, frames: int, height: int, width: int) -> Tensor:
    """A hole, bool [F, H, W]: a rectangle or a blob, still or moving, or all that lies outside of one.

    It takes SMALLEST to LARGEST of all frames together.
    """
    blob, moves, outside = source.random(3) < (0.5, 0.5, 1 / 3)
    share, aspect = source.uniform(SMALLEST, LARGEST), math.exp(source.uniform(-0.5, 0.5))
    begin = source.uniform(0.25, 0.75, 2)
    end = source.uniform(0.25, 0.75, 2) if moves else begin
    waves, phases = source.normal(0, 0.12, 4), source.uniform(0, 2 * math.pi, 4)
    when = np.linspace(0, 1, frames)[:, None]
    middle = begin + when * (end - begin)  # [F, 2], a share of the sides
    down = ((np.arange(height) + 0.5) / height - middle[:, :1])[:, :, None] * aspect  # [F, H, 1]
    right = ((np.arange(width) + 0.5) / width - middle[:, 1:])[:, None] / aspect  # [F, 1, W]
    if blob:  # a circle whose radius goes in waves around it
        angle = np.arctan2(down, right)
        radius = 1 + sum(
            a * np.cos((k + 2) * angle + p) for k, (a, p) in enumerate(zip(waves, phases, strict=True))
        )
        away = np.hypot(down, right) / np.maximum(radius, 0.3)
    else:
        away = np.maximum(np.abs(down), np.abs(right))
    away = torch.from_numpy(away).float()
    away = -away if outside else away
    kept = max(1, round(share * away.numel()))
    return away <= away.flatten().kthvalue(kept).values


class HoledClips(OtherClips):
    """The first `count` of other clips, each with a hole filled from its border. Their words are left out.

    Of every other LATER clips the first 1 + 4j frames, fewer than all, have no hole.
    """

    def __init__(self, clips: Clips, count: int) -> None:
        super().__init__(clips, "holes", 1)
        self.count = min(count, len(clips))

    def __len__(self) -> int:
        """How many there are."""
        return self.count

    def hole(self, index: int, shape: tuple[int, int, int]) -> Tensor:
        """Where clip `index` of shape (F, H, W) has its hole, bool [F, H, W]; a function of both."""
        source, frames = stream(HOLES, index), shape[0]
        found = hole(source, *shape)
        if index // LATER % 2 and frames > 4:
            found[: 1 + 4 * int(source.integers((frames - 1) // 4))] = False
        return found

    def frames(self, index: int) -> Tensor:
        """One clip, uint8 [F, H, W, 3], its hole filled."""
        frames = self.clips.frames(index)
        count, height, width, _ = frames.shape
        return fill_hole(frames, self.hole(index, (count, height, width)))

    def fingerprints(self, index: int) -> tuple[str, str]:
        """The other clip's frames with the hole of this number, and no words."""
        return f"{super().fingerprints(index)[0]} {index}", ""

    def captions(self, index: int) -> list[str]:
        """The empty one: a sample's words are those of the clip itself."""
        return [""]
