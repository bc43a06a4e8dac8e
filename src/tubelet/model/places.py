"""How tokens are told where they are, by name: what is added to them, and a rotation for attention if there is one."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.errors import InputError
from tubelet.model.linear import Linear
from tubelet.model.positions import UNIT, Rotary, axis_pairs, rotary

# Entries of the learned tables for frame, row and column, one for each UNIT: to frame 256, 1024 x 1024 pixels.
ENTRIES = (65, 129, 129)


class Limits:
    """Which models and which videos a way to tell positions is good for; all of them, where nothing is said."""

    @staticmethod
    def check(width: int, head_dim: int) -> None:
        """Raises InputError where tokens of this width and heads of this size cannot be told theirs."""

    @staticmethod
    def check_within(places: Tensor) -> None:
        """Raises InputError for positions [N, 3] that cannot be told. It looks at values, so do it once for a plan."""


class Turned(Limits, Linear):
    """Queries and keys are turned by their positions, and a projection of the cos and sin is added to the tokens."""

    periodic = False

    def __init__(self, width: int, head_dim: int, base: float) -> None:
        super().__init__(head_dim, width, bias=False)
        self.base = base

    @staticmethod
    def check(width: int, head_dim: int) -> None:
        """Raises InputError for heads that cannot be split among the axes."""
        axis_pairs(head_dim)

    def forward(self, places: Tensor, lengths: Tensor) -> tuple[Tensor, Rotary | None]:
        """Positions [N, 3], lengths [N] -> what is added to the tokens, [N, D], and their rotation."""
        turn = rotary(places, self.in_features, self.base, lengths if self.periodic else None)
        return super().forward(torch.cat(turn, dim=-1)), turn  # rotary alone sees only differences


class Circled(Turned):
    """Turned, but by whole turns in time from a video's first frame to the one behind its last: it is a loop."""

    periodic = True


class Waves(Limits, nn.Module):
    """cos and sin of position / UNIT * base^(-i / pairs) are added, D numbers shared by the axes; nothing is learnt."""

    def __init__(self, width: int, head_dim: int, base: float) -> None:
        super().__init__()
        self.width, self.base = width, base

    @staticmethod
    def check(width: int, head_dim: int) -> None:
        """Raises InputError for a width that does not hold cos and sin of every axis."""
        if width % 2 or width < 6:
            raise InputError(
                f"width {width} cannot hold cos and sin of three axes; choose an even one from 6 on"
            )

    def forward(self, places: Tensor, lengths: Tensor) -> tuple[Tensor, Rotary | None]:
        """Positions [N, 3] -> what is added to the tokens, [N, D], and no rotation."""
        return torch.cat(rotary(places, self.width, self.base), dim=-1), None


class Tables(Limits, nn.Module):
    """A learned table for each axis, read at position / UNIT with linear interpolation; the sum of the three is added.

    So references between two frames, and any size within the tables' ENTRIES, have a place.
    """

    def __init__(self, width: int, head_dim: int, base: float) -> None:
        super().__init__()
        self.axes = nn.ParameterList(0.02 * torch.randn(entries, width) for entries in ENTRIES)

    @staticmethod
    def check_within(places: Tensor) -> None:
        """Raises InputError for positions [N, 3] beyond the tables."""
        ends = ((entries - 1) * unit for entries, unit in zip(ENTRIES, UNIT, strict=True))
        for name, end, at in zip(("frame", "row", "column"), ends, places.amax(0).tolist(), strict=True):
            if at > end:
                raise InputError(
                    f"a token at {name} {at:g}, but learned positions end at {end:g}; make the video smaller or "
                    "train with positions sincos or rotary"
                )

    def forward(self, places: Tensor, lengths: Tensor) -> tuple[Tensor, Rotary | None]:
        """Positions [N, 3] -> what is added to the tokens, [N, D], and no rotation."""
        at = (places[:, axis] / UNIT[axis] for axis in range(3))
        frame, row, column = (interpolated(*each) for each in zip(self.axes, at, strict=True))
        return frame + row + column, None


def interpolated(table: Tensor, at: Tensor) -> Tensor:
    """Row `at` of a table [E, D], with linear interpolation between rows: [N] in [0, E - 1] -> [N, D]."""
    below = at.floor().clamp(max=len(table) - 2)
    # An embedding, since its gradient adds in the same order on every run.
    low, high = (F.embedding(below.long() + step, table) for step in (0, 1))
    return torch.lerp(low, high, (at - below)[:, None].to(table.dtype))


PLACES = {"rotary": Turned, "periodic": Circled, "sincos": Waves, "learned": Tables}
