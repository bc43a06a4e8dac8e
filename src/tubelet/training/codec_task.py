"""Training the codec: clips in, reconstruction and a small KL out."""

from typing import Any

import torch
from torch import Tensor

from tubelet.autoencoder.codec import CausalCodec, codec_part, make_codec
from tubelet.autoencoder.objective import codec_loss, psnr
from tubelet.checkpoint import Part
from tubelet.data.loader import clip_of
from tubelet.data.source import held_out_clips, training_clips
from tubelet.draws import normal, seeded, stream
from tubelet.errors import InputError
from tubelet.training.config import CodecRun
from tubelet.training.log import Log
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
        frames = self.frames_of([clip_of(run.loop.seed, n, len(self.clips)) for n in range(run.pca_clips)])
        self.latent_shape = model.latent_shape(*frames.shape[1:4])
        variances = model.fit_pca(to_video(frames))
        kept = float(variances[: run.codec.latent_channels].sum() / variances.sum())
        self.model.to(run.loop.device)
        start = self.held_out()
        log.event("pca", clips=len(frames), variance_kept=kept, **start)
        log.say(f"PCA-{run.codec.latent_channels} of the same blocks: {start['psnr']:.2f} dB held out")

    def frames_of(self, numbers: list[int]) -> Tensor:
        """Training clips by number, uint8 [B, F, H, W, 3]."""
        return torch.stack([self.clips.frames(i) for i in numbers])

    def fetch(self, number: int) -> dict[str, Any]:
        """A training clip and the noise that samples its posterior."""
        source = stream(self.run.loop.seed, number)
        frames = self.clips.frames(clip_of(self.run.loop.seed, number, len(self.clips)))
        return {"frames": frames, "noise": normal(source, self.latent_shape)}

    def collate(self, items: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
        """Video [B, 3, F, H, W] and noise [B, C, f, h, w]."""
        frames = torch.stack([item["frames"] for item in items])
        return to_video(frames), torch.stack([item["noise"] for item in items])

    def loss(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The codec's objective and its terms."""
        video, noise = batch
        posterior = self.model.posterior(video)
        reconstruction = self.model.reconstruct(posterior.sample(noise))
        return codec_loss(self.run.objective, video, reconstruction, posterior)

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
        """The codec, standardised by the sampled latents of training clips."""
        mean, std = self.sampled_moments()
        self.model.standardise(mean, std)
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
