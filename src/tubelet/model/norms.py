"""Norms by name: what is taken out of the tokens before the signal shifts and scales them. None has a parameter."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from tubelet.model.groups import Groups, groups

EPSILON = 1e-5


class RMSNorm(torch.autograd.Function):
    """y = w x / sqrt(mean(x^2) + epsilon), which remembers x alone: with r = 1 / sqrt(...),

    dx = r (w dy - r^2 x mean(w x dy)),  dw = sum(r x dy).

    torch's own keeps two float32 copies of bfloat16 x on a CPU. Here r is float32 and then rounded to x's dtype.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """x [..., D], weight [D] of the same dtype."""
        wide = torch.promote_types(x.dtype, torch.float32)
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)
        inverse = (norm.square() / x.shape[-1] + epsilon).rsqrt().to(x.dtype)
        ctx.save_for_backward(x, weight, inverse)
        return (x * inverse).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """The gradients of x and weight."""
        (dy,), (x, weight, inverse) = gradients, ctx.saved_tensors
        product = (x * dy).flatten(0, -2)
        along = (product @ (weight / x.shape[-1])).view_as(inverse)
        dx = (dy * weight).addcmul_(x, along * inverse.square(), value=-1).mul_(inverse)
        return dx, product.mT @ inverse.flatten(), None


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """w x / sqrt(mean(x^2) + epsilon) over D, in the dtype of x: [..., D], [D] -> [..., D].   [RMSNorm 4]"""
    weight = weight.to(x.dtype)
    if torch.compiler.is_compiling():  # a compiler finds what to remember by itself, and a better way
        return F.rms_norm(x, x.shape[-1:], weight, epsilon)
    return RMSNorm.apply(x, weight, epsilon)  # pyright: ignore[reportReturnType]


class Scope(NamedTuple):
    """Over which tokens of a row a norm takes its statistics.

    samples: the tokens of each sample; counted: float32 [1, N, 1], 1 for tokens in the statistics and 0 for others.
    """

    samples: Groups
    counted: Tensor

    def to(self, device: torch.device | str) -> "Scope":
        """Moved to a device."""
        return Scope(self.samples.to(device), self.counted.to(device))


Norm = Callable[[Tensor, Scope | None], Tensor]


def scope_of(sample: Tensor) -> Scope:
    """The scope in which every token counts, from the number of the sample of each, int64 [N]."""
    return Scope(groups(sample), torch.ones(1, len(sample), 1, device=sample.device))


def layer(tokens: Tensor, scope: Scope | None = None) -> Tensor:
    """Each token less its mean over D, divided by its deviation: [B, N, D] -> the same."""
    return F.layer_norm(tokens, tokens.shape[-1:])


def rms(tokens: Tensor, scope: Scope | None = None) -> Tensor:
    """Each token divided by its root mean square over D: [B, N, D] -> the same.   [RMSNorm 4]"""
    return rms_norm(tokens, tokens.new_ones(tokens.shape[-1]), EPSILON)


def instance(tokens: Tensor, scope: Scope | None = None) -> Tensor:
    """Each channel less its mean over the sample's tokens, divided by its deviation over them.   [StyleGAN 1]

    The statistics are those of the video's tokens, known ones too, and references and registers are normalised by
    them. So a reference stays comparable with the video and reaches it by attention alone, and a register may grow
    large without pressing the video flat. A video of one token is left with nothing but the signal's shift. Without a
    scope every row is a sample of which all tokens count. The statistics are float32 at least.
    """
    wide = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
    samples, counted = scope or scope_of(torch.zeros(tokens.shape[1], device=tokens.device))
    pieces = zip(samples.pieces(wide), samples.pieces(counted.to(wide.dtype)), strict=True)
    return samples.row([standardised(*each) for each in pieces]).to(tokens.dtype)


def standardised(tokens: Tensor, counted: Tensor) -> Tensor:
    """(x - mean) / sqrt(variance + EPSILON), over the tokens that count: [B, S, D], [B or 1, S, 1] -> [B, S, D]."""
    share = counted / counted.sum(1, keepdim=True)
    away = tokens - (share * tokens).sum(1, keepdim=True)
    return away * ((share * away.square()).sum(1, keepdim=True) + EPSILON).rsqrt()


NORMS = {"layer": layer, "rms": rms, "instance": instance}
# Of the words of a prompt, which are no map: one word less its own mean is nothing, and of two only signs would remain.
WORD_NORMS = NORMS | {"instance": layer}
