"""Door 1: frames <-> video, and the only place that reads or writes video files.

    frames  uint8 [F, H, W, 3]  ->  video  float [B, 3, F, H, W] in [-1, 1]

Files are read as if a stranger had made them: by allow-list, within limits, and with one kind of error.
"""

import errno
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tubelet.errors import InputError, near_miss

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

SMALL = 256
ENLARGEMENT = 4
H264 = tuple[int, str]  # crf, pixel format
DEMUXERS = ("mov", "matroska", "avi", "gif")
DECODERS = (
    *("h264", "hevc", "libdav1d", "av1", "vp8", "vp9", "libvpx", "libvpx-vp9"),
    *("mpeg4", "mjpeg", "prores", "ffv1", "gif"),
)


@dataclass(frozen=True)
class Clip:
    """Decoded frames uint8 [F, H, W, 3], frames a second, and the text that the file carries."""

    frames: Tensor
    fps: float
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ReadLimits:
    """What one file may cost: pixels of a frame, frames, seconds, and bytes of decoded RGB.

    They are checked against the header before anything is decoded, and again at every frame: headers lie.
    """

    max_pixels: int = 3840 * 2160
    max_frames: int = 10_000
    max_seconds: float = 600.0
    max_bytes: int = 2 * 1024**3


def to_video(frames: Tensor) -> Tensor:
    """The float32 video [B, 3, F, H, W] in [-1, 1] of uint8 frames [F, H, W, 3] or [B, F, H, W, 3]."""
    if frames.dtype != torch.uint8 or frames.ndim not in (4, 5) or frames.shape[-1] != 3:
        raise InputError(
            f"frames are {frames.dtype} {list(frames.shape)}; expected uint8 [F, H, W, 3] or [B, F, H, W, 3]"
        )
    batch = frames if frames.ndim == 5 else frames[None]  # [B, F, H, W, 3]
    return batch.permute(0, 4, 1, 2, 3).float().div_(127.5).sub_(1).contiguous()  # [B, 3, F, H, W]


def to_frames(video: Tensor) -> Tensor:
    """The uint8 frames [B, F, H, W, 3] of a video [B, 3, F, H, W] in [-1, 1]: clamped, then rounded.

    to_frames(to_video(frames)) is exact. Raises ValueError on NaN, which has no colour.
    """
    if video.ndim != 5 or video.shape[1] != 3:
        raise InputError(f"a video is [B, 3, F, H, W]; this one is {list(video.shape)}")
    if video.isnan().any():
        raise ValueError("the video holds NaN: the network that made it has overflowed")
    levels = video.float().add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 4, 1).contiguous()  # [B, F, H, W, 3]


def read_video(path: str | Path, *, limits: ReadLimits = ReadLimits(), allow_partial: bool = False) -> Clip:
    """All frames of the first video stream of an mp4, mov, mkv, webm, avi or gif file.

    Frames come as they are stored: rotation and pixel-aspect notes in the file are ignored, alpha is dropped.
    Raises InputError naming the file when it is missing, of another format, over `limits`, changes its size
    midway, or is damaged; with `allow_partial`, a damaged file gives the frames before the damage, if any.
    """
    pixels, count, size = bytearray(), 0, (0, 0)
    with _opened(path, limits) as container:
        stream = _video_stream(path, container, limits)
        fps = float(stream.average_rate or stream.guessed_rate or 25)
        metadata = _metadata(container)
        try:
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise EOFError("a frame is corrupt")
                size = size if count else (frame.height, frame.width)
                if (frame.height, frame.width) != size:
                    raise InputError(
                        f"{path}: frame {count} is {frame.height} x {frame.width}, the first is {size[0]} x "
                        f"{size[1]}; re-encode the file at one size"
                    )
                count += 1
                _check(path, limits, *size, count, count / fps)
                pixels += frame.to_ndarray(format="rgb24").tobytes()
        except InputError:
            raise
        except Exception as error:  # PyAV raises at least eight kinds on damaged files
            if not (allow_partial and pixels):
                raise InputError(
                    f"{path} is damaged: {count} frames could be read ({_reason(error)}); "
                    "take the file again from its source"
                ) from error
    if not pixels:
        raise InputError(f"{path} holds no frames; take the file again from its source")
    frames = torch.frombuffer(pixels, dtype=torch.uint8)
    count = len(pixels) // (size[0] * size[1] * 3)
    return Clip(frames.view(count, *size, 3), fps, metadata)  # [F, H, W, 3]


def read_metadata(path: str | Path) -> dict[str, str]:
    """The text that a video, gif or png file carries: what `write_video` was given, and the format's own."""
    if Path(path).suffix.lower() == ".png":
        return read_sheet(path).metadata
    with _opened(path, ReadLimits()) as container:
        return _metadata(container)


def read_sheet(path: str | Path) -> Clip:
    """A png file as a clip of one frame [1, H, W, 3], with the text it carries. Raises InputError as `read_video`."""
    from PIL import Image, PngImagePlugin

    try:
        with Image.open(path, formats=("PNG",)) as image:
            _check(path, ReadLimits(), image.height, image.width, 1, 0.0)
            text = image.text if isinstance(image, PngImagePlugin.PngImageFile) else {}
            pixels = torch.frombuffer(bytearray(image.convert("RGB").tobytes()), dtype=torch.uint8)
            frames = pixels.view(1, image.height, image.width, 3)
            return Clip(frames, 1.0, {str(key): str(value) for key, value in text.items()})
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} is not a readable png file: {_reason(error)}; check the path") from error


def contact_sheet(frames: Tensor, columns: int | None = None, gap: int = 2) -> Tensor:
    """All frames [F, H, W, 3] on one white sheet uint8 [H', W', 3], row by row, `gap` pixels apart.

    `columns` defaults to the number that makes the sheet nearly square.
    """
    F, H, W, _ = frames.shape
    columns = min(F, columns or math.ceil(math.sqrt(F * H / W)))
    rows = math.ceil(F / columns)
    sheet = frames.new_full((rows * (H + gap) - gap, columns * (W + gap) - gap, 3), 255)
    for number, frame in enumerate(frames):
        top, left = number // columns * (H + gap), number % columns * (W + gap)
        sheet[top : top + H, left : left + W] = frame
    return sheet


def check_writable(path: str | Path) -> None:
    """Raise InputError where `write_video` would for the name alone; ask before hours of work."""
    path = Path(path)
    if path.suffix.lower() not in WRITERS:
        remedy = near_miss(path.suffix.lower(), tuple(WRITERS))
        raise InputError(f"{path}: no video can be written with the suffix {path.suffix!r}; {remedy}")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; create it with mkdir -p {path.parent}")


def write_video(
    path: str | Path,
    frames: Tensor,
    *,
    fps: float = 8.0,
    metadata: Mapping[str, str] | None = None,
    enlarge: bool = True,
    crf: int = 12,
    pixels: str = "yuv420p",
) -> None:
    """Write frames uint8 [F, H, W, 3] as .mp4 (h264), .gif (looped) or .png (contact sheet), by suffix.

    Small frames (short side under 256) are enlarged four times, pixel by pixel, unless `enlarge` is false:
    players and yuv420p blur them. An odd side of an mp4 gets its last row or column twice. `crf` is h264's
    quality, 0 best; `pixels` may be "yuv444p", which halves no colours and which not every player knows. A gif joins
    equal neighbours into one longer frame. Raises InputError for a name, size or rate that cannot be written. The
    file appears whole or not at all: a failed write raises OSError and leaves the old one.
    """
    path = Path(path)
    check_writable(path)
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not frames.numel():
        raise InputError(
            f"{path}: frames are {frames.dtype} {list(frames.shape)}; expected uint8 [F, H, W, 3], F > 0"
        )
    if not 0.01 <= fps <= 1000:
        raise InputError(f"{path}: fps is {fps}; expected 0.01 to 1000")
    frames = frames.cpu()
    if enlarge and min(frames.shape[1:3]) < SMALL:
        frames = frames.repeat_interleave(ENLARGEMENT, 1).repeat_interleave(ENLARGEMENT, 2)
    beside = path.absolute().with_name(f".{path.stem}.writing-{os.getpid()}{path.suffix}")
    try:
        WRITERS[path.suffix.lower()](beside, frames, fps, dict(metadata or {}), (crf, pixels))
        os.replace(beside, path)
    except OSError as error:
        remedy = "free some space" if error.errno == errno.ENOSPC else "choose another folder"
        raise OSError(
            error.errno,
            f"cannot write {path}: {_reason(error)}; {remedy}. What was there before is unchanged",
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def _write_mp4(file: Path, frames: Tensor, fps: float, metadata: dict[str, str], h264: H264) -> None:
    import av

    if any(side % 2 for side in frames.shape[1:3]):
        rows, columns = (torch.arange(side + side % 2).clamp(max=side - 1) for side in frames.shape[1:3])
        frames = frames[:, rows][:, :, columns]
    # Only with use_metadata_tags does mp4 keep keys of one's own.
    flags = {"movflags": "+faststart+use_metadata_tags"}
    with av.open(str(file), "w", format="mp4", container_options=flags) as container:
        container.metadata.update(metadata)
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = frames.shape[1:3]
        crf, stream.pix_fmt = h264
        # x264's macroblock tree reads memory that it never wrote (seen at widths that 256 does not divide).
        stream.options = {"crf": str(crf), "mbtree": "0"}
        coder = stream.codec_context
        coder.thread_count = 1  # the same bytes on every machine
        # BT.709, and said so: players guess differently where nothing is said.
        coder.colorspace = coder.color_primaries = coder.color_trc = coder.color_range = 1
        for frame in frames.numpy():
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture = picture.reformat(format=h264[1], dst_colorspace="itu709", dst_color_range="MPEG")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _write_gif(file: Path, frames: Tensor, fps: float, metadata: dict[str, str], h264: H264) -> None:
    from PIL import Image

    # One palette for the whole clip: a palette of its own per frame makes still things flicker.
    sample = frames[:, :: 1 + frames.shape[1] // 256, :: 1 + frames.shape[2] // 256].flatten(0, 1)
    palette = Image.fromarray(sample.numpy()).quantize(256)
    images = [Image.fromarray(frame.numpy()).quantize(palette=palette) for frame in frames]
    # gif counts in hundredths of a second: whole ones that add up to the right length.
    ends = [round(100 * number / fps) for number in range(len(images) + 1)]
    lengths = [10 * max(2, end - start) for start, end in pairwise(ends)]
    told = json.dumps(metadata)
    images[0].save(
        file, "GIF", save_all=True, append_images=images[1:], duration=lengths, loop=0, comment=told
    )


def _write_png(file: Path, frames: Tensor, fps: float, metadata: dict[str, str], h264: H264) -> None:
    from PIL import Image, PngImagePlugin

    text = PngImagePlugin.PngInfo()
    for key, value in metadata.items():
        text.add_itxt(key, value)
    Image.fromarray(contact_sheet(frames).numpy()).save(file, "PNG", pnginfo=text)


Writer = Callable[[Path, Tensor, float, dict[str, str], H264], None]
WRITERS: dict[str, Writer] = {".mp4": _write_mp4, ".gif": _write_gif, ".png": _write_png}


@contextmanager
def _opened(path: str | Path, limits: ReadLimits) -> "Iterator[InputContainer]":
    """The file as a container that can reach no other file and no network, whatever its bytes say."""
    import av

    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such file; check the path")
    # An open file instead of a name: "http://..." and "concat:..." are then names of files like any other.
    try:
        with open(path, "rb") as file:
            options = {
                "format_whitelist": ",".join(DEMUXERS),
                "protocol_whitelist": "none",
                "codec_whitelist": ",".join(DECODERS),
                "max_pixels": str(limits.max_pixels),  # opening decodes, too
            }
            with av.open(file, "r", metadata_errors="ignore", options=options) as container:
                yield container
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{path} is not a readable video ({_reason(error)}); expected mp4, mov, mkv, webm, avi or gif: "
            "convert it to mp4 (h264)"
        ) from error


def _video_stream(path: str | Path, container: "InputContainer", limits: ReadLimits) -> "VideoStream":
    if not container.streams.video:
        raise InputError(f"{path} holds no video stream; choose a file with pictures")
    stream = container.streams.video[0]
    decoder = stream.codec_context
    if decoder is None or decoder.name not in DECODERS:
        name = decoder.name if decoder else "unknown"
        raise InputError(f"{path} is coded as {name}, which is not read; convert it to mp4 (h264)")
    seconds = max(
        float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0,
        container.duration / 1_000_000 if container.duration else 0.0,
    )
    _check(path, limits, decoder.height, decoder.width, stream.frames, seconds)
    decoder.options = {"max_pixels": str(limits.max_pixels)}  # refused by the decoder before it allocates
    stream.thread_type = "NONE"  # starting threads costs more than a short clip
    return stream


def _check(path: str | Path, limits: ReadLimits, height: int, width: int, count: int, seconds: float) -> None:
    """Raise InputError, naming the limit, when frames of this size, number and length exceed one."""
    costs: dict[str, Any] = {
        "max_pixels": height * width,
        "max_frames": count,
        "max_seconds": seconds,
        "max_bytes": height * width * 3 * count,
    }
    for name, cost in costs.items():
        most = getattr(limits, name)
        if cost > most:
            raise InputError(
                f"{path}: {cost:,} is over {name} = {most:,} ({count} frames of {height} x {width}, "
                f"{seconds:.1f} s); cut or shrink the file, or raise {name} of ReadLimits"
            )


def _metadata(container: "InputContainer") -> dict[str, str]:
    """What the container carries; `write_video` keeps all keys as JSON in the one comment that a gif has."""
    metadata = dict(container.metadata)
    if container.format.name != "gif":
        return metadata
    try:
        inner = json.loads(metadata.get("comment", ""))
    except ValueError:
        return metadata
    return {str(key): str(value) for key, value in inner.items()} if isinstance(inner, dict) else metadata


def _reason(error: Exception) -> str:
    """The error's own words on one line, without the number and path that PyAV puts around them."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
