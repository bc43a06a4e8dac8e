"""Door 2: video <-> standardised latents. A causal convolutional codec that starts as PCA, and the identity."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from einops import rearrange
from torch import Tensor, nn

from tubelet.autoencoder.layers import Convolution, Stage, channel_norm, fold, unfold
from tubelet.checkpoint import Part, hash_of
from tubelet.errors import InputError, near_miss
from tubelet.gaussians import Gaussian

CODECS = ("causal", "identity")
FRAMES, PIXELS = 4, 8  # one latent of the causal codec stands for 4 frames of 8 x 8 pixels
PATCH = 4  # pixels folded into channels before the first convolution
BLOCK = 3 * FRAMES * PIXELS * PIXELS  # values in the block one latent stands for


@dataclass(frozen=True, kw_only=True)
class CodecConfig:
    """Which codec, and its size. `identity` makes the video itself the latents (pixel models) and reads no other field.

    latent_channels: channels of a latent; widths: channels at 1/4 and at 1/8 of the resolution; encoder and decoder
    depths: causal blocks at (1/4, 1/8).
    """

    kind: str = "causal"
    latent_channels: int = 16
    widths: tuple[int, int] = (128, 256)
    encoder_depths: tuple[int, int] = (1, 2)
    decoder_depths: tuple[int, int] = (3, 3)

    def __post_init__(self) -> None:
        if self.kind not in CODECS:
            raise InputError(f"codec kind {self.kind!r} is unknown; {near_miss(self.kind, CODECS)}")
        if not 1 <= self.latent_channels <= BLOCK:
            raise InputError(f"latent_channels {self.latent_channels} is outside 1..{BLOCK}; try 16")


class Codec(Protocol):
    """What every codec offers. Latents are standardised: per channel mean 0 and standard deviation 1."""

    config: CodecConfig
    latent_channels: int
    frames_per_latent: int
    pixels_per_latent: int

    def encode(self, video: Tensor) -> Gaussian:
        """[B, 3, F, H, W] in [-1, 1] -> the posterior of the latents [B, C, f, h, w]."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """[B, C, f, h, w] -> video [B, 3, F, H, W], not clamped."""
        ...

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, f, h, w) of a video's latents; InputError names the nearest sizes that work."""
        ...


class IdentityCodec(nn.Module):
    """The video is its own latents; for models of pixels."""

    latent_channels, frames_per_latent, pixels_per_latent = 3, 1, 1

    def __init__(self, config: CodecConfig):
        super().__init__()
        self.config = config

    def encode(self, video: Tensor) -> Gaussian:
        """A point mass at the video."""
        return Gaussian(video, torch.full((), -torch.inf, device=video.device))

    def decode(self, latents: Tensor) -> Tensor:
        """The latents themselves."""
        return latents

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(3, F, H, W)."""
        return 3, frames, height, width


class CausalCodec(nn.Module):
    """4 x 8 x 8 pixels to one latent; frames 1 + 4k to latents 1 + k; a latent never sees later frames.

    Encoder mean and decoder are a linear map (fitted as PCA by `fit_pca`) plus a residual network whose last layer
    starts at zero. So training starts at PCA's error. The first latent stands for the first frame alone,
    repeated to fill its block, so that an image is a clip of one frame.
    """

    frames_per_latent, pixels_per_latent = FRAMES, PIXELS

    mean: Tensor
    std: Tensor

    def __init__(self, config: CodecConfig):
        super().__init__()
        self.config = config
        self.latent_channels = channels = config.latent_channels
        fine, coarse = config.widths
        patch = 3 * FRAMES * PATCH * PATCH
        self.to_latent = nn.Linear(BLOCK, channels)
        self.from_latent = nn.Linear(channels, BLOCK)
        self.encoder = nn.ModuleDict(
            {
                "stem": Convolution(patch, fine),
                "fine": Stage(fine, config.encoder_depths[0]),
                "down": Convolution(4 * fine, coarse),
                "coarse": Stage(coarse, config.encoder_depths[1]),
                "head": Convolution(coarse, 2 * channels, zero=True),
            }
        )
        self.decoder = nn.ModuleDict(
            {
                "stem": Convolution(channels, coarse, 3),
                "coarse": Stage(coarse, config.decoder_depths[1]),
                "up": Convolution(coarse, 4 * fine),
                "fine": Stage(fine, config.decoder_depths[0]),
                "head": Convolution(fine, patch, 3, zero=True),
            }
        )
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def encode(self, video: Tensor) -> Gaussian:
        """[B, 3, F, H, W] in [-1, 1] -> posterior of the standardised latents [B, C, f, h, w]; F = 1 + 4k."""
        raw = self.posterior(video)
        mean, std = self.mean.view(-1, 1, 1, 1), self.std.view(-1, 1, 1, 1)
        return Gaussian((raw.mean - mean) / std, raw.log_var - 2 * std.log())

    def decode(self, latents: Tensor) -> Tensor:
        """Standardised latents [B, C, f, h, w] -> video [B, 3, 1 + 4(f - 1), H, W], not clamped."""
        return self.reconstruct(latents * self.std.view(-1, 1, 1, 1) + self.mean.view(-1, 1, 1, 1))

    def posterior(self, video: Tensor) -> Gaussian:
        """q(z | video) before standardisation, [B, C, f, h, w]: what training sees."""
        _, frames, _, _ = self.latent_shape(*video.shape[2:])
        patches = fold(blocks_of_frames(video), PATCH).contiguous(memory_format=torch.channels_last)
        part = self.encoder
        x = part["fine"](part["stem"](patches), frames)  # [B*f, fine, H/4, W/4]
        x = part["coarse"](part["down"](fold(x, 2)), frames)  # [B*f, coarse, h, w]
        shift, log_var = part["head"](channel_norm(x)).float().chunk(2, 1)  # [B*f, C, h, w] each
        blocks = fold(patches, PIXELS // PATCH).permute(0, 2, 3, 1)  # [B*f, h, w, BLOCK]
        with torch.autocast(video.device.type, enabled=False):
            linear = self.to_latent(blocks.float()).permute(0, 3, 1, 2)  # [B*f, C, h, w]
        # The offset makes the untrained noise small beside PCA's whitened channels (std 0.03).
        return Gaussian(by_clip(linear + shift, frames), by_clip(log_var - 7.0, frames).clamp(-20, 4))

    def reconstruct(self, raw: Tensor) -> Tensor:
        """Latents before standardisation [B, C, f, h, w] -> video [B, 3, 1 + 4(f - 1), H, W]."""
        frames = raw.shape[2]
        z = rearrange(raw, "b c f h w -> (b f) c h w").contiguous(memory_format=torch.channels_last)
        part = self.decoder
        x = part["coarse"](part["stem"](z), frames)  # [B*f, coarse, h, w]
        x = part["fine"](unfold(part["up"](x), 2), frames)  # [B*f, fine, H/4, W/4]
        detail = part["head"](channel_norm(x)).float()  # [B*f, patch, H/4, W/4]
        with torch.autocast(raw.device.type, enabled=False):
            linear = self.from_latent(z.float().permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        patches = detail + unfold(linear, PIXELS // PATCH)
        return frames_of_blocks(unfold(patches, PATCH), frames)

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, f, h, w) of a video's latents; InputError names the nearest sizes that work."""
        if frames < 1 or (frames - 1) % FRAMES:
            fit = max(0, round((frames - 1) / FRAMES)) * FRAMES + 1
            raise InputError(
                f"{frames} frames do not fill latents of 1 + {FRAMES}k frames; try --num-frames {fit}"
            )
        for name, size in (("height", height), ("width", width)):
            if size < PIXELS or size % PIXELS:
                fit = max(1, round(size / PIXELS)) * PIXELS
                raise InputError(f"--{name} {size} is not a multiple of {PIXELS}; try --{name} {fit}")
        return self.latent_channels, 1 + (frames - 1) // FRAMES, height // PIXELS, width // PIXELS

    @torch.no_grad()
    def fit_pca(self, video: Tensor) -> Tensor:
        """Set the linear maps to PCA of the blocks of video [B, 3, F, H, W], whitened; returns the variances [BLOCK].

        The components are scaled to unit variance, so that all channels begin alike.
        """
        blocks = fold(fold(blocks_of_frames(video), PATCH), PIXELS // PATCH)
        rows = rearrange(blocks, "m d r c -> (m r c) d").double()
        center = rows.mean(0)
        values, vectors = torch.linalg.eigh((rows - center).T @ (rows - center) / len(rows))
        keep = self.latent_channels
        std = values[-keep:].flip(0).clamp(min=1e-12).sqrt()  # [C]
        basis = vectors[:, -keep:].flip(1)  # [BLOCK, C]
        self.to_latent.weight.copy_((basis / std).T)
        self.to_latent.bias.copy_(-(center @ basis) / std)
        self.from_latent.weight.copy_(basis * std)
        self.from_latent.bias.copy_(center)
        return values.flip(0)

    @torch.no_grad()
    def standardise(self, mean: Tensor, std: Tensor) -> None:
        """Set the per-channel mean and standard deviation [C] that `encode` removes and `decode` restores."""
        self.mean.copy_(mean)
        self.std.copy_(std)


def make_codec(config: CodecConfig) -> CausalCodec | IdentityCodec:
    """The codec a config describes, untrained."""
    return CausalCodec(config) if config.kind == "causal" else IdentityCodec(config)


def codec_part(codec: CausalCodec | IdentityCodec) -> Part:
    """The codec as the part "autoencoder" of a checkpoint."""
    return Part(dataclasses.asdict(codec.config), dict(codec.state_dict()))


def encoder_hash(part: Part) -> str:
    """A hash of what decides the latents that a codec's part gives: equal for two that differ in the decoder alone."""
    decoding = ("decoder.", "from_latent.")
    return hash_of(Part(part.config, {n: t for n, t in part.tensors.items() if not n.startswith(decoding)}))


def codec_of(part: Part) -> CausalCodec | IdentityCodec:
    """The codec that `codec_part` made, in float32 and evaluation mode."""
    config: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in part.config.items()}
    codec = make_codec(CodecConfig(**config))
    codec.load_state_dict({name: value.float() for name, value in part.tensors.items()})
    return codec.eval()


def blocks_of_frames(video: Tensor) -> Tensor:
    """Four frames to a latent, the first frame repeated: [B, 3, 1 + 4k, H, W] -> [B*(1 + k), 12, H, W]."""
    first = video[:, :, :1].expand(-1, -1, FRAMES - 1, -1, -1)
    return rearrange(torch.cat([first, video], 2), "b d (f a) r c -> (b f) (a d) r c", a=FRAMES)


def frames_of_blocks(blocks: Tensor, frames: int) -> Tensor:
    """The inverse: [B*f, 12, H, W] -> [B, 3, 1 + 4(f - 1), H, W]; of the first block the last frame is kept."""
    video = rearrange(blocks, "(b f) (a d) r c -> b d (f a) r c", f=frames, a=FRAMES)
    return video[:, :, FRAMES - 1 :]


def by_clip(x: Tensor, frames: int) -> Tensor:
    """[B*f, C, h, w] -> [B, C, f, h, w]."""
    return rearrange(x, "(b f) c h w -> b c f h w", f=frames)
