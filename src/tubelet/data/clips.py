"""Clips: what training sees, wherever they come from; and the ordinary folder that holds them.

folder/metadata.jsonl    one line a clip: {"file_name": "train/00000.mp4", "caption": "...", anything else}
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Protocol, get_args

import numpy as np
from torch import Tensor

from tubelet.data.hashes import hashes_of
from tubelet.errors import InputError, near_miss
from tubelet.video import read_video, write_video

METADATA = "metadata.jsonl"
Split = Literal["train", "held_out", "all"]


class Clips(Protocol):
    """Clips of one size [F, H, W] and rate `fps`; `fingerprint` changes with anything that they yield.

    They may have a method `fingerprints(index)`, see `fingerprints_of`.
    """

    fingerprint: str
    fps: float

    def __len__(self) -> int:
        """How many there are."""
        ...

    def frames(self, index: int) -> Tensor:
        """The frames of one clip, uint8 [F, H, W, 3]."""
        ...

    def captions(self, index: int) -> list[str]:
        """All that may be said of it; the first is the usual one."""
        ...

    def attributes(self, index: int) -> dict[str, Any]:
        """What else is known of it."""
        ...


def fingerprints_of(clips: Clips, index: int) -> tuple[str, str]:
    """Of one clip's frames, and of its captions: each changes with what it stands for.

    Clips that cannot tell are functions of their fingerprint and the number.
    """
    own = getattr(clips, "fingerprints", None)
    return own(index) if own else (f"{clips.fingerprint} {index}", f"{clips.fingerprint} {index}")


class FolderClips:
    """A folder of equal-sized video files with metadata.jsonl.

    Lines have file_name (relative, with /), caption (a string) or captions (a list); other fields are
    attributes. Where `captioned` is false a line needs no caption.

    About the share `held_out` of the clips is kept from training, chosen by a hash of the field
    `source` where there is one, so that the clips of one source never straddle the split, else of file_name;
    clips added later move no others. Raises InputError naming the line or file that is missing, malformed or
    of another size.
    """

    def __init__(
        self, folder: str | Path, split: Split = "all", held_out: float = 0.05, captioned: bool = True
    ) -> None:
        if split not in get_args(Split):
            raise InputError(f"split {split!r} is unknown; {near_miss(split, get_args(Split))}")
        if not 0 <= held_out <= 1:
            raise InputError(f"held_out is {held_out}; expected a share from 0 to 1")
        self.folder = Path(folder)
        content = _content(self.folder)
        lines = list(_lines(self.folder / METADATA, content, captioned))
        hashes = _hashes(self.folder, [line["file_name"] for line in lines])
        first = read_video(self.folder / lines[0]["file_name"])
        self.fps = first.fps
        self.shape = tuple(first.frames.shape[:3])  # F, H, W
        kept = [i for i, line in enumerate(lines) if split == "all" or _split(line, held_out) == split]
        self._lines, self._hashes = [lines[i] for i in kept], [hashes[i] for i in kept]
        if not self._lines:
            raise InputError(
                f"{self.folder}: none of its {len(lines)} clips is in the split {split!r} with held_out = "
                f"{held_out}; choose another share, or add clips of other sources"
            )
        told = json.dumps([hashlib.sha256(content).hexdigest(), hashes, split, held_out])
        self.fingerprint = hashlib.sha256(told.encode()).hexdigest()

    def __len__(self) -> int:
        """How many clips the split holds."""
        return len(self._lines)

    def frames(self, index: int) -> Tensor:
        """The frames of one clip, uint8 [F, H, W, 3], all of the folder's first clip's size."""
        file = self.folder / self._lines[index]["file_name"]
        frames = read_video(file).frames
        if tuple(frames.shape[:3]) != self.shape:
            raise InputError(
                f"{file} is {_times(frames.shape[:3])} (frames x height x width), the folder's first clip is "
                f"{_times(self.shape)}; bring all clips to one size, or move this one elsewhere"
            )
        return frames

    def captions(self, index: int) -> list[str]:
        """The caption, or all captions, of one clip."""
        line = self._lines[index]
        return list(line["captions"]) if "captions" in line else [line["caption"]]

    def fingerprints(self, index: int) -> tuple[str, str]:
        """Hashes of a clip's file and of its captions."""
        return self._hashes[index], json.dumps(self.captions(index))

    def attributes(self, index: int) -> dict[str, Any]:
        """The fields of its line other than file_name, truth, caption and captions."""
        own = ("file_name", "truth", "caption", "captions")
        return {key: value for key, value in self._lines[index].items() if key not in own}

    def truth(self, index: int, dense: bool = False) -> dict[str, np.ndarray]:
        """All arrays of the file that its line names as truth; InputError where it names none."""
        line = self._lines[index]
        if "truth" not in line:
            raise InputError(
                f"{self.folder}: {line['file_name']} names no truth; write the folder with `tubelet world --truth`"
            )
        try:
            with np.load(self.folder / line["truth"]) as held:
                return dict(held)
        except Exception as error:  # of zip, zlib or numpy: there are many kinds of damage
            raise InputError(
                f"{self.folder / line['truth']} is not an .npz of arrays ({error}); write the folder anew"
            ) from error


def write_clips(
    clips: Clips,
    folder: str | Path,
    *,
    part: str = "train",
    truth: bool = False,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write clips as a folder that `FolderClips` reads: PART/00000.mp4 ... and, last of all, metadata.jsonl.

    The files are h264 at their own size, yuv444p: nearly, not exactly, the same pixels. `truth`: beside each clip also
    PART/00000.npz, which its line names, with all arrays that a world knows of it. `progress` is called with the number
    of clips written so far. Raises InputError when `folder` holds anything already, or where there is no truth.
    """
    told = truth_of(clips) if truth else None
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not an empty folder; choose a new one, or empty it")
    (folder / part).mkdir(parents=True, exist_ok=True)
    lines = []
    for index in range(len(clips)):
        name = f"{part}/{index:05d}.mp4"
        write_video(folder / name, clips.frames(index), fps=clips.fps, enlarge=False, crf=4, pixels="yuv444p")
        captions = clips.captions(index)
        line = {**clips.attributes(index), "file_name": name, "caption": captions[0], "captions": captions}
        if told is not None:
            line["truth"] = f"{part}/{index:05d}.npz"
            np.savez_compressed(folder / line["truth"], **told(index, dense=True))
        lines.append(json.dumps(line) + "\n")
        if progress is not None:
            progress(index + 1)
    beside = folder / f".{METADATA}"
    beside.write_text("".join(lines), encoding="utf-8")
    os.replace(beside, folder / METADATA)


def truth_of(clips: Clips) -> Callable[..., dict[str, Any]]:
    """The clips' `truth(index, dense=)`: arrays by name, dense ones too if asked; InputError where they have none."""
    found = getattr(clips, "truth", None)
    if found is None:
        raise InputError(
            "these clips have no truth; take those of a world that keeps it, or a folder that `tubelet world "
            "--truth` wrote"
        )
    return found


def _content(folder: Path) -> bytes:
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder of clips; check the path")
    if not (folder / METADATA).is_file():
        raise InputError(
            f"{folder / METADATA} is missing; write a line such as "
            '{"file_name": "a.mp4", "caption": "..."} for each clip'
        )
    return (folder / METADATA).read_bytes()


def _lines(file: Path, content: bytes, captioned: bool) -> Iterator[dict[str, Any]]:
    """The lines of metadata.jsonl, each checked; blank ones are passed over."""
    empty = True
    for number, text in enumerate(content.splitlines(), start=1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{file} line {number} is not JSON ({error}); mend or delete the line"
            ) from error
        fault = _fault(line, captioned)
        if fault:
            raise InputError(f"{file} line {number}: {fault}")
        empty = False
        yield line
    if empty:
        raise InputError(f"{file} names no clips; write one line for each")


def _fault(line: Any, captioned: bool) -> str | None:
    """What is wrong with a line, and the remedy."""
    if not isinstance(line, dict):
        return 'expected an object such as {"file_name": "a.mp4", "caption": "..."}'
    name = line.get("file_name")
    if not isinstance(name, str) or not name:
        return "file_name is missing; name the clip's file, relative to the folder"
    for key in ("file_name", "truth"):
        if key in line and _leaves(line[key]):
            return f"{key} {line[key]!r} leaves the folder; move the file into it and name it relative to the folder"
    if not captioned:
        return None
    captions = line.get("captions", [line.get("caption")])
    if not isinstance(captions, list) or not captions or not all(isinstance(c, str) for c in captions):
        return "expected caption (a string) or captions (a list of strings); add one"
    return None


def _leaves(name: Any) -> bool:
    """Whether a name is none of a file in the folder."""
    path = PurePosixPath(str(name).replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or Path(str(name)).is_absolute()


def _hashes(folder: Path, names: list[str]) -> list[str]:
    """The sha256 of each file; InputError for the first that is not there."""
    for name in names:
        try:
            (folder / name).stat()
        except (OSError, ValueError) as error:
            raise InputError(
                f"{folder / name} is missing, but {METADATA} names it; put it back, or delete its line"
            ) from error
    return hashes_of(folder, names)


def _split(line: dict[str, Any], held_out: float) -> str:
    key = str(line.get("source", line["file_name"]))
    place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / 2**64
    return "held_out" if place < held_out else "train"


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape)
