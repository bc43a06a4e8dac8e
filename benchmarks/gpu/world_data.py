"""The training data made on the spot: clips rendered by many processes, encoded on the device, kept in the run's cache.

`DenoiserTask` finds the cache filled and goes on from there as always.
"""

import multiprocessing
import multiprocessing.pool
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tubelet.autoencoder.codec import Codec
from tubelet.data.clips import Clips, fingerprints_of
from tubelet.data.latents import SHARD, encode_clips
from tubelet.data.source import held_out_clips, training_clips
from tubelet.gaussians import Gaussian
from tubelet.progress import progress
from tubelet.text.encoder import make_encoder
from tubelet.training.config import DenoiserRun
from tubelet.training.denoiser_task import codec_for

BLOCK = 128  # clips that one process renders at a time
SETS: dict[str, Clips] = {}  # in the rendering processes: the clips they render

Block = np.ndarray  # frames uint8 [n, F, H, W, 3]


def begin(sets: dict[str, Clips]) -> None:
    """What a rendering process does first."""
    torch.set_num_threads(1)
    SETS.update(sets)


def block(which: str, first: int) -> Block:
    """Clips first .. first + BLOCK - 1 of one of the sets."""
    clips = SETS[which]
    numbers = range(first, min(first + BLOCK, len(clips)))
    return np.stack([clips.frames(i).numpy() for i in numbers])


@contextmanager
def renderers(run: DenoiserRun, workers: int) -> Iterator[tuple[Any, dict[str, Clips]]]:
    """Processes that render the run's clips. They are forked, so this comes before anything touches a GPU."""
    sets = {"training": training_clips(run.data), "held-out": held_out_clips(run.data)}
    with multiprocessing.get_context("fork").Pool(workers, begin, (sets,)) as pool:
        yield pool, sets


class Rendered:
    """The clips of a set, rendered by a pool ahead of whoever asks for them in order; frames lie on a device."""

    def __init__(self, which: str, clips: Clips, pool: Any, device: str, ahead: int):
        self.which, self.clips, self.pool, self.device, self.ahead = which, clips, pool, device, ahead
        self.fingerprint, self.fps = clips.fingerprint, clips.fps
        self.coming: dict[int, multiprocessing.pool.AsyncResult[Block]] = {}
        self.here: dict[int, Tensor] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self.clips)

    def frames(self, index: int) -> Tensor:
        """The frames of one clip, uint8 [F, H, W, 3], on the device."""
        return self._block(index // BLOCK)[index % BLOCK]

    def fingerprints(self, index: int) -> tuple[str, str]:
        """Those of the clip itself."""
        return fingerprints_of(self.clips, index)

    def captions(self, index: int) -> list[str]:
        """All that may be said of it."""
        return self.clips.captions(index)

    def attributes(self, index: int) -> dict[str, Any]:
        """What else is known of it."""
        return self.clips.attributes(index)

    def _block(self, number: int) -> Tensor:
        if number not in self.here:
            last = (len(self) - 1) // BLOCK
            for wanted in range(number, min(number + self.ahead, last) + 1):
                if wanted not in self.coming and wanted not in self.here:
                    self.coming[wanted] = self.pool.apply_async(block, (self.which, wanted * BLOCK))
            frames = self.coming.pop(number).get()
            for old in [n for n in self.here if n < number - SHARD // BLOCK]:
                del self.here[old]
            self.here[number] = torch.from_numpy(frames).to(self.device)
        return self.here[number]


class OnDevice:
    """The encoder of a codec that has been moved to a device, in bf16 there."""

    def __init__(self, codec: Codec, device: str):
        self.codec, self.device, self.config = codec, device, codec.config

    def parameters(self) -> Iterator[Tensor]:
        """The codec's."""
        return self.codec.parameters()

    def encode(self, video: Tensor) -> Gaussian:
        """[B, 3, F, H, W] in [-1, 1], on the device -> the posterior of the latents there."""
        with torch.autocast(self.device, dtype=torch.bfloat16):
            return self.codec.encode(video)


def fill_cache(run: DenoiserRun, workers: int) -> None:
    """Render and encode what of the run's clips its cache has not yet."""
    device = run.loop.device
    with renderers(run, workers) as (pool, sets):
        codec, codec_hash = codec_for(run.codec)
        codec.to(device)
        encoder = make_encoder(run.text)
        for which, phrasings in (("training", run.captions), ("held-out", 1)):
            clips = Rendered(which, sets[which], pool, device, 2 * workers)
            with progress(f"rendering and encoding {which} clips", len(clips)) as done:
                encode_clips(
                    clips, OnDevice(codec, device), codec_hash, encoder,  # type: ignore[arg-type]
                    phrasings=phrasings, cache=Path(run.cache), progress=done,
                )  # fmt: skip


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0))
