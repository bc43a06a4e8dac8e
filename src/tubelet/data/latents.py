"""Encode once: latents and text states of clips, kept by the content of each clip and caption; see store.

Of a codec's posteriors the means are kept as bf16, and one log variance for each channel and frame of latents: what the
places differ by is less than what bf16 rounds away from the mean. The identity codec's are point masses at 8-bit
pixels, which bf16 would round: of these the frames are kept, exact. Text states are bytes, with a scale for each
token: computing them anew would take a third of the time of a training step.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tubelet.autoencoder.codec import CausalCodec, IdentityCodec
from tubelet.data.clips import Clips, fingerprints_of
from tubelet.data.store import Entries, Rows, Store, key_of
from tubelet.draws import stream
from tubelet.errors import InputError
from tubelet.gaussians import Gaussian
from tubelet.shapes import Text
from tubelet.text.encoder import TextEncoder
from tubelet.video import to_video

SHARD = 512  # clips that are encoded together: what an interrupted encoding loses at most
BATCH = 16
VERSION = 3  # of the tables of rows


class Span(NamedTuple):
    """Frames of a clip that are encoded on their own, as a reference is: `count` (1 + 4j) of them from `first` on."""

    first: int
    count: int = 1


Spans = Callable[[int], Sequence[Span]]  # a clip's number -> what is encoded of it besides the whole


class Encoded:
    """Clips as posteriors of latents (bf16, or exact frames) and text states, `phrasings` captions each.

    Entries are read from the cache when they are asked for and not kept, so memory stays small.
    """

    def __init__(self, latents: Entries, texts: Entries, phrasings: int, spans: Spans | None) -> None:
        self.latents, self.texts, self.phrasings, self.spans = latents, texts, phrasings, spans

    def __len__(self) -> int:
        """Number of clips."""
        return self.latents.count

    @property
    def longest(self) -> int:
        """Tokens of the longest caption."""
        return max(int(self.texts.lengths(i).max()) for i in range(self.texts.count)) - 1

    def posterior(self, index: int) -> Gaussian:
        """Of clip `index`: mean [C, f, h, w] and log variance [C, f, 1, 1], float32.

        For the identity codec the point mass at `to_video` of its frames, bit for bit; log_var is then a scalar.
        """
        return _posterior(self.latents.rows(index))

    def part(self, index: int, span: Span) -> Gaussian:
        """As `posterior`, of frames of clip `index` encoded on their own; KeyError for any but those of `spans`."""
        asked = () if self.spans is None else self.spans(index)
        if span not in asked:
            raise KeyError(f"{span} of clip {index} was not asked for when clips were encoded")
        return _posterior(self.latents.rows(index, 1 + list(asked).index(span)))

    def text(self, index: int, phrasing: int) -> Text:
        """The states of one caption of clip `index`: a Text of one prompt, float32."""
        rows = self.texts.rows(index, phrasing)
        states = (rows["states"] * rows["scale"][:, None])[None]  # [1, 1 + L, E], the whole before its tokens
        return Text(states[:, 1:], torch.ones(1, states.shape[1] - 1, dtype=torch.bool), states[:, 0])


def encode_clips(
    clips: Clips,
    codec: CausalCodec | IdentityCodec,
    codec_hash: str,
    encoder: TextEncoder,
    *,
    phrasings: int,
    cache: Path,
    spans: Spans | None = None,
    ready: int | None = None,
    progress: Callable[[int], None] | None = None,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> Encoded:
    """All clips encoded, from the cache where it has them. `progress` receives the number of clips done, texts first.

    spans: which frames of a clip are also encoded on their own, given its number; see `Encoded.part`. The identity
    codec's latents are frames, so it has no use for them: InputError.
    ready: how many clips are wanted now; the others are encoded when they are first asked for, unless another process
    has done it by then. Any number of processes may encode the same clips at a time: they share the work.

    Each clip is found by its content, the codec and its frames, each text by the caption and the encoder: what has
    changed is encoded again, and nothing else. An interrupted call goes on where it stopped.
    """
    if spans is not None and isinstance(codec, IdentityCodec):
        raise InputError(
            "references are for a codec whose latents have seen their past; the frames of a model of pixels stand in "
            "place: leave out known.last and known.keyframes"
        )

    stores = [
        Store(cache / f"{kind}-{key_of(VERSION, which).hex()}", say)
        for kind, which in (("text", encoder.fingerprint), ("latents", codec_hash))
    ]
    count = len(clips)
    texts = _texts(stores[0], clips, encoder, phrasings)
    latents = _latents(stores[1], clips, codec, spans)
    texts.fill(count, progress)  # before the clips, which take hours: a caption may be refused
    latents.fill(count if ready is None else min(ready, count), progress)
    return Encoded(latents, texts, phrasings, spans)


def _texts(store: Store, clips: Clips, encoder: TextEncoder, phrasings: int) -> Entries:
    """An entry for each chosen caption of a clip."""

    def keys(index: int) -> list[bytes]:
        words = fingerprints_of(clips, index)[1]
        return [key_of("caption", words, index, phrasings, i) for i in range(phrasings)]

    def make(wanted: list[tuple[int, int]]) -> tuple[Tensor, Rows]:
        own = {
            i: chosen_captions(clips.captions(i), i, phrasings) for i in dict.fromkeys(i for i, _ in wanted)
        }
        return _encoded_captions([own[i][phrasing] for i, phrasing in wanted], encoder)

    return Entries(store, len(clips), SHARD, keys, make)


def _latents(store: Store, clips: Clips, codec: CausalCodec | IdentityCodec, spans: Spans | None) -> Entries:
    """An entry for the whole of a clip, and one for each of its spans."""

    def parts(index: int) -> list[Span | None]:
        return [None, *(spans(index) if spans else ())]

    def keys(index: int) -> list[bytes]:
        frames = fingerprints_of(clips, index)[0]
        names = ("whole" if span is None else f"{span.first}+{span.count}" for span in parts(index))
        return [key_of("clip", frames, name) for name in names]

    def make(wanted: list[tuple[int, int]]) -> tuple[Tensor, Rows]:
        return _encoded_parts(clips, codec, [(index, parts(index)[part]) for index, part in wanted])

    return Entries(store, len(clips), SHARD, keys, make)


def _encoded_captions(captions: list[str], encoder: TextEncoder) -> tuple[Tensor, Rows]:
    """Places and rows of captions: of each the state of the whole and those of its tokens; equal ones lie once."""
    distinct = list(dict.fromkeys(captions))
    text = encoder.encode(distinct)
    states = torch.cat(
        [torch.cat([w[None], t[m]]) for w, t, m in zip(text.whole, text.tokens, text.mask, strict=True)]
    )
    scale = states.abs().amax(1) / 127
    ends = np.cumsum([0, *(1 + text.mask.sum(1)).tolist()])
    at = {caption: (ends[i], ends[i + 1]) for i, caption in enumerate(distinct)}
    bytes_ = (states / scale.clamp(min=1e-30)[:, None]).round().to(torch.int8)
    return torch.tensor(np.array([at[caption] for caption in captions])), {"states": bytes_, "scale": scale}


@torch.no_grad()
def _encoded_parts(
    clips: Clips, codec: CausalCodec | IdentityCodec, wanted: list[tuple[int, Span | None]]
) -> tuple[Tensor, Rows]:
    """Places and rows of clips: of each the whole (None) or some frames. Those of one length are encoded together."""
    found: dict[tuple[int, Span | None], Rows] = {}
    numbers = list(dict.fromkeys(index for index, _ in wanted))
    for start in range(0, len(numbers), BATCH):
        some = numbers[start : start + BATCH]
        frames = {index: clips.frames(index) for index in some}
        pieces = {(index, span): _cut(frames[index], span) for index, span in wanted if index in frames}
        for length in sorted({len(piece) for piece in pieces.values()}):
            alike = [each for each, piece in pieces.items() if len(piece) == length]
            for first in range(0, len(alike), BATCH):
                batch = alike[first : first + BATCH]
                found |= zip(
                    batch, _encoded(torch.stack([pieces[each] for each in batch]), codec), strict=True
                )
    rows = [found[each] for each in wanted]
    ends = np.cumsum([0, *(len(next(iter(row.values()))) for row in rows)])
    tables = {name: torch.cat([row[name] for row in rows]).contiguous() for name in rows[0]}
    return torch.tensor(np.column_stack([ends[:-1], ends[1:]])), tables


def _cut(frames: Tensor, span: Span | None) -> Tensor:
    return frames if span is None else frames[span.first : span.first + span.count]


def _encoded(frames: Tensor, codec: CausalCodec | IdentityCodec) -> list[Rows]:
    """The rows of each of the clips [B, F, H, W, 3]: one for a frame, or for a frame of latents."""
    if isinstance(codec, IdentityCodec):
        return [{"frames": clip.cpu()} for clip in frames]
    video = to_video(frames).to(next(codec.parameters()).device)
    with torch.autocast(video.device.type, dtype=torch.bfloat16):
        posterior = codec.encode(video)
    mean = posterior.mean.transpose(1, 2).bfloat16().cpu()  # [B, f, C, h, w]
    # The noise of a channel keeps its power; its places share it evenly.
    log_var = posterior.var.float().mean((3, 4)).log().transpose(1, 2).half().cpu()  # [B, f, C]
    return [{"mean": m, "log_var": v} for m, v in zip(mean, log_var, strict=True)]


def _posterior(rows: Rows) -> Gaussian:
    """The Gaussian that rows of the cache stand for."""
    if "frames" in rows:
        return Gaussian(to_video(rows["frames"])[0], torch.tensor(-torch.inf))
    return Gaussian(rows["mean"].float().transpose(0, 1), rows["log_var"].float().T[..., None, None])


def chosen_captions(captions: list[str], clip: int, phrasings: int) -> list[str]:
    """`phrasings` of a clip's captions, different ones while there are enough, drawn by the clip's number."""
    order = stream(clip).permutation(len(captions))
    return [captions[order[i % len(captions)]] for i in range(phrasings)]
