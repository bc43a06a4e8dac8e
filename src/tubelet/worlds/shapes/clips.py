"""The flat world as captioned clips: shapes that move, seeded by clip number, at any size and length."""

import hashlib
import json
import random
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from tubelet.errors import InputError, near_miss
from tubelet.worlds.shapes.captions import captions_of
from tubelet.worlds.shapes.config import ShapesConfig
from tubelet.worlds.shapes.draw import draw_scene
from tubelet.worlds.shapes.render import render
from tubelet.worlds.shapes.scene import Background, Scene, Thing

WORLD_VERSION = 1
"""Raised whenever a pixel, a caption or an attribute of any clip changes."""
SPLITS = ("train", "held_out", "unseen_pairs")


class ShapesClips:
    """Clips of the flat world; clip i is a function of the seed, the split and i.

    `train` never shows a pair of UNSEEN_COLOURS or UNSEEN_MOTIONS; `held_out` has other scenes of the same
    kind; every scene of `unseen_pairs` shows at least one such pair.
    """

    def __init__(self, config: ShapesConfig, count: int, split: str = "train") -> None:
        """`count` says how many clips there are; raises InputError for an unknown split."""
        if split not in SPLITS:
            raise InputError(f"split {split!r}: {near_miss(split, SPLITS)}")
        if count < 0:
            raise InputError(f"count {count} is negative; give 0 or more clips")
        self.config, self.count, self.split = config, count, split
        told = {name: value for name, value in asdict(config).items() if name != "kind"}
        recipe = json.dumps([told, split, WORLD_VERSION], sort_keys=True)
        self.fingerprint = hashlib.sha256(recipe.encode()).hexdigest()
        self.fps = config.fps

    def __len__(self) -> int:
        """How many clips there are."""
        return self.count

    def scene(self, index: int) -> Scene:
        """What clip index shows; IndexError outside 0 .. len - 1."""
        config = self.config
        return draw_scene(
            self._stream(index, "scene"),
            unseen=self.split == "unseen_pairs",
            two_objects=config.two_objects,
            pan=config.pan,
        )

    def frames(self, index: int) -> Tensor:
        """The pixels of clip index: uint8 [F, H, W, 3]."""
        config = self.config
        return torch.from_numpy(
            render(self.scene(index), config.num_frames, config.height, config.width, config.fps)
        )

    def captions(self, index: int) -> list[str]:
        """Eight captions of clip index: all of it first, then the plain prompt form, then other phrasings."""
        return captions_of(self.scene(index), self._stream(index, "captions"))

    def attributes(self, index: int) -> dict[str, Any]:
        """What clip index shows, exactly, ready for JSON."""
        scene = self.scene(index)
        return {
            "count": len(scene.things),
            "objects": [attributes_of(thing) for thing in scene.things],
            "relation": scene.relation,
            "background": background_attributes(scene.background),
            "pan": scene.background.pan,
        }

    def _stream(self, index: int, use: str) -> random.Random:
        if not 0 <= index < self.count:
            raise IndexError(f"clip {index} of {self.count}")
        return random.Random(f"tubelet world {self.config.seed} {self.split} {index} {use}")


def attributes_of(thing: Thing) -> dict[str, Any]:
    """The words for one object; None where a word does not apply to it."""
    turns = thing.motion in ("rotates", "orbits")
    return {
        "shape": thing.shape,
        "colour": thing.colour,
        "to_colour": thing.to_colour,
        "size": thing.size,
        "motion": thing.motion,
        "speed": thing.speed,
        "turn": ("clockwise" if thing.spin > 0 else "anticlockwise") if turns else None,
    }


def background_attributes(background: Background) -> dict[str, Any]:
    """The words for the background."""
    return {
        "kind": background.kind,
        "colours": list(background.colours),
        "direction": background.direction,
    }
