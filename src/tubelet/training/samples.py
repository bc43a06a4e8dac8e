"""What a denoiser's training sample is made of: clips that were encoded once, and what is drawn for its number."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import arange

from tubelet.data.buckets import bucket_of
from tubelet.data.clips import Clips
from tubelet.data.fields import Fields, known_fields
from tubelet.data.holes import LATER, HoledClips
from tubelet.data.latents import Encoded, Span, Spans, encode_clips
from tubelet.data.loader import clip_of
from tubelet.draws import normal, stratum, stream
from tubelet.holes import unknown_of
from tubelet.model.references import Reference
from tubelet.model.tubelets import grid_of
from tubelet.progress import progress
from tubelet.text.encoder import TextEncoder
from tubelet.training.batches import Content, Size
from tubelet.training.config import DenoiserRun
from tubelet.training.known import NOTHING, PATTERNS, Kind, kind_of, measured_kinds, spans_of

HELD_OUT = 0x1E  # sets held-out noise apart from the noise of training
STRATA = 0x57  # sets the stream of a batch's strata apart from the samples' own draws
CHUNK = 32  # held-out clips at a time

Encode = Callable[[Clips, int, str, Spans | None], Encoded]  # clips, phrasings, what to call them, references


class Half(NamedTuple):
    """Clips of one size, to train or to measure on: encoded, and those of them that have holes, both ways."""

    data: Encoded
    holed: HoledClips | None = None
    filled: Encoded | None = None


class Source(NamedTuple):
    """Clips of one size and where they are from, encoded; see batches.Size."""

    size: Size
    train: Half
    held: Half


class Samples:
    """All that a run trains and is measured on, by number; every draw is keyed by (seed, number)."""

    def __init__(
        self, run: DenoiserRun, sizes: list[Size], codec: Any, codec_hash: str, encoder: TextEncoder
    ):
        self.run, self.codec = run, codec

        def encode(clips: Clips, phrasings: int, what: str, spans: Spans | None = None) -> Encoded:
            with progress(f"encoding {what}", len(clips)) as done:
                return encode_clips(
                    clips,
                    codec,
                    codec_hash,
                    encoder,
                    phrasings=phrasings,
                    cache=Path(run.cache),
                    spans=spans,
                    ready=self.ready(clips),
                    progress=done,
                )

        self.sources = [self.source(encode, size, number) for number, size in enumerate(sizes)]
        self.fields = [self.fields_of(size) for size in sizes]

    def source(self, encode: Encode, size: Size, number: int) -> Source:
        """The clips of a size, encoded; those of the main one, the first, with holes too where any are wanted."""
        run, latents, name = self.run, size.shape[1], size.name + " " if number else ""
        spans = spans_of(run.known, latents, len(size.clips))
        train = encode(size.clips, run.captions, f"{name}training clips", spans)
        beside = {span for kind in self.measured(size, number).values() for span in kind.references}
        held = encode(
            size.held_out, 1, f"{name}held-out clips", (lambda _: tuple(sorted(beside))) if beside else None
        )
        if number or not run.known.region or latents < 2:
            return Source(size, Half(train), Half(held))
        halves = []
        for data, clips in ((train, size.clips), (held, size.held_out)):
            holed = HoledClips(clips, run.known.holes)
            halves.append(Half(data, holed, encode(holed, 1, "clips with holes", None)))
        return Source(size, *halves)

    def ready(self, clips: Clips) -> int:
        """How many clips the run needs when it begins."""
        return math.ceil(self.run.available[0][1] * len(clips))

    def fields_of(self, size: Size) -> Fields | None:
        """What the renderer of a size's training clips knows of their tokens, where the run asks for it."""
        if not self.run.auxiliary.truth_head.weight:
            return None
        grid = grid_of(size.shape[1:], self.run.model.tubelet)
        with progress("drawing what the renderer knows", len(size.clips)) as done:
            return known_fields(
                size.clips,
                grid,
                self.codec.frames_per_latent,
                Path(self.run.cache),
                ready=self.ready(size.clips),
                progress=done,
            )

    @property
    def longest(self) -> int:
        """Tokens of the longest caption."""
        return max(half.data.longest for source in self.sources for half in (source.train, source.held))

    @property
    def packed(self) -> bool:
        """Whether samples of a batch differ in more than their draws."""
        return self.run.batching == "packed" and (len(self.sources) > 1 or self.run.known.anything)

    def unit_of(self, number: int) -> int:
        """What global sample `number` shares its size and kind with: nothing where packed, else its micro-batch."""
        loop = self.run.loop
        return number if self.packed else number // (loop.batch_size // loop.micro_batches)

    def measured(self, size: Size, number: int) -> dict[str, Kind]:
        """The kinds of known content that are measured at a size: at the main one, the first, alone."""
        return {} if number else measured_kinds(self.run.known, size.shape[1], self.run.model.tubelet[0])

    def fetch(self, number: int) -> dict[str, Any]:
        """Size, clip, phrasing and every draw of global sample `number`."""
        run, unit = self.run, self.unit_of(number)
        size = bucket_of(run.loop.seed, unit, [source.size.share for source in self.sources])
        source = self.sources[size]
        kind = kind_of(
            run.known,
            run.loop.seed,
            unit,
            source.size.shape[1],
            depth=run.model.tubelet[0],
            holes=source.train.holed is not None,
            clips=min(len(source.train.data), run.known.references),
        )
        return self.sample(number, size, kind)

    def sample(self, number: int, size: int = 0, kind: Kind = NOTHING) -> dict[str, Any]:
        """What `fetch` gives of sample `number`, were it of that size and knew content of that kind."""
        run, which = self.run, self.sources[size]
        source, frames = stream(run.loop.seed, number), which.size.shape[1]
        phrasing, keep, time = int(source.integers(run.captions)), source.random(), source.random()
        if run.times.stratified:
            batch, place = divmod(number, run.loop.batch_size)
            time = stratum(time, place, run.loop.batch_size, run.loop.seed, STRATA, batch)
        clip = self.clip(number, which.train, kind)
        content = self.content(which.size, which.train, clip, phrasing, kind, source)
        return {
            "group": (size, kind),
            "content": content,
            "truth": fields.of(clip) if (fields := self.fields[size]) else None,
            "keep": keep >= run.caption_drop,
            "time": source.random(frames) if kind.each_frame else [time] * (frames if kind.by_frame else 1),
        }

    def clip(self, number: int, half: Half, kind: Kind) -> int:
        """The clip that sample `number` shows, one that has what its kind needs."""
        known, count = self.run.known, len(half.data)
        if kind.references:
            count = min(count, known.references)
        if kind.region and half.holed is not None:
            count = min(count, len(half.holed))
        clip = clip_of(self.run.loop.seed, number, count, self.run.available)
        if kind.references:
            patterns = min(PATTERNS, count)
            clip -= (clip - kind.pattern) % patterns  # to one before, which is encoded as this is
            clip += patterns * (clip < 0)
        if kind.region and clip // LATER % 2 != (kind.first > 0):  # its hole begins too late, or too early
            clip = next((near for near in (clip - LATER, clip + LATER) if 0 <= near < count), clip)
        return clip

    def content(
        self, size: Size, half: Half, clip: int, phrasing: int, kind: Kind, source: np.random.Generator
    ) -> Content:
        """One encoded clip as a sample of a kind."""
        shape, data = size.shape, half.data
        x0, noise = data.posterior(clip).sample(normal(source, shape)), normal(source, shape)
        references = tuple(self.reference(data, clip, span, source) for span in kind.references)
        text = data.text(clip, phrasing)
        content = Content(x0[None], noise[None], text, references=references, stride=size.stride)
        if kind.region and half.holed is not None and half.filled is not None:
            codec, tubelet = self.codec, self.run.model.tubelet
            frames = 1 + codec.frames_per_latent * (shape[1] - 1)
            side = codec.pixels_per_latent
            hole = half.holed.hole(clip, (frames, shape[2] * side, shape[3] * side))
            unknown = unknown_of(hole, codec.frames_per_latent, side, tubelet)
            known = half.filled.posterior(clip).sample(normal(source, shape))
            return content._replace(unknown=unknown[None], known=known[None])
        if kind.first:
            unknown = arange(shape[1]) >= kind.first * self.run.model.tubelet[0]
            return content._replace(unknown=unknown.view(1, 1, -1, 1, 1))
        return content

    def reference(self, data: Encoded, clip: int, span: Span, source: np.random.Generator) -> Reference:
        """Frames of a clip beside it, drawn from their own encoding."""
        posterior = data.part(clip, span)
        return Reference(posterior.sample(normal(source, tuple(posterior.mean.shape)))[None], span.first)

    def held_out(self, size: int = 0, kind: Kind = NOTHING, most: int | None = None) -> Iterator[Content]:
        """Held-out clips of a size with their prompts, noise and what they know, always the same; CHUNK at a time.

        most: the first so many alone.
        """
        which = self.sources[size]
        count = min(len(which.held.data), most or len(which.held.data))
        for start in range(0, count, CHUNK):
            some = range(start, min(start + CHUNK, count))
            yield Content.concatenate(
                [self.content(which.size, which.held, i, 0, kind, stream(HELD_OUT, i)) for i in some]
            )
