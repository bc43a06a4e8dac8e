"""Clips of several sizes and sources in one training: what they are as latents, and batches of one or of several."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tubelet.autoencoder.codec import CausalCodec, IdentityCodec
from tubelet.data.buckets import buckets_of
from tubelet.data.clips import Clips
from tubelet.data.source import DataConfig
from tubelet.diffusion.objective import BoundStep
from tubelet.errors import InputError
from tubelet.model.references import Reference
from tubelet.model.transformer import VideoTransformer
from tubelet.model.tubelets import Tubelet
from tubelet.sampling.pipeline import latent_shape
from tubelet.shapes import Text


class Content(NamedTuple):
    """What B samples of one size and kind are made of: clean latents, noise [B, C, f, h, w] and prompts.

    unknown: bool [B, 1, f, 1, 1] or [B, 1, f, h, w], which latents are not known in place, None where none is;
    known: latents [B, C, f, h, w] that stand where content is known, None where they are x0's.
    references: known content beside the videos. stride: see VideoTransformer.forward.
    """

    x0: Tensor
    noise: Tensor
    text: Text
    unknown: Tensor | None = None
    known: Tensor | None = None
    references: tuple[Reference, ...] = ()
    stride: float = 1.0

    @classmethod
    def concatenate(cls, parts: "Sequence[Content]") -> "Content":
        """All samples in one."""
        x0, noise = torch.cat([part.x0 for part in parts]), torch.cat([part.noise for part in parts])
        unknown, known = (
            torch.cat([getattr(part, name) for part in parts])
            if getattr(parts[0], name) is not None
            else None
            for name in ("unknown", "known")
        )
        beside = zip(*(part.references for part in parts), strict=True)
        references = [Reference(torch.cat([x for x, _ in each]), each[0].frame) for each in beside]
        text = Text.concatenate([part.text for part in parts])
        return cls(x0, noise, text, unknown, known, tuple(references), parts[0].stride)


class Batch(NamedTuple):
    """xt and its target [B, C, f, h, w], B prompts, and t as the model takes it: 0 where content is known.

    weight: what the errors count, broadcastable to xt; None where all count alike. truth: what a renderer knows of each
    token [B, N, X], if it is asked for and there is one. unknown: bool, in the shape of t,
    where anything is known. references: known content beside the videos. stride: see VideoTransformer.forward. step: of
    the bound, for its objectives.
    """

    xt: Tensor
    target: Tensor
    t: Tensor
    text: Text
    weight: Tensor | None = None
    unknown: Tensor | None = None
    references: tuple[Reference, ...] = ()
    stride: float = 1.0
    step: BoundStep | None = None
    truth: Tensor | None = None


Batches = Batch | tuple[Batch, ...]  # of one size, or one for each size of a packed batch


class Size(NamedTuple):
    """Clips of one size and source: which, the share of training samples that have it, and (C, f, h, w) of its latents.

    stride: frames of the main clips that one of its frames lasts. content: what its training clips are, as a hash.
    """

    name: str
    share: float
    shape: tuple[int, int, int, int]
    clips: Clips
    held_out: Clips
    content: str
    stride: float = 1.0


def sizes_of(config: DataConfig, codec: CausalCodec | IdentityCodec, tubelet: Tubelet) -> list[Size]:
    """The main size, then the others. InputError names the nearest size for one that does not fill tubelets."""
    if config.crop is not None:
        raise InputError("data.crop is for codecs: a denoiser's clips are encoded once, whole; leave it out")
    buckets, sizes = buckets_of(config), []
    rate = buckets[0].clips.fps
    for number, bucket in enumerate(buckets):
        try:
            shape = latent_shape(codec, tubelet, *bucket.size)
        except InputError as error:
            raise (InputError(f"data.other {bucket.name}: {error}") if number else error) from None
        stride = rate / bucket.clips.fps
        sizes.append(
            Size(bucket.name, bucket.share, shape, bucket.clips, bucket.held_out, bucket.content, stride)
        )
    return sizes


def rates_of(sizes: Sequence[Size]) -> tuple[float, ...]:
    """The frames a second of all sizes, each rate once."""
    return tuple(sorted({size.clips.fps for size in sizes}))


def smaller(config: DataConfig, clips: int) -> DataConfig:
    """The config with at most so many training clips of each size, and one that is measured on."""
    other = tuple(dataclasses.replace(size, clips=min(size.clips, clips)) for size in config.other)
    return dataclasses.replace(config, clips=min(config.clips, clips), held_out=1, other=other)


def groups_of(batch: Batches) -> tuple[Batch, ...]:
    """The parts of equal size of a batch."""
    return (batch,) if isinstance(batch, Batch) else batch


def predictions(model: VideoTransformer, groups: Sequence[Batch]) -> list[Tensor]:
    """The predictions [B, P C, f, h, w] for each group; of several, all samples lie in one row without padding."""
    if len(groups) == 1:
        one = groups[0]
        return [model(one.xt, one.t, one.text, one.references, one.stride)]
    text = Text.concatenate([group.text for group in groups])
    t = [one for group in groups for one in group.t]
    beside = [
        [Reference(latents[i], frame) for latents, frame in group.references]
        for group in groups
        for i in range(len(group.xt))
    ]
    strides = [group.stride for group in groups for _ in group.xt]
    found = iter(model.packed([x for group in groups for x in group.xt], t, text, beside, strides))
    return [torch.stack([next(found) for _ in group.xt]) for group in groups]


def joined(terms: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Terms [B] of each group -> of all samples [S]: their mean is over samples, however large each is."""
    return (
        terms[0]
        if len(terms) == 1
        else {name: torch.cat([each[name] for each in terms]) for name in terms[0]}
    )
