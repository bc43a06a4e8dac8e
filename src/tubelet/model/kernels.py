"""softmax(q k^T) v in several ways, and which of them is fastest where."""

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def plain(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T) v as three products that remember every score: [B, heads, tokens, head_dim]."""
    score = q.contiguous() @ k.contiguous().transpose(-1, -2)
    if mask is not None:
        score = score.masked_fill(~mask, float("-inf"))
    return score.softmax(-1) @ v.contiguous()


def fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """The same by torch's fused kernel, which remembers no scores."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)


@torch.library.custom_op("tubelet::chunked", mutates_args=())
def chunked(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """`plain` for some heads and queries at a time, whose scores the backward computes again: SCORES of them at once.

    An operator to torch, so that neither a compiler nor selective checkpointing looks inside and keeps scores.
    """
    out = like_tokens(q)
    whole = q.contiguous(), k.contiguous(), v.contiguous()
    for piece, (some_q, some_k, some_v), some_mask in pieces(*whole, mask):
        out[piece] = weights(some_q, some_k, some_mask) @ some_v
    return out


@chunked.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    return like_tokens(q)


@torch.library.custom_op("tubelet::chunked_backward", mutates_args=())
def chunked_backward(
    gradient: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v; those of k and v are summed in float32 at least."""
    wide = torch.promote_types(k.dtype, torch.float32)
    dq, dk, dv = like_tokens(q), torch.zeros_like(k, dtype=wide), torch.zeros_like(v, dtype=wide)
    whole = q.contiguous(), k.contiguous(), v.contiguous()
    gradient = gradient.contiguous()
    for piece, (some_q, some_k, some_v), some_mask in pieces(*whole, mask):
        weight, dy = weights(some_q, some_k, some_mask), gradient[piece]
        dscore = torch.ops.aten._softmax_backward_data(dy @ some_v.mT, weight, -1, weight.dtype)
        dq[piece] = dscore @ some_k
        # bmm by name: `@` would first copy a transposed piece.
        dk[piece[:2]] += torch.bmm(dscore.mT, some_q)
        dv[piece[:2]] += torch.bmm(weight.mT, dy)
    return dq, like_tokens(k).copy_(dk), like_tokens(v).copy_(dv)


@chunked_backward.register_fake
def _(
    gradient: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    return like_tokens(q), like_tokens(k), like_tokens(v)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
    return *chunked_backward(gradient, *ctx.saved_tensors), None


chunked.register_autograd(_backward, setup_context=_remember)


# For torch's FlopCounterMode, which looks inside no more than others do: 2 products, then 5, the scores' again for one.
FLOPS: dict[Any, Any] = {
    torch.ops.tubelet.chunked: lambda q, k, *_, **__: 2 * 2 * math.prod(q) * k[2],
    torch.ops.tubelet.chunked_backward: lambda _, q, k, *__, **___: 5 * 2 * math.prod(q) * k[2],
}


def like_tokens(x: Tensor) -> Tensor:
    """An empty [B, heads, tokens, head_dim] that lies in memory as [B, tokens, heads, head_dim]."""
    return torch.empty_like(x.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)


Piece = tuple[int, slice, slice]


def pieces(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None
) -> Iterator[tuple[Piece, tuple[Tensor, Tensor, Tensor], Tensor | None]]:
    """Samples, heads and queries whose scores are SCORES at most: where they lie, their q, k and v, and their mask."""
    batch, heads, queries, _ = q.shape
    keys = k.shape[2]
    if mask is not None:
        mask = mask.expand(batch, heads, queries, keys)
    rows = min(max(SCORES // keys, LEAST), queries)
    together = max(SCORES // (rows * keys), 1)
    for sample in range(batch):
        for head in range(0, heads, together):
            some = slice(head, head + together)
            for row in range(0, queries, rows):
                piece = sample, some, slice(row, row + rows)
                seen = q[piece], k[sample, some], v[sample, some]
                yield piece, seen, None if mask is None else mask[piece]


def weights(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q k^T): [..., queries, keys]."""
    score = q @ k.mT
    return (score if mask is None else score.masked_fill_(~mask, float("-inf"))).softmax(-1)


CHUNKED = torch.ops.tubelet.chunked.default  # by which others know it
KERNELS = {"plain": plain, "fused": fused, "chunked": chunked}

# In bfloat16 on a CPU `plain` is fastest up to this many keys: forward and backward of 32 heads of 512 keys take 23 ms
# against 29 chunked. Beyond that scores fill memory, and `chunked` takes 64 ms for 16 heads of 1,088 keys of 64 numbers
# (fused 133), 350 for 6 heads of 4,096 (fused 675). In float32 fused is no slower.
SHORT = 512
SCORES, LEAST = 2**21, 32  # 4 MiB of scores, and the fewest queries for which products are worth their call


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T) v for [B, tokens, heads, head_dim], by the fastest kernel; returns [B, tokens, D].

    Queries come scaled. `mask` broadcasts to [B, heads, queries, keys]; True may be seen.
    """
    kernel = fused
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        kernel = plain if k.shape[1] <= SHORT else chunked
    return kernel(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), mask).transpose(1, 2).flatten(2)
