"""The world in depth's row of the registry."""

from tubelet.worlds import Judge, World
from tubelet.worlds.depth.clips import SPLITS, DepthClips
from tubelet.worlds.depth.config import DepthConfig
from tubelet.worlds.depth.judge.compare import compared
from tubelet.worlds.depth.judge.reading import read_clip

WORLD = World(
    config=DepthConfig,
    clips=DepthClips,
    splits=SPLITS,
    plain=DepthConfig(),
    has_truth=True,
    judge=Judge(read_clip, compared),
)
