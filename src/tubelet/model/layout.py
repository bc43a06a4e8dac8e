"""Where each token of a row lies: in which sample, at which place of its grid, and where that is in its video."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tubelet.model.positions import positions
from tubelet.model.tubelets import Grid, Tubelet


class Layout(NamedTuple):
    """The N tokens of a row, of one sample or of several that are packed one behind the other.   [NaViT 2]

    In a batch of equal samples every row is one sample, and one grid serves all. A packed row holds a sample for each
    of its grids, and nothing between them; there is one such row (B = 1).

    sample: int64 [N], the number of the grid the token belongs to.
    coordinates: int64 [N, 3], frame, row and column in that grid.
    positions: float32 [N, 3], those of the token's centre in its own video, in pixel frames and pixels.
    """

    grids: tuple[Grid, ...]
    sample: Tensor
    coordinates: Tensor
    positions: Tensor

    @property
    def sizes(self) -> Tensor:
        """Frames, rows and columns of the grid each token belongs to, int64 [N, 3]."""
        return torch.tensor(self.grids, device=self.sample.device)[self.sample]

    def join(self, samples: Sequence[Tensor]) -> Tensor:
        """Tokens of each sample, [1, N, X] of its own N, -> rows [B, N, X]."""
        return torch.cat(list(samples), dim=0 if len(self.grids) == 1 else 1)

    def split(self, rows: Tensor) -> Sequence[Tensor]:
        """The inverse of `join`."""
        if len(self.grids) == 1:
            return rows.split(1)
        return rows.split([grid.tokens for grid in self.grids], dim=1)

    def spread(self, values: Tensor) -> Tensor:
        """One vector for each sample [S, 1, X] -> one for each token of a packed row [1, N, X]; others as they are."""
        if len(self.grids) == 1 or values.shape[1] > 1:
            return values
        each = zip(values, self.grids, strict=True)
        return torch.cat([value.expand(grid.tokens, -1) for value, grid in each])[None]

    def to(self, device: torch.device | str) -> "Layout":
        """Moved to a device."""
        return Layout(self.grids, *(field.to(device) for field in self[1:]))


def layout_of(
    grids: Sequence[Grid], tubelet: Tubelet, frames_per_latent: int, pixels_per_latent: int
) -> Layout:
    """The layout of a row of samples with these grids, on the CPU."""
    sample = torch.repeat_interleave(torch.tensor([grid.tokens for grid in grids]))
    coordinates = [torch.cartesian_prod(*map(torch.arange, grid)) for grid in grids]
    centres = [positions(grid, tubelet, frames_per_latent, pixels_per_latent) for grid in grids]
    return Layout(tuple(grids), sample, torch.cat(coordinates), torch.cat(centres))
