"""Attention: tokens that see each other, tokens that read the prompt."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tubelet.model.groups import Groups
from tubelet.model.kernels import attend
from tubelet.model.linear import Linear
from tubelet.model.norms import rms_norm
from tubelet.model.options import PLAIN, Options
from tubelet.model.positions import Rotary, rotate


def masked(q: Tensor, k: Tensor, v: Tensor, keys: Tensor) -> Tensor:
    """Attention in which a token sees those of its own key, [N], by a mask over all N: the plain reference.

    q, k and v are [B, N, heads, head_dim]; returns [B, N, D].
    """
    return attend(q, k, v, keys[:, None] == keys)


def grouped(q: Tensor, k: Tensor, v: Tensor, groups: Groups) -> Tensor:
    """The same from the keys' groups, one attention for each size of them: no mask, no padding, nothing to hide."""
    pieces = zip(groups.pieces(q), groups.pieces(k), groups.pieces(v), strict=True)
    return groups.row([attend(q, k, v) for q, k, v in pieces])


class HeadNorm(nn.Module):
    """RMS norm of every head with a learned scale, which keeps attention's logits bounded.   [ViT-22B 2]"""

    def __init__(self, head_dim: int, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(head_dim))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """[..., head_dim] -> the same, in x's dtype."""
        return rms_norm(x, self.weight * self.scale, 1e-6)


class Scale(nn.Module):
    """x times a constant: what is left of HeadNorm where heads are not normalised."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """[..., head_dim] -> the same."""
        return x * self.scale


def head_norms(head_dim: int, qk_norm: bool) -> tuple[nn.Module, nn.Module]:
    """For queries, which then come scaled as `attend` wants them, and for keys."""
    if qk_norm:
        return HeadNorm(head_dim, head_dim**-0.5), HeadNorm(head_dim)
    return Scale(head_dim**-0.5), nn.Identity()


class ValueMix(nn.Module):
    """With `value_residual`, values of layers after the first are a learned mix with those of the first.   [VRL]"""

    def __init__(self, options: Options, layer: int) -> None:
        super().__init__()
        self.mixes = options.value_residual
        self.share = (
            nn.Parameter(torch.tensor([0.5])) if self.mixes and layer else None
        )  # of the first layer's

    def forward(self, v: Tensor, first: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Values and those of the first layer, which is given none -> the values to use, and the first layer's."""
        if not self.mixes:
            return v, None
        if self.share is None or first is None:
            return v, v
        return torch.lerp(v, first, self.share.to(v.dtype)), first


class SelfAttention(nn.Module):
    """Tokens that see each other, with normalised queries and keys turned by their positions."""

    def __init__(self, width: int, heads: int, options: Options = PLAIN, layer: int = 0) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.q_norm, self.k_norm = head_norms(width // heads, options.qk_norm)
        self.out = Linear(width, width)
        self.mix = ValueMix(options, layer)

    def forward(
        self,
        tokens: Tensor,
        turn: Rotary | None,
        views: Sequence[Groups | Tensor],
        first: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """[B, N, D] -> [B, N, D]; `turn` holds the rotation of each of the N tokens, if they are turned.

        The heads are split evenly among the views: the groups of tokens that see each other or, slowly, their keys [N].
        `first` and the second result are the values of the first layer, see ValueMix.
        """
        q, k, v, first = self.split(tokens, turn, first)
        heads = zip(*(x.chunk(len(views), dim=2) for x in (q, k, v)), strict=True)
        seen = [
            masked(q, k, v, view) if isinstance(view, Tensor) else grouped(q, k, v, view)
            for view, (q, k, v) in zip(views, heads, strict=True)
        ]
        return self.out(seen[0] if len(seen) == 1 else torch.cat(seen, dim=-1)), first

    def split(
        self, tokens: Tensor, turn: Rotary | None, first: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Tokens [B, N, D] -> q, k, v and the first layer's v, each [B, N, heads, head_dim]."""
        q, k, v = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).unbind(2)
        q, k = self.q_norm(q), self.k_norm(k)
        if turn is not None:
            q, k = rotate(q, turn), rotate(k, turn)
        return q, k, *self.mix(v, first)


class CrossAttention(nn.Module):
    """Tokens that read the prompt. A fresh one adds nothing, so it needs no gate.

    Queries are normalised head by head, so the tokens need no norm of their own here; without qk_norm they come as they
    are.
    """

    def __init__(self, width: int, heads: int, options: Options = PLAIN) -> None:
        super().__init__()
        self.heads = heads
        self.q = Linear(width, width, bias=False)
        self.kv = Linear(width, 2 * width)
        self.q_norm, self.k_norm = head_norms(width // heads, options.qk_norm)
        self.out = Linear(width, width, zero=True)

    def forward(self, tokens: Tensor, states: Tensor, mask: Tensor, samples: Groups) -> Tensor:
        """Tokens [B, N, D], states of S texts [S, L, D], mask [S, 1, 1, L] -> [B, N, D].

        `samples` groups the tokens by the text they read, and the texts are in the order of the groups: in a batch
        each row is a group, a packed row has S.
        """
        q = self.q(tokens).unflatten(-1, (self.heads, -1))  # [B, N, heads, head_dim]
        k, v = self.kv(states).unflatten(-1, (2, self.heads, -1)).unbind(2)  # each [S, L, heads, head_dim]
        pieces = samples.pieces(self.q_norm(q))
        texts = (x.split([len(piece) for piece in pieces]) for x in (self.k_norm(k), v, mask))
        return self.out(samples.row([attend(*each) for each in zip(pieces, *texts, strict=True)]))
