"""Training the denoiser on latents and text states that were encoded once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tubelet.autoencoder.codec import Codec, CodecConfig, codec_of, encoder_hash, make_codec
from tubelet.checkpoint import Part
from tubelet.data.clips import Clips
from tubelet.data.latents import Encoded, chosen_captions, encode_clips
from tubelet.data.loader import clip_of
from tubelet.data.source import held_out_clips, training_clips
from tubelet.diffusion.objective import BoundStep, bound_step, loss_terms, weight_of
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
from tubelet.training.config import DenoiserRun
from tubelet.training.log import Log
from tubelet.training.loop import moved
from tubelet.training.start import part_of, take_weights
from tubelet.video import to_frames

HELD_OUT_TIMES = (0.1, 0.3, 0.5, 0.7, 0.9)  # the noise levels held-out loss is measured at
HELD_OUT = 0x1E  # sets held-out noise apart from the noise of training
CHUNK = 32  # held-out clips at a time
PREVIEW_STEPS, PREVIEW_CLIPS = 16, 4


class Batch(NamedTuple):
    """xt and its target [B, C, f, h, w], t [B, 1, 1, 1, 1], B prompts and what their errors count [B].

    For the bound's objectives, a step of it too.
    """

    xt: Tensor
    target: Tensor
    t: Tensor
    text: Text
    weight: Tensor
    step: BoundStep | tuple[()] = ()


class DenoiserTask:
    """A transformer that predicts from noisy latents and a prompt, and the encoded clips it learns from."""

    def __init__(self, run: DenoiserRun, log: Log):
        self.run = run
        clips, held_out = training_clips(run.data), held_out_clips(run.data)
        self.codec, codec_hash = codec_for(run.codec)
        self.encoder = make_encoder(run.text)
        clips_hash = f"{len(clips)} of {clips.fingerprint}"
        self.hashes = {"clips": clips_hash, "latents": codec_hash, "text states": self.encoder.fingerprint}
        cache = Path(run.cache)

        def encoded(which: Clips, phrasings: int, what: str) -> Encoded:
            with progress(f"encoding {what} clips", len(which)) as done:
                return encode_clips(
                    which,
                    self.codec,
                    codec_hash,
                    self.encoder,
                    phrasings=phrasings,
                    cache=cache,
                    progress=done,
                )

        self.data = encoded(clips, run.captions, "training")
        self.held = encoded(held_out, 1, "held-out")
        self.preview_prompts = [
            chosen_captions(held_out.captions(i), i, 1)[0] for i in range(min(PREVIEW_CLIPS, len(held_out)))
        ]
        self.null = self.encoder.encode([""])
        self.longest = max(self.data.longest, self.held.longest, self.null.tokens.shape[1])
        first = clips.frames(0)
        self.latent_shape = self.codec.latent_shape(*first.shape[:3])
        self.reverse = Reverse(run.path.make(), run.target, run.variance)
        self.times = Moments(run.times) if run.times.name == "importance" else run.times
        pixels = run.codec == "identity"
        self.decoder = "discretised" if pixels else "gaussian"  # pixels have 256 levels
        self.scheduler = Scheduler(
            path=run.path, target=run.target, variance=run.variance, sampler=run.sampler, clip=1.0 if pixels else None,
            num_frames=first.shape[0], height=first.shape[1], width=first.shape[2], fps=clips.fps,
        )  # fmt: skip
        with seeded(run.loop.seed):
            model = VideoTransformer(fitted(run.model, self.codec, self.encoder.width, run.variance))
        if run.loop.start_from is not None:
            take_weights(model, model.config, run.loop.start_from, "transformer")
        self.model = model.to(run.loop.device)
        self.codec.to(run.loop.device)  # for previews; encoding is done

    def content(self) -> dict[str, str]:
        """Clips, the codec's encoder and the text encoder."""
        return self.hashes

    def fetch(self, number: int) -> dict[str, Any]:
        """Clip, phrasing and every draw of global sample `number`, keyed by (seed, number)."""
        run, seed = self.run, self.run.loop.seed
        source = stream(seed, number)
        clip = clip_of(seed, number, len(self.data))
        return {
            "text": self.data.text(clip, int(source.integers(run.captions))),
            "keep": bool(source.random() >= run.caption_drop),
            "time": source.random(),
            "x0": self.data.posterior(clip).sample(normal(source, self.latent_shape)),
            "noise": normal(source, self.latent_shape),
        }

    def collate(self, items: list[dict[str, Any]]) -> Batch:
        """The batch of fetched samples; captions drop sample by sample."""
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

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over samples of the objective, and its parts [B] where it has several; simple without a step."""
        predicted, place = self.reverse.split(self.model(batch.xt, batch.t, batch.text).float(), batch.xt)
        terms = loss_terms(
            self.run.objective,
            self.decoder,
            predicted,
            place,
            batch.target,
            batch.step or None,
            weight=batch.weight,
        )
        loss = terms.pop("loss").mean()
        return loss, terms if batch.step else {}

    def observe(self, batch: Batch, terms: dict[str, Tensor]) -> None:
        """Let the times of the next batches know how large this one's terms of the bound were."""
        if isinstance(self.times, Moments) and batch.step:
            self.times.observe(batch.t.flatten().cpu(), (terms["vlb"] * batch.step.share).cpu())

    def tensors(self) -> dict[str, Tensor]:
        """The moments that times are drawn by, where they are: changed in place when a run goes on."""
        return (
            {"moments": self.times.moments, "seen": self.times.seen}
            if isinstance(self.times, Moments)
            else {}
        )

    def held_out_draws(self) -> Iterator[tuple[Tensor, Tensor, Text]]:
        """Held-out latents and noise [n, C, f, h, w], always the same, with their prompts; CHUNK at a time."""
        for start in range(0, len(self.held), CHUNK):
            some = range(start, min(start + CHUNK, len(self.held)))
            sources = [stream(HELD_OUT, i) for i in some]
            posteriors = [self.held.posterior(i) for i in some]
            draws = [(normal(s, self.latent_shape), normal(s, self.latent_shape)) for s in sources]
            x0 = torch.stack([q.sample(first) for q, (first, _) in zip(posteriors, draws, strict=True)])
            noise = torch.stack([second for _, second in draws])
            yield x0, noise, Text.concatenate([self.held.text(i, 0) for i in some])

    def held_out(self) -> dict[str, float]:
        """The loss at each of fixed noise levels, with fixed noise, and their mean."""
        losses = {t: [] for t in HELD_OUT_TIMES}
        for x0, noise, text in self.held_out_draws():
            for level in HELD_OUT_TIMES:
                t = torch.full((len(x0),), level, dtype=torch.float64)
                batch = moved(self.noised(x0, noise, t, text), self.run.loop.device)
                with self.run.loop.autocast():
                    losses[level].append(self.loss(batch)[0].expand(len(x0)))
        levels = {f"loss_{level:g}": float(torch.cat(rows).mean()) for level, rows in losses.items()}
        return {"held_out_loss": sum(levels.values()) / len(levels), **levels}

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
