"""What makes latents easier to learn for a denoiser: neighbours that correlate and explain each other, equivariance."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW = 2  # side of the windows of `local_correlation`, in latents


def local_correlation(latents: Tensor) -> Tensor:
    """Mean correlation of neighbouring latents [B, C, f, h, w], in [-1, 1]: a scalar.   [SSVAE]

    Pearson's, over channels, of every pair within windows of 2 x 2 x 2 latents, mean over pairs and windows; the first
    latent frame, which stands for a single frame, has windows of 1 x 2 x 2, and counts as much as all later frames.
    Windows do not overlap; what is left over at the edges is not counted. One latent alone has correlation 1.
    """
    centred = latents.float() - latents.float().mean(1, keepdim=True)
    unit = F.normalize(centred, dim=1, eps=1e-6)
    parts = [unit[:, :, :1], unit[:, :, 1:]] if unit.shape[2] > 1 else [unit]
    return torch.stack([_windows_correlation(part) for part in parts]).mean()


def _windows_correlation(unit: Tensor) -> Tensor:
    """Mean over windows and pairs of the products of unit vectors [B, C, f, h, w]."""
    sides = [min(WINDOW, size) for size in unit.shape[2:]]
    f, h, w = (size // side * side for size, side in zip(unit.shape[2:], sides, strict=True))
    count = sides[0] * sides[1] * sides[2]
    if count == 1:
        return unit.new_ones(())
    means = F.avg_pool3d(unit[:, :, :f, :h, :w], sides)  # [B, C, windows]
    # |sum of n unit vectors|^2 = n + 2 (sum over pairs)
    return (count * means.square().sum(1).mean() - 1) / (count - 1)


def masked(latents: Tensor, hidden: Tensor) -> Tensor:
    """Latents [B, C, f, h, w] with zeros, the mean with which training begins, where hidden [B, 1, f, h, w].   [SSVAE]

    The decoder then has to make what they stand for from their neighbours.
    """
    return latents.masked_fill(hidden, 0.0)


def draw_hidden(source: np.random.Generator, most: float, samples: float, shape: tuple[int, ...]) -> Tensor:
    """Which latents of a sample are masked, bool [1, f, h, w], for a shape (C, f, h, w).

    With probability `samples` each is with a probability that is uniform in [0, most]; else none.
    """
    share = most * source.random() * (source.random() < samples)
    return torch.from_numpy(source.random((1, *shape[1:])) < share)


class Transform(NamedTuple):
    """What is done alike to latents and video: resize to `height` x `width` latents, then `turns` of 90 degrees."""

    height: int
    width: int
    turns: int

    def apply(self, x: Tensor, pixels: int = 1) -> Tensor:
        """Of x [B, C, f, h, w], latents or (pixels: the side of one latent) video; antialiased bilinear."""
        size = (pixels * self.height, pixels * self.width)
        if x.shape[3:] != size:
            frames = F.interpolate(
                x.transpose(1, 2).flatten(0, 1), size, mode="bilinear", antialias=True
            )  # [B*f, C, rows, columns]
            x = frames.unflatten(0, (len(x), -1)).transpose(1, 2)
        return torch.rot90(x, self.turns, (3, 4))


def draw_transform(source: np.random.Generator, share: float, shape: tuple[int, ...]) -> Transform | None:
    """With probability `share` a transform of latents of a shape (C, f, h, w), else None.   [EQ-VAE]

    The frame is scaled to 1, 2, 3 or 4 quarters of its sides, rounded up to whole latents, and turned by 0, 90, 180 or
    270 degrees. The source's factors are continuous; four of them make few sizes, which are compiled for once.
    """
    if source.random() >= share:
        return None
    quarters, turns = (int(source.integers(4)) for _ in range(2))
    height, width = (-(-side * (quarters + 1) // 4) for side in shape[2:])
    return Transform(height, width, turns)
