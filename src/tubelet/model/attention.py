"""One attention, and the foldings that say what attends to what."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from tubelet.model.linear import Linear
from tubelet.model.positions import Rotary, rotate
from tubelet.model.tubelets import Grid


def plain(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T) v as three products that remember every score: [B, heads, tokens, head_dim]."""
    score = q.contiguous() @ k.contiguous().transpose(-1, -2)
    if mask is not None:
        score = score.masked_fill(~mask, float("-inf"))
    return score.softmax(-1) @ v.contiguous()


def fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """The same by torch's fused kernel, which remembers no scores."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)


KERNELS = {"plain": plain, "fused": fused}

# In bfloat16 on a CPU `plain` is faster up to this many keys: with gradient, 256 heads of 80 keys take 11 ms
# against 49, 64 heads of 320 keys 26 against 66. Beyond that scores fill memory; in float32 it is no faster.
SHORT = 512


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T) v for [B, tokens, heads, head_dim], by the faster kernel; returns [B, tokens, D].

    Queries come scaled. `mask` broadcasts to [B, heads, queries, keys]; True may be seen.
    """
    short = q.device.type == "cpu" and q.dtype == torch.bfloat16 and k.shape[1] <= SHORT
    kernel = plain if short else fused
    return kernel(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), mask).transpose(1, 2).flatten(2)


class HeadNorm(nn.Module):
    """RMS norm of every head with a learned scale, which keeps attention's logits bounded.   [ViT-22B 2]"""

    def __init__(self, head_dim: int, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(head_dim))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """[..., head_dim] -> the same, in x's dtype."""
        return F.rms_norm(x, x.shape[-1:], (self.weight * self.scale).to(x.dtype), 1e-6)


class SelfAttention(nn.Module):
    """Tokens that see each other, with normalised queries and keys turned by their positions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.q_norm = HeadNorm(width // heads, (width // heads) ** -0.5)
        self.k_norm = HeadNorm(width // heads)
        self.out = Linear(width, width)

    def forward(self, tokens: Tensor, turn: Rotary, mask: Tensor | None = None) -> Tensor:
        """[B, N, D] -> [B, N, D]; `turn` holds the rotation of each of the N tokens."""
        q, k, v = (
            self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).unbind(2)
        )  # each [B, N, heads, head_dim]
        q, k = rotate(self.q_norm(q), turn), rotate(self.k_norm(k), turn)
        return self.out(attend(q, k, v, mask))


class CrossAttention(nn.Module):
    """Tokens that read the prompt. A fresh one adds nothing, so it needs no gate.

    Queries are normalised head by head, so the tokens need no norm of their own here.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = Linear(width, width, bias=False)
        self.kv = Linear(width, 2 * width)
        self.q_norm = HeadNorm(width // heads, (width // heads) ** -0.5)
        self.k_norm = HeadNorm(width // heads)
        self.out = Linear(width, width, zero=True)

    def forward(self, tokens: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """Tokens [B, N, D], text states [B, L, D], mask [B, 1, 1, L] -> [B, N, D]."""
        q = self.q(tokens).unflatten(-1, (self.heads, -1))  # [B, N, heads, head_dim]
        k, v = self.kv(states).unflatten(-1, (2, self.heads, -1)).unbind(2)  # each [B, L, heads, head_dim]
        return self.out(attend(self.q_norm(q), self.k_norm(k), v, mask))


def joint(attentions: nn.ModuleDict, tokens: Tensor, grid: Grid, turn: Rotary) -> Tensor:
    """Every token sees every token.   [ViViT model 1]"""
    return attentions["all"](tokens, turn)


def space_then_time(attentions: nn.ModuleDict, tokens: Tensor, grid: Grid, turn: Rotary) -> Tensor:
    """Each token first sees its own frame, then its own place in every frame.   [ViViT model 3]

    Within a group only differences of position count, so every group may use the rotations of the first.
    """
    space = rearrange(tokens, "b (frame place) d -> (b frame) place d", frame=grid.frames)
    seen = attentions["space"](space, turn[: grid.places])
    time = rearrange(space + seen, "(b frame) place d -> (b place) frame d", frame=grid.frames)
    later = attentions["time"](time, turn[:: grid.places])
    seen = rearrange(seen, "(b frame) place d -> b (frame place) d", frame=grid.frames)
    return seen + rearrange(later, "(b place) frame d -> b (frame place) d", place=grid.places)


@dataclass(frozen=True)
class Folding:
    """A way of grouping tokens: its attentions, how many keys they show to one token, and how they apply."""

    attentions: tuple[str, ...]
    keys: Callable[[Grid], int]
    apply: Callable[[nn.ModuleDict, Tensor, Grid, Rotary], Tensor]


def all_tokens(grid: Grid) -> int:
    """Keys of a token that sees every token."""
    return grid.tokens


def own_frame_and_place(grid: Grid) -> int:
    """Keys of a token that sees its own frame and then its own place."""
    return grid.places + grid.frames


# Functions with a name: a model must go through pickle to reach the loader's workers where processes are spawned.
FOLDINGS = {
    "joint": Folding(("all",), all_tokens, joint),
    "space_then_time": Folding(("space", "time"), own_frame_and_place, space_then_time),
}
