"""What a renderer knows of each token of its clips, computed once and kept beside the latents.

Clips that know it have `fields(index, height, width)`: float32 [F, H, W, X] of the same clip drawn at another size. Of
each pixel that shows a body: 1, its velocity in the picture (x to the right, y down, in shorter sides a second) and its
colour in [-1, 1]; zeros elsewhere.
"""

import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tubelet.data.clips import fingerprints_of
from tubelet.data.latents import SHARD
from tubelet.data.store import Entries, Rows, Store, key_of
from tubelet.model.tubelets import Grid

FIELDS = ("body", "velocity x", "velocity y", "red", "green", "blue")
DETAIL = 8  # rows and columns of pixels drawn for a token: enough for its mean, and a small part of the whole's cost
VERSION = 1


class Fields:
    """The fields of clips by token, bf16 [N, X] in a store; given with a mean square of 1 over the first clips."""

    def __init__(self, entries: Entries) -> None:
        self.entries = entries

    @cached_property
    def scale(self) -> Tensor:
        """The root mean square of each field over the first clips, [X]."""
        first = [self._of(index) for index in range(min(SHARD, self.entries.count))]
        return torch.cat(first).square().mean(0).sqrt().clamp(min=1e-3)

    def of(self, index: int) -> Tensor:
        """Of clip `index`: float32 [N, X]."""
        return self._of(index) / self.scale

    def _of(self, index: int) -> Tensor:
        return self.entries.rows(index)["fields"][0].float()


def by_token(fields: Tensor, grid: Grid, frames_per_latent: int) -> Tensor:
    """Means over the pixels of each token: [F, H, W, X] -> [N, X]. The first frame alone is the first latent's."""
    shape = len(fields) // frames_per_latent, frames_per_latent, *fields.shape[1:]
    latents = torch.cat([fields[:1], fields[1:].reshape(shape).mean(1)])  # [f, H, W, X]
    return F.adaptive_avg_pool3d(latents.permute(3, 0, 1, 2), grid).flatten(1).T


def known_fields(
    clips: Any,
    grid: Grid,
    frames_per_latent: int,
    cache: Path,
    *,
    ready: int | None = None,
    progress: Callable[[int], None] | None = None,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> Fields | None:
    """The fields of all clips, from the cache where it has them; None where the clips' renderer tells of none.

    ready: how many clips are wanted now; the others are drawn when they are first asked for. An interrupted call goes
    on where it stopped. `progress` receives the number of clips done.
    """
    if not hasattr(clips, "fields"):
        return None
    size = (grid.rows * DETAIL, grid.columns * DETAIL)
    told = ("fields", VERSION, *grid, frames_per_latent, DETAIL)

    def make(wanted: list[tuple[int, int]]) -> tuple[Tensor, Rows]:
        each = [by_token(clips.fields(index, *size), grid, frames_per_latent) for index, _ in wanted]
        begins = torch.arange(len(each))
        return torch.stack([begins, begins + 1], 1), {"fields": torch.stack(each).bfloat16()}

    def keys(index: int) -> list[bytes]:
        return [key_of(*told, fingerprints_of(clips, index)[0])]

    entries = Entries(Store(cache / f"fields-{key_of(*told).hex()}", say), len(clips), SHARD, keys, make)
    entries.fill(len(clips) if ready is None else min(ready, len(clips)), progress)
    return Fields(entries)
