"""`tubelet world` writes folders that read back as they were rendered, with the truth beside them."""

import json

import numpy as np
import pytest

from tubelet.cli import main
from tubelet.data.clips import FolderClips, truth_of
from tubelet.errors import InputError
from tubelet.worlds import world_of
from tubelet.worlds.depth.clips import DepthClips
from tubelet.worlds.depth.config import DepthConfig

SMALL = ["--num-frames", "3", "--height", "32", "--width", "48", "--count", "4"]


def psnr(one, other) -> float:
    return 10 * np.log10(255**2 / np.square(one.numpy().astype(float) - other.numpy()).mean())


@pytest.mark.parametrize("kind", ["shapes", "depth"])
def test_a_written_folder_reads_back_nearly_as_it_was_rendered(tmp_path, kind):
    """Halved colours would cost 10 to 16 dB more: 33 to 39 dB."""
    main(["world", "--kind", kind, "--out", str(tmp_path / "clips"), *SMALL])
    clips, read = world_of(kind).config(num_frames=3, height=32, width=48), FolderClips(tmp_path / "clips")
    clips = world_of(kind).clips(clips, 4, "train")
    assert len(read) == 4 and read.fps == clips.fps
    for i in range(4):
        assert read.captions(i) == clips.captions(i) and read.attributes(i) == clips.attributes(i)
        assert psnr(read.frames(i), clips.frames(i)) > 42


def test_truth_lies_beside_the_clips_in_a_folder_named_by_the_split(tmp_path):
    main(
        [
            "world",
            "--kind",
            "depth",
            "--split",
            "held_out",
            "--truth",
            "--out",
            str(tmp_path / "clips"),
            *SMALL,
        ]
    )
    files = sorted(path.name for path in (tmp_path / "clips" / "held_out").iterdir())
    assert files == [f"{i:05d}.{end}" for i in range(4) for end in ("mp4", "npz")]
    assert not (tmp_path / "clips" / "train").exists()
    read, rendered = FolderClips(tmp_path / "clips"), DepthClips(
        DepthConfig(num_frames=3, height=32, width=48), 4, "held_out"
    )  # fmt: skip
    for i in range(4):
        held, told = truth_of(read)(i), truth_of(rendered)(i, dense=True)
        assert held.keys() == told.keys() and {"ids", "depth", "position"} <= held.keys()
        assert all(np.array_equal(held[name], told[name]) for name in held)
    assert "truth" not in read.attributes(0)


def test_truth_of_what_has_none_is_refused_with_the_remedy(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["world", "--truth", "--out", str(tmp_path / "clips"), *SMALL])
    assert stopped.value.code == 2 and not (tmp_path / "clips").exists()
    assert capsys.readouterr().err.endswith("give --kind depth, or leave it out\n")
    main(["world", "--out", str(tmp_path / "clips"), *SMALL])
    with pytest.raises(InputError, match=r"00001\.mp4 names no truth; .*--truth"):
        FolderClips(tmp_path / "clips").truth(1)
    with pytest.raises(InputError, match="have no truth"):
        truth_of(world_of("shapes").clips(world_of("shapes").config(), 1, "train"))


@pytest.mark.parametrize("content", [b"", b"PK no zip", b"\x93NUMPY"])
def test_damaged_truth_is_said(tmp_path, content):
    main(["world", "--kind", "depth", "--truth", "--out", str(tmp_path / "clips"), *SMALL])
    (tmp_path / "clips/train/00000.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"00000\.npz is not an \.npz of arrays"):
        FolderClips(tmp_path / "clips").truth(0)


@pytest.mark.parametrize("name", ["../secret.npz", "/etc/passwd", "..\\secret.npz"])
def test_truth_outside_the_folder_is_refused(tmp_path, name):
    main(["world", "--out", str(tmp_path / "clips"), *SMALL])
    file = tmp_path / "clips" / "metadata.jsonl"
    lines = [json.loads(line) | {"truth": name} for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError, match="line 1: truth .* leaves the folder"):
        FolderClips(tmp_path / "clips")


@pytest.mark.parametrize(
    ("flags", "words"),
    [(["--kind", "dept"], "did you mean 'depth'"), (["--split", "heldout"], "did you mean 'held_out'")],
)
def test_what_is_unknown_ends_with_exit_code_2_and_the_near_miss(tmp_path, capsys, flags, words):
    with pytest.raises(SystemExit) as stopped:
        main(["world", "--out", str(tmp_path / "clips"), *SMALL, *flags])
    assert stopped.value.code == 2 and words in capsys.readouterr().err
