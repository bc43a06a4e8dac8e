"""Where clips come from: the procedural world, or a folder of videos; one config for both."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from tubelet.data.clips import Clips, FolderClips
from tubelet.data.world import WorldClips, WorldConfig
from tubelet.errors import InputError


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A folder of clips with metadata.jsonl, or (folder None) the procedural world.

    clips: training clips of the world. held_out: held-out clips that are measured on, at most, of either source.
    """

    folder: str | None = None
    world: WorldConfig = field(default_factory=WorldConfig)
    clips: int = 20_000
    held_out: int = 128

    def __post_init__(self) -> None:
        if self.clips < 1 or self.held_out < 1:
            raise InputError(f"data needs at least 1 clip each: clips {self.clips}, held_out {self.held_out}")


class FirstClips:
    """The first `count` of other clips."""

    def __init__(self, clips: Clips, count: int):
        self.clips, self.count = clips, min(count, len(clips))
        self.fingerprint, self.fps = clips.fingerprint, clips.fps  # the length is told beside the fingerprint

    def __len__(self) -> int:
        """How many there are."""
        return self.count

    def frames(self, index: int) -> Tensor:
        """Those of the other clips."""
        return self.clips.frames(index)

    def captions(self, index: int) -> list[str]:
        """Those of the other clips."""
        return self.clips.captions(index)

    def attributes(self, index: int) -> dict[str, Any]:
        """Those of the other clips."""
        return self.clips.attributes(index)


def training_clips(config: DataConfig) -> Clips:
    """The clips to train on."""
    if config.folder is not None:
        return FolderClips(config.folder, split="train")
    return WorldClips(config.world, config.clips, split="train")


def held_out_clips(config: DataConfig) -> Clips:
    """The clips to measure on; never trained on."""
    if config.folder is not None:
        return FirstClips(FolderClips(config.folder, split="held_out"), config.held_out)
    return WorldClips(config.world, config.held_out, split="held_out")
