"""When each token is: the few different times of a sample, its levels, and which token has which.

What steers the blocks is computed for levels and then handed to tokens, so known content costs a second level and not
a product for every token.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Part(NamedTuple):
    """The tokens of one sample of a row: how many levels and tokens it has, and which token has which level.

    chosen: float32 [B or 1, tokens, levels], 1 at a token's level and 0 elsewhere. None where all tokens have the one
    level, or the first token the first level, the second the second and so on.
    """

    levels: int
    tokens: int
    chosen: Tensor | None = None

    def spread(self, values: Tensor) -> Tensor:
        """What each level has [B, levels, X] -> what each token has [B, tokens, X]; a lone level's stays [B, 1, X].

        A product with ones and zeros: exact, and its gradient adds in float32 and in the same order on every device.
        """
        if self.chosen is not None:
            return self.chosen.to(values.dtype) @ values
        return values if self.levels == 1 else values[:, : self.tokens]

    def first(self, tokens: int) -> "Part":
        """The first of the tokens alone, with the same levels."""
        return Part(self.levels, tokens, None if self.chosen is None else self.chosen[:, :tokens])


class Times(NamedTuple):
    """The times of rows of tokens.

    levels: [B or 1, K] in [0, 1]; in a packed row those of its samples lie one behind the other.
    parts: the samples of a row, one in a batch.
    """

    levels: Tensor
    parts: tuple[Part, ...]

    def spread(self, values: Tensor) -> Tensor:
        """What each level has [B, K, X] -> what each token has [B, N, X], or [B, 1, X] where all have the same."""
        if len(self.parts) == 1:
            return self.parts[0].spread(values)
        each = zip(self.parts, values.split([part.levels for part in self.parts], dim=1), strict=True)
        return torch.cat([part.spread(value).expand(-1, part.tokens, -1) for part, value in each], dim=1)

    def per_level(self, values: Tensor) -> Tensor:
        """What each sample has [S, X] -> what each level has, [B, 1, X] in a batch and [1, K, X] in a packed row."""
        if len(self.parts) == 1:
            return values[:, None]
        each = zip(self.parts, values, strict=True)
        return torch.cat([value.expand(part.levels, -1) for part, value in each])[None]

    def latest(self, values: Tensor) -> Tensor:
        """What each level has [B, K, X] -> what the latest level of each sample has, [S, 1, X]."""
        counts, found = [part.levels for part in self.parts], []
        for levels, value in zip(self.levels.split(counts, 1), values.split(counts, 1), strict=True):
            number = torch.arange(levels.shape[1], device=levels.device)
            chosen = number == levels.argmax(1, keepdim=True)  # [B or 1, levels]
            found.append(value if len(number) == 1 else chosen[:, None].to(value.dtype) @ value)
        return torch.cat(found)

    def first(self, tokens: Sequence[int]) -> "Times":
        """Of each sample the first tokens alone, as many as `tokens` says."""
        each = zip(self.parts, tokens, strict=True)
        return Times(self.levels, tuple(part.first(count) for part, count in each))

    def followed_by(self, which: Tensor) -> "Times":
        """The same for a batch whose rows go on with tokens at the times of those numbered `which`, int64 [M]."""
        (part,), total = self.parts, self.parts[0].tokens + len(which)
        if part.chosen is not None:
            chosen = torch.cat((part.chosen, part.chosen[:, which]), dim=1)
            return Times(self.levels, (Part(part.levels, total, chosen),))
        if part.levels == 1:
            return Times(self.levels, (Part(1, total),))
        return Times(torch.cat((self.levels, self.levels[:, which]), dim=1), (Part(total, total),))

    def followed_by_known(self, tokens: int) -> "Times":
        """The same for a batch whose rows go on with so many tokens of time 0."""
        (part,), (rows, levels) = self.parts, self.levels.shape
        more, total = self.levels.new_zeros(rows, 1), part.tokens + tokens
        if part.chosen is None and levels > 1:  # one level for each token
            return Times(torch.cat((self.levels, more.expand(-1, tokens)), dim=1), (Part(total, total),))
        ones = self.levels.new_ones(1, part.tokens, 1, dtype=torch.float32)
        before = F.pad(ones if part.chosen is None else part.chosen, (0, 1))
        after = F.pad(ones.new_ones(len(before), tokens, 1), (levels, 0))
        chosen = torch.cat((before, after), dim=1)  # [B or 1, total, levels + 1]
        return Times(torch.cat((self.levels, more), dim=1), (Part(levels + 1, total, chosen),))


def times_of(t: Tensor, size: Sequence[int], tubelet: tuple[int, int, int]) -> Times:
    """The times of tokens that cover latents of `size` (f, h, w), for t [B, 1, f, h, w] or what broadcasts to it.

    The shape tells how many levels there are: t of [B, 1, 1, 1, 1] has one, t of [B, 1, f, 1, 1] one for each frame of
    tokens. Otherwise the values tell: two, if a sample's tokens are at one time or at 0, or one for each token.
    Looking at values waits for the device and breaks a compiled graph in two, which the other shapes do not.
    """
    frames, rows, columns = (length // part for length, part in zip(size, tubelet, strict=True))
    tokens = frames * rows * columns
    if t.dim() == 0 or t[0, 0].numel() == 1:
        return Times(t.reshape(-1, 1), (Part(1, tokens),))
    if t.shape[3:] == (1, 1):
        levels = token_times(t, (size[0], 1, 1), (tubelet[0], 1, 1))  # [B, frames]
        chosen = torch.eye(frames, device=t.device).repeat_interleave(rows * columns, dim=0)[None]
        return Times(levels, (Part(frames, tokens, chosen),))
    each = token_times(t, size, tubelet)
    latest, known = each.amax(1, keepdim=True), each == 0
    if not (known | (each == latest)).all():
        return Times(each, (Part(tokens, tokens),))
    levels = torch.cat((latest, torch.zeros_like(latest)), dim=1)
    return Times(levels, (Part(2, tokens, torch.stack((~known, known), dim=-1).float()),))


def pack(times: Sequence[Times]) -> Times:
    """The times of a packed row from those of its samples, each in a batch of one."""
    levels = torch.cat([each.levels for each in times], dim=1)
    return Times(levels, tuple(part for each in times for part in each.parts))


def token_times(t: Tensor, size: Sequence[int], tubelet: tuple[int, int, int]) -> Tensor:
    """The time of each token, the latest among its latents: [B, 1, f, h, w], broadcastable -> [B, N]."""
    t = t[:, 0].expand(-1, *size)  # [B, f, h, w]
    for axis, part in enumerate(tubelet):
        t = t.unflatten(axis + 1, (-1, part)).amax(axis + 2)
    return t.flatten(1)  # [B, N]
