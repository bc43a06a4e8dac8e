"""Training the denoiser on latents and text states that were encoded once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tubelet.autoencoder.codec import Codec, CodecConfig, codec_of, encoder_hash, make_codec
from tubelet.checkpoint import Part
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
from tubelet.model.transformer import TransformerConfig, VideoTransformer
from tubelet.progress import progress
from tubelet.sampling.pipeline import Scheduler, VideoPipeline
from tubelet.shapes import Text
from tubelet.text.encoder import make_encoder
from tubelet.training.batches import Batch, Batches, groups_of, joined, predictions, size_of, sizes_of
from tubelet.training.config import DenoiserRun
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
            num_frames=frames, height=height, width=width, fps=main.clips.fps,
        )  # fmt: skip
        with seeded(run.loop.seed):
            model = VideoTransformer(fitted(run.model, self.codec, self.encoder.width, run.variance))
        if run.loop.start_from is not None:
            take_weights(model, model.config, run.loop.start_from, "transformer")
        self.model = model.to(run.loop.device)
        self.codec.to(run.loop.device)  # for previews; encoding is done

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
        return self.run.batching != "packed" or len(self.sizes) == 1

    def size_of(self, number: int) -> int:
        """Which of the sizes global sample `number` has: drawn for it alone where packed, else for its micro-batch."""
        loop, data = self.run.loop, self.run.data
        unit = 1 if self.run.batching == "packed" else loop.batch_size // loop.micro_batches
        return size_of(loop.seed, number // unit, len(data.other), data.other_share)

    def fetch(self, number: int) -> dict[str, Any]:
        """Size, clip, phrasing and every draw of global sample `number`, keyed by (seed, number)."""
        return self.sample(number, self.size_of(number))

    def sample(self, number: int, size: int) -> dict[str, Any]:
        """What `fetch` gives of sample `number`, were it of that size."""
        run, seed = self.run, self.run.loop.seed
        data, shape = self.encoded[size][0], self.sizes[size].shape
        source = stream(seed, number)
        clip = clip_of(seed, number, len(data))
        return {
            "size": size,
            "text": data.text(clip, int(source.integers(run.captions))),
            "keep": bool(source.random() >= run.caption_drop),
            "time": source.random(),
            "x0": data.posterior(clip).sample(normal(source, shape)),
            "noise": normal(source, shape),
        }

    def kinds(self) -> list[tuple[float, Batches]]:
        """A batch of one sample of each size, and the share of samples that have it."""
        if len(self.sizes) == 1:
            return [(1.0, self.collate([self.fetch(0)]))]
        return [
            (size.share, self.collate([self.sample(0, number)])) for number, size in enumerate(self.sizes)
        ]

    def collate(self, items: list[dict[str, Any]]) -> Batches:
        """The batch of fetched samples, or where they have several sizes one for each; captions drop one by one."""
        found = sorted({item["size"] for item in items})
        groups = [self.collate_equal([item for item in items if item["size"] == size]) for size in found]
        return groups[0] if len(groups) == 1 else tuple(groups)

    def collate_equal(self, items: list[dict[str, Any]]) -> Batch:
        """The batch of fetched samples of one size."""
        x0 = torch.stack([item["x0"] for item in items])
        noise = torch.stack([item["noise"] for item in items])
        t = self.times.times(torch.tensor([item["time"] for item in items], dtype=torch.float64))
        text = Text.concatenate([item["text"] for item in items])
        keep = torch.tensor([item["keep"] for item in items])
        return self.drawn(x0, noise, t, text.where(keep, self.null))

    def drawn(self, x0: Tensor, noise: Tensor, t: Tensor, text: Text) -> Batch:
        """The batch of clean latents and noise [B, C, f, h, w] at the times t [B] that were drawn for training."""
        weight = weight_of(self.run.objective, self.run.target, self.reverse.path, t)
        batch = self.noised(x0, noise, t, text)._replace(weight=weight)
        if self.run.objective.name == "simple":
            return batch
        before, share = self.run.times.before(t), self.times.share(t)
        return batch._replace(step=bound_step(self.reverse, x0, batch.xt, before, t, share))

    def noised(self, x0: Tensor, noise: Tensor, t: Tensor, text: Text) -> Batch:
        """The batch of clean latents and noise [B, C, f, h, w] at times t [B], with B prompts of equal weight."""
        xt = add_noise(self.reverse.path, x0, noise, t)
        target = target_of(self.run.target, self.reverse.path, x0, noise, t)
        return Batch(
            xt, target, t.float().view(-1, 1, 1, 1, 1), text.padded(self.longest), torch.ones(len(t))
        )

    def loss(self, batch: Batches) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over samples of the objective, and its parts [B] where it has several; simple without a step.

        Each sample's objective is a mean over its own latents, so a sample counts alike whatever its size.
        """
        groups = groups_of(batch)
        found = zip(groups, predictions(self.model, groups), strict=True)
        terms = joined([self.terms(group, predicted) for group, predicted in found])
        return terms["loss"].mean(), {
            name: term for name, term in terms.items() if name != "loss" and groups[0].step
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
            batch.step or None,
            weight=batch.weight,
        )

    def observe(self, batch: Batches, terms: dict[str, Tensor]) -> None:
        """Let the times of the next batches know how large this one's terms of the bound were."""
        if isinstance(self.times, Moments) and terms:
            groups = groups_of(batch)
            t = torch.cat([group.t.flatten() for group in groups])
            share = torch.cat([group.step.share for group in groups if group.step])
            self.times.observe(t.cpu(), (terms["vlb"] * share).cpu())

    def tensors(self) -> dict[str, Tensor]:
        """The moments that times are drawn by, where they are: changed in place when a run goes on."""
        return (
            {"moments": self.times.moments, "seen": self.times.seen}
            if isinstance(self.times, Moments)
            else {}
        )

    def held_out_draws(self, size: int = 0) -> Iterator[tuple[Tensor, Tensor, Text]]:
        """Held-out latents and noise [n, C, f, h, w], always the same, with their prompts; CHUNK at a time."""
        held, shape = self.encoded[size][1], self.sizes[size].shape
        for start in range(0, len(held), CHUNK):
            some = range(start, min(start + CHUNK, len(held)))
            sources = [stream(HELD_OUT, i) for i in some]
            posteriors = [held.posterior(i) for i in some]
            draws = [(normal(s, shape), normal(s, shape)) for s in sources]
            x0 = torch.stack([q.sample(first) for q, (first, _) in zip(posteriors, draws, strict=True)])
            noise = torch.stack([second for _, second in draws])
            yield x0, noise, Text.concatenate([held.text(i, 0) for i in some])

    def held_out(self) -> dict[str, float]:
        """The loss at each of fixed noise levels, with fixed noise, and their mean; of other sizes the mean alone."""
        levels = self.losses_at_levels()
        found = {"held_out_loss": sum(levels.values()) / len(levels), **levels}
        for number, size in enumerate(self.sizes[1:], 1):
            found[f"loss_{size.name}"] = sum(self.losses_at_levels(number).values()) / len(levels)
        return found

    def losses_at_levels(self, size: int = 0) -> dict[str, float]:
        """The loss of held-out clips of a size at each of fixed noise levels, with fixed noise."""
        losses = {t: [] for t in HELD_OUT_TIMES}
        for x0, noise, text in self.held_out_draws(size):
            for level in HELD_OUT_TIMES:
                t = torch.full((len(x0),), level, dtype=torch.float64)
                batch = moved(self.noised(x0, noise, t, text), self.run.loop.device)
                with self.run.loop.autocast():
                    losses[level].append(self.loss(batch)[0].expand(len(x0)))
        return {f"loss_{level:g}": float(torch.cat(rows).mean()) for level, rows in losses.items()}

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
