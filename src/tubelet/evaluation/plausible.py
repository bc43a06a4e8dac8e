"""Whether clips look like a set of clips at all, whatever they show: a few statistics and the band that the set's fill.

A model that is asked for what it has never seen may answer with saturated noise; this sees it, and no more than it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

STATISTICS = ("mean", "contrast", "saturation", "gradient", "change", "clipped")
LUMA = (0.299, 0.587, 0.114)
ENDS = (0.01, 0.99)  # quantiles of the set between which the band lies ...
WIDER = 0.25  # ... made wider by this share of itself on either side
CLIPPED = 3  # so near to 0 or 255 a channel counts as clipped


def clip_statistics(frames: Tensor) -> Tensor:
    """Of frames uint8 [F, H, W, 3]: the six STATISTICS, float32 [6], all in 0 to 1.

    Mean and standard deviation of luminance; the mean difference between a pixel's largest and smallest channel; that
    between neighbouring pixels' luminance, and between a pixel's in neighbouring frames; the share of clipped channels.
    """
    colour = frames.float() / 255
    light = colour @ torch.tensor(LUMA)  # [F, H, W]
    steps = [light.diff(dim=axis).abs().mean() for axis in (1, 2)]
    change = light.diff(dim=0).abs().mean() if len(light) > 1 else torch.zeros(())
    clipped = ((frames < CLIPPED) | (frames > 255 - CLIPPED)).float().mean()
    saturation = (colour.amax(-1) - colour.amin(-1)).mean()
    return torch.stack(
        [light.mean(), light.std(), saturation, sum(steps, torch.zeros(())) / 2, change, clipped]
    )


@dataclass(frozen=True)
class Band:
    """Between which values each statistic of a set of clips lies; low, high: [6]."""

    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, clips: Sequence[Tensor]) -> Self:
        """That of some clips, each uint8 [F, H, W, 3]."""
        rows = torch.stack([clip_statistics(frames) for frames in clips])
        low, high = rows.quantile(torch.tensor(ENDS), dim=0)
        return cls(low - WIDER * (high - low), high + WIDER * (high - low))

    def outside(self, frames: Tensor) -> list[str]:
        """The statistics of a clip that lie outside."""
        row = clip_statistics(frames)
        beyond = (row < self.low) | (row > self.high)
        return [name for name, out in zip(STATISTICS, beyond.tolist(), strict=True) if out]
