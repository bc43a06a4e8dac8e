"""Training the denoiser on latents and text states that were encoded once."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tubelet.autoencoder.codec import Codec, CodecConfig, codec_of, encoder_hash, make_codec
from tubelet.checkpoint import Part
from tubelet.data.fields import FIELDS
from tubelet.data.latents import chosen_captions
from tubelet.diffusion.objective import bound_step, loss_terms, weight_of
from tubelet.diffusion.process import add_noise
from tubelet.diffusion.reverse import Reverse
from tubelet.diffusion.targets import target_of
from tubelet.diffusion.times import Moments
from tubelet.draws import seeded
from tubelet.errors import InputError
from tubelet.model.inflation import inflated
from tubelet.model.transformer import TransformerConfig, VideoTransformer
from tubelet.sampling.pipeline import Scheduler, VideoPipeline
from tubelet.text.encoder import make_encoder
from tubelet.text.words import NAME, words_part
from tubelet.training.auxiliary import Auxiliary, Beside
from tubelet.training.batches import (
    Batch,
    Batches,
    Content,
    groups_of,
    joined,
    predictions,
    rates_of,
    sizes_of,
)
from tubelet.training.config import DenoiserRun
from tubelet.training.known import NOTHING, Kind, outlines_of
from tubelet.training.log import Log
from tubelet.training.loop import moved
from tubelet.training.samples import CHUNK, Samples
from tubelet.training.start import part_of, take_weights
from tubelet.training.vocabulary import words_trained
from tubelet.video import to_frames

HELD_OUT_TIMES = (0.1, 0.3, 0.5, 0.7, 0.9)  # the noise levels held-out loss is measured at
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
        self.samples = Samples(run, self.sizes, self.codec, codec_hash, self.encoder)
        self.preview_prompts = [
            chosen_captions(main.held_out.captions(i), i, 1)[0]
            for i in range(min(PREVIEW_CLIPS, len(main.held_out)))
        ]
        self.words = words_trained([size.clips for size in self.sizes], run.captions, Path(run.cache))
        self.null = self.encoder.encode([""])
        self.longest = max(self.samples.longest, self.null.tokens.shape[1])
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
        self.network = model.to(run.loop.device)
        auxiliary = Auxiliary(run.auxiliary, model.blocks, run.model.width, len(FIELDS))
        self.auxiliary = auxiliary.to(run.loop.device)
        self.model = self.network if auxiliary.head is None else Beside(self.network, self.auxiliary)
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
        return self.network.blocks

    def content(self) -> dict[str, str]:
        """Clips of every size, the codec's encoder and the text encoder."""
        return self.hashes

    @property
    def few_shapes(self) -> bool:
        """Packed batches have another layout at every step."""
        return not self.samples.packed

    def fetch(self, number: int) -> dict[str, Any]:
        """See Samples.fetch."""
        return self.samples.fetch(number)

    def kinds(self) -> list[tuple[float, Batches]]:
        """A batch of one sample for each number of tokens, and the share of samples that have so many.

        What is known in place, and a time for each frame, add a few products for levels: under 1 % of a sample's.
        """
        clips = [len(source.train.data) for source in self.samples.sources]
        return [
            (size.share * share, self.collate([self.samples.sample(0, number, kind)]))
            for number, size in enumerate(self.sizes)
            for share, kind in outlines_of(self.run.known, size.shape[1], clips[number])
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
        truth = [item["truth"] for item in items if item["truth"] is not None]
        batch = self.drawn(content._replace(text=content.text.where(keep, self.null)), t)
        return batch._replace(truth=torch.stack(truth)) if truth else batch

    def drawn(self, content: Content, t: Tensor) -> Batch:
        """`noised` at times that were drawn for training, with all that the objective needs."""
        batch, objective = self.noised(content, t), self.run.objective
        if objective.weight != "target":
            weight = weight_of(objective, self.run.target, self.reverse.path, by_latent(t))
            batch = batch._replace(weight=weight)
        if objective.name == "simple":
            return batch
        t = t[:, 0]  # of each sample, whose frames have it all
        before, share = self.run.times.before(t), self.times.share(t)
        return batch._replace(step=bound_step(self.reverse, content.x0, batch.xt, before, t, share))

    def noised(self, content: Content, t: Tensor) -> Batch:
        """The batch of samples at times t, [B, 1] or for each frame of latents [B, f]; what they know stays clean."""
        (x0, noise, text, unknown, known, references, stride), t = content, by_latent(t)
        t = t if unknown is None else t * unknown
        xt = add_noise(self.reverse.path, x0, noise, t)
        target = target_of(self.run.target, self.reverse.path, x0, noise, t)
        xt = xt if known is None or unknown is None else torch.where(unknown, xt, known)
        text = text.padded(self.longest)
        return Batch(xt, target, t.float(), text, unknown=unknown, references=references, stride=stride)

    def loss(self, batch: Batches) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over samples of the objective, and its parts [B] where it has several; simple without a step.

        Each sample's objective is a mean over its own latents, so a sample counts alike whatever its size. In training
        mode auxiliary terms are added, which are among the parts.
        """
        groups = groups_of(batch)
        found = zip(groups, predictions(self.network, groups), strict=True)
        terms = joined([self.terms(group, predicted) for group, predicted in found])
        beside = self.auxiliary.terms(groups[0].truth) if self.network.training else {}
        return sum(beside.values(), terms["loss"].mean()), beside | {
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
        if isinstance(self.times, Moments) and "vlb" in terms:
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
        """The loss at fixed noise levels, with fixed noise, and their mean; of other sizes and kinds a side loss."""
        levels = self.losses_at_levels()
        found = {"held_out_loss": sum(levels.values()) / len(levels), **levels}
        other = {size.name: (number, NOTHING) for number, size in enumerate(self.sizes) if number}
        other |= {name: (0, kind) for name, kind in self.samples.measured(self.sizes[0], 0).items()}
        return found | {f"loss_{name}": self.side_loss(*which) for name, which in other.items()}

    def losses_at_levels(self, size: int = 0, kind: Kind = NOTHING) -> dict[str, float]:
        """The loss of held-out clips of a size and kind at each of fixed noise levels, with fixed noise.

        Where each frame has a time of its own, a clip's first frame has the level and the others the next ones in turn.
        """
        losses = {
            level: torch.cat(
                [
                    self.loss_at(content, torch.full((len(content.x0),), first), kind).expand(len(content.x0))
                    for content in self.samples.held_out(size, kind)
                ]
            )
            for first, level in enumerate(HELD_OUT_TIMES)
        }
        return {f"loss_{level:g}": float(each.mean()) for level, each in losses.items()}

    def side_loss(self, size: int, kind: Kind) -> float:
        """The loss of a few held-out clips of a size and kind, each at one of the fixed noise levels in turn."""
        (content,) = self.samples.held_out(size, kind, CHUNK)
        return float(self.loss_at(content, torch.arange(len(content.x0)), kind))

    def loss_at(self, content: Content, first: Tensor, kind: Kind) -> Tensor:
        """The mean loss of samples at the fixed noise levels of these numbers, int64 [B]; see losses_at_levels."""
        frames = content.x0.shape[2] if kind.each_frame else 1
        turns = (first[:, None] + torch.arange(frames)) % len(HELD_OUT_TIMES)
        t = torch.tensor(HELD_OUT_TIMES, dtype=torch.float64)[turns]  # [B, 1 or f]
        with self.run.loop.autocast():
            return self.loss(moved(self.noised(content, t), self.run.loop.device))[0]

    def preview(self) -> Tensor:
        """Samples of held-out captions side by side: uint8 [F, H, nW, 3]."""
        out = self.pipeline()(
            self.preview_prompts, seed=0, num_inference_steps=PREVIEW_STEPS, output_type="pt"
        )
        assert out.video is not None
        return torch.cat(list(to_frames(out.video)), 2)

    def pipeline(self) -> VideoPipeline:
        """The model as it stands as a pipeline."""
        return VideoPipeline(self.codec, self.network, self.encoder, self.scheduler)

    def parts(self) -> dict[str, Part]:
        """The whole pipeline, and the words it has met."""
        return self.pipeline().parts() | {NAME: words_part(self.words)}


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
