"""A procedural world of captioned clips: shapes that move, seeded by clip number, at any size and length."""

import hashlib
import json
import random
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from tubelet.errors import InputError, near_miss
from tubelet.worlds.shapes.captions import captions_of
from tubelet.worlds.shapes.draw import draw_scene
from tubelet.worlds.shapes.render import render
from tubelet.worlds.shapes.scene import Background, Scene, Thing

WORLD_VERSION = 1
"""Raised whenever a pixel, a caption or an attribute of any clip changes."""
SPLITS = ("train", "held_out", "unseen_pairs")


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """How clips are rendered and what share of them shows what. The scenes depend on the last three alone."""

    num_frames: int = 17
    height: int = 64
    width: int = 64
    fps: float = 8.0
    seed: int = 0
    two_objects: float = 0.25  # share of scenes
    pan: float = 0.12  # share of scenes with one object

    def __post_init__(self) -> None:
        """Refuse what cannot be rendered."""
        if self.num_frames < 1:
            raise InputError(f"num_frames {self.num_frames}: a clip has at least 1; try 17")
        if min(self.height, self.width) < 16:
            raise InputError(
                f"{self.height} x {self.width} pixels: shapes need at least 16 x 16; try 64 x 64"
            )
        if not self.fps > 0:
            raise InputError(f"fps {self.fps} is not positive; try 8")
        if self.seed < 0:
            raise InputError(f"seed {self.seed} is negative; give 0 or more")
        for name in ("two_objects", "pan"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} {getattr(self, name)} is a share of scenes; give 0 to 1")


class WorldClips:
    """Clips of the procedural world; clip i is a function of the seed, the split and i.

    `train` never shows a pair of UNSEEN_COLOURS or UNSEEN_MOTIONS; `held_out` has other scenes of the same
    kind; every scene of `unseen_pairs` shows at least one such pair.
    """

    def __init__(self, config: WorldConfig, count: int, split: str = "train") -> None:
        """`count` says how many clips there are; raises InputError for an unknown split."""
        if split not in SPLITS:
            raise InputError(f"split {split!r}: {near_miss(split, SPLITS)}")
        if count < 0:
            raise InputError(f"count {count} is negative; give 0 or more clips")
        self.config, self.count, self.split = config, count, split
        recipe = json.dumps([asdict(config), split, WORLD_VERSION], sort_keys=True)
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
