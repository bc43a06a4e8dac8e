"""Reference tokens: an image or clip encoded on its own, that stands for frames of the video.

A causal codec's latent has seen its past, so a last frame, a keyframe or an ending cannot stand in place among the
video's latents. Its tokens are appended instead, known and at time 0, with the positions of what they stand for.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from tubelet.errors import InputError
from tubelet.model.positions import positions
from tubelet.model.tubelets import Grid, Tubelet, grid_of


class Reference(NamedTuple):
    """Known content beside the video: latents [B, C, f', h', w'] and the pixel frame their first latent stands for.

    It covers the field of the video. At another resolution the video's shape must be the same.
    """

    latents: Tensor
    frame: int


class Place(NamedTuple):
    """Where a reference lies, all that a plan needs of it: its grid of tokens, and the pixel frame it begins at."""

    grid: Grid
    frame: int


class Outline(NamedTuple):
    """A sample without its content, all that a plan needs of it: the video's grid of tokens, and its references.

    stride: how many frames of the rate trained on one of its frames lasts, 2 at half that rate.
    """

    grid: Grid
    references: tuple[Place, ...] = ()
    stride: float = 1.0


def place_of(reference: Reference, latents: Tensor, tubelet: Tubelet, frames_per_latent: int) -> Place:
    """The place of a reference beside noisy latents [B, C, f, h, w].

    Raises InputError where it has other channels or another batch, another shape of picture, frames outside of the
    video, or does not fill whole tubelets.
    """
    mine, shape = tuple(reference.latents.shape), tuple(latents.shape)
    if len(mine) != 5 or mine[:2] != shape[:2]:
        raise InputError(
            f"a reference of shape {mine} beside latents of {shape}; give {[*shape[:2]]} and f, h, w"
        )
    if mine[3] * shape[4] != mine[4] * shape[3]:
        raise InputError(
            f"a reference of {mine[3]} x {mine[4]} latents does not cover a video of {shape[3]} x {shape[4]}; "
            "crop it to the video's aspect ratio before encoding"
        )
    last, end = frames_per_latent * (shape[2] - 1), reference.frame + frames_per_latent * (mine[2] - 1)
    if reference.frame < 0 or end > last:
        raise InputError(
            f"a reference for frames {reference.frame} to {end}, but the video has frames 0 to {last}; "
            "a reference stands for frames of the video"
        )
    return Place(grid_of(mine[2:], tubelet), reference.frame)


def located(
    place: Place, grid: Grid, tubelet: Tubelet, frames_per_latent: int, pixels_per_latent: int
) -> tuple[Tensor, Tensor]:
    """Coordinates in the video's grid, int64 [M, 3], and positions, float32 [M, 3], of a reference's tokens.

    A token has the coordinates of the video's token that contains its centre, so every folding has a group for it.
    Latent k > 0 of the video ends with pixel frame r k and holds the r - 1 before it.
    """
    scale = torch.tensor([1, grid.rows / place.grid.rows, grid.columns / place.grid.columns])
    begin = torch.tensor([place.frame, 0, 0])
    where = positions(place.grid, tubelet, frames_per_latent, pixels_per_latent) * scale + begin
    latent = (where[:, 0] / frames_per_latent).ceil()  # number of the video's latent that contains the frame
    row, column = (where[:, axis] / pixels_per_latent for axis in (1, 2))
    inside = [at // part for at, part in zip((latent, row, column), tubelet, strict=True)]
    return torch.stack(inside, dim=-1).long(), where


def tokens_of(outline: Outline, registers: int = 0) -> int:
    """Tokens of a video, so many registers for each of its frames, and its references."""
    beside = sum(place.grid.tokens for place in outline.references)
    return outline.grid.tokens + outline.grid.frames * registers + beside
