"""softmax(q k^T) v in several ways, and which of them is fastest where."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def plain(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T) v as three products that remember every score: [B, heads, tokens, head_dim]."""
    score = q.contiguous() @ k.contiguous().transpose(-1, -2)
    if mask is not None:
        score = score.masked_fill(~mask, float("-inf"))
    return score.softmax(-1) @ v.contiguous()


def fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """The same by torch's fused kernel, which remembers no scores."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)


def chunked(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """`plain` for some queries at a time, whose scores the backward computes again: at most SCORES of them at once."""
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    pairs = q.shape[0] * q.shape[1] * k.shape[2]
    rows = min(max(SCORES // max(pairs, 1), LEAST), SHORT)
    queries = q.split(rows, dim=2)
    masks = [mask] * len(queries)
    if mask is not None and mask.shape[-2] > 1:  # one for each query
        masks = mask.split(rows, dim=-2)
    seen = [
        checkpoint(plain, some, k, v, theirs, use_reentrant=False, preserve_rng_state=False)
        for some, theirs in zip(queries, masks, strict=True)
    ]
    return torch.cat(seen, dim=2)


KERNELS = {"plain": plain, "fused": fused, "chunked": chunked}

# In bfloat16 on a CPU `plain` is fastest up to this many keys: with gradient, 256 heads of 80 keys take 11 ms
# against 49 fused, 64 heads of 320 keys 26 against 66. Beyond that scores fill memory, and `chunked` takes 81 ms for 16
# heads of 1,088 keys of 64 numbers (fused 136), 491 for 6 heads of 4,096 (fused 668). In float32 fused is no slower.
SHORT = 512
SCORES, LEAST = 2**23, 32  # 16 MiB of scores, and the fewest queries for which products are worth their call


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T) v for [B, tokens, heads, head_dim], by the fastest kernel; returns [B, tokens, D].

    Queries come scaled. `mask` broadcasts to [B, heads, queries, keys]; True may be seen.
    """
    kernel = fused
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        kernel = plain if k.shape[1] <= SHORT else chunked
    return kernel(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), mask).transpose(1, 2).flatten(2)
