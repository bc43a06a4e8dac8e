"""Reading: every file is read as if a stranger had made it, within limits, or refused by name."""

import json
import socket
import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tubelet.errors import InputError
from tubelet.video import ReadLimits, read_metadata, read_video, write_video

RECIPE = json.dumps({"prompt": 'a "red" circle = ünï 🎞\n\\', "seed": 7})


def noise(F: int, H: int = 64, W: int = 64) -> Tensor:
    return torch.randint(0, 256, (F, H, W, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_one_frame_too_many_is_refused_before_and_while_decoding(tmp_path: Path):
    write_video(tmp_path / "a.mp4", noise(5), enlarge=False)
    for limits in (
        ReadLimits(max_frames=4),
        ReadLimits(max_pixels=64 * 64 - 1),
        ReadLimits(max_bytes=5 * 64 * 64 * 3 - 1),
        ReadLimits(max_seconds=0.5),
    ):
        with pytest.raises(InputError, match="is over max_"):
            read_video(tmp_path / "a.mp4", limits=limits)
    exact = ReadLimits(max_frames=5, max_pixels=64 * 64, max_bytes=5 * 64 * 64 * 3, max_seconds=0.625)
    assert len(read_video(tmp_path / "a.mp4", limits=exact).frames) == 5


def without_header_count(path: Path, frames: Tensor) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=8)
        stream.height, stream.width = frames.shape[1:3]
        for frame in frames.numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def test_the_limits_hold_where_the_header_says_nothing(tmp_path: Path):
    without_header_count(tmp_path / "a.mkv", noise(5))
    assert len(read_video(tmp_path / "a.mkv").frames) == 5
    with pytest.raises(InputError, match="max_frames"):
        read_video(tmp_path / "a.mkv", limits=ReadLimits(max_frames=4))
    with pytest.raises(InputError, match="max_bytes"):
        read_video(tmp_path / "a.mkv", limits=ReadLimits(max_bytes=50_000))


def test_a_size_that_changes_midway_is_refused(tmp_path: Path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("mjpeg", rate=8)
        stream.height = stream.width = 64
        stream.pix_fmt = "yuvj420p"
        other = av.CodecContext.create("mjpeg", "w")
        other.height, other.width, other.pix_fmt = 32, 48, "yuvj420p"
        other.time_base = Fraction(1, 8)
        for number, coder in enumerate((stream.codec_context, other)):
            picture = av.VideoFrame(coder.width, coder.height, "yuvj420p")
            picture.pts = number
            for packet in coder.encode(picture):
                packet.stream, packet.pts = stream, number
                container.mux(packet)
    with pytest.raises(InputError, match="frame 1 is 32 x 48, the first is 64 x 64"):
        read_video(tmp_path / "a.mkv")


def test_a_file_cut_short_says_how_much_could_be_read(tmp_path: Path):
    noise = torch.randint(
        0, 256, (9, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    write_video(tmp_path / "a.mp4", noise, enlarge=False)
    content = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(InputError, match=r"is damaged: \d frames could be read"):
        read_video(tmp_path / "a.mp4")
    assert 0 < len(read_video(tmp_path / "a.mp4", allow_partial=True).frames) < 9


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path):
    for path in (tmp_path, tmp_path / "absent.mp4", tmp_path / "absent.png"):
        with pytest.raises(InputError, match=path.name):
            read_video(path)
        with pytest.raises(InputError, match=path.name):
            read_metadata(path)


@pytest.fixture(scope="module")
def small_mp4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mutated") / "a.mp4"
    write_video(path, noise(3, 32, 32), enlarge=False, metadata={"tubelet": RECIPE})
    return path


@settings(max_examples=150, deadline=None)
@given(
    flips=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=12),
    keep=st.one_of(st.none(), st.integers(0, 4000)),
)
def test_no_mutation_raises_anything_but_an_input_error(
    small_mp4: Path, flips: list[tuple[int, int]], keep: int | None
):
    content = bytearray(small_mp4.read_bytes())
    for place, value in flips:
        content[place % len(content)] = value
    mutated = small_mp4.with_name("mutated.mp4")
    mutated.write_bytes(content[:keep])
    for read in (read_video, read_metadata):
        try:
            read(mutated)
        except InputError as error:
            assert mutated.name in str(error)


OUTCOMES = {
    "-dash-first.mp4": 20,
    "all_black.mp4": 50,
    "anim.gif": 10,
    "anim.png": "not a readable video",
    "anim.webp": "not a readable video",
    "audio_only.mp4": "no video stream",
    "av1.mp4": 10,
    "base_h264_96.mp4": 20,
    "bitflips_in_mdat.mp4": "damaged",
    "bitflips_in_moov.mp4": "not a readable video",
    "concat_script.mp4": "not a readable video",
    "edit_list_cut.mp4": 16,
    "extreme_aspect.mp4": 25,
    "faststart.mp4": 20,
    "ffv1.mkv": 10,
    "fps1000.mp4": 1000,
    "fps_half.mp4": 30,
    "fragmented.mp4": 20,
    "h264_10bit.mp4": 10,
    "h264_gray.mp4": 10,
    "h264_rgb_lossless.mp4": 10,
    "hdr_tags.mp4": 20,
    "hevc_10bit.mp4": 20,
    "huge_dims_header.mp4": 20,
    "huge_stsz_count.mp4": "not a readable video",
    "interlaced.mpg": "not a readable video",
    "long_gop_bframes.mp4": 20,
    "long_metadata.mp4": 20,
    "mjpeg.avi": 10,
    "name with spaces ünï 🎞.mp4": 20,
    "nonsquare_sar.mp4": 20,
    "odd_dims_444.mp4": 20,
    "only_ftyp.mp4": "not a readable video",
    "playlist_local_file.mp4": "not a readable video",
    "prores4444_alpha.mov": 10,
    "random_bytes.mp4": "not a readable video",
    "raw_annexb.h264": "not a readable video",
    "rotated180_meta.mp4": 20,
    "rotated90_meta.mp4": 20,
    "single_frame.mp4": 1,
    "subtitle_only.srt": "not a readable video",
    "text_named.mp4": "not a readable video",
    "tiny_16x16.mp4": 25,
    "truncated_faststart.mp4": "damaged",
    "truncated_fragmented.mp4": "damaged",
    "truncated_moov_at_end.mp4": "not a readable video",
    "two_video_streams.mp4": 20,
    "uhd_8k_flat.mp4": "max_pixels",
    "vfr.mp4": 25,
    "vp9_alpha.webm": 10,
    "wrong_extension.avi": 20,
    "zero_length.mp4": "not a readable video",
    "zero_timescale.mp4": "max_seconds",
    "zeroed_middle.mp4": "damaged: 0 frames",
}


def peak_memory() -> float:
    """The most bytes this process has held so far; 0 where the system does not say."""
    if not sys.platform.startswith("linux"):
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("name", sorted(OUTCOMES))
def test_a_hostile_file_is_read_or_refused_by_name(shared_data: Path, name: str):
    path, expected = shared_data / "hostile" / name, OUTCOMES[name]
    before = peak_memory()
    if isinstance(expected, int):
        assert len(read_video(path).frames) == expected
    else:
        with pytest.raises(InputError, match=expected) as raised:
            read_video(path)
        assert name in str(raised.value)
    assert peak_memory() - before < 200e6


def test_a_script_that_names_another_file_or_address_opens_neither(tmp_path: Path):
    write_video(tmp_path / "secret.mp4", noise(2))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.mp4"
        for name in ("secret.mp4", address):
            (tmp_path / "concat.mp4").write_text(f"ffconcat version 1.0\nfile {name}\n")
            (tmp_path / "list.mp4").write_text(
                f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{name}\n#EXT-X-ENDLIST\n"
            )
            for script in ("concat.mp4", "list.mp4"):
                with pytest.raises(InputError, match="not a readable video"):
                    read_video(tmp_path / script)
        with pytest.raises(BlockingIOError):
            server.accept()
