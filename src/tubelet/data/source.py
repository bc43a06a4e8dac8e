"""Where clips come from: the procedural world, or a folder of videos; one config for both."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor
from torch.nn import functional

from tubelet.data.clips import Clips, FolderClips, Split
from tubelet.data.world import WorldClips, WorldConfig
from tubelet.errors import InputError

OTHER_HELD_OUT = 32  # held-out clips, at most, of each other size


@dataclass(frozen=True, kw_only=True)
class SizeConfig:
    """Another size to train on: frames, height and width in pixels, and how many training clips of it, at most."""

    frames: int
    height: int
    width: int
    clips: int = 2000

    def __post_init__(self) -> None:
        if min(self.frames, self.height, self.width, self.clips) < 1:
            raise InputError(f"data.other {self.name} of {self.clips} clips: each number must be at least 1")

    @property
    def name(self) -> str:
        """Frames x height x width, as in 17x48x80."""
        return f"{self.frames}x{self.height}x{self.width}"


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A folder of clips with metadata.jsonl, or (folder None) the procedural world.

    clips: training clips of the world. held_out: held-out clips that are measured on, at most, of either source.
    frames: only the first so many of each clip, at its own rate. height, width: the largest centred part of this shape,
    made smaller to so many pixels. None leaves the clips as they are; more than they have is refused.
    caption: the attribute that stands for the caption, such as a label: a key of metadata.jsonl, or what the world
    knows of a scene or of its first object.
    other: further sizes that a denoiser trains on, each a table [[data.other]] of a file. The world is rendered at
    them; clips of a folder are cut and made smaller. other_share: share of the training samples that have them.
    """

    folder: str | None = None
    frames: int | None = None
    height: int | None = None
    width: int | None = None
    caption: str | None = None
    world: WorldConfig = field(default_factory=WorldConfig)
    clips: int = 20_000
    held_out: int = 128
    other: tuple[SizeConfig, ...] = ()
    other_share: float = 0.15

    def __post_init__(self) -> None:
        if not 0 <= self.other_share <= 1:
            raise InputError(f"data.other_share is {self.other_share:g}, a share of samples; give 0 to 1")
        if repeated := {
            size.name for size in self.other if [o.name for o in self.other].count(size.name) > 1
        }:
            raise InputError(f"data.other has {', '.join(sorted(repeated))} more than once; leave one out")
        if self.clips < 1 or self.held_out < 1:
            raise InputError(f"data needs at least 1 clip each: clips {self.clips}, held_out {self.held_out}")
        for name in ("frames", "height", "width"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(
                    f"data.{name} is {value}; give --data.{name} 1 or more, or leave it out to keep the clips' own"
                )


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


class LabelledClips:
    """Other clips, with one of their attributes as the only caption.

    Of several objects the first one's attributes count too. Raises InputError, with those that there are, where a clip
    has no word or number of this name.
    """

    def __init__(self, clips: Clips, name: str):
        self.clips, self.name, self.fps = clips, name, clips.fps
        told = json.dumps([clips.fingerprint, "caption", name])  # text states are cached under it
        self.fingerprint = hashlib.sha256(told.encode()).hexdigest()
        if len(clips):
            self.captions(0)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.clips)

    def frames(self, index: int) -> Tensor:
        """Those of the other clips."""
        return self.clips.frames(index)

    def captions(self, index: int) -> list[str]:
        """The attribute."""
        own = self.attributes(index)
        match own.get("objects"):
            case [dict() as first, *_]:  # as the world has them, and folders made from it
                own = {**first, **own}
        known = {key: str(value) for key, value in own.items() if isinstance(value, str | int | float)}
        if self.name not in known:
            raise InputError(
                f"data.caption is {self.name!r}, which clip {index} does not have; give one of {', '.join(known)}"
            )
        return [known[self.name]]

    def attributes(self, index: int) -> dict[str, Any]:
        """Those of the other clips."""
        return self.clips.attributes(index)


class ResizedClips:
    """The first frames of other clips, cropped to a shape about their centre and made smaller; fps and words stay.

    The first ones, because that is what a shorter clip of the world is; captions still tell of the whole. None keeps a
    side. Raises InputError where the clips have fewer frames or pixels: nothing is repeated or enlarged.
    """

    def __init__(
        self, clips: Clips, frames: int | None, height: int | None, width: int | None, key: str = "--data"
    ):
        """`key` names the config that asks, in errors."""
        self.clips, self.fps = clips, clips.fps
        asked, own = (frames, height, width), tuple(clips.frames(0).shape[:3])
        for name, wish, most in zip(("frames", "height", "width"), asked, own, strict=True):
            if wish is not None and wish > most:
                raise InputError(
                    f"{key.lstrip('-')}.{name} is {wish}, but the clips are {own[0]} x {own[1]} x {own[2]} (frames x "
                    f"height x width); give {key}.{name} {most} or less, or larger clips"
                )
        self.size = tuple(wish or most for wish, most in zip(asked, own, strict=True))  # F, H, W
        told = json.dumps([clips.fingerprint, self.size])
        self.fingerprint = hashlib.sha256(told.encode()).hexdigest()

    def __len__(self) -> int:
        """How many there are."""
        return len(self.clips)

    def frames(self, index: int) -> Tensor:
        """The first frames of one clip, uint8 [F, H, W, 3], resized."""
        num_frames, height, width = self.size
        return resize(self.clips.frames(index)[:num_frames], height, width)

    def captions(self, index: int) -> list[str]:
        """Those of the other clips."""
        return self.clips.captions(index)

    def attributes(self, index: int) -> dict[str, Any]:
        """Those of the other clips."""
        return self.clips.attributes(index)


def resize(frames: Tensor, height: int, width: int) -> Tensor:
    """uint8 frames [F, H, W, 3] -> [F, height, width, 3]: the centred part of that shape, antialiased bilinear.

    On bytes in channels_last, as Pillow does it: the same bits at half the size, roundings up to 1 apart at others.
    """
    _, rows, columns, _ = frames.shape
    scale = min(rows / height, columns / width)
    high, wide = min(rows, round(height * scale)), min(columns, round(width * scale))
    top, left = (rows - high) // 2, (columns - wide) // 2
    part = frames[:, top : top + high, left : left + wide].contiguous()
    if (high, wide) == (height, width):
        return part
    images = part.permute(0, 3, 1, 2)  # [F, 3, high, wide] in channels_last
    small = functional.interpolate(images, (height, width), mode="bilinear", antialias=True)
    return small.permute(0, 2, 3, 1).contiguous()


def training_clips(config: DataConfig) -> Clips:
    """The clips to train on."""
    if config.folder is not None:
        return _sized(_folder(config, "train"), config)
    return _sized(WorldClips(config.world, config.clips, split="train"), config)


def held_out_clips(config: DataConfig) -> Clips:
    """The clips to measure on; never trained on."""
    if config.folder is not None:
        return _sized(FirstClips(_folder(config, "held_out"), config.held_out), config)
    return _sized(WorldClips(config.world, config.held_out, split="held_out"), config)


def other_clips(config: DataConfig, size: SizeConfig) -> tuple[Clips, Clips]:
    """Clips of another size: those to train on, and a few to measure on.

    The world's are the scenes of the main size, rendered at this one. Raises InputError where clips of a folder have
    fewer frames or pixels.
    """
    count = min(config.held_out, OTHER_HELD_OUT)
    if config.folder is None:
        world = replace(config.world, num_frames=size.frames, height=size.height, width=size.width)
        train = WorldClips(world, size.clips, split="train")
        held_out = WorldClips(world, count, split="held_out")
        return _labelled(train, config), _labelled(held_out, config)
    train = FirstClips(_folder(config, "train"), size.clips)
    held_out = FirstClips(_folder(config, "held_out"), count)
    wanted = (size.frames, size.height, size.width)
    small = [ResizedClips(clips, *wanted, key="data.other") for clips in (train, held_out)]
    return _labelled(small[0], config), _labelled(small[1], config)


def _folder(config: DataConfig, split: Split) -> FolderClips:
    assert config.folder is not None
    return FolderClips(config.folder, split=split, captioned=config.caption is None)


def _sized(clips: Clips, config: DataConfig) -> Clips:
    """The clips at the config's size; themselves, under their own fingerprint, where it asks for nothing."""
    size = (config.frames, config.height, config.width)
    return _labelled(clips if size == (None, None, None) else ResizedClips(clips, *size), config)


def _labelled(clips: Clips, config: DataConfig) -> Clips:
    return clips if config.caption is None else LabelledClips(clips, config.caption)
