"""Where clips come from: the procedural world, or a folder of videos; one config for both."""

import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor
from torch.nn import functional

from tubelet.data.clips import Clips, FolderClips, Split
from tubelet.errors import InputError
from tubelet.worlds.shapes.clips import WorldClips, WorldConfig

OTHER_HELD_OUT = 32  # held-out clips, at most, of each other size


@dataclass(frozen=True, kw_only=True)
class SizeConfig:
    """Another size to train on: frames, height and width in pixels, and how many training clips of it, at most.

    fps: its frames a second; None is the main size's.
    """

    frames: int
    height: int
    width: int
    clips: int = 2000
    fps: float | None = None

    def __post_init__(self) -> None:
        if min(self.frames, self.height, self.width, self.clips) < 1:
            raise InputError(f"data.other {self.name} of {self.clips} clips: each number must be at least 1")
        check_fps(self.fps, f"data.other {self.name}: fps")

    @property
    def name(self) -> str:
        """Frames x height x width, as in 17x48x80, and @ frames a second where it has its own."""
        rate = "" if self.fps is None else f"@{self.fps:g}"
        return f"{self.frames}x{self.height}x{self.width}{rate}"


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A folder of clips with metadata.jsonl, or (folder None) the procedural world.

    clips: training clips of the world. held_out: held-out clips that are measured on, at most, of either source.
    fps: every second, third ... frame alone, so that there are so many a second. frames: only the first so many of
    each clip, then. height, width: the largest centred part of this shape, made smaller to so many pixels. None leaves
    the clips as they are; more than they have is refused.
    loop: each clip forwards to its middle and back, so that it comes round (for positions "periodic").
    caption: the attribute that stands for the caption, such as a label: a key of metadata.jsonl, or what the world
    knows of a scene or of its first object.
    other: further sizes that a denoiser trains on, each a table [[data.other]] of a file. The world is rendered at
    them; clips of a folder are cut and made smaller. other_share: share of the training samples that have them.
    """

    folder: str | None = None
    fps: float | None = None
    frames: int | None = None
    height: int | None = None
    width: int | None = None
    loop: bool = False
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
        check_fps(self.fps, "data.fps")


def check_fps(fps: float | None, name: str) -> None:
    """Raises InputError, with the field's name, for a rate that is not above 0."""
    if fps is not None and not fps > 0:
        raise InputError(f"{name} is {fps:g}; give more than 0, or leave it out to keep the clips' own")


class OtherClips:
    """Clips made of other clips: what a class below does not say is theirs."""

    def __init__(self, clips: Clips, *told: Any) -> None:
        """`told`: all that decides how they differ, ready for JSON; nothing where each clip stays what it was."""
        self.clips, self.fps, self.fingerprint = clips, clips.fps, clips.fingerprint
        if told:
            self.fingerprint = hashlib.sha256(json.dumps([clips.fingerprint, *told]).encode()).hexdigest()

    def __len__(self) -> int:
        """How many there are."""
        return len(self.clips)

    def frames(self, index: int) -> Tensor:
        """Those of the other clips."""
        return self.clips.frames(index)

    def captions(self, index: int) -> list[str]:
        """Those of the other clips."""
        return self.clips.captions(index)

    def attributes(self, index: int) -> dict[str, Any]:
        """Those of the other clips."""
        return self.clips.attributes(index)


class FirstClips(OtherClips):
    """The first `count` of other clips."""

    def __init__(self, clips: Clips, count: int) -> None:
        super().__init__(clips)  # the length is told beside the fingerprint
        self.count = min(count, len(clips))

    def __len__(self) -> int:
        """How many there are."""
        return self.count


class LabelledClips(OtherClips):
    """Other clips, with one of their attributes as the only caption.

    Of several objects the first one's attributes count too. Raises InputError, with those that there are, where a clip
    has no word or number of this name.
    """

    def __init__(self, clips: Clips, name: str) -> None:
        super().__init__(clips, "caption", name)  # text states are cached under it
        self.name = name
        if len(clips):
            self.captions(0)

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


class SlowerClips(OtherClips):
    """Every k-th frame of other clips, from the first on, so that there are `fps` a second.

    Raises InputError, with the nearest rates that there are, where k is not whole.
    """

    def __init__(self, clips: Clips, fps: float, key: str = "--data") -> None:
        """`key` names the config that asks, in errors."""
        step = round(clips.fps / fps)
        if step < 1 or not math.isclose(step * fps, clips.fps, rel_tol=1e-3):
            below = max(1, math.floor(clips.fps / fps))
            rates = " or ".join(f"{clips.fps / part:g}" for part in (below, below + 1))
            raise InputError(
                f"{key.lstrip('-')}.fps is {fps:g}, but the clips have {clips.fps:g} frames a second and only whole "
                f"frames are left out; give {key}.fps {rates}"
            )
        super().__init__(clips, "every", step)
        self.step, self.fps = step, clips.fps / step

    def frames(self, index: int) -> Tensor:
        """Every k-th frame of one clip, uint8 [F, H, W, 3]."""
        return self.clips.frames(index)[:: self.step].contiguous()


class LoopedClips(OtherClips):
    """Other clips forwards to their middle frame and backwards again: frame k and frame F - k are the same.

    The frame behind the last is the first, so they come round, and they are as long as before.
    """

    def __init__(self, clips: Clips) -> None:
        super().__init__(clips, "loop")

    def frames(self, index: int) -> Tensor:
        """One clip there and back, uint8 [F, H, W, 3]."""
        frames = self.clips.frames(index)
        count = len(frames)
        return frames[[min(number, count - number) for number in range(count)]]


class ResizedClips(OtherClips):
    """The first frames of other clips, cropped to a shape about their centre and made smaller; fps and words stay.

    The first ones, because that is what a shorter clip of the world is; captions still tell of the whole. None keeps a
    side. Raises InputError where the clips have fewer frames or pixels: nothing is repeated or enlarged.
    """

    def __init__(
        self, clips: Clips, frames: int | None, height: int | None, width: int | None, key: str = "--data"
    ) -> None:
        """`key` names the config that asks, in errors."""
        asked, own = (frames, height, width), tuple(clips.frames(0).shape[:3])
        for name, wish, most in zip(("frames", "height", "width"), asked, own, strict=True):
            if wish is not None and wish > most:
                raise InputError(
                    f"{key.lstrip('-')}.{name} is {wish}, but the clips are {own[0]} x {own[1]} x {own[2]} (frames x "
                    f"height x width); give {key}.{name} {most} or less, or larger clips"
                )
        self.size = tuple(wish or most for wish, most in zip(asked, own, strict=True))  # F, H, W
        super().__init__(clips, self.size)

    def frames(self, index: int) -> Tensor:
        """The first frames of one clip, uint8 [F, H, W, 3], resized."""
        num_frames, height, width = self.size
        return resize(self.clips.frames(index)[:num_frames], height, width)


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
        return _main(_folder(config, "train"), config)
    return _main(WorldClips(config.world, config.clips, split="train"), config)


def held_out_clips(config: DataConfig) -> Clips:
    """The clips to measure on; never trained on."""
    if config.folder is not None:
        return _main(FirstClips(_folder(config, "held_out"), config.held_out), config)
    return _main(WorldClips(config.world, config.held_out, split="held_out"), config)


def other_clips(config: DataConfig, size: SizeConfig) -> tuple[Clips, Clips]:
    """Clips of another size: those to train on, and a few to measure on.

    The world's are the scenes of the main size, rendered at this one and at its rate. Raises InputError where clips of
    a folder have fewer frames or pixels, or no such rate.
    """
    count, fps = min(config.held_out, OTHER_HELD_OUT), config.fps if size.fps is None else size.fps
    if config.folder is None:
        fps = config.world.fps if fps is None else fps
        shape = {"num_frames": size.frames, "height": size.height, "width": size.width}
        world = replace(config.world, fps=fps, **shape)
        train = WorldClips(world, size.clips, split="train")
        held_out = WorldClips(world, count, split="held_out")
        return _told(train, config), _told(held_out, config)
    train = FirstClips(_folder(config, "train"), size.clips)
    held_out = FirstClips(_folder(config, "held_out"), count)
    wanted = (size.frames, size.height, size.width)
    small = [_sized(clips, wanted, fps, "data.other") for clips in (train, held_out)]
    return _told(small[0], config), _told(small[1], config)


def _folder(config: DataConfig, split: Split) -> FolderClips:
    assert config.folder is not None
    return FolderClips(config.folder, split=split, captioned=config.caption is None)


def _main(clips: Clips, config: DataConfig) -> Clips:
    return _told(_sized(clips, (config.frames, config.height, config.width), config.fps), config)


def _sized(clips: Clips, size: tuple[int | None, ...], fps: float | None, key: str = "--data") -> Clips:
    """The clips at a size and rate; themselves, under their own fingerprint, where nothing is asked for."""
    if fps is not None and fps != clips.fps:
        clips = SlowerClips(clips, fps, key)
    return clips if size == (None, None, None) else ResizedClips(clips, *size, key=key)


def _told(clips: Clips, config: DataConfig) -> Clips:
    """The clips as the config wants them told: as loops, by a label."""
    clips = LoopedClips(clips) if config.loop else clips
    return clips if config.caption is None else LabelledClips(clips, config.caption)
