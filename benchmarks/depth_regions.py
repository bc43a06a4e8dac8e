"""Held-out clips of the world in depth with the image speed of what each pixel shows, and errors by region."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from tubelet.autoencoder.objective import psnr
from tubelet.video import to_frames, to_video
from tubelet.worlds.depth.clips import DepthClips
from tubelet.worlds.depth.config import DepthConfig

EDGES = (
    0.0,
    1.0,
    2.0,
    3.0,
    5.0,
    np.inf,
)  # of bins of speed, in 128ths of the shorter side a frame at 16 a second


@dataclass(frozen=True)
class Clip:
    """frames uint8 [F, H, W, 3]; speed float32 [F, H, W], as EDGES have it, NaN outside of bodies; its caption."""

    frames: Tensor
    speed: Tensor
    caption: str

    @property
    def video(self) -> Tensor:
        """[1, 3, F, H, W]."""
        return to_video(self.frames)


def held_out(count: int, frames: int, height: int, width: int, seed: int = 0) -> list[Clip]:
    """The first clips that no training sees, at 16 frames a second."""
    clips = DepthClips(
        DepthConfig(num_frames=frames, height=height, width=width, seed=seed), count, "held_out"
    )
    return [Clip(clips.frames(i), speed_of(clips, i), clips.captions(i)[0]) for i in range(count)]


def speed_of(clips: DepthClips, index: int) -> Tensor:
    """How fast the centre of the body that each pixel shows moves over the picture; furniture and ground are NaN."""
    truth, config = clips.truth(index, dense=True), clips.config
    shot = clips.scene(index).shot(clips.times)
    places, _ = shot.camera.project(truth["position"], config.height, config.width)  # [F, B, 2]
    steps = np.gradient(places, axis=0) if len(places) > 1 else np.zeros_like(places)
    speed = np.linalg.norm(steps, axis=-1)  # [F, B], pixels a frame
    speed = speed * (128 / min(config.height, config.width)) * (config.fps / 16)
    speed = np.where(truth["counted"], speed, np.nan)
    ids = truth["ids"].astype(int)
    found = np.where(
        ids >= 0,
        np.take_along_axis(speed, ids.clip(min=0).reshape(len(ids), -1), 1).reshape(ids.shape),
        np.nan,
    )
    return torch.from_numpy(found.astype(np.float32))


def errors(clip: Clip, decoded: Tensor) -> dict[str, tuple[float, int]]:
    """Sums of squared errors of the decoded 8-bit frames [1, 3, F, H, W] and how many values they are, by region.

    "whole", "inside" bodies, "below 3" for those slower than that, "0-1" and so on by EDGES, and "change" for the
    differences from each frame to the next.
    """
    video, decoded = clip.video, to_video(to_frames(decoded))
    square = (decoded - video).square()[0].mean(0)  # [F, H, W]
    change = (decoded - video).diff(dim=2).square()[0].mean(0)
    regions = {"inside": clip.speed >= 0, "below 3": clip.speed < 3}
    regions |= {
        f"{low:g}-{high:g}": (clip.speed >= low) & (clip.speed < high) for low, high in pairwise(EDGES)
    }
    found = {"whole": (float(square.sum()), square.numel()), "change": (float(change.sum()), change.numel())}
    return found | {name: (float(square[mask].sum()), int(mask.sum())) for name, mask in regions.items()}


def pooled(rows: list[dict[str, tuple[float, int]]]) -> dict[str, float]:
    """PSNR in dB of each region over all clips; regions that no clip has are left out."""
    sums = {name: np.array([row[name] for row in rows]).sum(0) for name in rows[0]}
    return {name: float(psnr(torch.tensor(total / count))) for name, (total, count) in sums.items() if count}
