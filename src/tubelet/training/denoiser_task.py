"""Training the denoiser on latents and text states that were encoded once."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tubelet.autoencoder.codec import Codec, CodecConfig, codec_of, encoder_hash, make_codec
from tubelet.checkpoint import Part
from tubelet.data.buckets import bucket_of
from tubelet.data.clips import Clips
from tubelet.data.latents import Encoded, chosen_captions, encode_clips
from tubelet.data.loader import clip_of
from tubelet.diffusion.objective import bound_step, loss_terms, weight_of
from tubelet.diffusion.process import add_noise
from tubelet.diffusion.reverse import Reverse
from tubelet.diffusion.targets import target_of
from tubelet.diffusion.times import Moments
from tubelet.draws import normal, seeded, stream
from tubelet.errors import InputError
from tubelet.model.inflation import inflated
from tubelet.model.references import Reference
from tubelet.model.transformer import TransformerConfig, VideoTransformer
from tubelet.progress import progress
from tubelet.sampling.pipeline import Scheduler, VideoPipeline
from tubelet.text.encoder import make_encoder
from tubelet.training.batches import (
    Batch,
    Batches,
    Content,
    Size,
    groups_of,
    joined,
    predictions,
    rates_of,
    sizes_of,
)
from tubelet.training.config import DenoiserRun
from tubelet.training.known import NOTHING, frames_of, kind_of, unknown_of
from tubelet.training.log import Log
from tubelet.training.loop import moved
from tubelet.training.start import part_of, take_weights
from tubelet.video import to_frames

HELD_OUT_TIMES = (0.1, 0.3, 0.5, 0.7, 0.9)  # the noise levels held-out loss is measured at
HELD_OUT = 0x1E  # sets held-out noise apart from the noise of training
CHUNK = 32  # held-out clips at a time
PREVIEW_STEPS, PREVIEW_CLIPS = 16, 4


class DenoiserTask:
    """A transformer that predicts from noisy latents and a prompt, and the encoded clips it learns from."""

    def __init__(self, run: DenoiserRun, log: Log):
        self.run = run
        self.codec, codec_hash = codec_for(run.codec)
        self.encoder = make_encoder(run.text)
        self.sizes = sizes_of(run.data, self.codec, run.model.tubelet)
        main, *others = self.sizes
        self.hashes = {"clips": main.content, "latents": codec_hash, "text states": self.encoder.fingerprint}
        self.hashes |= {f"clips {size.name}": size.content for size in others}

        def encoded(clips: Clips, phrasings: int, what: str) -> Encoded:
            with progress(f"encoding {what} clips", len(clips)) as done:
                return encode_clips(
                    clips,
                    self.codec,
                    codec_hash,
                    self.encoder,
                    phrasings=phrasings,
                    cache=Path(run.cache),
                    stills=run.known.stills,
                    progress=done,
                )

        self.encoded = [main.encoded(encoded, run.captions)]
        self.encoded += [size.encoded(encoded, run.captions, size.name) for size in others]
        self.data, self.held = self.encoded[0]
        self.preview_prompts = [
            chosen_captions(main.held_out.captions(i), i, 1)[0]
            for i in range(min(PREVIEW_CLIPS, len(main.held_out)))
        ]
        self.null = self.encoder.encode([""])
        lengths = [each.longest for pair in self.encoded for each in pair]
        self.longest = max(*lengths, self.null.tokens.shape[1])
        frames, height, width = main.clips.frames(0).shape[:3]
        if others:
            log.event("sizes", batching=run.batching, samples={size.name: size.share for size in self.sizes})
        self.reverse = Reverse(run.path.make(), run.target, run.variance)
        self.times = Moments(run.times) if run.times.name == "importance" else run.times
        pixels = run.codec == "identity"
        self.decoder = "discretised" if pixels else "gaussian"  # pixels have 256 levels
        self.scheduler = Scheduler(
            path=run.path, target=run.target, variance=run.variance, sampler=run.sampler, clip=1.0 if pixels else None,
            num_frames=frames, height=height, width=width, fps=main.clips.fps, rates=rates_of(self.sizes),
        )  # fmt: skip
        with seeded(run.loop.seed):
            model = VideoTransformer(fitted(run.model, self.codec, self.encoder.width, run.variance))
        if run.loop.start_from is not None:
            free = ("attention", "window", "tubelet")
            take_weights(model, model.config, run.loop.start_from, "transformer", free, self.fit)
        self.model = model.to(run.loop.device)
        self.codec.to(run.loop.device)  # for previews; encoding is done

    def fit(self, tensors: dict[str, Tensor], trained: TransformerConfig) -> dict[str, Tensor]:
        """Weights that the run starts from, grown where its tubelets have more frames."""
        model = self.run.model
        return (
            tensors
            if trained.tubelet == model.tubelet
            else inflated(tensors, trained, model, self.run.inflation)
        )

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer's."""
        return self.model.blocks

    def content(self) -> dict[str, str]:
        """Clips of every size, the codec's encoder and the text encoder."""
        return self.hashes

    @property
    def few_shapes(self) -> bool:
        """Packed batches have another layout at every step."""
        return not self.packed

    @property
    def packed(self) -> bool:
        """Whether samples of a batch differ in more than their draws."""
        return self.run.batching == "packed" and (len(self.sizes) > 1 or len(self.run.known.kinds) > 1)

    def unit_of(self, number: int) -> int:
        """What global sample `number` shares its size and kind with: nothing where packed, else its micro-batch."""
        loop = self.run.loop
        return number if self.packed else number // (loop.batch_size // loop.micro_batches)

    def fetch(self, number: int) -> dict[str, Any]:
        """Size, clip, phrasing and every draw of global sample `number`, keyed by (seed, number)."""
        seed, unit = self.run.loop.seed, self.unit_of(number)
        size = bucket_of(seed, unit, [size.share for size in self.sizes])
        kind = kind_of(self.run.known, seed, unit)
        return self.sample(number, size, kind if kind in self.kinds_of(size) else NOTHING)

    def sample(self, number: int, size: int, kind: str = NOTHING) -> dict[str, Any]:
        """What `fetch` gives of sample `number`, were it of that size and knew content of that kind."""
        run, seed, which = self.run, self.run.loop.seed, self.sizes[size]
        data, source, frames = self.encoded[size][0], stream(seed, number), which.shape[1]
        phrasing, keep, time = int(source.integers(run.captions)), source.random(), source.random()
        clip, beside = clip_of(seed, number, len(data)), frames_of(kind, frames, seed, self.unit_of(number))
        content = self.content_of(data, clip, phrasing, which, kind, beside, source)
        return {
            "group": (size, kind, beside),
            "content": content,
            "keep": keep >= run.caption_drop,
            "time": source.random(frames) if kind == "each_frame" else [time],
        }

    def content_of(
        self, data: Encoded, clip: int, phrasing: int, size: Size, kind: str, beside: Sequence[int],
        source: np.random.Generator,
    ) -> Content:  # fmt: skip
        """One encoded clip as a sample of a kind, with the last frames of the latents `beside` it as references."""
        shape = size.shape
        x0, noise = data.posterior(clip).sample(normal(source, shape)), normal(source, shape)
        image, step = (shape[0], 1, *shape[2:]), self.codec.frames_per_latent
        stills = [(data.still(clip, place).sample(normal(source, image)), step * place) for place in beside]
        references = tuple(Reference(latents[None], frame) for latents, frame in stills)
        unknown = unknown_of(kind, shape[1:], self.run.model.tubelet, source)
        unknown = None if unknown is None else unknown[None]
        return Content(x0[None], noise[None], data.text(clip, phrasing), unknown, references, size.stride)

    def kinds_of(self, size: int) -> dict[str, float]:
        """The kinds of known content that samples of a size are of, with their shares: an image has nothing to know."""
        frames = self.sizes[size].shape[1] // self.run.model.tubelet[0]
        return self.run.known.kinds if frames > 1 else {NOTHING: 1.0}

    def kinds(self) -> list[tuple[float, Batches]]:
        """A batch of one sample of each size and kind, and the share of samples that are so."""
        return [
            (size.share * share, self.collate([self.sample(0, number, kind)]))
            for number, size in enumerate(self.sizes)
            for kind, share in self.kinds_of(number).items()
        ]

    def collate(self, items: list[dict[str, Any]]) -> Batches:
        """The batch of fetched samples, or where they differ in size or kind one for each; captions drop one by one."""
        found = sorted({item["group"] for item in items})
        groups = [self.collate_equal([item for item in items if item["group"] == group]) for group in found]
        return groups[0] if len(groups) == 1 else tuple(groups)

    def collate_equal(self, items: list[dict[str, Any]]) -> Batch:
        """The batch of fetched samples of one size and kind."""
        content = Content.concatenate([item["content"] for item in items])
        t = self.times.times(torch.from_numpy(np.array([item["time"] for item in items])))
        keep = torch.tensor([bool(item["keep"]) for item in items])
        return self.drawn(content._replace(text=content.text.where(keep, self.null)), t)

    def drawn(self, content: Content, t: Tensor) -> Batch:
        """`noised` at times that were drawn for training, with all that the objective needs."""
        batch, objective = self.noised(content, t), self.run.objective
        if objective.weight != "target":
            weight = weight_of(objective, self.run.target, self.reverse.path, by_latent(t))
            batch = batch._replace(weight=weight)
        if objective.name == "simple":
            return batch
        t = t.flatten()  # one for each sample
        before, share = self.run.times.before(t), self.times.share(t)
        return batch._replace(step=bound_step(self.reverse, content.x0, batch.xt, before, t, share))

    def noised(self, content: Content, t: Tensor) -> Batch:
        """The batch of samples at times t, [B, 1] or for each frame of latents [B, f]; what they know stays clean."""
        (x0, noise, text, unknown, references, stride), t = content, by_latent(t)
        t = t if unknown is None else t * unknown
        xt = add_noise(self.reverse.path, x0, noise, t)
        target = target_of(self.run.target, self.reverse.path, x0, noise, t)
        text = text.padded(self.longest)
        return Batch(xt, target, t.float(), text, unknown=unknown, references=references, stride=stride)

    def loss(self, batch: Batches) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over samples of the objective, and its parts [B] where it has several; simple without a step.

        Each sample's objective is a mean over its own latents, so a sample counts alike whatever its size.
        """
        groups = groups_of(batch)
        found = zip(groups, predictions(self.model, groups), strict=True)
        terms = joined([self.terms(group, predicted) for group, predicted in found])
        return terms["loss"].mean(), {
            name: term for name, term in terms.items() if name != "loss" and groups[0].step is not None
        }

    def terms(self, batch: Batch, predicted: Tensor) -> dict[str, Tensor]:
        """See objective.loss_terms."""
        target, place = self.reverse.split(predicted.float(), batch.xt)
        return loss_terms(
            self.run.objective,
            self.decoder,
            target,
            place,
            batch.target,
            batch.step,
            batch.unknown,
            batch.weight,
        )

    def observe(self, batch: Batches, terms: dict[str, Tensor]) -> None:
        """Let the times of the next batches know how large this one's terms of the bound were."""
        if isinstance(self.times, Moments) and terms:
            groups = groups_of(batch)
            t = torch.cat([group.t.flatten(1).amax(1) for group in groups])  # 0 where content is known
            share = torch.cat([group.step.share for group in groups if group.step is not None])
            self.times.observe(t.cpu(), (terms["vlb"] * share).cpu())

    def tensors(self) -> dict[str, Tensor]:
        """The moments that times are drawn by, where they are: changed in place when a run goes on."""
        return (
            {"moments": self.times.moments, "seen": self.times.seen}
            if isinstance(self.times, Moments)
            else {}
        )

    def held_out(self) -> dict[str, float]:
        """The loss at fixed noise levels, with fixed noise, and their mean; of other sizes and kinds the mean alone."""
        levels = self.losses_at_levels()
        found = {"held_out_loss": sum(levels.values()) / len(levels), **levels}
        other = {size.name: (number, NOTHING) for number, size in enumerate(self.sizes) if number}
        other |= {kind: (0, kind) for kind in self.kinds_of(0) if kind != NOTHING}
        for name, which in other.items():
            found[f"loss_{name}"] = sum(self.losses_at_levels(*which).values()) / len(levels)
        return found

    def losses_at_levels(self, size: int = 0, kind: str = NOTHING) -> dict[str, float]:
        """The loss of held-out clips of a size and kind at each of fixed noise levels, with fixed noise.

        Where each frame has a time of its own, a clip's first frame has the level and the others the next ones in turn.
        """
        losses = {t: [] for t in HELD_OUT_TIMES}
        frames = self.sizes[size].shape[1] if kind == "each_frame" else 1
        for content in self.held_out_content(size, kind):
            for first, level in enumerate(HELD_OUT_TIMES):
                turns = [HELD_OUT_TIMES[(first + i) % len(HELD_OUT_TIMES)] for i in range(frames)]
                t = torch.tensor(turns, dtype=torch.float64).expand(len(content.x0), -1)
                batch = moved(self.noised(content, t), self.run.loop.device)
                with self.run.loop.autocast():
                    losses[level].append(self.loss(batch)[0].expand(len(t)))
        return {f"loss_{level:g}": float(torch.cat(rows).mean()) for level, rows in losses.items()}

    def held_out_content(self, size: int = 0, kind: str = NOTHING) -> Iterator[Content]:
        """Held-out clips of a size with their prompts, noise and what they know, always the same; CHUNK at a time."""
        held, which = self.encoded[size][1], self.sizes[size]
        for start in range(0, len(held), CHUNK):
            beside = frames_of(kind, which.shape[1], HELD_OUT, start)
            some = range(start, min(start + CHUNK, len(held)))
            yield Content.concatenate(
                [self.content_of(held, i, 0, which, kind, beside, stream(HELD_OUT, i)) for i in some]
            )

    def preview(self) -> Tensor:
        """Samples of held-out captions side by side: uint8 [F, H, nW, 3]."""
        out = self.pipeline()(
            self.preview_prompts, seed=0, num_inference_steps=PREVIEW_STEPS, output_type="pt"
        )
        assert out.video is not None
        return torch.cat(list(to_frames(out.video)), 2)

    def pipeline(self) -> VideoPipeline:
        """The model as it stands as a pipeline."""
        return VideoPipeline(self.codec, self.model, self.encoder, self.scheduler)

    def parts(self) -> dict[str, Part]:
        """The whole pipeline."""
        return self.pipeline().parts()


def by_latent(t: Tensor) -> Tensor:
    """One time for each sample [B, 1], or for each frame of its latents [B, f] -> [B, 1, 1 or f, 1, 1]."""
    return t[:, None, :, None, None]


def codec_for(name: str) -> tuple[Any, str]:
    """The codec that a run names, in evaluation mode, and a hash of its encoder: "identity", "default", or a folder."""
    if name == "identity":
        return make_codec(CodecConfig(kind="identity")).eval(), "identity"
    part = part_of(name, "autoencoder")
    return codec_of(part), encoder_hash(part)


def fitted(model: TransformerConfig, codec: Codec, text_width: int, variance: str) -> TransformerConfig:
    """The same config, refused where codec, text encoder or variance need other numbers."""
    needed = {
        "predictions": 2 if variance == "learned" else 1,
        "latent_channels": codec.latent_channels,
        "frames_per_latent": codec.frames_per_latent,
        "pixels_per_latent": codec.pixels_per_latent,
        "text_width": text_width,
    }
    for name, value in needed.items():
        if getattr(model, name) != value:
            raise InputError(
                f"model.{name} is {getattr(model, name)}, this run needs {value}; set it to {value}"
            )
    return model
