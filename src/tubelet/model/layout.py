"""Where each token of a row lies: in which sample, at which place of its grid, and where that is in its video."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tubelet.model.positions import positions
from tubelet.model.references import Place, located, tokens_of
from tubelet.model.tubelets import Grid, Tubelet


class Layout(NamedTuple):
    """The N tokens of a row, of one sample or of several that are packed one behind the other.   [NaViT 2]

    In a batch of equal samples every row is one sample, and one grid serves all. A packed row holds a sample for each
    of its grids, and nothing between them; there is one such row (B = 1). A sample's tokens are those of its video and
    then those of its references.

    references: those of each sample.
    sample: int64 [N], the number of the grid the token belongs to.
    coordinates: int64 [N, 3], frame, row and column in that grid; a reference's are those of what it stands for.
    positions: float32 [N, 3], those of the token's centre in its own video, in pixel frames and pixels.
    """

    grids: tuple[Grid, ...]
    references: tuple[tuple[Place, ...], ...]
    sample: Tensor
    coordinates: Tensor
    positions: Tensor

    @property
    def sizes(self) -> Tensor:
        """Frames, rows and columns of the grid each token belongs to, int64 [N, 3]."""
        return torch.tensor(self.grids, device=self.sample.device)[self.sample]

    @property
    def tokens(self) -> list[int]:
        """How many tokens each sample has, references included."""
        return [tokens_of(*each) for each in zip(self.grids, self.references, strict=True)]

    def videos(self, rows: Tensor) -> Tensor:
        """Rows [B, N, X] without the tokens of references."""
        if not any(self.references):
            return rows
        parts = zip(self.grids, rows.split(self.tokens, dim=1), strict=True)
        return torch.cat([part[:, : grid.tokens] for grid, part in parts], dim=1)

    def split(self, videos: Tensor) -> Sequence[Tensor]:
        """What `videos` leaves of a packed row [1, N, X] -> the tokens of each sample, [1, N, X] of its own N."""
        return videos.split([grid.tokens for grid in self.grids], dim=1)

    def to(self, device: torch.device | str) -> "Layout":
        """Moved to a device."""
        return Layout(self.grids, self.references, *(field.to(device) for field in self[2:]))


def layout_of(
    grids: Sequence[Grid],
    tubelet: Tubelet,
    frames_per_latent: int,
    pixels_per_latent: int,
    references: Sequence[tuple[Place, ...]] = (),
) -> Layout:
    """The layout of a row of samples with these grids, each with its references if there are any; on the CPU."""
    asides = tuple(references) or ((),) * len(grids)
    scale = (tubelet, frames_per_latent, pixels_per_latent)
    sample, coordinates, centres = [], [], []
    for number, (grid, places) in enumerate(zip(grids, asides, strict=True)):
        sample.append(torch.full((tokens_of(grid, places),), number))
        own = torch.cartesian_prod(*map(torch.arange, grid)), positions(grid, *scale)
        for where, centre in (own, *(located(place, grid, *scale) for place in places)):
            coordinates.append(where)
            centres.append(centre)
    return Layout(tuple(grids), asides, torch.cat(sample), torch.cat(coordinates), torch.cat(centres))
