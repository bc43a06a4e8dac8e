"""The flat world's row of the registry."""

from tubelet.worlds import Judge, World
from tubelet.worlds.shapes.clips import SPLITS, ShapesClips
from tubelet.worlds.shapes.config import ShapesConfig
from tubelet.worlds.shapes.judge.compare import compared
from tubelet.worlds.shapes.judge.prompt_fit import read_clip

WORLD = World(
    config=ShapesConfig,
    clips=ShapesClips,
    splits=SPLITS,
    plain=ShapesConfig(two_objects=0.0),
    judge=Judge(read_clip, compared),
)
