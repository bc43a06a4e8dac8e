"""What a clip of the world in depth shows, from its pixels alone: for each attribute a word, or None.

A small network answers (`network.py`, trained by benchmarks/train_judge.py); where rules are exact they hold: what does
not change from frame to frame does not move.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from tubelet import checkpoint
from tubelet.errors import InputError
from tubelet.worlds.depth.judge.attributes import NOWHERE, STILL
from tubelet.worlds.depth.judge.network import FRAMES, SIDE, Reader, ReaderConfig

WEIGHTS = Path(__file__).parent / "weights"
FPS = 4.0
"""Frames a second that are read, for two seconds."""


@dataclass(frozen=True)
class Reading:
    """What was read: for each attribute the chance of each of its words; what they lack of 1 is that of None."""

    chances: dict[str, dict[str, float]]

    @property
    def found(self) -> bool:
        """Whether there is a body to speak of."""
        return self.word("shape") is not None

    def likely(self, name: str) -> list[str]:
        """The words of an attribute, the likeliest first; none where it is likelier that it cannot be read."""
        chances = self.chances[name]
        ranked = sorted(chances, key=lambda word: -chances[word])
        total = sum(chances.values())
        return ranked if total >= 0.5 else []

    def word(self, name: str) -> str | None:
        """The likeliest word, or None."""
        return next(iter(self.likely(name)), None)

    def words(self) -> dict[str, Any]:
        """The reading, ready for JSON: for each attribute its word and how sure it is."""
        return {
            name: {"read": self.word(name), "chance": round(max(chances.values()), 3)}
            for name, chances in self.chances.items()
        }


def read_clip(frames: NDArray[np.uint8], *, fps: float = 16.0) -> Reading:
    """What a clip uint8 [F, H, W, 3] shows in its first two seconds, in its central square.

    Raises InputError for arrays of another shape or type and for fps that are not above 0.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise InputError(f"frames {frames.dtype} {list(frames.shape)}: give one clip as uint8 [F, H, W, 3]")
    if not fps > 0:
        raise InputError(f"fps {fps} is not positive; try 16")
    seen = seen_of(frames, fps)
    reader = shipped()
    with torch.inference_mode():
        logits = reader(scaled(seen)[None]).answers
    chances = {
        name: dict(zip(reader.words[name], row[0].softmax(-1).tolist(), strict=False))
        for name, row in logits.items()
    }
    if (seen == seen[:1]).all():
        chances["event"] = only(chances["event"], STILL)
        chances["direction"] = only(chances["direction"], (NOWHERE,))
    return Reading(chances)


def seen_of(frames: NDArray[np.uint8], fps: float) -> Tensor:
    """What is looked at: uint8 [F <= 9, h, w, 3], the central square, 4 frames a second or as many as there are."""
    height, width = frames.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    count = min(FRAMES, int((len(frames) - 1) * FPS / fps + 1e-6) + 1)
    which = np.unique((np.arange(count) * fps / FPS).round().astype(int))
    return torch.from_numpy(frames[which, top : top + side, left : left + side])


def scaled(frames: Tensor) -> Tensor:
    """Square frames uint8 [F, h, h, 3] as the reader takes them: [F, 64, 64, 3] from -1 to 1."""
    x = frames.permute(0, 3, 1, 2).float() / 127.5 - 1
    return F.interpolate(x, size=(SIDE, SIDE), mode="area").permute(0, 2, 3, 1)


def only(chances: Mapping[str, float], words: tuple[str, ...]) -> dict[str, float]:
    """The chances of some of the words, made to sum to what they summed to with the others'."""
    kept = {word: chances[word] if word in words else 0.0 for word in chances}
    total = sum(kept.values()) or 1.0
    return {word: chance * sum(chances.values()) / total for word, chance in kept.items()}


@cache
def shipped() -> Reader:
    """The reader that comes with the package, in float32."""
    return load(WEIGHTS)


def load(folder: Path) -> Reader:
    """The reader of a folder that `save` wrote."""
    part = checkpoint.load(folder).parts["reader"]
    config = ReaderConfig(**part.config["network"] | {"channels": tuple(part.config["network"]["channels"])})
    reader = Reader(config, dict(part.config["words"]))
    reader.load_state_dict({name: tensor.float() for name, tensor in part.tensors.items()})
    return reader.eval()
