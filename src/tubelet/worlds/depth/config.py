"""What a run may choose of the world in depth."""

from dataclasses import dataclass

from tubelet.worlds import WorldConfig


@dataclass(frozen=True, kw_only=True)
class DepthConfig(WorldConfig):
    """How clips are rendered. The scenes depend on the seed alone."""

    kind: str = "depth"
    num_frames: int = 33
    height: int = 128
    width: int = 128
    fps: float = 16.0
