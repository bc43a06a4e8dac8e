"""The reader: a small network from the frames of a clip to one answer for each attribute, or to none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 64  # pixels of the square that is read
FRAMES = 9  # at most
FORM = 8  # numbers that describe a body in a frame, see forms_of
REACH = 3.0  # how far a body is seen closer, in deviations of its cells
ROLES = ("first", "other", "furniture")
"""What a pixel may show a body as: the one that acts, another that is counted, a part of the place."""


@dataclass(frozen=True, kw_only=True)
class ReaderConfig:
    """Channels at a 4th, an 8th and a 16th of the side (the last is the width), rounds of questions, their heads."""

    channels: tuple[int, int, int] = (64, 96, 128)
    rounds: int = 2
    heads: int = 4


class Patches(nn.Module):
    """Squares of 4 x 4 pixels, with those of the frames before and after: [B, F, 64, 64, 3] -> [B, F, 16, 16, out]."""

    def __init__(self, out: int) -> None:
        super().__init__()
        self.embed = nn.Linear(3 * 48, out)

    def forward(self, frames: Tensor) -> Tensor:
        """Each square; the first and the last frame stand for what lies outside."""
        x = frames.unflatten(3, (-1, 4)).unflatten(2, (-1, 4)).transpose(3, 4).flatten(4)
        before, after = torch.cat([x[:, :1], x[:, :-1]], 1), torch.cat([x[:, 1:], x[:, -1:]], 1)
        return F.relu(self.embed(torch.cat([before, x, after], -1)))


class Halving(nn.Module):
    """Half as many rows and columns: [B, F, H, W, C] -> [B, F, H / 2, W / 2, out]."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.space = nn.Conv2d(channels, out, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """The smaller frames, each on its own."""
        y = self.space(x.flatten(0, 1).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return F.relu(y).unflatten(0, x.shape[:2])


class Times(nn.Module):
    """Each place sees itself some frames before and after: [B, F, H, W, C] in and out."""

    def __init__(self, channels: int, reach: int = 1) -> None:
        super().__init__()
        self.reach, self.norm, self.mix = reach, nn.LayerNorm(channels), nn.Linear(channels, 3 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """The same with what changes; there is nothing before the first frame and after the last."""
        before, now, after = self.mix(self.norm(x)).chunk(3, -1)
        before = F.pad(before, (0, 0, 0, 0, 0, 0, self.reach, 0))[:, : x.shape[1]]
        after = F.pad(after, (0, 0, 0, 0, 0, 0, 0, self.reach))[:, self.reach :]
        return x + F.relu(before + now + after)


class Bodies(nn.Module):
    """Where the bodies are; one token for each in each frame, one for the first seen closer; one for how all move."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Linear(channels, width), nn.Linear(width, width)
        self.where = nn.Linear(width, len(ROLES) + 1)
        self.form, self.role = nn.Linear(FORM, width), nn.Parameter(0.02 * torch.randn(len(ROLES), width))
        self.closer = Closer(width)
        self.path = nn.Sequential(
            nn.Linear(FRAMES * len(ROLES) * FORM, width), nn.ReLU(), nn.Linear(width, width)
        )

    def forward(
        self, frames: Tensor, cells: Tensor, places: Tensor, known: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the roles in each cell [B, F, 8, 8, 4], tokens [B, F, 4, D], and a token of the paths [B, 1, D].

        From frames [B, F, 64, 64, 3] and what was seen in 8 x 8 [B, F, 8, 8, C] and 16 x 16 pixels [B, F, 4, 4, D].
        """
        wide = self.coarse(places).repeat_interleave(2, 2).repeat_interleave(2, 3)
        cells = F.relu(self.fine(cells) + wide)
        where = self.where(cells)
        share = where.float().softmax(-1)[..., :-1]
        if known is not None:
            share = torch.where(known.isnan(), share, known)
        share = share.flatten(2, 3)  # [B, F, 64, 3]
        colours = frames.unflatten(3, (8, -1)).unflatten(2, (8, -1)).mean((3, 5)).flatten(2, 3)
        forms = forms_of(share, colours)
        weight = (share / (share.sum(2, keepdim=True) + 1e-3)).to(cells.dtype)
        tokens = weight.transpose(2, 3) @ cells.flatten(2, 3) + self.form(forms) + self.role.to(cells.dtype)
        tokens = torch.cat([tokens, self.closer(frames, forms[:, :, 0])[:, :, None]], 2)
        padded = F.pad(forms, (0, 0, 0, 0, 0, FRAMES - forms.shape[1]))
        return where, tokens, self.path(padded.flatten(1))[:, None]


def forms_of(share: Tensor, colours: Tensor) -> Tensor:
    """Size, place and extent along x and y, and colour, of the roles: [B, F, 3, 8]; 0 where none is seen.

    From their shares of cells [B, F, 64, 3] and the colours of these [B, F, 64, 3].
    """
    line = torch.linspace(-7 / 8, 7 / 8, 8)
    grid = torch.stack([line.repeat(8), line.repeat_interleave(8)], -1)  # [64, 2]
    size = share.sum(2)[..., None]  # [B, F, 3, 1]
    whole = share.square()  # a cell that is full tells the colour better
    with torch.autocast("cpu", enabled=False):
        first, second = (share.transpose(2, 3) @ x / (size + 0.1) for x in (grid, grid.square()))
        colour = whole.transpose(2, 3) @ colours.float() / (whole.sum(2)[..., None] + 0.01)
    extent = (second - first.square()).clamp_min(1e-4).sqrt()
    return torch.cat([size / 8, first, extent, colour], -1)


class Closer(nn.Module):
    """A body cut out and brought to 16 x 16 pixels in each frame, as one token [B, F, D]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.look = nn.Sequential(Halving(3, 32), Halving(32, 64), Halving(64, 64))
        self.tell = nn.Linear(4 * 64, width)

    def forward(self, frames: Tensor, form: Tensor) -> Tensor:
        """From frames [B, F, 64, 64, 3] and what forms_of says of the body [B, F, 8]."""
        line = torch.linspace(-15 / 16, 15 / 16, 16)
        square = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)  # [16, 16, 2]
        place, extent = form[..., 1:3].detach(), form[..., 3:5].detach().amax(-1)
        reach = (REACH * extent).clamp(0.1, 0.6)[..., None, None, None]
        grid = (place[:, :, None, None] + reach * square).flatten(0, 1)
        picture = frames.flatten(0, 1).permute(0, 3, 1, 2).float()
        cut = F.grid_sample(picture, grid, padding_mode="border", align_corners=False)
        cut = cut.permute(0, 2, 3, 1).to(frames.dtype).unflatten(0, frames.shape[:2])
        return self.tell(self.look(cut).flatten(2))


class Asking(nn.Module):
    """Questions [B, Q, D] look among tokens [B, N, D] for what answers them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm, self.norm2 = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.both, self.out = (nn.Linear(width, k * width) for k in (1, 2, 1))
        self.up, self.down = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, asks: Tensor, tokens: Tensor) -> Tensor:
        """The questions, each with what it found."""
        parts = self.query(self.norm(asks)), *self.both(tokens).chunk(2, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
        asks = asks + self.out((weights @ v).transpose(1, 2).flatten(2))
        return asks + self.down(F.relu(self.up(self.norm2(asks))))


class Read(NamedTuple):
    """What the reader says: for each attribute logits [B, words + 1], of its words and of None; where bodies are.

    where [B, F, 8, 8, 4]: logits of ROLES, and of none of them, in cells of 8 x 8 pixels.
    """

    answers: dict[str, Tensor]
    where: Tensor


class Reader(nn.Module):
    """Frames of a clip to the words of each attribute; the last answer to each is that it cannot be read."""

    def __init__(self, config: ReaderConfig, words: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self.words = {name: tuple(each) for name, each in words.items()}
        one, two, width = config.channels
        self.cells = nn.Sequential(Patches(one), Halving(one, two), Times(two))
        self.places = nn.Sequential(Halving(two, width), Times(width), Times(width, 2))
        self.bodies = Bodies(two, width)
        side = SIDE // 16
        self.place = nn.Parameter(0.02 * torch.randn(side, side, width))
        self.time = nn.Parameter(0.02 * torch.randn(FRAMES, 1, 1, width))
        self.norm = nn.LayerNorm(width)
        self.asks = nn.Parameter(torch.randn(len(words), width))
        self.rounds = nn.ModuleList(Asking(width, config.heads) for _ in range(config.rounds))
        self.last = nn.LayerNorm(width)
        self.answers = nn.ModuleList(nn.Linear(width, len(each) + 1) for each in self.words.values())

    def forward(self, frames: Tensor, known: Tensor | None = None) -> Read:
        """What is read in frames [B, F <= 9, 64, 64, 3] from -1 to 1.

        known [B, F, 8, 8, 3]: in training, shares of ROLES in cells to go by instead of those found, where not NaN.
        """
        cells = self.cells(frames)  # [B, F, 8, 8, C]
        places = self.places(cells)  # [B, F, 4, 4, D]
        where, bodies, paths = self.bodies(frames, cells, places, known)
        time = self.time[: frames.shape[1]].to(places.dtype)
        places = (places + self.place.to(places.dtype) + time).flatten(1, 3)
        bodies = (bodies + time[:, :, 0]).flatten(1, 2)
        tokens = self.norm(torch.cat([places, bodies, paths], 1))
        asks = self.asks.to(tokens.dtype).expand(len(tokens), -1, -1)
        for ask in self.rounds:
            asks = ask(asks, tokens)
        asks = self.last(asks)  # [B, attributes, D]
        answers = zip(self.words, self.answers, asks.unbind(1), strict=True)
        return Read({name: answer(each) for name, answer, each in answers}, where)
