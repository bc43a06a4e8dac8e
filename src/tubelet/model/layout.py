"""Where each token of a row lies: in which sample, at which place of its grid, and where that is in its video."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tubelet.model.positions import positions
from tubelet.model.references import Outline, located, tokens_of
from tubelet.model.tubelets import Grid, Tubelet


class Layout(NamedTuple):
    """The N tokens of a row, of one sample or of several that are packed one behind the other.   [NaViT 2]

    In a batch of equal samples every row is one sample, and one grid serves all. A packed row holds a sample for each
    of its grids, and nothing between them; there is one such row (B = 1). A sample's tokens are those of its video,
    then its registers frame by frame, then those of its references.

    outlines: of each sample.
    registers: how many each frame of tokens has.   [Registers]
    sample: int64 [N], the number of the grid the token belongs to.
    coordinates: int64 [N, 3], frame, row and column in that grid; a reference's are those of what it stands for, and
    register r stands in column r of the row below the grid, so that every folding has a group for it.
    positions: float32 [N, 3], those of the token's centre in its own video, in pixel frames of the rate trained on and
    pixels; a register's are those of its frame's centre.
    lengths: float32 [N], how many such frames the video of the token lasts.
    """

    outlines: tuple[Outline, ...]
    registers: int
    sample: Tensor
    coordinates: Tensor
    positions: Tensor
    lengths: Tensor

    @property
    def grids(self) -> tuple[Grid, ...]:
        """Of each sample's video."""
        return tuple(outline.grid for outline in self.outlines)

    @property
    def sizes(self) -> Tensor:
        """Frames, rows and columns of the grid each token belongs to, int64 [N, 3]."""
        return torch.tensor(self.grids, device=self.sample.device)[self.sample]

    @property
    def tokens(self) -> list[int]:
        """How many tokens each sample has, registers and references included."""
        return [tokens_of(outline, self.registers) for outline in self.outlines]

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
        parts = rows.split([tokens_of(outline) for outline in self.outlines], dim=1)
        pieces = []
        for (grid, *_), part in zip(self.outlines, parts, strict=True):
            every = registers.repeat(grid.frames, 1).expand(len(rows), -1, -1)
            pieces += [part[:, : grid.tokens], every, part[:, grid.tokens :]]
        return torch.cat(pieces, dim=1)

    def videos(self, rows: Tensor) -> Tensor:
        """Rows [B, N, X] without the tokens of registers and references."""
        if not self.registers and not any(outline.references for outline in self.outlines):
            return rows
        parts = zip(self.outlines, rows.split(self.tokens, dim=1), strict=True)
        return torch.cat([part[:, : outline.grid.tokens] for outline, part in parts], dim=1)

    def split(self, videos: Tensor) -> Sequence[Tensor]:
        """What `videos` leaves of a packed row [1, N, X] -> the tokens of each sample, [1, N, X] of its own N."""
        return videos.split([outline.grid.tokens for outline in self.outlines], dim=1)

    def to(self, device: torch.device | str) -> "Layout":
        """Moved to a device."""
        return Layout(*self[:2], *(field.to(device) for field in self[2:]))


def layout_of(
    outlines: Sequence[Outline],
    tubelet: Tubelet,
    frames_per_latent: int,
    pixels_per_latent: int,
    registers: int = 0,
) -> Layout:
    """The layout of a row of these samples; on the CPU."""
    scale = (tubelet, frames_per_latent, pixels_per_latent)
    sample, coordinates, centres, lengths = [], [], [], []
    for number, outline in enumerate(outlines):
        (grid, places, stride), tokens = outline, tokens_of(outline, registers)
        own = torch.cartesian_prod(*map(torch.arange, grid)), positions(grid, *scale)
        middles = own[1].view(grid.frames, grid.places, 3).mean(1).repeat_interleave(registers, dim=0)
        below = [(frame, grid.rows, column) for frame in range(grid.frames) for column in range(registers)]
        beside = torch.tensor(below, dtype=torch.int64).view(-1, 3), middles
        for where, centre in (own, beside, *(located(place, grid, *scale) for place in places)):
            coordinates.append(where)
            centres.append(centre * torch.tensor([stride, 1, 1]))
        last = frames_per_latent * (grid.frames * tubelet[0] - 1)
        sample.append(torch.full((tokens,), number))
        lengths.append(torch.full((tokens,), stride * (last + 1)))
    return Layout(tuple(outlines), registers, *map(torch.cat, (sample, coordinates, centres, lengths)))
