"""Training the codec: clips in, reconstruction and a small KL out."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tubelet.autoencoder.channels import fit_channels
from tubelet.autoencoder.codec import CausalCodec, codec_part, make_codec
from tubelet.autoencoder.layers import CausalBlock
from tubelet.autoencoder.objective import codec_loss, psnr
from tubelet.autoencoder.regularisers import Transform, draw_hidden, draw_transform, masked
from tubelet.checkpoint import Part
from tubelet.data.loader import clip_of
from tubelet.data.source import held_out_clips, training_clips
from tubelet.draws import normal, seeded, stream
from tubelet.errors import InputError
from tubelet.training.config import CodecRun
from tubelet.training.log import Log
from tubelet.training.start import take_weights
from tubelet.video import to_frames, to_video

CHUNK = 16  # clips encoded at a time where nothing is trained
STANDARDISE_CLIPS = 128  # training clips whose sampled latents give the mean and std
PREVIEW_CLIPS = 4
STACKED = ("frames", "noise", "error", "hidden")
HIDDEN, TRANSFORMS = (
    0x4D,
    0x7A,
)  # set what is masked and how a micro-batch is transformed apart from other draws


class CodecBatch(NamedTuple):
    """Video [B, D, F, H, W], and of its latents: the noise that samples them, and what a decoder gets to see.

    noise, error: standard normal, and what is added in deviations of each channel, [B, C, f, h, w]. hidden: bool
    [B, 1, f, h, w], masked. transform: done to latents and video before they are compared; None changes nothing.
    """

    video: Tensor
    noise: Tensor
    error: Tensor
    hidden: Tensor
    transform: Transform | None = None


class CodecTask:
    """A codec, initialised as PCA of training clips, and the clips it learns from."""

    def __init__(self, run: CodecRun, log: Log):
        self.run = run
        self.clips, held_out = training_clips(run.data), held_out_clips(run.data)
        self.held_out_frames = torch.stack([held_out.frames(i) for i in range(len(held_out))])
        with seeded(run.loop.seed):
            model = make_codec(run.codec)
        if not isinstance(model, CausalCodec):
            raise InputError(
                'the identity codec has nothing to train; give codec = "identity" to `tubelet train`'
            )
        self.model = model
        self.latent_shape = model.latent_shape(*self.held_out_frames.shape[1:4])
        if run.loop.start_from is None:
            self.fit_pca(log)
        else:
            free = () if run.decoder_only else ("channel_scale",)
            take_weights(model, run.codec, run.loop.start_from, "autoencoder", free, self.fit)
        for part in (model.encoder, model.to_latent):
            part.requires_grad_(not run.decoder_only)
        self.model.to(run.loop.device)
        begun = self.held_out()
        log.event("start", **begun)
        log.say(f"{run.loop.start_from or 'PCA of the same blocks'}: {begun['psnr']:.2f} dB held out")

    def fit(self, tensors: dict[str, Tensor], trained: Any) -> dict[str, Tensor]:
        """Weights that the run starts from; axes that they lack, or that this codec has not, are no loss."""
        own = self.model.state_dict()
        axes = {name: value for name, value in own.items() if name.endswith("_axes")}
        return axes | {name: value for name, value in tensors.items() if name in own}

    def fit_pca(self, log: Log) -> None:
        """Set the codec to PCA of the first training clips."""
        numbers = [clip_of(self.run.loop.seed, n, len(self.clips)) for n in range(self.run.pca_clips)]
        variances = self.model.fit_pca(to_video(self.frames_of(numbers)))
        kept = float(variances[: self.run.codec.latent_channels].sum() / variances.sum())
        log.event("pca", clips=len(numbers), variance_kept=kept)

    @property
    def blocks(self) -> list[nn.Module]:
        """The causal blocks, those of the encoder first."""
        return [part for part in self.model.modules() if isinstance(part, CausalBlock)]

    def content(self) -> dict[str, str]:
        """The clips."""
        return {"clips": f"{len(self.clips)} of {self.clips.fingerprint}"}

    def frames_of(self, numbers: list[int]) -> Tensor:
        """Training clips by number, uint8 [B, F, H, W, 3]."""
        return torch.stack([self.clips.frames(i) for i in numbers])

    def fetch(self, number: int) -> dict[str, Any]:
        """A training clip and every draw of global sample `number`, keyed by (seed, number)."""
        seed, loop, objective = self.run.loop.seed, self.run.loop, self.run.objective
        source, masks = stream(seed, number), stream(seed, HIDDEN, number)
        transforms = stream(seed, TRANSFORMS, number // (loop.batch_size // loop.micro_batches))
        frames = self.clips.frames(clip_of(seed, number, len(self.clips)))
        shape = self.model.latent_shape(*frames.shape[:3])
        noise = normal(source, shape)
        level = objective.noise * source.random()
        return {
            "frames": frames,
            "noise": noise,
            "error": level * normal(source, shape),
            "hidden": draw_hidden(masks, objective.masking, objective.masked_samples, shape),
            "transform": draw_transform(transforms, objective.equivariance, shape),
        }

    few_shapes = True

    def kinds(self) -> list[tuple[float, CodecBatch]]:
        """All samples are of one kind."""
        return [(1.0, self.collate([self.fetch(0)]))]

    def collate(self, items: list[dict[str, Any]]) -> CodecBatch:
        """The batch of fetched samples of one micro-batch."""
        frames, *rest = (torch.stack([item[name] for item in items]) for name in STACKED)
        return CodecBatch(to_video(frames), *rest, transform=items[0]["transform"])

    def loss(self, batch: CodecBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The codec's objective and its terms."""
        objective, video, change = self.run.objective, batch.video, batch.transform
        posterior = self.model.posterior(video)
        latents = posterior.sample(batch.noise)
        if objective.noise:
            latents = latents + batch.error * latents.std((0, 2, 3, 4), keepdim=True)
        if objective.masking:
            latents = masked(latents, batch.hidden)
        if change is not None:
            latents, video = change.apply(latents), change.apply(video, self.model.pixels_per_latent)
        return codec_loss(objective, video, self.model.reconstruct(latents), posterior, batch.video.numel())

    def observe(self, batch: Any, terms: dict[str, Tensor]) -> None:
        """Nothing is learnt from terms."""

    def tensors(self) -> dict[str, Tensor]:
        """Nothing but the model changes."""
        return {}

    def held_out(self) -> dict[str, float]:
        """PSNR in dB of held-out clips through the posterior's mean: over all pixels, and of first frames alone."""
        rows = []
        with torch.no_grad():
            for frames in self.held_out_frames.split(CHUNK):
                video, decoded = self.round_trip(frames)
                rows.append((decoded - video).square().mean((1, 3, 4)))  # [B, F]
        error = torch.cat(rows)
        return {"psnr": float(psnr(error.mean())), "psnr_first": float(psnr(error[:, 0].mean()))}

    def round_trip(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Frames uint8 [B, F, H, W, 3] as video [B, 3, F, H, W], and what the codec makes of it."""
        video = to_video(frames).to(self.run.loop.device)
        with self.run.loop.autocast():
            return video, self.model.reconstruct(self.model.posterior(video).mean).clamp(-1, 1)

    def preview(self) -> Tensor:
        """Held-out clips above, their reconstructions below: uint8 [F, 2H, nW, 3]."""
        pair = self.round_trip(self.held_out_frames[:PREVIEW_CLIPS])
        rows = [torch.cat(list(to_frames(x.cpu())), 2) for x in pair]
        return torch.cat(rows, 1)

    def parts(self) -> dict[str, Part]:
        """The codec, standardised by the sampled latents of training clips unless its latents are given."""
        if not self.run.decoder_only:
            fit_channels(self.model, self.sampled())
        return {"autoencoder": codec_part(self.model)}

    @torch.no_grad()
    def sampled(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Training video in chunks, and sampled latents of it, always by the same noise."""
        count = min(STANDARDISE_CLIPS, len(self.clips))
        for start in range(0, count, CHUNK):
            video = to_video(self.frames_of(list(range(start, min(start + CHUNK, count)))))
            video = video.to(self.run.loop.device)
            with self.run.loop.autocast():
                posterior = self.model.posterior(video)
            noise = normal(stream(self.run.loop.seed, 0, start), tuple(posterior.mean.shape))
            yield video, posterior.sample(noise.to(self.run.loop.device))
