"""An ordinary folder of clips: read with its captions, split by source, and refused line by line."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tubelet.data import hashes
from tubelet.data.clips import FolderClips, write_clips
from tubelet.data.hashes import hashes_of
from tubelet.errors import InputError
from tubelet.video import write_video


class FlatClips:
    """Clips of one colour each."""

    fps = 12.5
    fingerprint = "flat"

    def __init__(self, count: int, F: int = 5, H: int = 32, W: int = 48) -> None:
        self.count, self.size = count, (F, H, W)

    def __len__(self) -> int:
        return self.count

    def frames(self, index: int) -> Tensor:
        return torch.full((*self.size, 3), 10 * index, dtype=torch.uint8)

    def captions(self, index: int) -> list[str]:
        return [f"grey number {index}", f"ünï {index}"]

    def attributes(self, index: int) -> dict[str, Any]:
        return {"level": 10 * index, "source": f"film {index // 3}"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips") / "flat"
    write_clips(FlatClips(12), folder)
    return folder


def folder_of(tmp_path: Path, *lines: str | dict[str, Any]) -> Path:
    """A folder with one clip a.mp4 and these lines."""
    write_video(tmp_path / "a.mp4", FlatClips(1).frames(0), enlarge=False)
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (tmp_path / "metadata.jsonl").write_text("\n".join(text) + "\n", encoding="utf-8")
    return tmp_path


def test_what_is_written_is_read(written: Path):
    flat, clips = FlatClips(12), FolderClips(written)
    assert len(clips) == 12 and clips.fps == 12.5 and clips.shape == (5, 32, 48)
    for index in (0, 11):
        assert (clips.frames(index).int() - flat.frames(index).int()).abs().max() <= 2
        assert clips.captions(index) == flat.captions(index)
        assert clips.attributes(index) == flat.attributes(index)


def test_writing_tells_its_progress_and_keeps_out_of_full_folders(tmp_path: Path, written: Path):
    told = []
    write_clips(FlatClips(3), tmp_path / "new" / "folder", progress=told.append)
    assert told == [1, 2, 3]
    before = (written / "metadata.jsonl").read_bytes()
    for folder in (written, written / "metadata.jsonl"):
        with pytest.raises(InputError, match="not an empty folder"):
            write_clips(FlatClips(3), folder)
    assert (written / "metadata.jsonl").read_bytes() == before


def test_an_interrupted_writing_is_no_folder_of_clips(tmp_path: Path):
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_clips(FlatClips(3), tmp_path, progress=stop)
    with pytest.raises(InputError, match=r"metadata\.jsonl is missing"):
        FolderClips(tmp_path)


def test_the_splits_share_no_source_and_leave_nothing_out(written: Path):
    def sources(clips: FolderClips) -> list[str]:
        return [clips.attributes(index)["source"] for index in range(len(clips))]

    train, held_out = (sources(FolderClips(written, split, held_out=0.5)) for split in ("train", "held_out"))
    assert train and held_out and not set(train) & set(held_out)
    assert sorted(train + held_out) == sorted(sources(FolderClips(written)))
    assert len(FolderClips(written, "train", held_out=0.0)) == 12


def test_new_clips_do_not_move_old_ones_to_the_other_split(tmp_path: Path):
    lines = [{"file_name": "a.mp4", "caption": "a", "source": f"film {number}"} for number in range(40)]

    def held_out() -> list[str]:
        clips = FolderClips(tmp_path, "held_out", held_out=0.3)
        return [clips.attributes(index)["source"] for index in range(len(clips))]

    folder_of(tmp_path, *lines[:20])
    before = held_out()
    folder_of(tmp_path, *reversed(lines))
    assert set(before) == {source for source in held_out() if int(source.split()[1]) < 20}
    assert 4 <= len(held_out()) <= 20


def test_the_fingerprint_follows_the_content_not_the_place(tmp_path: Path, written: Path):
    import shutil

    first = FolderClips(written).fingerprint
    moved = tmp_path / "moved"
    shutil.copytree(written, moved)
    assert FolderClips(moved).fingerprint == first
    others = [
        FolderClips(moved, split, share) for split, share in (("train", 0.5), ("all", 0.5), ("held_out", 0.5))
    ]
    write_video(
        moved / "train/00003.mp4", FlatClips(9).frames(7) + torch.arange(48)[:, None].byte(), enlarge=False
    )
    others.append(FolderClips(moved))
    with open(moved / "metadata.jsonl", "a") as file:
        file.write('{"file_name": "train/00000.mp4", "caption": "twice"}\n')
    others.append(FolderClips(moved))
    assert len({first, *(clips.fingerprint for clips in others)}) == 6


def test_clips_replaced_by_others_of_equal_size_and_time_are_others(tmp_path: Path):
    lines = [{"file_name": name, "caption": "x"} for name in ("a.mp4", "b.mp4")]
    folder = folder_of(tmp_path, *lines)
    file = folder / "b.mp4"
    write_video(file, FlatClips(3).frames(2), enlarge=False)
    before, clips = file.stat(), FolderClips(folder)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size and file.stat().st_mtime_ns == before.st_mtime_ns
    again = FolderClips(folder)
    assert again.fingerprint != clips.fingerprint
    assert again.fingerprints(0) == clips.fingerprints(0) and again.fingerprints(1) != clips.fingerprints(1)


def test_a_file_is_hashed_once_and_nothing_is_written_beside_it(tmp_path: Path, monkeypatch):
    memory, folder = tmp_path / "memory", tmp_path / "clips"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_bytes(name.encode())
    os.utime(folder / "a", (0, 0))
    wanted = [hashlib.sha256(name.encode()).hexdigest() for name in ("a", "b", "a")]
    assert hashes_of(folder, ["a", "b", "a"], memory) == wanted
    assert (
        not list(memory.glob("*.json")) or "{}" in next(memory.glob("*.json")).read_text()
    )  # too new to be sure
    monkeypatch.setattr(hashes, "SETTLED", -60.0)
    assert hashes_of(folder, ["a", "b"], memory) == wanted[:2]
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert hashes_of(folder, ["b", "a"], memory) == [wanted[1], wanted[0]]
    monkeypatch.undo()
    (folder / "b").write_bytes(b"c")
    assert hashes_of(folder, ["a", "b"], memory) == [wanted[0], hashlib.sha256(b"c").hexdigest()]
    for nonsense in (b"", b"[1", b"[]", b'{"a": 3}', b'{"a": [1, 2, 3, 4, 5]}'):
        next(memory.glob("*.json")).write_bytes(nonsense)
        assert hashes_of(folder, ["a"], memory) == wanted[:1]
    assert hashes_of(folder, ["a"], folder / "a") == wanted[:1]  # no folder, where nothing can be written
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b"] and len(list(memory.iterdir())) == 1


def test_a_caption_is_enough_and_blank_lines_are_passed_over(tmp_path: Path):
    clips = FolderClips(folder_of(tmp_path, "", {"file_name": "a.mp4", "caption": "a grey clip"}, "  "))
    assert len(clips) == 1 and clips.captions(0) == ["a grey clip"] and clips.attributes(0) == {}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "line 2 is not JSON"),
        ("[" * 100_000, "line 2 is not JSON"),
        ("3", "line 2: expected an object"),
        ({"caption": "x"}, "line 2: file_name is missing"),
        ({"file_name": 3, "caption": "x"}, "line 2: file_name is missing"),
        ({"file_name": "../a.mp4", "caption": "x"}, "line 2: .*leaves the folder"),
        ({"file_name": "b/../../a.mp4", "caption": "x"}, "line 2: .*leaves the folder"),
        ({"file_name": "/etc/passwd", "caption": "x"}, "line 2: .*leaves the folder"),
        ({"file_name": "..\\a.mp4", "caption": "x"}, "line 2: .*leaves the folder"),
        ({"file_name": "a.mp4"}, "line 2: expected caption"),
        ({"file_name": "a.mp4", "caption": 3}, "line 2: expected caption"),
        ({"file_name": "a.mp4", "captions": []}, "line 2: expected caption"),
        ({"file_name": "a.mp4", "captions": "x"}, "line 2: expected caption"),
        ({"file_name": "b.mp4", "caption": "x"}, r"b\.mp4 is missing"),
        ({"file_name": "a\0.mp4", "caption": "x"}, "is missing"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str | dict[str, Any], fault: str):
    folder = folder_of(tmp_path, {"file_name": "a.mp4", "caption": "good"}, line)
    with pytest.raises(InputError, match=fault):
        FolderClips(folder)


def test_a_line_that_is_not_utf8_is_named(tmp_path: Path):
    folder = folder_of(tmp_path, {"file_name": "a.mp4", "caption": "good"})
    with open(folder / "metadata.jsonl", "ab") as file:
        file.write(b'{"file_name": "a.mp4", "caption": "\xff"}\n')
    with pytest.raises(InputError, match="line 2 is not JSON"):
        FolderClips(folder)


def test_a_folder_that_is_none_says_what_is_missing(tmp_path: Path):
    with pytest.raises(InputError, match="no such folder"):
        FolderClips(tmp_path / "absent")
    with pytest.raises(InputError, match=r"metadata\.jsonl is missing"):
        FolderClips(tmp_path)
    with pytest.raises(InputError, match="names no clips"):
        FolderClips(folder_of(tmp_path, ""))


def test_an_impossible_split_is_refused(written: Path):
    with pytest.raises(InputError, match="did you mean 'train'"):
        FolderClips(written, "trian")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="held_out is 1.5"):
        FolderClips(written, held_out=1.5)
    with pytest.raises(InputError, match="none of its 12 clips"):
        FolderClips(written, "held_out", held_out=0.0)


@pytest.mark.parametrize("size", [(4, 32, 48), (5, 48, 32)])
def test_a_clip_of_another_size_is_named(tmp_path: Path, size: tuple[int, int, int]):
    lines = [{"file_name": name, "caption": "x"} for name in ("a.mp4", "b.mp4")]
    folder = folder_of(tmp_path, *lines)
    write_video(folder / "b.mp4", FlatClips(1, *size).frames(0), enlarge=False)
    clips = FolderClips(folder)
    assert clips.frames(0).shape == (5, 32, 48, 3)
    with pytest.raises(InputError, match=r"b\.mp4 is .* the folder's first clip is 5 x 32 x 48"):
        clips.frames(1)


def test_real_clips_are_read(shared_data: Path):
    train, held_out = (FolderClips(shared_data / "drone_sky", split) for split in ("train", "held_out"))
    assert len(train) + len(held_out) == 3220 and train.shape == (17, 64, 64)
    assert 0.01 < len(held_out) / 3220 < 0.15
    for index in (0, 7, len(held_out) - 1):
        assert held_out.frames(index).shape == (17, 64, 64, 3)
        assert len(held_out.captions(index)) == 1
        assert {"label", "motion", "sensor", "source"} <= held_out.attributes(index).keys()
