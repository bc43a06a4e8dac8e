"""Time and the whole prompt -> shift, scale, gate (adaLN-Zero), by one modulation for all blocks or one for each."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.model.linear import Linear
from tubelet.model.norms import NORMS, Norm, Scope, layer
from tubelet.model.times import Times

TIME_FEATURES = 256
PERIODS = 10_000.0  # the slowest wave; made for the steps 1 .. 1000 of DDPM, hence 1000 t


def time_features(t: Tensor) -> Tensor:
    """cos and sin of 1000 t at TIME_FEATURES / 2 frequencies, 1 down to 1 / PERIODS: [...] -> [..., 256]."""
    half = TIME_FEATURES // 2
    frequency = torch.exp(torch.arange(half, device=t.device) * (-math.log(PERIODS) / half))
    angle = 1000 * t[..., None].float() * frequency
    return torch.cat((angle.cos(), angle.sin()), dim=-1)


class Signal(nn.Module):
    """What steers every block: an embedding of time plus one of the whole prompt."""

    def __init__(self, width: int, text_width: int) -> None:
        super().__init__()
        self.time_in = Linear(TIME_FEATURES, width)
        self.time_out = Linear(width, width)
        self.whole = Linear(text_width, width, bias=False)  # time_out has the bias

    def forward(self, times: Tensor, whole: Tensor) -> Tensor:
        """Levels of time [B, K] and prompts [B, 1 or K, E] -> [B, K, D]."""
        time = self.time_out(F.silu(self.time_in(time_features(times))))
        return time + self.whole(whole)


class Modulation(nn.Module):
    """The signal as shift, scale and gate, for attention and for the feed forward.   [PixArt 2.3] [DiT 3.2]

    All blocks share it [PixArt] or each has one [DiT]; each adds a learned table. Zero at first: every gate is shut.
    """

    def __init__(self, width: int, parts: int = 6) -> None:
        super().__init__()
        self.project = Linear(width, parts * width, bias=False, zero=True)  # the tables are the biases

    def forward(self, signal: Tensor) -> Tensor:
        """[B, K, D] -> [B, K, parts D]."""
        return self.project(F.silu(signal))


def modulate(
    tokens: Tensor,
    shift: Tensor,
    scale: Tensor,
    norm: Norm = layer,
    scope: Scope | None = None,
) -> Tensor:
    """norm(tokens) * (1 + scale) + shift; tokens [B, N, D], shift and scale broadcast to them."""
    return torch.addcmul(shift, norm(tokens, scope), 1 + scale)


class FinalNorm(nn.Module):
    """The norm before the output, shifted and scaled by the signal."""

    def __init__(self, width: int, norm: str = "layer") -> None:
        super().__init__()
        self.norm = NORMS[norm]
        self.project = Linear(width, 2 * width, zero=True)

    def forward(self, tokens: Tensor, signal: Tensor, times: Times, scope: Scope | None = None) -> Tensor:
        """Tokens [B, N, D], the signal of each level [B, K, D] and which token has which -> [B, N, D]."""
        steer = self.project(F.silu(signal)).to(tokens.dtype)  # [B, K, 2 D]
        shift, scale = (times.spread(part) for part in steer.chunk(2, dim=-1))
        return modulate(tokens, shift, scale, self.norm, scope)
