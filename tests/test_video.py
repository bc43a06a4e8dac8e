"""Door 1: frames and videos convert exactly; files are written whole, and read as if a stranger made them."""

import errno
import json
import os
from pathlib import Path

import av
import pytest
import torch
from torch import Tensor

from tubelet import video
from tubelet.errors import InputError
from tubelet.video import (
    contact_sheet,
    read_metadata,
    read_video,
    to_frames,
    to_video,
    write_video,
)

RECIPE = json.dumps({"prompt": 'a "red" circle = ünï 🎞\n\\', "seed": 7})


def moving_square(F: int = 5, H: int = 64, W: int = 64) -> Tensor:
    frames = torch.zeros(F, H, W, 3, dtype=torch.uint8)
    frames[:] = torch.tensor([200, 30, 40], dtype=torch.uint8)
    for number in range(F):
        frames[number, 8:24, 4 * number : 4 * number + 16] = torch.tensor([20, 180, 240], dtype=torch.uint8)
    return frames


def psnr(a: Tensor, b: Tensor) -> float:
    return float(10 * (255**2 / (a.float() - b.float()).square().mean()).log10())


# Frames and videos.


def test_every_level_survives_the_round_trip():
    frames = torch.arange(256, dtype=torch.uint8).repeat(3).view(2, 1, 16, 8, 3)
    assert torch.equal(to_frames(to_video(frames)), frames)


def test_a_video_is_channels_first_in_minus_one_to_one():
    frames = moving_square()
    pixels = to_video(frames)
    assert pixels.shape == (1, 3, 5, 64, 64) and pixels.dtype == torch.float32
    assert to_video(torch.tensor([[[[0, 255, 51]]]], dtype=torch.uint8)).flatten().tolist() == pytest.approx(
        [-1, 1, -0.6]
    )
    assert pixels[0, 1, 3, 10, 14] == frames[3, 10, 14, 1] / 127.5 - 1


def test_values_out_of_range_are_clamped_and_nan_is_refused():
    extremes = torch.tensor([-9.0, 9.0, float("inf")]).view(1, 3, 1, 1, 1)
    assert to_frames(extremes).flatten().tolist() == [0, 255, 255]
    with pytest.raises(ValueError, match="NaN"):
        to_frames(torch.full((1, 3, 1, 2, 2), float("nan")))


@pytest.mark.parametrize("wrong", [torch.zeros(5, 8, 8, 3), torch.zeros(5, 3, 8, 8, dtype=torch.uint8)])
def test_frames_of_another_type_or_shape_are_refused(wrong: Tensor):
    with pytest.raises(InputError, match="uint8"):
        to_video(wrong)


# Writing.


def test_an_mp4_is_enlarged_keeps_its_frames_rate_and_recipe(tmp_path: Path):
    frames = moving_square()
    write_video(tmp_path / "a.mp4", frames, fps=12.5, metadata={"tubelet": RECIPE, "comment": "mine"})
    clip = read_video(tmp_path / "a.mp4")
    assert clip.frames.shape == (5, 256, 256, 3) and clip.fps == 12.5
    assert clip.metadata["tubelet"] == RECIPE == read_metadata(tmp_path / "a.mp4")["tubelet"]
    assert clip.metadata["comment"] == "mine"
    assert psnr(clip.frames[:, ::4, ::4], frames) > 35


def test_an_mp4_plays_everywhere(tmp_path: Path):
    write_video(tmp_path / "a.mp4", moving_square())
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.video[0].pix_fmt == "yuv420p"


def test_the_same_clip_gives_the_same_bytes(tmp_path: Path):
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, moving_square(), metadata={"tubelet": RECIPE})
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_flat_colours_come_back_as_they_were(tmp_path: Path):
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 128, 128]], dtype=torch.uint8)
    frames = colours[:, None, None].expand(-1, 64, 64, -1).contiguous()
    write_video(tmp_path / "a.mp4", frames)
    assert (read_video(tmp_path / "a.mp4").frames[:, ::4, ::4].int() - frames.int()).abs().max() <= 4


@pytest.mark.parametrize(("size", "stored"), [((33, 47), (34, 48)), ((1, 1), (2, 2)), ((64, 64), (64, 64))])
def test_without_enlarging_only_odd_sides_grow(
    tmp_path: Path, size: tuple[int, int], stored: tuple[int, int]
):
    write_video(tmp_path / "a.mp4", moving_square(3, *size), enlarge=False)
    assert tuple(read_video(tmp_path / "a.mp4").frames.shape[1:3]) == stored


def test_large_frames_are_not_enlarged(tmp_path: Path):
    write_video(tmp_path / "a.mp4", moving_square(2, 256, 320))
    assert read_video(tmp_path / "a.mp4").frames.shape == (2, 256, 320, 3)


def test_a_gif_loops_and_keeps_its_length_and_recipe(tmp_path: Path):
    write_video(tmp_path / "a.gif", moving_square(), fps=8, metadata={"tubelet": RECIPE * 20})
    clip = read_video(tmp_path / "a.gif")
    assert clip.frames.shape == (5, 256, 256, 3) and clip.fps == pytest.approx(8, rel=0.05)
    assert clip.metadata == {"tubelet": RECIPE * 20} == read_metadata(tmp_path / "a.gif")
    assert psnr(clip.frames[:, ::4, ::4], moving_square()) > 35
    assert b"NETSCAPE2.0" in (tmp_path / "a.gif").read_bytes()


def test_a_png_is_an_exact_contact_sheet_with_the_recipe(tmp_path: Path):
    from PIL import Image

    write_video(tmp_path / "a.png", moving_square(), metadata={"tubelet": RECIPE})
    assert read_metadata(tmp_path / "a.png") == {"tubelet": RECIPE}
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (3 * 256 + 4, 2 * 256 + 2)
        assert image.getpixel((0, 0)) == (200, 30, 40) and image.getpixel((257, 0)) == (255, 255, 255)


def test_a_contact_sheet_holds_every_frame_in_order():
    frames = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 4, 6, 3)
    sheet = contact_sheet(frames, columns=2, gap=1)
    assert sheet.shape == (3 * 5 - 1, 2 * 7 - 1, 3)
    assert [int(sheet[5 * (n // 2), 7 * (n % 2), 0]) for n in range(6)] == [0, 1, 2, 3, 4, 255]
    assert contact_sheet(frames, columns=9, gap=0).shape == (4, 30, 3)


@pytest.mark.parametrize("name", ["a.mp5", "a", "a.webm"])
def test_an_unknown_suffix_names_the_known_ones(tmp_path: Path, name: str):
    with pytest.raises(InputError, match=r"\.mp4"):
        write_video(tmp_path / name, moving_square())


def test_what_cannot_be_written_says_so(tmp_path: Path):
    with pytest.raises(InputError, match="mkdir"):
        write_video(tmp_path / "absent" / "a.mp4", moving_square())
    with pytest.raises(InputError, match="fps"):
        write_video(tmp_path / "a.mp4", moving_square(), fps=float("nan"))
    with pytest.raises(InputError, match="uint8"):
        write_video(tmp_path / "a.mp4", moving_square().float())
    with pytest.raises(InputError, match="F > 0"):
        write_video(tmp_path / "a.mp4", moving_square()[:0])
    (tmp_path / "b.mp4").mkdir()
    with pytest.raises(OSError, match=r"cannot write .*b\.mp4"):
        write_video(tmp_path / "b.mp4", moving_square())
    assert [file.name for file in tmp_path.iterdir()] == ["b.mp4"]


@pytest.mark.parametrize("suffix", sorted(video.WRITERS))
def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str):
    path = tmp_path / f"a{suffix}"
    write_video(path, moving_square())
    before = path.read_bytes()
    write = video.WRITERS[suffix]

    def full(*arguments):
        write(*arguments)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(video.WRITERS, suffix, full)
    with pytest.raises(OSError, match=r"No space left on device; free some space") as raised:
        write_video(path, moving_square(9))
    assert raised.value.errno == errno.ENOSPC
    assert path.read_bytes() == before and os.listdir(tmp_path) == [path.name]


def test_names_that_mean_something_to_ffmpeg_are_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("-y.mp4", "pipe:1.mp4", "%03d.mp4", "ünï 🎞.mp4"):
        write_video(name, moving_square(2))
        assert len(read_video(name).frames) == 2
    with pytest.raises(InputError, match="no such file"):
        read_video("http://localhost:9/a.mp4")
