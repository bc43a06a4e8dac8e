"""Holes in frames: filled from their border, and the latents that are unknown because of them."""

import torch
import torch.nn.functional as F
from torch import Tensor


def fill_hole(frames: Tensor, hole: Tensor) -> Tensor:
    """Frames uint8 [F, H, W, 3] with what lies in the hole, bool [F, H, W], replaced by a smooth fill of its border.

    Each frame on its own, and never with anything of what the hole hid. Halved until nothing is unknown (a coarse pixel
    is the mean of the known ones it covers), then doubled again: what is unknown comes from the size below, smoothed
    once.   [Lumigraph 3.4] A frame without known pixels becomes grey.
    """
    known = ~hole[:, None]  # [F, 1, H, W]
    video = frames.movedim(-1, 1).float() * known  # [F, 3, H, W]
    sizes = [(video, known)]
    while not known.all() and max(known.shape[2:]) > 1:
        counts = F.avg_pool2d(known.float(), 2, ceil_mode=True)
        video = F.avg_pool2d(video, 2, ceil_mode=True) / counts.clamp(min=1e-6)
        known = counts > 0
        sizes.append((video, known))
    filled = torch.where(known, video, 127.5)
    for video, known in sizes[-2::-1]:
        below = F.interpolate(filled, video.shape[2:], mode="bilinear")
        filled = torch.where(known, video, below)
        around = F.avg_pool2d(F.pad(filled, (1, 1, 1, 1), mode="replicate"), 3, 1)
        filled = torch.where(known, video, around)
    return filled.round().clamp(0, 255).byte().movedim(1, -1).contiguous()


def unknown_of(
    hole: Tensor, frames_per_latent: int, pixels_per_latent: int, tubelet: tuple[int, int, int]
) -> Tensor:
    """Which latents are unknown because of a hole, bool [F, H, W] -> [1, f, h, w]: whole tokens that it touches.

    Latent 0 is of the first frame alone, and each other one of the `frames_per_latent` up to its own.
    """
    before = hole[:1].expand(frames_per_latent - 1, -1, -1)
    blocks = torch.cat((before, hole)).float()[None]  # [1, f * frames_per_latent, H, W]
    sizes = [
        part * unit for part, unit in zip(tubelet, (frames_per_latent, *[pixels_per_latent] * 2), strict=True)
    ]
    touched = F.max_pool3d(blocks, sizes) > 0  # [1, frames, rows, columns] of tokens
    for axis, part in enumerate(tubelet):
        touched = touched.repeat_interleave(part, axis + 1)
    return touched
