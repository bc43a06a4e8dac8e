"""What a renderer knows of each token of its clips, computed once and kept beside the latents.

Clips that know it have `fields(index, height, width)`: float32 [F, H, W, X] of the same clip drawn at another size. Of
each pixel that shows a body: 1, its velocity in the picture (x to the right, y down, in shorter sides a second) and its
colour in [-1, 1]; zeros elsewhere.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from tubelet.data.latents import SHARD
from tubelet.model.tubelets import Grid

FIELDS = ("body", "velocity x", "velocity y", "red", "green", "blue")
DETAIL = 8  # rows and columns of pixels drawn for a token: enough for its mean, and a small part of the whole's cost
VERSION = 1


class Fields:
    """The fields of clips by token, in shards [n, N, X] of bf16, each brought to a mean square of 1."""

    def __init__(self, shards: list[Tensor]) -> None:
        self.shards = shards
        self.scale = shards[0].float().flatten(0, 1).square().mean(0).sqrt().clamp(min=1e-3)  # [X]

    def of(self, index: int) -> Tensor:
        """Of clip `index`: float32 [N, X]."""
        return self.shards[index // SHARD][index % SHARD].float() / self.scale


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
    progress: Callable[[int], None] | None = None,
) -> Fields | None:
    """The fields of all clips, from the cache where it has them; None where the clips' renderer tells of none.

    An interrupted call goes on where it stopped. `progress` receives the number of clips done.
    """
    if not hasattr(clips, "fields"):
        return None
    told = [VERSION, "fields", clips.fingerprint, len(clips), *grid, frames_per_latent, DETAIL]
    folder = cache / hashlib.sha256(json.dumps(told).encode()).hexdigest()[:24]
    folder.mkdir(parents=True, exist_ok=True)
    shards, size = [], (grid.rows * DETAIL, grid.columns * DETAIL)
    for first in range(0, len(clips), SHARD):
        file, end = folder / f"{first // SHARD:05d}.safetensors", min(first + SHARD, len(clips))
        if not file.exists():
            each = [by_token(clips.fields(i, *size), grid, frames_per_latent) for i in range(first, end)]
            aside = file.with_suffix(f".writing-{os.getpid()}")
            save_file({"fields": torch.stack(each).bfloat16()}, aside)
            os.replace(aside, file)
        shards.append(load_file(file)["fields"])
        if progress:
            progress(end)
    return Fields(shards)
