"""The track of one object in a video whose camera stands still, from pixels alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

SCALE = 64.0
"""Places and areas are in 64ths of the frame's short side."""
CONTRAST = 30.0
"""Least distance in RGB levels from the background of what counts as an object."""
LEAST_AREA = 16.0


@dataclass(frozen=True)
class Track:
    """The object in each frame; where it cannot be seen, its place and area are NaN.

    `place` [F, 2] is x, y and `area` [F] is in 64ths of the short side; `colour` [F, 3] and `contrast` [F]
    are in RGB levels; `cover` [F, H, W] is how much of each pixel it covers.
    """

    place: Floats
    area: Floats
    colour: Floats
    contrast: Floats
    cover: Floats


def track_of(video: Floats) -> Track:
    """The track of the object of a video [F, H, W, 3]."""
    count, height, width = video.shape[:3]
    smooth = blurred(video)
    behind, threshold = background_of(smooth)  # [H, W, 3]
    away = distance(smooth, behind)  # [F, H, W]
    blobs = largest_blobs(away, threshold)
    bare = ~widened(widened(blobs))
    seen = bare.sum(0)  # [H, W], frames that show the background
    average = (smooth * bare[..., None]).sum(0) / np.maximum(seen, 1)[..., None]
    behind = np.where((2 * seen >= count)[..., None], average, behind)
    blobs = largest_blobs(distance(smooth, behind), threshold)
    least, unit = LEAST_AREA * (min(height, width) / SCALE) ** 2, SCALE / min(height, width)
    place, area = np.full((count, 2), np.nan), np.full(count, np.nan)
    colour, contrast, cover = np.zeros((count, 3)), np.zeros(count), np.zeros((count, height, width))
    last = np.zeros((height, width), bool)
    for frame in range(count):
        shown = blobs[frame].sum() >= least
        last = blobs[frame] if shown else last
        if not last.any():
            continue
        colour[frame], contrast[frame] = core(smooth[frame], behind, last)
        if not shown:
            continue
        cover[frame] = coverage(video[frame], behind, colour[frame], widened(widened(last)))
        rows, columns = cover[frame].sum(1), cover[frame].sum(0)
        total = max(cover[frame].sum(), 1e-9)
        place[frame] = (columns @ np.arange(width) / total * unit, rows @ np.arange(height) / total * unit)
        area[frame] = total * unit**2
    return Track(place, area, colour, contrast, cover)


def background_of(video: Floats) -> tuple[Floats, float]:
    """The still background [H, W, 3], a plane of colour, and the least distance of an object from it.

    The plane minimises the sum of distances over the border, so that an object there does not bend it.
    """
    height, width = video.shape[1:3]
    margin = max(2, min(height, width) // 16)
    edge = np.ones((height, width), bool)
    edge[margin:-margin, margin:-margin] = False
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    basis = np.stack([np.ones_like(x), x, y], axis=-1)  # [H, W, 3]
    border, here = np.median(video[:, edge], axis=0), basis[edge]  # [N, 3] both
    weight = np.ones(len(here))
    plane = np.zeros((3, 3))
    for _ in range(12):
        plane = np.linalg.lstsq(here * weight[:, None], border * weight[:, None], rcond=None)[0]
        weight = np.maximum(distance(border, here @ plane), 2.0) ** -0.5
    spread = float(np.quantile(distance(border, here @ plane), 0.9))
    return basis @ plane, max(CONTRAST, 1.3 * spread)


def distance(one: Floats, other: Floats) -> Floats:
    """Euclidean distance of colours [..., 3] in RGB levels."""
    return np.sqrt(np.square(one - other).sum(-1))


def blurred(video: Floats) -> Floats:
    """Each pixel as the mean over its 3 x 3 neighbourhood: [F, H, W, 3]."""
    for axis in (1, 2):
        pad = [(1, 1) if k == axis else (0, 0) for k in range(4)]
        wide = np.pad(video, pad, mode="edge")
        size = video.shape[axis]
        video = sum((wide.take(range(k, k + size), axis) for k in range(3)), np.zeros(())) / 3
    return video


def widened(mask: Mask) -> Mask:
    """The mask [..., H, W] and the four neighbours of each of its pixels."""
    wide = mask.copy()
    wide[..., 1:, :] |= mask[..., :-1, :]
    wide[..., :-1, :] |= mask[..., 1:, :]
    wide[..., :, 1:] |= mask[..., :, :-1]
    wide[..., :, :-1] |= mask[..., :, 1:]
    return wide


def largest_blobs(away: Floats, threshold: float) -> Mask:
    """In each frame the connected region beyond the threshold with the most distance in it: [F, H, W]."""
    mask = away > threshold
    label = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)  # 0 is outside
    while True:
        wide = np.pad(label, ((0, 0), (1, 1), (1, 1)))
        around = [wide[:, :-2, 1:-1], wide[:, 2:, 1:-1], wide[:, 1:-1, :-2], wide[:, 1:-1, 2:], label]
        grown = np.where(mask, np.maximum.reduce(around), 0)
        grown = np.concatenate([[0], grown.ravel()])[grown]  # follow the label to where it came from
        if (grown == label).all():
            break
        label = grown
    blobs = np.zeros_like(mask)
    for frame, labels in enumerate(label):
        if mask[frame].any():
            names, index = np.unique(labels[mask[frame]], return_inverse=True)
            blobs[frame] = labels == names[np.bincount(index, away[frame][mask[frame]]).argmax()]
    return blobs


def core(frame: Floats, behind: Floats, blob: Mask) -> tuple[Floats, float]:
    """The median colour [3] of what stands out most in the blob, and its distance from the background."""
    away = distance(frame, behind)[blob]
    inner = away >= 0.8 * np.quantile(away, 0.9)
    colour = np.median(frame[blob][inner], axis=0)
    return colour, float(distance(colour, behind[blob][inner].mean(0)))


def coverage(frame: Floats, behind: Floats, colour: Floats, near: Mask) -> Floats:
    """How much of each pixel near the blob has its colour rather than the background's, 0 to 1: [H, W]."""
    way = colour - behind
    share = ((frame - behind) * way).sum(-1) / np.maximum(np.square(way).sum(-1), 1.0)
    return np.where(near & (share > 0.2), share.clip(0, 1), 0.0)
