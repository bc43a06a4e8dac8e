"""The denoiser's task with data and draws on the device, for machines that train faster than one core draws.

On a CPU core, drawing and collating a sample takes about 0.3 ms, more than a fast GPU needs to train on it. So the
encoded clips lie on the device, and a batch is drawn there by one generator keyed by (seed, the batch's first sample).
Order of clips, losses and held-out measurements are those of `DenoiserTask`; noise, times, phrasings and dropped
captions have the same distributions but are other numbers, and they depend on the kind of device and on how samples are
grouped into batches.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from tubelet.data.latents import Encoded
from tubelet.data.loader import epoch_order
from tubelet.draws import stream
from tubelet.errors import InputError
from tubelet.gaussians import Gaussian
from tubelet.shapes import Text
from tubelet.training.batches import Batch, Content
from tubelet.training.config import DenoiserRun
from tubelet.training.denoiser_task import DenoiserTask
from tubelet.training.log import Log

DRAWS = 0xDE  # sets the key of a batch's generator apart from the streams of samples


@dataclass(frozen=True)
class Store:
    """Encoded clips on a device: mean [n, C, f, h, w], log_var [n, C, f, 1, 1]; a row of text for each phrasing."""

    mean: Tensor
    log_var: Tensor
    tokens: Tensor
    mask: Tensor
    whole: Tensor

    @classmethod
    def of(cls, data: Encoded, longest: int, device: str) -> Self:
        """All shards, captions padded to `longest` tokens."""
        parts: list[list[Tensor]] = [[], [], [], [], []]
        for clip in range(len(data)):
            posterior = data.posterior(clip)
            texts = [data.text(clip, phrasing).padded(longest) for phrasing in range(data.phrasings)]
            text = Text.concatenate(texts)
            latents = (posterior.mean[None].bfloat16(), posterior.log_var[None].bfloat16())
            for part, value in zip(parts, (*latents, text.tokens, text.mask, text.whole), strict=True):
                part.append(value)
        return cls(*(torch.cat(part).to(device) for part in parts))

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return sum(value.nbytes for value in vars(self).values())

    def text(self, rows: Tensor) -> Text:
        """The captions of these rows, float32."""
        return Text(self.tokens[rows].float(), self.mask[rows], self.whole[rows].float())


class DeviceTask(DenoiserTask):
    """`DenoiserTask` whose batches are drawn where they are used."""

    def __init__(self, run: DenoiserRun, log: Log):
        if run.data.other:
            raise InputError("data.other: batches that are drawn on the device have one size; leave it out")
        if run.known.anything:
            raise InputError("known: batches that are drawn on the device know nothing; leave it out")
        super().__init__(run, log)
        self.device = run.loop.device
        self.data = self.samples.sources[0].train.data
        self.store = Store.of(self.data, self.longest, self.device)
        self.empty = self.null.to(self.device)
        log.say(f"{len(self.data)} clips take {self.store.nbytes / 1e9:.2f} GB on {self.device}")

    def fetch(self, number: int) -> dict[str, Any]:
        """The number alone: batches are drawn whole."""
        return {"number": number}

    def kinds(self) -> list[tuple[float, Batch]]:
        """All samples are of one."""
        return [(1.0, self.collate([self.fetch(0)]))]

    def collate(self, items: list[dict[str, Any]]) -> Batch:
        """The batch of consecutive sample numbers; every draw is keyed by (seed, the first of them)."""
        run, count, first = self.run, len(items), items[0]["number"]
        key = int(stream(run.loop.seed, DRAWS, first).integers(2**63 - 1))
        source = torch.Generator(self.device).manual_seed(key)
        at = {"generator": source, "device": self.device}
        clips = self.clips(first, count)
        posterior = Gaussian(self.store.mean[clips].float(), self.store.log_var[clips].float())
        x0 = posterior.sample(torch.randn(posterior.mean.shape, **at))
        noise = torch.randn(x0.shape, **at)
        t = self.times.times(torch.rand(count, 1, dtype=torch.float64, **at))
        phrasing = torch.randint(run.captions, (count,), **at)
        keep = torch.rand(count, **at) >= run.caption_drop
        text = self.store.text(clips * run.captions + phrasing)
        return self.drawn(Content(x0, noise, text.where(keep, self.empty)), t)

    def clips(self, first: int, count: int) -> Tensor:
        """Which clips the samples first .. first + count - 1 show: each once an epoch, in the order of `clip_of`."""
        size, seed = len(self.data), self.run.loop.seed
        orders = [
            epoch_order(seed, epoch, size)[max(0, first - epoch * size) : first + count - epoch * size]
            for epoch in range(first // size, (first + count - 1) // size + 1)
        ]
        return torch.from_numpy(np.concatenate(orders)).to(self.device)
