"""Tokens of equal key side by side, so that attention within a key needs no mask and no padding."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Reorder(torch.autograd.Function):
    """Tokens [B, N, ...] in another order, and gradients in the order before.

    The gradient of index_select adds row by row; `order` holds every token once, so taking rows by the inverse is
    the same thing in a third of the time (bfloat16 on a CPU), and independent of the order of additions on a GPU.
    """

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, order: Tensor, back: Tensor) -> Tensor:
        """Token i of the result is token order[i]; back is the inverse of order."""
        ctx.save_for_backward(back)
        return tokens.index_select(1, order)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """The gradient of the tokens."""
        (back,) = ctx.saved_tensors
        return gradients[0].index_select(1, back), None, None


class Groups(NamedTuple):
    """The N tokens of a row by their groups, which are sorted by size and then by key.

    sizes: (G, S) for each size S, smallest first: G groups of S tokens, so N is the sum of G S.
    order: int64 [N], the tokens group by group, each group's in their order in the row; None where they lie so.
    back: the inverse of order.
    """

    sizes: tuple[tuple[int, int], ...]
    order: Tensor | None
    back: Tensor | None

    @property
    def pairs(self) -> int:
        """Queries times keys, over all groups."""
        return sum(count * size**2 for count, size in self.sizes)

    def pieces(self, tokens: Tensor) -> list[Tensor]:
        """[B, N, ...] -> one [B G, S, ...] for each of `sizes`."""
        if self.order is not None:
            tokens = Reorder.apply(tokens, self.order, self.back)  # pyright: ignore[reportAssignmentType]
        parts = tokens.split([count * size for count, size in self.sizes], dim=1)
        return [part.unflatten(1, shape).flatten(0, 1) for part, shape in zip(parts, self.sizes, strict=True)]

    def row(self, pieces: Sequence[Tensor]) -> Tensor:
        """The inverse of `pieces`: one [B G, S, ...] for each of `sizes` -> [B, N, ...]."""
        parts = [
            piece.unflatten(0, (-1, count)).flatten(1, 2)
            for piece, (count, _) in zip(pieces, self.sizes, strict=True)
        ]
        tokens = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        if self.back is not None:
            tokens = Reorder.apply(tokens, self.back, self.order)  # pyright: ignore[reportAssignmentType]
        return tokens

    def to(self, device: torch.device | str) -> "Groups":
        """Moved to a device."""
        if self.order is None or self.back is None:
            return self
        return Groups(self.sizes, self.order.to(device), self.back.to(device))


def groups(keys: Tensor) -> Groups:
    """The groups of tokens that have the same key: int64 [N] -> Groups."""
    _, number, counts = keys.unique(return_inverse=True, return_counts=True)
    order = torch.argsort(counts[number] * len(counts) + number, stable=True)
    sizes, times = counts.unique(return_counts=True)
    shapes = tuple(zip(times.tolist(), sizes.tolist(), strict=True))
    if torch.equal(order, torch.arange(len(order), device=order.device)):
        return Groups(shapes, None, None)
    return Groups(shapes, order, order.argsort())
