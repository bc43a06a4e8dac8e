"""Captioned clips of the world in depth, seeded by clip number, at any size, length and rate."""

import hashlib
import json
import random
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tubelet.errors import InputError, near_miss
from tubelet.worlds.depth.captions import captions_of
from tubelet.worlds.depth.config import DepthConfig
from tubelet.worlds.depth.draw import draw_scene
from tubelet.worlds.depth.fields import fields_of
from tubelet.worlds.depth.render import render
from tubelet.worlds.depth.scene import Array
from tubelet.worlds.depth.seen import seen
from tubelet.worlds.depth.stage import Scene
from tubelet.worlds.depth.truth import attributes_of, truth_of

WORLD_VERSION = 1
"""Raised whenever a pixel, a caption or an attribute of any clip changes."""
SPLITS = ("train", "held_out", "unseen_pairs")


class DepthClips:
    """Clips of the world in depth; clip i is a function of the seed, the split and i.

    `train` and `held_out` never show a pair of looks.UNSEEN_PLACES, UNSEEN_LIGHTS or UNSEEN_COLOURS; every scene of
    `unseen_pairs` shows one. Captions say what these frames show: a clip of one frame is a picture.
    """

    def __init__(self, config: DepthConfig, count: int, split: str = "train") -> None:
        """`count` says how many clips there are; raises InputError for an unknown split."""
        if split not in SPLITS:
            raise InputError(f"split {split!r}: {near_miss(split, SPLITS)}")
        if count < 0:
            raise InputError(f"count {count} is negative; give 0 or more clips")
        self.config, self.count, self.split = config, count, split
        recipe = json.dumps([asdict(config), split, WORLD_VERSION], sort_keys=True)
        self.fingerprint = hashlib.sha256(recipe.encode()).hexdigest()
        self.fps = config.fps
        self.times = np.arange(config.num_frames) / config.fps

    def __len__(self) -> int:
        """How many clips there are."""
        return self.count

    def scene(self, index: int) -> Scene:
        """What clip index shows; IndexError outside 0 .. len - 1."""
        return draw_scene(self._stream(index, "scene"), unseen=self.split == "unseen_pairs")

    def frames(self, index: int) -> Tensor:
        """The pixels of clip index: uint8 [F, H, W, 3]."""
        shot = self.scene(index).shot(self.times)
        return torch.from_numpy(render(shot, self.config.height, self.config.width).frames)

    def captions(self, index: int) -> list[str]:
        """Eight captions of clip index: all of it first, then the plain prompt form, then others.

        The last is as strangers write, and may name what is not there.
        """
        scene = self.scene(index)
        shows = seen(scene, scene.shot(self.times), self.times)
        return captions_of(scene, shows, self._stream(index, "captions"))

    def attributes(self, index: int) -> dict[str, Any]:
        """What clip index shows in words, ready for JSON; see truth.attributes_of."""
        scene = self.scene(index)
        return attributes_of(scene, scene.shot(self.times), self.times)

    def truth(self, index: int, dense: bool = False) -> dict[str, Array]:
        """What clip index shows in numbers, ready for npz; see truth.truth_of. dense: also per pixel."""
        scene = self.scene(index)
        shot = scene.shot(self.times)
        picture = render(shot, self.config.height, self.config.width, truth=True) if dense else None
        return truth_of(scene, shot, self.times, picture)

    def fields(self, index: int, height: int, width: int) -> Tensor:
        """What is known of each pixel of clip index drawn at another size: float32 [F, H, W, 6], see fields_of."""
        shot = self.scene(index).shot(self.times)
        return torch.from_numpy(fields_of(shot, render(shot, height, width, truth=True), self.fps))

    def _stream(self, index: int, use: str) -> random.Random:
        if not 0 <= index < self.count:
            raise IndexError(f"clip {index} of {self.count}")
        return random.Random(f"tubelet depth {self.config.seed} {self.split} {index} {use}")
