"""Where a token sits in space and time, and the rotation that says so to attention.   [RoPE]

Positions are in pixel frames and pixels, not in token numbers, so a clip at another size, or a reference
image appended to it, lies where its content lies.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tubelet.errors import InputError
from tubelet.model.tubelets import Grid, Tubelet

# One unit of rotary position on each axis: 4 frames, 8 pixels, 8 pixels. Neighbours are then about one or two
# radians apart at the fastest frequency; a constant, so that positions mean the same under every codec.
UNIT = (4.0, 8.0, 8.0)


class Rotary(NamedTuple):
    """cos and sin of each token's angles, float32 [N, head_dim / 2]."""

    cos: Tensor
    sin: Tensor


def positions(
    grid: Grid,
    tubelet: Tubelet,
    frames_per_latent: int,
    pixels_per_latent: int,
    device: torch.device | str | None = None,
) -> Tensor:
    """(frame, row, column) of each token's centre in pixel frames and pixels, float32 [N, 3].

    The first latent stands for frame 0 alone, and latent k for the r frames that end with frame r k, so it
    sits at r k - (r - 1) / 2; a token sits at the mean of its latents.
    """
    counts = (grid.frames, grid.rows, grid.columns)
    latents = [torch.arange(n * part, device=device).float() for n, part in zip(counts, tubelet, strict=True)]
    frame = (frames_per_latent * latents[0] - (frames_per_latent - 1) / 2).clamp(min=0)  # [f]
    row, column = (pixels_per_latent * (place + 0.5) for place in latents[1:])  # [h], [w]
    axes = [axis.view(-1, part).mean(1) for axis, part in zip((frame, row, column), tubelet, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 2)  # [N, 3]


def axis_pairs(head_dim: int) -> tuple[int, int, int]:
    """How many of a head's pairs of numbers turn with frame, row and column: 2, 3 and 3 eighths of them.

    Raises InputError where a head is too small or odd.
    """
    pairs = head_dim // 2
    if head_dim % 2 or pairs < 3:
        raise InputError(
            f"heads of {head_dim} numbers cannot be split among frame, row and column; choose width and "
            f"heads so that width / heads is even and at least 6, for example {max(6, head_dim + 1)}"
        )
    space = max(1, pairs * 3 // 8)
    return pairs - 2 * space, space, space


def rotary(places: Tensor, head_dim: int, base: float, lengths: Tensor | None = None) -> Rotary:
    """Angles position / UNIT * base^(-i / pairs), i = 0 .. pairs - 1, of each axis: [N, 3] -> cos, sin.

    With lengths [N] the angles of time are 2 pi (i + 1) frame / length instead: they come round at the end of a video,
    so that the frame behind its last is its first.
    """
    angles = [
        places[:, axis, None] / UNIT[axis] * base ** (-torch.arange(pairs, device=places.device) / pairs)
        for axis, pairs in enumerate(axis_pairs(head_dim))
    ]
    if lengths is not None:
        turns = torch.arange(1, angles[0].shape[1] + 1, device=places.device)
        angles[0] = 2 * math.pi * (places[:, 0] / lengths)[:, None] * turns
    angle = torch.cat(angles, dim=1)  # [N, head_dim / 2]
    return Rotary(angle.cos(), angle.sin())


class Turn(torch.autograd.Function):
    """Pairs of numbers turned by their angles; a gradient is turned back, so x need not be remembered."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x [B, N, heads, head_dim], cos and sin [N, 1, head_dim / 2] of the same dtype."""
        ctx.save_for_backward(cos, sin)
        return turned(x, cos, sin)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """The gradient of x."""
        cos, sin = ctx.saved_tensors
        return turned(gradients[0], cos, -sin), None, None


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """(a cos - b sin, b cos + a sin) of the halves a, b of the last axis."""
    first, second = x.chunk(2, dim=-1)  # contiguous halves, which a CPU reads without gathering
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    low, high = out.chunk(2, dim=-1)
    torch.mul(first, cos, out=low).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=high).addcmul_(first, sin)
    return out


def rotate(x: Tensor, turn: Rotary) -> Tensor:
    """Turn pair (i, i + half) of each head by its token's angle i: [B, N, heads, head_dim], same dtype."""
    cos, sin = (table.to(x.dtype)[:, None] for table in turn)  # [N, 1, head_dim / 2]
    if torch.compiler.is_compiling():  # which joins these into one pass
        first, second = x.chunk(2, dim=-1)
        return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return Turn.apply(x, cos, sin)  # pyright: ignore[reportReturnType]
