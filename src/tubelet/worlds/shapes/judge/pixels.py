"""What the judge does with pixels everywhere: colour distances, blurs, masks, connected regions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Labels = NDArray[np.integer[Any]]

SCALE = 64.0
"""Places and areas are in 64ths of the frame's short side."""
FAINT = 0.2
"""Share of a pixel below which it is not covered at all."""


def distance(one: Floats, other: Floats) -> Floats:
    """Euclidean distance of colours [..., 3] in RGB levels."""
    return np.sqrt(np.square(one - other).sum(-1))


def tint_distance(one: Floats, other: Floats) -> Floats:
    """The same with lightness at half its weight, so that light and dark of one colour are nearer."""
    off = one - other
    grey = off.mean(-1)
    return np.sqrt(np.maximum(np.square(off).sum(-1) - 2.25 * np.square(grey), 0.0))


def segment_distance(colour: Floats, start: Floats, end: Floats) -> Floats:
    """Distance in RGB levels of colours [..., 3] from all mixtures of two others."""
    way = end - start
    share = ((colour - start) * way).sum(-1) / np.maximum(np.square(way).sum(-1), 1.0)
    return distance(colour, start + share.clip(0, 1)[..., None] * way)


def blurred(video: Floats) -> Floats:
    """Each pixel as the mean over its 3 x 3 neighbourhood: [F, H, W, 3]."""
    for axis in (1, 2):
        pad = [(1, 1) if k == axis else (0, 0) for k in range(4)]
        wide = np.pad(video, pad, mode="edge")
        size = video.shape[axis]
        parts = [wide[(slice(None),) * axis + (slice(k, k + size),)] for k in range(3)]
        video = (parts[0] + parts[1] + parts[2]) / 3
    return video


def widened(mask: Mask, times: int = 1) -> Mask:
    """The mask [..., H, W] and the four neighbours of each of its pixels, so many times over."""
    for _ in range(times):
        wide = mask.copy()
        wide[..., 1:, :] |= mask[..., :-1, :]
        wide[..., :-1, :] |= mask[..., 1:, :]
        wide[..., :, 1:] |= mask[..., :, :-1]
        wide[..., :, :-1] |= mask[..., :, 1:]
        mask = wide
    return mask


def narrowed(mask: Mask) -> Mask:
    """The pixels of the mask [..., H, W] whose four neighbours belong to it."""
    return ~widened(~mask)


def labelled(mask: Mask) -> Labels:
    """One number above 0 for each connected region of each frame, 0 outside: [F, H, W]."""
    label = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        wide = np.pad(label, ((0, 0), (1, 1), (1, 1)))
        around = [wide[:, :-2, 1:-1], wide[:, 2:, 1:-1], wide[:, 1:-1, :-2], wide[:, 1:-1, 2:], label]
        grown = np.where(mask, np.maximum.reduce(around), 0)
        grown = np.concatenate([[0], grown.ravel()])[grown]  # follow the label to where it came from
        if (grown == label).all():
            return label
        label = grown


def centre(weight: Floats) -> Floats:
    """Centre of mass x, y [2] of weights [H, W] in pixels from the middle of the first one."""
    total = max(float(weight.sum()), 1e-9)
    height, width = weight.shape
    return np.array([weight.sum(0) @ np.arange(width), weight.sum(1) @ np.arange(height)]) / total
