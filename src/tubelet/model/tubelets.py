"""Door 3: latents [B, C, f, h, w] <-> tokens [B, N, D], one token for each tubelet of latents."""

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from tubelet.errors import InputError
from tubelet.model.conditioning import FinalNorm
from tubelet.model.linear import Linear
from tubelet.model.norms import Scope
from tubelet.model.times import Times

Tubelet = tuple[int, int, int]


class Grid(NamedTuple):
    """How many tokens lie along time, height and width, and so how they are numbered: columns fastest."""

    frames: int
    rows: int
    columns: int

    @property
    def places(self) -> int:
        """Tokens of one frame of tokens."""
        return self.rows * self.columns

    @property
    def tokens(self) -> int:
        """N, all tokens of one clip."""
        return self.frames * self.places


def grid_of(size: tuple[int, ...], tubelet: Tubelet) -> Grid:
    """The grid of tokens for latents of `size` (f, h, w).

    Raises InputError, naming the nearest sizes that work, where the latents do not fill whole tubelets.
    """
    if any(length < 1 or length % part for length, part in zip(size, tubelet, strict=True)):
        below = [max(length // part, 1) * part for length, part in zip(size, tubelet, strict=True)]
        above = [max(-(-length // part), 1) * part for length, part in zip(size, tubelet, strict=True)]
        nearest = " or ".join(dict.fromkeys((_times(below), _times(above))))
        raise InputError(
            f"latents of {_times(size)} (frames x rows x columns) do not fill tubelets of {_times(tubelet)}; "
            f"use {nearest}"
        )
    return Grid(*(length // part for length, part in zip(size, tubelet, strict=True)))


def _times(sizes: tuple[int, ...] | list[int]) -> str:
    return " x ".join(map(str, sizes))


def cut(latents: Tensor, tubelet: Tubelet) -> Tensor:
    """Each tubelet's latents in one row: [B, C, f, h, w] -> [B, N, C * volume of a tubelet]."""
    depth, height, width = tubelet
    return rearrange(
        latents,
        "b c (frames depth) (rows height) (columns width) -> b (frames rows columns) (c depth height width)",
        depth=depth,
        height=height,
        width=width,
    )


def join(pieces: Tensor, grid: Grid, tubelet: Tubelet) -> Tensor:
    """The exact inverse of `cut`: [B, N, C * volume of a tubelet] -> [B, C, f, h, w]."""
    depth, height, width = tubelet
    return rearrange(
        pieces,
        "b (frames rows columns) (c depth height width) -> b c (frames depth) (rows height) (columns width)",
        frames=grid.frames,
        rows=grid.rows,
        columns=grid.columns,
        depth=depth,
        height=height,
        width=width,
    )


def marked(latents: Tensor, t: Tensor, tubelet: Tubelet) -> Tensor:
    """Latents [B, C, f, h, w] cut into pieces [B, N, (C + 1) * volume of a tubelet]; the last channel is 1 where known.

    A latent is known where its time is 0; t broadcasts to [B, 1, f, h, w].
    """
    known = (t == 0).to(latents.dtype).expand_as(latents[:, :1])
    return cut(torch.cat([latents, known], dim=1), tubelet)


class Embed(nn.Module):
    """Latents and whether each is known -> tokens."""

    def __init__(self, channels: int, width: int, tubelet: Tubelet) -> None:
        super().__init__()
        self.project = Linear((channels + 1) * volume(tubelet), width)

    def forward(self, pieces: Tensor) -> Tensor:
        """Pieces [B, N, (C + 1) * volume], as `marked` cuts them -> tokens [B, N, D]."""
        return self.project(pieces)


class Unembed(nn.Module):
    """Tokens -> a prediction for every latent; a fresh one predicts zero.   [DiT 3.2]"""

    def __init__(self, channels: int, width: int, tubelet: Tubelet, norm: str = "layer") -> None:
        super().__init__()
        self.norm = FinalNorm(width, norm)
        self.project = Linear(width, channels * volume(tubelet), zero=True)

    def forward(self, tokens: Tensor, signal: Tensor, times: Times, scope: Scope | None = None) -> Tensor:
        """[B, N, D] and the signal of each level of their times [B, K, D] -> pieces [B, N, C * volume] for `join`."""
        return self.project(self.norm(tokens, signal, times, scope))


def volume(tubelet: Tubelet) -> int:
    """Latents of one tubelet (for each channel)."""
    return tubelet[0] * tubelet[1] * tubelet[2]
