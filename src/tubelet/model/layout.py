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

    def split(self, rows: Tensor) -> Sequence[Tensor]:
        """A packed row [1, N, X] -> the tokens of each sample, [1, N, X] of its own N."""
        return rows.split([grid.tokens for grid in self.grids], dim=1)

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
