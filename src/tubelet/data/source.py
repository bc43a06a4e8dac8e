"""Where clips come from: a rendered world or a folder of videos, one of them or several; one config for all."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tubelet.data.clips import Clips, FolderClips, Split
from tubelet.data.views import FirstClips, LabelledClips, LoopedClips, ResizedClips, SlowerClips
from tubelet.errors import InputError
from tubelet.worlds import WorldConfig, default_config, world_of

OTHER_HELD_OUT = 32  # held-out clips, at most, of each other bucket
ROUNDING = 1e-9  # of shares that are added


@dataclass(frozen=True, kw_only=True)
class SizeConfig:
    """Another bucket to train on: frames, height and width in pixels, and how many training clips of it, at most.

    folder, world: where its clips come from, one of them; None of either is the main source. A world is rendered at
    this size, whatever its own table says.
    fps: its frames a second; None is that of its own source, or the main size's where it has none.
    share: of the training samples; None is an equal part of what is left of data.other_share.
    caption: as data.caption, which None is. name: what it is called; None is its size, and its source if it has one.
    """

    frames: int
    height: int
    width: int
    clips: int = 2000
    fps: float | None = None
    share: float | None = None
    folder: str | None = None
    world: WorldConfig | None = None
    caption: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if min(self.frames, self.height, self.width, self.clips) < 1:
            raise InputError(f"data.other {self.label} of {self.clips} clips: each number must be at least 1")
        if self.folder is not None and self.world is not None:
            raise InputError(f"data.other {self.label} has a folder and a world; leave one out")
        if self.share is not None and not 0 <= self.share <= 1:
            raise InputError(
                f"data.other {self.label}: share {self.share:g} is a share of samples; give 0 to 1"
            )
        check_fps(self.fps, f"data.other {self.label}: fps")

    @property
    def label(self) -> str:
        """What it is called: 17x48x80, 17x48x80@4 with a rate of its own, 17x64x64-drones from a folder of its own."""
        rate = "" if self.fps is None else f"@{self.fps:g}"
        source = Path(self.folder).name if self.folder else self.world.kind if self.world else ""
        return self.name or "-".join(
            filter(None, [f"{self.frames}x{self.height}x{self.width}{rate}", source])
        )


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A folder of clips with metadata.jsonl, or (folder None) a rendered world.

    clips: training clips of the world. held_out: held-out clips that are measured on, at most, of either source.
    fps: every second, third ... frame alone, so that there are so many a second. frames: only the first so many of
    each clip, then. height, width: the largest centred part of this shape, made smaller to so many pixels. None leaves
    the clips as they are; more than they have is refused.
    crop: height and width of the part of each clip that a codec trains on, at another place for each sample. crops: so
    many samples in a row are parts of one clip, which is then rendered or read once.
    loop: each clip forwards to its middle and back, so that it comes round (for positions "periodic").
    caption: the attribute that stands for the caption, such as a label: a key of metadata.jsonl, or what the world
    knows of a scene or of its first object.
    other: further sizes and sources to train on, each a table [[data.other]] of a file. A world is rendered at them;
    clips of a folder are cut and made smaller. other_share: share of the training samples that have them; where each
    has a share of its own it is their sum instead.
    """

    folder: str | None = None
    fps: float | None = None
    frames: int | None = None
    height: int | None = None
    width: int | None = None
    crop: tuple[int, int] | None = None
    crops: int = 1
    loop: bool = False
    caption: str | None = None
    world: WorldConfig = field(default_factory=default_config)
    clips: int = 20_000
    held_out: int = 128
    other: tuple[SizeConfig, ...] = ()
    other_share: float = 0.15

    def __post_init__(self) -> None:
        labels = [size.label for size in self.other]
        if repeated := sorted({label for label in labels if labels.count(label) > 1}):
            raise InputError(
                f"data.other has {', '.join(repeated)} more than once; leave one out, or give each a name"
            )
        self._check_shares()
        if self.clips < 1 or self.held_out < 1:
            raise InputError(f"data needs at least 1 clip each: clips {self.clips}, held_out {self.held_out}")
        for name in ("frames", "height", "width"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(
                    f"data.{name} is {value}; give --data.{name} 1 or more, or leave it out to keep the clips' own"
                )
        if self.crop is not None and min(self.crop) < 1:
            raise InputError(f"data.crop is {self.crop}; give a height and a width of 1 or more")
        if self.crops < 1:
            raise InputError(f"data.crops is {self.crops}; give 1 or more")
        check_fps(self.fps, "data.fps")

    def _check_shares(self) -> None:
        """Refuse shares that do not sum."""
        if not 0 <= self.other_share <= 1:
            raise InputError(f"data.other_share is {self.other_share:g}, a share of samples; give 0 to 1")
        told = [size.share for size in self.other if size.share is not None]
        if sum(told) > 1 + ROUNDING:
            raise InputError(
                f"the shares of data.other sum to {sum(told):g}; give shares that sum to 1 at most"
            )
        if len(told) < len(self.other) and sum(told) > self.other_share + ROUNDING:
            raise InputError(
                f"the shares of data.other sum to {sum(told):g} and leave nothing of data.other_share "
                f"{self.other_share:g} to those without one; raise it, or give each a share"
            )

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the training samples: the main source's share, then that of each of `other`."""
        told = [size.share for size in self.other if size.share is not None]
        untold = len(self.other) - len(told)
        whole = self.other_share if untold else sum(told)
        each = max(0.0, self.other_share - sum(told)) / untold if untold else 0.0
        return max(0.0, 1 - whole), *(each if size.share is None else size.share for size in self.other)


def check_fps(fps: float | None, name: str) -> None:
    """Raises InputError, with the field's name, for a rate that is not above 0."""
    if fps is not None and not fps > 0:
        raise InputError(f"{name} is {fps:g}; give more than 0, or leave it out to keep the clips' own")


def training_clips(config: DataConfig) -> Clips:
    """The clips to train on."""
    if config.folder is not None:
        return _main(_folder(config.folder, "train", config.caption), config)
    return _main(world_clips(config.world, config.clips, "train"), config)


def held_out_clips(config: DataConfig) -> Clips:
    """The clips to measure on; never trained on."""
    if config.folder is not None:
        clips = _folder(config.folder, "held_out", config.caption)
        return _main(FirstClips(clips, config.held_out), config)
    return _main(world_clips(config.world, config.held_out, "held_out"), config)


def other_clips(config: DataConfig, size: SizeConfig) -> tuple[Clips, Clips]:
    """Clips of another bucket: those to train on, and a few to measure on.

    A world's are rendered at this size and rate; without a world of its own they are the scenes of the main size.
    Raises InputError where clips of a folder have fewer frames or pixels, or no such rate.
    """
    own = size.folder is not None or size.world is not None
    folder, world = (size.folder, size.world) if own else (config.folder, config.world)
    fps = size.fps if own or size.fps is not None else config.fps
    caption = config.caption if size.caption is None else size.caption
    counts: dict[Split, int] = {"train": size.clips, "held_out": min(config.held_out, OTHER_HELD_OUT)}
    if folder is not None:
        wanted = (size.frames, size.height, size.width)
        found = [FirstClips(_folder(folder, split, caption), count) for split, count in counts.items()]
        found = [_sized(clips, wanted, fps, "data.other") for clips in found]
    else:
        assert world is not None  # a source is one of the two
        fps = world.fps if fps is None else fps
        world = replace(world, fps=fps, num_frames=size.frames, height=size.height, width=size.width)
        found = [world_clips(world, count, split) for split, count in counts.items()]
    train, held_out = (_told(clips, config.loop, caption) for clips in found)
    return train, held_out


def world_clips(config: WorldConfig, count: int, split: str = "train") -> Any:
    """Clips of the world that a config names, with its `truth` where it has one."""
    return world_of(config.kind).clips(config, count, split)


def _folder(folder: str, split: Split, caption: str | None) -> FolderClips:
    return FolderClips(folder, split=split, captioned=caption is None)


def _main(clips: Clips, config: DataConfig) -> Clips:
    wanted = (config.frames, config.height, config.width)
    return _told(_sized(clips, wanted, config.fps), config.loop, config.caption)


def _sized(clips: Clips, size: tuple[int | None, ...], fps: float | None, key: str = "--data") -> Clips:
    """The clips at a size and rate; themselves, under their own fingerprint, where nothing is asked for."""
    if fps is not None and fps != clips.fps:
        clips = SlowerClips(clips, fps, key)
    return clips if size == (None, None, None) else ResizedClips(clips, *size, key=key)


def _told(clips: Clips, loop: bool, caption: str | None) -> Clips:
    """The clips as a config wants them told: as loops, by a label."""
    clips = LoopedClips(clips) if loop else clips
    return clips if caption is None else LabelledClips(clips, caption)
