"""Training the codec: clips in, reconstruction and a small KL out."""

from typing import Any

import torch
from torch import Tensor, nn

from tubelet.autoencoder.codec import CausalCodec, codec_part, make_codec
from tubelet.autoencoder.layers import CausalBlock
from tubelet.autoencoder.objective import codec_loss, psnr
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
            take_weights(model, run.codec, run.loop.start_from, "autoencoder")
        for part in (model.encoder, model.to_latent):
            part.requires_grad_(not run.decoder_only)
        self.model.to(run.loop.device)
        begun = self.held_out()
        log.event("start", **begun)
        log.say(f"{run.loop.start_from or 'PCA of the same blocks'}: {begun['psnr']:.2f} dB held out")

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
        """A training clip, the noise that samples its posterior, and the noise that its decoder sees through."""
        source = stream(self.run.loop.seed, number)
        frames = self.clips.frames(clip_of(self.run.loop.seed, number, len(self.clips)))
        noise = normal(source, self.latent_shape)
        level = self.run.objective.noise * source.random()
        return {"frames": frames, "noise": noise, "error": level * normal(source, self.latent_shape)}

    few_shapes = True

    def kinds(self) -> list[tuple[float, tuple[Tensor, Tensor, Tensor]]]:
        """All samples are of one kind."""
        return [(1.0, self.collate([self.fetch(0)]))]

    def collate(self, items: list[dict[str, Any]]) -> tuple[Tensor, Tensor, Tensor]:
        """Video [B, 3, F, H, W], noise and error [B, C, f, h, w]."""
        frames, noise, error = (
            torch.stack([item[name] for item in items]) for name in ("frames", "noise", "error")
        )
        return to_video(frames), noise, error

    def loss(self, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The codec's objective and its terms."""
        video, noise, error = batch
        posterior = self.model.posterior(video)
        latents = posterior.sample(noise)
        if self.run.objective.noise:
            latents = latents + error * latents.std((0, 2, 3, 4), keepdim=True)
        return codec_loss(self.run.objective, video, self.model.reconstruct(latents), posterior)

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
            self.model.standardise(*self.sampled_moments())
        return {"autoencoder": codec_part(self.model)}

    @torch.no_grad()
    def sampled_moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel of sampled latents, [C] each."""
        latents, count = [], min(STANDARDISE_CLIPS, len(self.clips))
        for start in range(0, count, CHUNK):
            video = to_video(self.frames_of(list(range(start, min(start + CHUNK, count)))))
            with self.run.loop.autocast():
                posterior = self.model.posterior(video.to(self.run.loop.device))
            noise = normal(stream(self.run.loop.seed, 0, start), tuple(posterior.mean.shape))
            latents.append(posterior.sample(noise.to(self.run.loop.device)))
        values = torch.cat(latents).transpose(0, 1).flatten(1)  # [C, everything]
        return values.mean(1), values.std(1)
