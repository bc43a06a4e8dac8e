"""Door 2: video <-> standardised latents. A causal convolutional codec that starts as PCA, and the identity."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from einops import rearrange
from torch import Tensor, nn

from tubelet.autoencoder.layers import Convolution, Stage, channel_norm, fold, mixed, unfold
from tubelet.checkpoint import Part, hash_of
from tubelet.errors import InputError, near_miss
from tubelet.gaussians import Gaussian

CODECS = ("causal", "identity")
FRAMES = 4  # one latent of the causal codec stands for so many frames
PATCH = 4  # pixels folded into channels before the first convolution
# Names of the stages at 1/4, 1/8 and 1/16 of the resolution, and of what leads to each from the finer one, and back.
STAGES, DOWNS, UPS = ("fine", "coarse", "coarser"), ("", "down", "down_coarser"), ("", "up", "up_coarser")
SIDES = {PATCH << level: level + 1 for level in range(len(STAGES))}  # pixels_per_latent -> stages
CHANNEL_SCALES = ("unit", "white", "half", "one")


@dataclass(frozen=True, kw_only=True)
class CodecConfig:
    """Which codec, and its size. `identity` makes the video itself the latents (pixel models): only pixel_channels.

    pixels_per_latent: side of the square of pixels that a latent stands for, 4, 8 or 16. latent_channels: of a latent;
    pixel_channels: of the video. widths: channels at 1/4, 1/8 ... of the resolution, down to the latents';
    encoder_depths, decoder_depths: causal blocks at each; encoder_kernels: side of their convolutions in the encoder, 3
    or 1, which decides how far a latent sees. channel_scale: how latents are standardised, see channels.fit_channels.
    """

    kind: str = "causal"
    latent_channels: int = 16
    widths: tuple[int, ...] = (128, 256)
    encoder_depths: tuple[int, ...] = (1, 2)
    decoder_depths: tuple[int, ...] = (3, 3)
    encoder_kernels: tuple[int, ...] = (3, 3)
    pixels_per_latent: int = 8
    pixel_channels: int = 3
    channel_scale: str = "unit"

    def __post_init__(self) -> None:
        for name, names in (("kind", CODECS), ("channel_scale", CHANNEL_SCALES)):
            if (given := getattr(self, name)) not in names:
                raise InputError(f"codec {name} {given!r} is unknown; {near_miss(given, names)}")
        side = self.pixels_per_latent
        if side not in SIDES:
            raise InputError(f"pixels_per_latent is {side}; give one of {', '.join(map(str, SIDES))}")
        stages = ", ".join(f"1/{PATCH << level}" for level in range(SIDES[side]))
        for name in ("widths", "encoder_depths", "decoder_depths", "encoder_kernels"):
            if (given := len(getattr(self, name))) != SIDES[side]:
                raise InputError(
                    f"{name} has {given} values, but pixels_per_latent {side} has stages at {stages} of the "
                    f"resolution; give {SIDES[side]}"
                )
        if not set(self.encoder_kernels) <= {1, 3}:
            raise InputError(f"encoder_kernels are {list(self.encoder_kernels)}; each must be 1 or 3")
        if self.pixel_channels < 1:
            raise InputError(f"pixel_channels is {self.pixel_channels}; give at least 1, 3 for colour")
        if not 1 <= self.latent_channels <= self.block:
            raise InputError(f"latent_channels {self.latent_channels} is outside 1..{self.block}; try 16")

    @property
    def block(self) -> int:
        """Values in the block of pixels that one latent stands for."""
        return self.pixel_channels * FRAMES * self.pixels_per_latent**2

    @property
    def turned(self) -> bool:
        """Whether standardised latents are axes rather than the encoder's own channels."""
        return self.channel_scale != "unit"


class Codec(Protocol):
    """What every codec offers. Latents are standardised: each channel has mean 0, and their mean square is 1."""

    config: CodecConfig
    latent_channels: int
    frames_per_latent: int
    pixels_per_latent: int

    def encode(self, video: Tensor) -> Gaussian:
        """[B, D, F, H, W] in [-1, 1] -> the posterior of the latents [B, C, f, h, w]."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """[B, C, f, h, w] -> video [B, D, F, H, W], not clamped."""
        ...

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, f, h, w) of a video's latents; InputError names the nearest sizes that work."""
        ...


class IdentityCodec(nn.Module):
    """The video is its own latents; for models of pixels."""

    frames_per_latent, pixels_per_latent = 1, 1

    def __init__(self, config: CodecConfig):
        super().__init__()
        self.config = config
        self.latent_channels = config.pixel_channels

    def encode(self, video: Tensor) -> Gaussian:
        """A point mass at the video."""
        return Gaussian(video, torch.full((), -torch.inf, device=video.device))

    def decode(self, latents: Tensor) -> Tensor:
        """The latents themselves."""
        return latents

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(D, F, H, W)."""
        return self.latent_channels, frames, height, width


class CausalCodec(nn.Module):
    """4 x P x P pixels to one latent; frames 1 + 4k to latents 1 + k; a latent never sees later frames.

    Encoder mean and decoder are a linear map (fitted as PCA by `fit_pca`) plus a residual network whose last layer
    starts at zero. So training starts at PCA's error. The first latent stands for the first frame alone,
    repeated to fill its block, so that an image is a clip of one frame. P is the config's pixels_per_latent and D its
    pixel_channels.
    """

    frames_per_latent = FRAMES

    mean: Tensor
    std: Tensor
    to_axes: Tensor

    def __init__(self, config: CodecConfig):
        super().__init__()
        self.config = config
        self.latent_channels, self.pixels_per_latent = config.latent_channels, config.pixels_per_latent
        channels, widths = config.latent_channels, config.widths
        patch = config.pixel_channels * FRAMES * PATCH * PATCH
        self.to_latent = nn.Linear(config.block, channels)
        self.from_latent = nn.Linear(channels, config.block)
        self.encoder = nn.ModuleDict({"stem": Convolution(patch, widths[0])})
        for level, (width, depth) in enumerate(zip(widths, config.encoder_depths, strict=True)):
            if level:
                self.encoder[DOWNS[level]] = Convolution(4 * widths[level - 1], width)
            self.encoder[STAGES[level]] = Stage(width, depth, config.encoder_kernels[level])
        self.encoder["head"] = Convolution(widths[-1], 2 * channels, zero=True)
        self.decoder = nn.ModuleDict({"stem": Convolution(channels, widths[-1], 3)})
        for level in reversed(range(len(widths))):
            self.decoder[STAGES[level]] = Stage(widths[level], config.decoder_depths[level])
            if level:
                self.decoder[UPS[level]] = Convolution(widths[level], 4 * widths[level - 1])
        self.decoder["head"] = Convolution(widths[0], patch, 3, zero=True)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        if config.turned:
            self.register_buffer("to_axes", torch.eye(channels))

    def encode(self, video: Tensor) -> Gaussian:
        """[B, D, F, H, W] in [-1, 1] -> posterior of the standardised latents [B, C, f, h, w]; F = 1 + 4k.

        Of channels turned to axes it keeps the variance of each axis and drops what correlates them.
        """
        raw = self.posterior(video)
        mean, std = self.mean.view(-1, 1, 1, 1), self.std.view(-1, 1, 1, 1)
        channels = Gaussian((raw.mean - mean) / std, raw.log_var - 2 * std.log())
        if not self.config.turned:
            return channels
        variance = mixed(self.to_axes.square(), channels.var)
        return Gaussian(mixed(self.to_axes, channels.mean), variance.log())

    def decode(self, latents: Tensor) -> Tensor:
        """Standardised latents [B, C, f, h, w] -> video [B, D, 1 + 4(f - 1), H, W], not clamped."""
        channels = mixed(self.from_axes(), latents) if self.config.turned else latents
        return self.reconstruct(channels * self.std.view(-1, 1, 1, 1) + self.mean.view(-1, 1, 1, 1))

    def log_volume(self) -> Tensor:
        """Logarithm of the determinant of the map from standardised latents to those before, at one place: a scalar."""
        scale = self.std.double().log().sum()
        return scale - torch.linalg.slogdet(self.to_axes.double())[1] if self.config.turned else scale

    def from_axes(self) -> Tensor:
        """The inverse of to_axes, [C, C]: made when it is needed, so that it is that of a matrix rounded in a file."""
        return torch.linalg.inv(self.to_axes.double()).float()

    def posterior(self, video: Tensor) -> Gaussian:
        """q(z | video) before standardisation, [B, C, f, h, w]: what training sees."""
        _, frames, _, _ = self.latent_shape(*video.shape[2:])
        patches = fold(blocks_of_frames(video), PATCH).contiguous(memory_format=torch.channels_last)
        part = self.encoder
        x = part["stem"](patches)  # [B*f, widths[0], H/4, W/4]
        for level, stage in enumerate(STAGES[: len(self.config.widths)]):
            if level:
                x = part[DOWNS[level]](fold(x, 2))  # half the rows and columns
            x = part[stage](x, frames)
        shift, log_var = part["head"](channel_norm(x)).float().chunk(2, 1)  # [B*f, C, h, w] each
        blocks = fold(patches, self.pixels_per_latent // PATCH).permute(0, 2, 3, 1)  # [B*f, h, w, block]
        with torch.autocast(video.device.type, enabled=False):
            linear = self.to_latent(blocks.float()).permute(0, 3, 1, 2)  # [B*f, C, h, w]
        # The offset makes the untrained noise small beside PCA's whitened channels (std 0.03).
        return Gaussian(by_clip(linear + shift, frames), by_clip(log_var - 7.0, frames).clamp(-20, 4))

    def reconstruct(self, raw: Tensor) -> Tensor:
        """Latents before standardisation [B, C, f, h, w] -> video [B, D, 1 + 4(f - 1), H, W]."""
        frames = raw.shape[2]
        z = rearrange(raw, "b c f h w -> (b f) c h w").contiguous(memory_format=torch.channels_last)
        part = self.decoder
        x = part["stem"](z)  # [B*f, widths[-1], h, w]
        for level, stage in reversed(list(enumerate(STAGES[: len(self.config.widths)]))):
            x = part[stage](x, frames)
            if level:
                x = unfold(part[UPS[level]](x), 2)  # twice the rows and columns
        detail = part["head"](channel_norm(x)).float()  # [B*f, patch, H/4, W/4]
        with torch.autocast(raw.device.type, enabled=False):
            linear = self.from_latent(z.float().permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        patches = detail + unfold(linear, self.pixels_per_latent // PATCH)
        return frames_of_blocks(unfold(patches, PATCH), frames)

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, f, h, w) of a video's latents; InputError names the nearest sizes that work."""
        if frames < 1 or (frames - 1) % FRAMES:
            fit = max(0, round((frames - 1) / FRAMES)) * FRAMES + 1
            raise InputError(
                f"{frames} frames do not fill latents of 1 + {FRAMES}k frames; try --num-frames {fit}"
            )
        side = self.pixels_per_latent
        for name, size in (("height", height), ("width", width)):
            if size < side or size % side:
                fit = max(1, round(size / side)) * side
                raise InputError(f"--{name} {size} is not a multiple of {side}; try --{name} {fit}")
        return self.latent_channels, 1 + (frames - 1) // FRAMES, height // side, width // side

    def blocks_of(self, video: Tensor) -> Tensor:
        """The pixels that each latent stands for: [B, D, F, H, W] -> [B*f*h*w, block]."""
        blocks = fold(fold(blocks_of_frames(video), PATCH), self.pixels_per_latent // PATCH)
        return rearrange(blocks, "m d r c -> (m r c) d")

    @torch.no_grad()
    def fit_pca(self, videos: Tensor | Iterable[Tensor]) -> Tensor:
        """Set the linear maps to PCA of the blocks of videos [B, D, F, H, W], whitened; returns the variances [block].

        The components are scaled to unit variance, so that all channels begin alike.
        """
        size = self.config.block
        sums, squares = torch.zeros(size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64)
        count = 0
        for video in [videos] if isinstance(videos, Tensor) else videos:
            rows = self.blocks_of(video).double()
            count += len(rows)
            sums += rows.sum(0)
            squares.addmm_(rows.T, rows)
        center = sums / count
        values, vectors = torch.linalg.eigh(squares / count - torch.outer(center, center))
        keep = self.latent_channels
        std = values[-keep:].flip(0).clamp(min=1e-12).sqrt()  # [C]
        basis = vectors[:, -keep:].flip(1)  # [block, C]
        self.to_latent.weight.copy_((basis / std).T)
        self.to_latent.bias.copy_(-(center @ basis) / std)
        self.from_latent.weight.copy_(basis * std)
        self.from_latent.bias.copy_(center)
        return values.flip(0)

    @torch.no_grad()
    def standardise(self, mean: Tensor, std: Tensor, to_axes: Tensor | None = None) -> None:
        """Set what `encode` does to latents and `decode` undoes: mean and deviation [C] of each channel, then axes.

        to_axes: the matrix [C, C] from channels of mean 0 and deviation 1 to axes; only where config.turned.
        """
        self.mean.copy_(mean)
        self.std.copy_(std)
        if to_axes is not None:
            self.to_axes.copy_(to_axes)


def make_codec(config: CodecConfig) -> CausalCodec | IdentityCodec:
    """The codec a config describes, untrained."""
    return CausalCodec(config) if config.kind == "causal" else IdentityCodec(config)


def codec_part(codec: CausalCodec | IdentityCodec) -> Part:
    """The codec as the part "autoencoder" of a checkpoint."""
    return Part(dataclasses.asdict(codec.config), dict(codec.state_dict()))


def encoder_hash(part: Part) -> str:
    """A hash of what decides the latents that a codec's part gives: equal for two that differ in the decoder alone.

    Fields that parts had none of at first count where they are not what all codecs were like then.
    """
    decoding = ("decoder.", "from_latent.")
    then = {"encoder_kernels": [3, 3], "pixels_per_latent": 8, "pixel_channels": 3, "channel_scale": "unit"}
    config = {n: list(v) if isinstance(v, tuple) else v for n, v in part.config.items()}
    config = {n: v for n, v in config.items() if n not in then or v != then[n]}
    return hash_of(Part(config, {n: t for n, t in part.tensors.items() if not n.startswith(decoding)}))


def codec_of(part: Part) -> CausalCodec | IdentityCodec:
    """The codec that `codec_part` made, in float32 and evaluation mode."""
    config: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in part.config.items()}
    codec = make_codec(CodecConfig(**config))
    codec.load_state_dict({name: value.float() for name, value in part.tensors.items()})
    return codec.eval()


def blocks_of_frames(video: Tensor) -> Tensor:
    """Four frames to a latent, the first frame repeated: [B, D, 1 + 4k, H, W] -> [B*(1 + k), 4 D, H, W]."""
    first = video[:, :, :1].expand(-1, -1, FRAMES - 1, -1, -1)
    return rearrange(torch.cat([first, video], 2), "b d (f a) r c -> (b f) (a d) r c", a=FRAMES)


def frames_of_blocks(blocks: Tensor, frames: int) -> Tensor:
    """The inverse: [B*f, 4 D, H, W] -> [B, D, 1 + 4(f - 1), H, W]; of the first block the last frame is kept."""
    video = rearrange(blocks, "(b f) (a d) r c -> b d (f a) r c", f=frames, a=FRAMES)
    return video[:, :, FRAMES - 1 :]


def by_clip(x: Tensor, frames: int) -> Tensor:
    """[B*f, C, h, w] -> [B, C, f, h, w]."""
    return rearrange(x, "(b f) c h w -> b c f h w", f=frames)
