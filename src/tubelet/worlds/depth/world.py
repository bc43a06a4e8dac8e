"""The world in depth's row of the registry."""

from tubelet.worlds import World
from tubelet.worlds.depth.clips import SPLITS, DepthClips
from tubelet.worlds.depth.config import DepthConfig

WORLD = World(config=DepthConfig, clips=DepthClips, splits=SPLITS, plain=DepthConfig(), has_truth=True)
