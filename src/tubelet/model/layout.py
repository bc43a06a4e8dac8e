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
    of its grids, and nothing between them; there is one such row (B = 1). A sample's tokens are those of its video,
    then its registers frame by frame, then those of its references.

    references: those of each sample.
    registers: how many each frame of tokens has.   [Registers]
    sample: int64 [N], the number of the grid the token belongs to.
    coordinates: int64 [N, 3], frame, row and column in that grid; a reference's are those of what it stands for, and
    register r stands in column r of the row below the grid, so that every folding has a group for it.
    positions: float32 [N, 3], those of the token's centre in its own video, in pixel frames and pixels; a register's
    are those of its frame's centre.
    """

    grids: tuple[Grid, ...]
    references: tuple[tuple[Place, ...], ...]
    registers: int
    sample: Tensor
    coordinates: Tensor
    positions: Tensor

    @property
    def sizes(self) -> Tensor:
        """Frames, rows and columns of the grid each token belongs to, int64 [N, 3]."""
        return torch.tensor(self.grids, device=self.sample.device)[self.sample]

    @property
    def tokens(self) -> list[int]:
        """How many tokens each sample has, registers and references included."""
        each = zip(self.grids, self.references, strict=True)
        return [tokens_of(grid, places, self.registers) for grid, places in each]

    @property
    def video(self) -> Tensor:
        """Whether each token is one of a video, neither register nor reference, bool [N]."""
        each = zip(self.grids, self.tokens, strict=True)
        return torch.cat([torch.arange(n, device=self.sample.device) < grid.tokens for grid, n in each])

    @property
    def inside(self) -> Tensor:
        """Coordinates that all lie in the grid, int64 [N, 3]: a register's are those of its frame's middle."""
        middle = self.sizes // 2
        middle[:, 0] = self.coordinates[:, 0]
        below = self.coordinates[:, 1:2] >= self.sizes[:, 1:2]
        return torch.where(below, middle, self.coordinates)

    def with_registers(self, rows: Tensor, registers: Tensor) -> Tensor:
        """Rows [B, M, D] of videos and their references, and the registers of a frame [R, D] -> [B, N, D]."""
        parts = rows.split(
            [tokens_of(*each) for each in zip(self.grids, self.references, strict=True)], dim=1
        )
        pieces = []
        for grid, part in zip(self.grids, parts, strict=True):
            every = registers.repeat(grid.frames, 1).expand(len(rows), -1, -1)
            pieces += [part[:, : grid.tokens], every, part[:, grid.tokens :]]
        return torch.cat(pieces, dim=1)

    def videos(self, rows: Tensor) -> Tensor:
        """Rows [B, N, X] without the tokens of registers and references."""
        if not any(self.references) and not self.registers:
            return rows
        parts = zip(self.grids, rows.split(self.tokens, dim=1), strict=True)
        return torch.cat([part[:, : grid.tokens] for grid, part in parts], dim=1)

    def split(self, videos: Tensor) -> Sequence[Tensor]:
        """What `videos` leaves of a packed row [1, N, X] -> the tokens of each sample, [1, N, X] of its own N."""
        return videos.split([grid.tokens for grid in self.grids], dim=1)

    def to(self, device: torch.device | str) -> "Layout":
        """Moved to a device."""
        return Layout(*self[:3], *(field.to(device) for field in self[3:]))


def layout_of(
    grids: Sequence[Grid],
    tubelet: Tubelet,
    frames_per_latent: int,
    pixels_per_latent: int,
    references: Sequence[tuple[Place, ...]] = (),
    registers: int = 0,
) -> Layout:
    """The layout of a row of samples with these grids, each with its references if there are any; on the CPU."""
    asides = tuple(references) or ((),) * len(grids)
    scale = (tubelet, frames_per_latent, pixels_per_latent)
    sample, coordinates, centres = [], [], []
    for number, (grid, places) in enumerate(zip(grids, asides, strict=True)):
        sample.append(torch.full((tokens_of(grid, places, registers),), number))
        own = torch.cartesian_prod(*map(torch.arange, grid)), positions(grid, *scale)
        middles = own[1].view(grid.frames, grid.places, 3).mean(1).repeat_interleave(registers, dim=0)
        below = [(frame, grid.rows, column) for frame in range(grid.frames) for column in range(registers)]
        beside = torch.tensor(below, dtype=torch.int64).view(-1, 3), middles
        for where, centre in (own, beside, *(located(place, grid, *scale) for place in places)):
            coordinates.append(where)
            centres.append(centre)
    return Layout(tuple(grids), asides, registers, *map(torch.cat, (sample, coordinates, centres)))
