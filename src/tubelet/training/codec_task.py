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
from tubelet.data.buckets import Bucket, bucket_of, buckets_of
from tubelet.draws import normal, seeded, stream
from tubelet.errors import InputError
from tubelet.training.config import CodecRun
from tubelet.training.log import Log
from tubelet.training.start import take_weights
from tubelet.video import to_frames, to_video

CHUNK = 16  # clips encoded at a time where nothing is trained
STANDARDISE_CLIPS = 128  # training samples whose latents are standardised
PREVIEW_CLIPS = 4
STACKED = ("frames", "noise", "error", "hidden")
HIDDEN, TRANSFORMS, MOMENTS = 0x4D, 0x7A, 0x30  # set apart what is masked, transformed and standardised by


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
    """A codec, initialised as PCA of training samples, and the clips it learns from, of one size and source or more."""

    def __init__(self, run: CodecRun, log: Log):
        self.run = run
        self.buckets = buckets_of(run.data)
        self.shares = [bucket.share for bucket in self.buckets]
        self.alike = len({bucket.size for bucket in self.buckets}) == 1
        with seeded(run.loop.seed):
            model = make_codec(run.codec)
        if not isinstance(model, CausalCodec):
            raise InputError(
                'the identity codec has nothing to train; give codec = "identity" to `tubelet train`'
            )
        self.model = model
        for bucket in self.buckets:
            self.refuse_unless_fitting(bucket)
        self.held_out_frames = {bucket.name: held_out_frames(bucket) for bucket in self.buckets}
        if run.loop.start_from is None:
            self.fit_pca(log)
        else:
            free = () if run.decoder_only else ("channel_scale",)
            take_weights(model, run.codec, run.loop.start_from, "autoencoder", free, self.fit)
        for part in (model.encoder, model.to_latent):
            part.requires_grad_(not run.decoder_only)
        if run.fixed_linear:
            model.to_latent.requires_grad_(False)
            model.from_latent.requires_grad_(False)
        self.model.to(run.loop.device)
        begun = self.held_out()
        log.event("start", **begun)
        log.say(f"{run.loop.start_from or 'PCA of the same blocks'}: {begun['psnr']:.2f} dB held out")

    def refuse_unless_fitting(self, bucket: Bucket) -> None:
        """InputError, with the bucket's name and the nearest size that works, for one that does not fill latents."""
        try:
            self.model.latent_shape(*bucket.size)
        except InputError as error:
            raise InputError(f"{bucket.name}: {error}") from None

    def fit(self, tensors: dict[str, Tensor], trained: Any) -> dict[str, Tensor]:
        """Weights that the run starts from; axes that they lack, or that this codec has not, are no loss."""
        own = self.model.state_dict()
        axes = {name: value for name, value in own.items() if name == "to_axes"}
        return axes | {name: value for name, value in tensors.items() if name in own}

    def fit_pca(self, log: Log) -> None:
        """Set the codec to PCA of the first training samples."""
        variances = self.model.fit_pca(self.videos(self.run.pca_clips))
        kept = float(variances[: self.run.codec.latent_channels].sum() / variances.sum())
        log.event("pca", clips=self.run.pca_clips, variance_kept=kept)

    @property
    def blocks(self) -> list[nn.Module]:
        """The causal blocks, those of the encoder first."""
        return [part for part in self.model.modules() if isinstance(part, CausalBlock)]

    def content(self) -> dict[str, str]:
        """The clips."""
        main, *others = self.buckets
        return {"clips": main.content} | {f"clips {each.name}": each.content for each in others}

    def unit_of(self, number: int) -> int:
        """What sample `number` shares its bucket with: parts of its clip if all have one size, else its micro-batch."""
        loop = self.run.loop
        together = self.run.data.crops if self.alike else loop.batch_size // loop.micro_batches
        return number // together

    def frames_of(self, number: int) -> Tensor:
        """The frames of training sample `number`, uint8 [F, H, W, 3]."""
        seed = self.run.loop.seed
        return self.buckets[bucket_of(seed, self.unit_of(number), self.shares)].frames(seed, number)

    def videos(self, count: int) -> Iterator[Tensor]:
        """The first `count` training samples in chunks of one size: video [B, 3, F, H, W]."""
        chunk: list[Tensor] = []
        for number in range(count):
            frames = self.frames_of(number)
            if chunk and (len(chunk) == CHUNK or frames.shape != chunk[0].shape):
                yield to_video(torch.stack(chunk))
                chunk = []
            chunk.append(frames)
        yield to_video(torch.stack(chunk))

    def fetch(self, number: int) -> dict[str, Any]:
        """The frames and every draw of global sample `number`, keyed by (seed, number)."""
        seed, loop, objective = self.run.loop.seed, self.run.loop, self.run.objective
        source, masks = stream(seed, number), stream(seed, HIDDEN, number)
        transforms = stream(seed, TRANSFORMS, number // (loop.batch_size // loop.micro_batches))
        frames = self.frames_of(number)
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
        """A sample of each bucket, with nothing masked or transformed, and the share of samples that are so."""
        shapes = [self.model.latent_shape(*bucket.size) for bucket in self.buckets]
        return [
            (bucket.share, CodecBatch(to_video(bucket.frames(self.run.loop.seed, 0)), *blank(shape)))
            for bucket, shape in zip(self.buckets, shapes, strict=True)
        ]

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
        """PSNR in dB of held-out clips through the posterior's mean: over all pixels, and of first frames alone.

        Of the main bucket; of the others over all pixels, by name.
        """
        main, *others = self.held_out_frames
        error = self.errors(main)
        found = {"psnr": float(psnr(error.mean())), "psnr_first": float(psnr(error[:, 0].mean()))}
        return found | {f"psnr_{name}": float(psnr(self.errors(name).mean())) for name in others}

    @torch.no_grad()
    def errors(self, name: str) -> Tensor:
        """Squared errors of a bucket's held-out clips, mean over the pixels of each frame: [B, F]."""
        rows = []
        for frames in self.held_out_frames[name].split(CHUNK):
            video, decoded = self.round_trip(frames)
            rows.append((decoded - video).square().mean((1, 3, 4)))
        return torch.cat(rows)

    def round_trip(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Frames uint8 [B, F, H, W, 3] as video [B, 3, F, H, W], and what the codec makes of it."""
        video = to_video(frames).to(self.run.loop.device)
        with self.run.loop.autocast():
            return video, self.model.reconstruct(self.model.posterior(video).mean).clamp(-1, 1)

    def preview(self) -> Tensor:
        """Held-out clips above, their reconstructions below: uint8 [F, 2H, nW, 3]."""
        pair = self.round_trip(self.held_out_frames[self.buckets[0].name][:PREVIEW_CLIPS])
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
        for chunk, video in enumerate(self.videos(STANDARDISE_CLIPS)):
            video = video.to(self.run.loop.device)
            with self.run.loop.autocast():
                posterior = self.model.posterior(video)
            noise = normal(stream(self.run.loop.seed, MOMENTS, chunk), tuple(posterior.mean.shape))
            yield video, posterior.sample(noise.to(self.run.loop.device))


def held_out_frames(bucket: Bucket) -> Tensor:
    """All held-out clips of a bucket, uint8 [B, F, H, W, 3]."""
    return torch.stack([bucket.held_out.frames(i) for i in range(len(bucket.held_out))])


def blank(shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Noise, error and hidden places of one sample of latents (C, f, h, w) that change nothing."""
    zeros = torch.zeros(1, *shape)
    return zeros, zeros, zeros[:, :1].bool()
