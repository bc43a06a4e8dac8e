"""The world in depth's row of the registry."""

from importlib import import_module
from typing import Any

from tubelet.worlds import World
from tubelet.worlds.depth.config import DepthConfig


def _clips(config: DepthConfig, count: int, split: str) -> Any:
    return import_module("tubelet.worlds.depth.clips").DepthClips(config, count, split)


WORLD = World(
    config=DepthConfig, clips=_clips, splits=("train", "held_out", "unseen_pairs"), plain=DepthConfig()
)
