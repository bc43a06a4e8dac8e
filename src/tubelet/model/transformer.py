"""The denoiser: TransformerConfig, and a forward that reads like a recipe."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tubelet.errors import InputError, near_miss
from tubelet.model.attention import FOLDINGS
from tubelet.model.blocks import Block, ReadPrompt
from tubelet.model.conditioning import TIME_FEATURES, Modulation, Signal, token_times
from tubelet.model.linear import Linear
from tubelet.model.positions import Rotary, axis_pairs, positions, rotary
from tubelet.model.tubelets import Embed, Grid, Unembed, grid_of, volume
from tubelet.shapes import Text


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Everything that decides the denoiser's shape. Raises InputError where fields do not fit together.

    predictions: numbers predicted for each channel of a latent; the second is the place of a learned variance.
    """

    latent_channels: int = 16
    predictions: int = 1
    width: int = 256
    depth: int = 8
    heads: int = 4
    tubelet: tuple[int, int, int] = (1, 2, 2)  # frames, rows, columns of latents in one token
    attention: str = "joint"
    text_width: int = 384
    mlp_ratio: int = 4
    frames_per_latent: int = 4
    pixels_per_latent: int = 8
    rope_base: float = (
        100.0  # small, since clips are a few dozen units long: the slowest wave turns once in 600
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "tubelet", tuple(self.tubelet))  # JSON and TOML hand over a list
        if self.attention not in FOLDINGS:
            raise InputError(f"attention {self.attention!r}: {near_miss(self.attention, list(FOLDINGS))}")
        if len(self.tubelet) != 3:
            raise InputError(
                f"tubelet {self.tubelet} needs three sizes: frames, rows, columns; try (1, 2, 2)"
            )
        counts = {name: value for name, value in vars(self).items() if isinstance(value, int)}
        for name, value in (*counts.items(), *(("tubelet", part) for part in self.tubelet)):
            if value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1")
        if self.width % self.heads:
            fit = max(self.width // self.heads, 1) * self.heads
            raise InputError(f"width {self.width} does not divide into {self.heads} heads; try width {fit}")
        axis_pairs(self.head_dim)

    @property
    def head_dim(self) -> int:
        """Numbers of one attention head."""
        return self.width // self.heads


class VideoTransformer(nn.Module):
    """A prediction for every latent from noisy latents, their times and a prompt.   [DiT 3] [PixArt 2]"""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.embed = Embed(config.latent_channels, width, config.tubelet)
        self.place = Linear(config.head_dim, width, bias=False)
        self.signal = Signal(width, config.text_width)
        self.modulation = Modulation(width)
        self.read = ReadPrompt(config.text_width, width)
        self.blocks = nn.ModuleList(
            Block(width, config.heads, config.attention, config.mlp_ratio) for _ in range(config.depth)
        )
        self.unembed = Unembed(config.predictions * config.latent_channels, width, config.tubelet)

    def forward(self, latents: Tensor, t: Tensor, text: Text) -> Tensor:
        """[B, C, f, h, w], t in [0, 1] that broadcasts to [B, 1, f, h, w], B prompts -> [B, P C, f, h, w].

        P is config.predictions: all channels of the first prediction come before those of the second.
        Latents at time 0 are known content; a token with any unknown latent has the time of that one. A t
        of [B, 1, 1, 1, 1] is the fast way to say one time for each sample. Under bfloat16 autocast the tokens
        are bfloat16 from end to end. Raises InputError for shapes that do not fit.
        """
        self._check(latents, t, text)
        # fmt: off
        tokens, grid = self.embed(latents, t)                           # [B, N, D] and their Grid
        turn = self._rotary(grid, latents.device)                       # cos and sin [N, head_dim / 2]
        tokens = tokens + self.place(torch.cat(turn, dim=-1))           # rotary alone sees only differences
        times = token_times(t, latents.shape[2:], self.embed.tubelet)   # [B, 1 or N]
        signal = self.signal(times, text.whole)                         # [B, 1 or N, D]
        modulation = self.modulation(signal)                            # [B, 1 or N, 6 D]
        prompt = self.read(text)                                        # [B, L + 1, D] and mask
        for block in self.blocks:
            tokens = block(tokens, grid, turn, modulation, prompt)      # [B, N, D]
        prediction = self.unembed(tokens, grid, signal)                 # [B, P C, f, h, w]
        # fmt: on
        return prediction.to(latents.dtype)

    def _rotary(self, grid: Grid, device: torch.device) -> Rotary:
        config = self.config
        centres = positions(grid, config.tubelet, config.frames_per_latent, config.pixels_per_latent, device)
        return rotary(centres, config.head_dim, config.rope_base)

    def _check(self, latents: Tensor, t: Tensor, text: Text) -> None:
        channels, text_width = self.config.latent_channels, self.config.text_width
        if latents.dim() != 5 or latents.shape[1] != channels:
            raise InputError(
                f"latents of shape {tuple(latents.shape)}, but this model takes [B, {channels}, f, h, w]; "
                "use the codec it was trained with"
            )
        if t.dim() not in (0, 5):
            raise InputError(
                f"t of shape {tuple(t.shape)} is ambiguous; give [B, 1, 1, 1, 1] or [B, 1, f, h, w]"
            )
        if text.tokens.shape[-1] != text_width:
            raise InputError(
                f"text of width {text.tokens.shape[-1]}, but this model reads {text_width}; use the text "
                "encoder it was trained with, or set text_width"
            )
        if len(text) != len(latents):
            raise InputError(f"{len(text)} prompts for {len(latents)} videos; give one prompt for each")


def num_parameters(config: TransformerConfig) -> int:
    """Parameters of the model of this shape, counted without allocating it."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in VideoTransformer(config).parameters())


def flops(config: TransformerConfig, latent_shape: tuple[int, int, int, int], text_tokens: int) -> int:
    """Floating-point operations of one forward of one clip, two for each multiply-add of a matrix product.

    `latent_shape` is (C, f, h, w); every latent has the same time, and `text_tokens` counts padding too.
    Training costs three times as much.
    """
    grid, folding = grid_of(latent_shape[1:], config.tubelet), FOLDINGS[config.attention]
    width, text_width, tokens, states = config.width, config.text_width, grid.tokens, text_tokens + 1
    patch = config.latent_channels * volume(config.tubelet)
    patches = (1 + config.predictions) * patch  # in and out
    signal = TIME_FEATURES * width + width**2 + text_width * width + 6 * width**2 + 2 * width**2
    ends = tokens * width * (patches + volume(config.tubelet) + config.head_dim)
    ends += text_tokens * text_width * width
    attending = len(folding.attentions) * 4 * tokens * width**2 + 2 * tokens * folding.keys(grid) * width
    reading = 2 * (tokens + states) * width**2 + 2 * tokens * states * width
    thinking = 2 * config.mlp_ratio * tokens * width**2
    return 2 * (signal + ends + config.depth * (attending + reading + thinking))
