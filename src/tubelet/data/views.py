"""Clips made of other clips: fewer, slower, smaller, cropped, as loops, told by a label."""

import hashlib
import json
import math
from typing import Any

from torch import Tensor
from torch.nn import functional

from tubelet.data.clips import Clips, fingerprints_of
from tubelet.errors import InputError


class OtherClips:
    """Clips made of other clips: what a class below does not say is theirs."""

    def __init__(self, clips: Clips, *told: Any) -> None:
        """`told`: all that decides how they differ, ready for JSON; nothing where each clip stays what it was."""
        self.clips, self.fps, self.fingerprint, self.told = clips, clips.fps, clips.fingerprint, told
        if told:
            self.fingerprint = hashlib.sha256(json.dumps([clips.fingerprint, *told]).encode()).hexdigest()

    def __len__(self) -> int:
        """How many there are."""
        return len(self.clips)

    def frames(self, index: int) -> Tensor:
        """Those of the other clips."""
        return self.clips.frames(index)

    def fingerprints(self, index: int) -> tuple[str, str]:
        """Those of the other clip, its frames' with how they differ."""
        frames, words = fingerprints_of(self.clips, index)
        return (json.dumps([frames, *self.told]) if self.told else frames), words

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

    def fingerprints(self, index: int) -> tuple[str, str]:
        """The other clip's frames, and the attribute."""
        return fingerprints_of(self.clips, index)[0], json.dumps(self.captions(index))

    def captions(self, index: int) -> list[str]:
        """The attribute."""
        own = self.attributes(index)
        for things in list(own.values()):
            match things:
                case [dict() as first, *_]:  # objects, as worlds have them, and folders made from these
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


class CroppedClips(OtherClips):
    """The centred part [height, width] of each frame of other clips, at their own scale."""

    def __init__(self, clips: Clips, height: int, width: int) -> None:
        super().__init__(clips, "crop", height, width)
        self.size = height, width

    def frames(self, index: int) -> Tensor:
        """The middle of one clip, uint8 [F, height, width, 3]."""
        frames = self.clips.frames(index)
        spare = [side - part for side, part in zip(frames.shape[1:3], self.size, strict=True)]
        return crop(frames, (spare[0] // 2, spare[1] // 2), self.size)


class KeptClips(OtherClips):
    """Other clips, of which the last one's frames are kept: several crops of a clip cost one rendering."""

    def __init__(self, clips: Clips) -> None:
        super().__init__(clips)
        self.last: tuple[int, Tensor] | None = None

    def frames(self, index: int) -> Tensor:
        """The frames of one clip, uint8 [F, H, W, 3], not to be written to."""
        if self.last is None or self.last[0] != index:
            self.last = index, self.clips.frames(index)
        return self.last[1]


def crop(frames: Tensor, corner: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """The part of frames [F, H, W, 3] of this height and width whose first pixel has row and column `corner`."""
    (top, left), (height, width) = corner, size
    return frames[:, top : top + height, left : left + width].contiguous()


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
