"""What a written video says of itself: the recipe of its batch, its place there, and the hash of its frames.

It travels as JSON in the file's metadata and is read as if a stranger had written it.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from tubelet.diffusion.guidance import MAX_WEIGHT, RANGES
from tubelet.errors import InputError
from tubelet.sampling.recipe import SEED_RANGE, Recipe
from tubelet.video import WRITERS, read_metadata

KEY = "tubelet"
MAX_CHARACTERS = 2**20


@dataclass(frozen=True, kw_only=True)
class Record:
    """recipe: of the batch of videos made together, of which this is number `video`.

    frames_sha256 is that of the uint8 frames [F, H, W, 3] before they were encoded; writer names the library that
    encoded them. What files of an older tubelet lack is None.
    """

    recipe: Recipe
    video: int
    fps: float | None = None
    writer: str | None = None
    frames_sha256: str | None = None

    @classmethod
    def of(cls, recipe: Recipe, video: int, frames: Tensor, fps: float, suffix: str) -> Self:
        """Of frames uint8 [F, H, W, 3], the video of that number of a recipe, which may make many batches."""
        batch, place = recipe.batch_of(video)
        sha256, writer = sha256_of(frames), writer_of(suffix)
        return cls(recipe=batch, video=place, fps=fps, writer=writer, frames_sha256=sha256)

    def metadata(self) -> dict[str, str]:
        """What `read_record` reads: one flat JSON object."""
        fields = dataclasses.asdict(self)
        return {KEY: json.dumps({**fields.pop("recipe"), **fields})}


def sha256_of(frames: Tensor) -> str:
    """The sha256 of uint8 frames, row by row."""
    return hashlib.sha256(frames.contiguous().numpy().tobytes()).hexdigest()


def writer_of(suffix: str) -> str:
    """The library and version that encode files of this suffix, such as "av 18.1.0"."""
    library = "av" if suffix.lower() == ".mp4" else "pillow"
    return f"{library} {version(library)}"


def read_record(file: str | Path) -> Record:
    """The record that a video carries. InputError where there is none, or where one cannot be trusted or understood."""
    file = Path(file)
    if not file.is_file():
        raise InputError(f"{file}: there is no such file; check the path")
    if file.suffix.lower() not in WRITERS:
        raise InputError(
            f"{file}: tubelet writes no files ending in {file.suffix!r}; give a {', '.join(WRITERS)}"
        )
    text = read_metadata(file).get(KEY)
    if text is None:
        raise InputError(
            f"{file} carries no recipe; only videos written by tubelet do, and programs that convert them drop it: "
            "give the file as `tubelet generate` wrote it"
        )
    return _parsed(file, text)


def _parsed(file: Path, text: str) -> Record:
    refused, remedy = f"{file}: its recipe cannot be used", "take the file again from its source"
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"{refused}: {len(text):,} characters are over {MAX_CHARACTERS:,}; {remedy}")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(f"{refused}: it is damaged, no JSON; {remedy}") from None
    if not isinstance(fields, dict):
        raise InputError(f"{refused}: it is no JSON object; {remedy}")
    unknown = sorted(fields.keys() - FIELDS.keys())
    fields = {name: value for name, value in fields.items() if value is not None}
    for name, (expected, fits, may_lack) in FIELDS.items():
        if not (fits(fields[name]) if name in fields else may_lack):
            found = _short(fields[name]) if name in fields else "missing"
            raise InputError(f"{refused}: {name} is {found}, expected {expected}; {remedy}")
    if unknown:
        raise InputError(
            f"{refused}: this tubelet does not know {_short(unknown)}; "
            f"replay it with the one that wrote it, tubelet {fields['version']}"
        )
    counts = {
        name: len(fields[name]) for name in PER_VIDEO if fields.get(name)
    }  # there may be no compositions
    own = {name: fields.pop(name, None) for name in ("video", "fps", "writer", "frames_sha256")}
    if len(set(counts.values())) != 1 or own["video"] >= counts["prompts"]:
        raise InputError(f"{refused}: video {own['video']} of {counts}; {remedy}")
    try:
        recipe = Recipe(**_with_tuples(fields))
    except InputError as error:
        raise InputError(f"{refused}: {error}; {remedy}") from None
    # Files of an older tubelet name every video of the call.
    recipe, own["video"] = recipe.batch_of(own["video"])
    return Record(recipe=recipe, **own)


def _with_tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """A recipe's fields with tuples for the lists that JSON made of them."""
    pairs = [[tuple(term) for term in terms] for terms in fields.get("compositions", [])]
    interval = tuple(fields.get("guidance_interval", Recipe.guidance_interval))
    keys = [tuple(key) for key in fields["keys"]]
    return fields | {"keys": keys, "compositions": pairs, "guidance_interval": interval}


def _short(value: object) -> str:
    """A value of a stranger's on a line: escaped, and not longer than that."""
    words = repr(value)
    return words if len(words) <= 60 else f"{words[:57]}..."


Row = tuple[
    str, Callable[[Any], bool], bool
]  # what is expected, whether a value is that, whether it may lack


def _whole(low: int, high: int) -> Row:
    return f"a whole number from {low} to {high}", lambda x: type(x) is int and low <= x <= high, False


def _number(low: float, high: float, may_lack: bool) -> Row:
    # The comparisons are false for NaN.
    return (
        f"a number from {low:g} to {high:g}",
        lambda x: type(x) in (int, float) and low <= x <= high,
        may_lack,
    )


def _word(pattern: str, expected: str, may_lack: bool) -> Row:
    return expected, lambda x: isinstance(x, str) and re.fullmatch(pattern, x) is not None, may_lack


def _list_of(expected: str, fits: Callable[[Any], bool]) -> Row:
    return f"a list of {expected}", lambda x: isinstance(x, list) and x != [] and all(map(fits, x)), False


def _is_key(value: Any) -> bool:
    number = _whole(0, SEED_RANGE)[1]
    return isinstance(value, list) and 1 <= len(value) <= 4 and all(map(number, value))


def _is_interval(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_number(0, 1, False)[1], value))


def _is_composition(value: Any) -> bool:
    number = _number(-MAX_WEIGHT, MAX_WEIGHT, False)[1]
    return isinstance(value, list) and all(
        isinstance(x, list) and len(x) == 2 and isinstance(x[0], str) and number(x[1]) for x in value
    )


_TEXTS = _list_of("texts", lambda x: isinstance(x, str))
_NAME = r"[ -~]{1,100}"  # what can be printed

PER_VIDEO = ("prompts", "negative_prompts", "keys", "compositions")

FIELDS: dict[str, Row] = {
    "prompts": _TEXTS,
    "negative_prompts": _TEXTS,
    "keys": _list_of("lists of 1 to 4 whole numbers", _is_key),
    "num_frames": _whole(1, 100_000),
    "height": _whole(1, 100_000),
    "width": _whole(1, 100_000),
    "num_inference_steps": _whole(1, 10_000),
    "guidance_scale": _number(*RANGES["scale"], may_lack=False),
    "guidance_interval": ("two times from 0 to 1", _is_interval, True),
    "guidance_rescale": _number(*RANGES["rescale"], may_lack=True),
    "guidance_parallel": _number(*RANGES["parallel"], may_lack=True),
    "guidance_threshold": _number(*RANGES["threshold"], may_lack=True),
    "guidance_momentum": _number(*RANGES["momentum"], may_lack=True),
    "compositions": (
        "a list of lists of texts with weights from -1 to 1",
        lambda x: isinstance(x, list) and all(map(_is_composition, x)),
        True,
    ),
    "sampler": _word(_NAME, "a name", may_lack=False),
    "grid": _word(_NAME, "a name", may_lack=True),
    "shift": _number(0.001, 1000, may_lack=True),
    "stride": _number(1e-5, 1e5, may_lack=True),
    "checkpoint": _word(r"([0-9a-f]{64})?", "64 hexadecimal digits", may_lack=False),
    "weaker": _word(r"([0-9a-f]{64})?", "64 hexadecimal digits", may_lack=True),
    "batch": _whole(1, 100_000),
    "version": _word(_NAME, "a version", may_lack=False),
    "torch": _word(_NAME, "a version", may_lack=False),
    "threads": _whole(1, 1024),
    "cpu": _word(_NAME, "a name", may_lack=True),
    "device": _word(_NAME, "a name", may_lack=True),
    "video": _whole(0, 10_000_000),
    "fps": _number(0.01, 1000, may_lack=True),
    "writer": _word(_NAME, "a name", may_lack=True),
    "frames_sha256": _word(r"[0-9a-f]{64}", "64 hexadecimal digits", may_lack=True),
}
