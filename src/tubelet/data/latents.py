"""Encode once: latents and text states of a set of clips, in shards under a key of everything they depend on.

A codec's posteriors are kept as bf16 mean and log variance. The identity codec's are point masses at 8-bit pixels,
which bf16 would round: of these the frames are kept, a quarter of the size of float32 and exact.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tubelet.autoencoder.codec import CausalCodec, IdentityCodec
from tubelet.data.clips import Clips
from tubelet.draws import stream
from tubelet.errors import InputError
from tubelet.gaussians import Gaussian
from tubelet.shapes import Text
from tubelet.text.encoder import TextEncoder
from tubelet.video import to_video

SHARD = 512  # clips in a file: what an interrupted encoding loses at most
BATCH = 16
STILLS = {"mean": "still_mean", "log_var": "still_log_var"}  # what they are called in a shard
VERSIONS = {"causal": 1, "identity": 2}  # of the layout of a codec's shards


class Span(NamedTuple):
    """Frames of a clip that are encoded on their own, as a reference is: `count` (1 + 4j) of them from `first` on."""

    first: int
    count: int = 1


Spans = Callable[[int], Sequence[Span]]  # a clip's number -> what is encoded of it besides the whole


@dataclass(frozen=True)
class Encoded:
    """Clips as posteriors of latents (bf16, or exact frames) and text states, `phrasings` captions each."""

    shards: list[dict[str, Tensor]]
    count: int
    phrasings: int
    clips: Clips
    codec: CausalCodec | IdentityCodec
    spans: Spans | None

    def __len__(self) -> int:
        """Number of clips."""
        return self.count

    @property
    def longest(self) -> int:
        """Tokens of the longest caption."""
        return max(int(shard["starts"].diff().max()) for shard in self.shards)

    def posterior(self, index: int) -> Gaussian:
        """Of clip `index`: mean and log variance [C, f, h, w], float32.

        For the identity codec the point mass at `to_video` of its frames, bit for bit; log_var is then a scalar.
        """
        shard, row = self.shards[index // SHARD], index % SHARD
        if "frames" in shard:
            return Gaussian(to_video(shard["frames"][row])[0], torch.tensor(-torch.inf))
        return Gaussian(shard["mean"][row].float(), shard["log_var"][row].float())

    def still(self, index: int, latent: int) -> Gaussian:
        """Of the last pixel frame of one latent of a clip, encoded on its own: [C, 1, h, w]; see encode_clips."""
        if latent == 0:  # which stands for the first frame alone
            posterior = self.posterior(index)
            return Gaussian(posterior.mean[:, :1], posterior.log_var[..., :1, :, :])
        shard, row = self.shards[index // SHARD], index % SHARD
        return Gaussian(*(shard[name][row, :, latent - 1 : latent].float() for name in STILLS.values()))

    def part(self, index: int, span: Span) -> Gaussian:
        """Of some frames of clip `index`, encoded on their own: [C, 1 .. 3, h, w]; of those that `spans` gave alone."""
        if self.spans is None or span not in self.spans(index):
            raise KeyError(f"{span} of clip {index} was not asked for when clips were encoded")
        frames = self.clips.frames(index)[span.first : span.first + span.count]
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            return Gaussian(
                *(x[0].float() for x in _halves(self.codec.encode(to_video(frames[None]))).values())
            )

    def text(self, index: int, phrasing: int) -> Text:
        """The states of one caption of clip `index`: a Text of one prompt, float32."""
        shard, row = self.shards[index // SHARD], index % SHARD * self.phrasings + phrasing
        start, stop = (int(x) for x in shard["starts"][row : row + 2])
        tokens = shard["tokens"][start:stop].float()[None]
        return Text(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool), shard["whole"][row].float()[None])


def encode_clips(
    clips: Clips,
    codec: CausalCodec | IdentityCodec,
    codec_hash: str,
    encoder: TextEncoder,
    *,
    phrasings: int,
    cache: Path,
    stills: bool = False,
    spans: Spans | None = None,
    progress: Callable[[int], None] | None = None,
) -> Encoded:
    """All clips encoded, from the cache where it has them. `progress` receives the number of clips done.

    spans: which frames of a clip are also encoded on their own, given its number; see `Encoded.part`.
    stills: also each latent's last pixel frame on its own, as a reference image is encoded. The identity codec's
    latents are frames, so it has no use for them: InputError.
    The cache folder is named by a hash of clips, codec, text encoder and phrasings, so nothing stale is ever read;
    shards are written aside and renamed, so an interrupted call goes on where it stopped.
    """
    version = VERSIONS[codec.config.kind]
    if stills and isinstance(codec, IdentityCodec):
        raise InputError(
            "references are for a codec whose latents have seen their past; the frames of a model of pixels stand in "
            "place: leave out known.last and known.keyframes"
        )
    parts = [version, clips.fingerprint, len(clips), codec_hash, encoder.fingerprint, phrasings]
    parts += ["stills"] if stills else []
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
    folder = cache / key
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    for first in range(0, len(clips), SHARD):
        file = folder / f"{first // SHARD:05d}.safetensors"
        if not file.exists():
            numbers = range(first, min(first + SHARD, len(clips)))
            aside = file.with_suffix(f".writing-{os.getpid()}")
            save_file(_encode_shard(clips, numbers, codec, encoder, phrasings, stills), aside)
            os.replace(aside, file)
        shards.append(load_file(file))
        if progress:
            progress(min(first + SHARD, len(clips)))
    return Encoded(shards, len(clips), phrasings, clips, codec, spans)


@torch.no_grad()
def _encode_shard(
    clips: Clips,
    numbers: range,
    codec: CausalCodec | IdentityCodec,
    encoder: TextEncoder,
    phrasings: int,
    stills: bool,
) -> dict[str, Tensor]:
    latents, captions = [], []
    for i in numbers:  # before the clips, which take minutes: a caption may be refused
        captions += chosen_captions(clips.captions(i), i, phrasings)
    text = encoder.encode(captions)
    for start in range(numbers.start, numbers.stop, BATCH):
        batch = range(start, min(start + BATCH, numbers.stop))
        latents.append(_latents(torch.stack([clips.frames(i) for i in batch]), codec, stills))
    lengths = text.mask.sum(1)
    return {
        **{name: torch.cat([some[name] for some in latents]).contiguous() for name in latents[0]},
        "tokens": text.tokens[text.mask].bfloat16(),
        "starts": torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]),
        "whole": text.whole.bfloat16(),
    }


def _latents(frames: Tensor, codec: CausalCodec | IdentityCodec, stills: bool) -> dict[str, Tensor]:
    """What a shard keeps of the posteriors of frames [B, F, H, W, 3]."""
    if isinstance(codec, IdentityCodec):
        return {"frames": frames}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = _halves(codec.encode(to_video(frames)))
        if not stills or frames.shape[1] == 1:
            return found
        step = codec.frames_per_latent
        ends = frames[:, step::step]  # [B, f - 1, H, W, 3]
        alone = _halves(codec.encode(to_video(ends.flatten(0, 1)[:, None])))  # each [B * (f - 1), C, 1, h, w]
    sides = {name: x.unflatten(0, ends.shape[:2]).squeeze(3).transpose(1, 2) for name, x in alone.items()}
    return found | {STILLS[name]: x for name, x in sides.items()}


def _halves(posterior: Gaussian) -> dict[str, Tensor]:
    return {"mean": posterior.mean.bfloat16(), "log_var": posterior.log_var.bfloat16()}


def chosen_captions(captions: list[str], clip: int, phrasings: int) -> list[str]:
    """`phrasings` of a clip's captions, different ones while there are enough, drawn by the clip's number."""
    order = stream(clip).permutation(len(captions))
    return [captions[order[i % len(captions)]] for i in range(phrasings)]
