"""A video made again from the recipe in its file, and how far the two are the same.

Two things can differ, and each is asked on its own: whether the frames made again are those that were made (by
their hash, before any encoding), and whether the file still shows them (by decoding it and a file written anew).
"""

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tubelet.errors import InputError
from tubelet.sampling.output import VideoOutput
from tubelet.sampling.pipeline import VideoPipeline
from tubelet.sampling.recipe import Recipe, environment
from tubelet.sampling.record import Record, read_record, sha256_of, writer_of
from tubelet.video import Clip, read_sheet, read_video

MAX_PIXELS = 2**24  # of the batch: 30 times a full batch of the shipped model, 1 to 4 GB of memory
SAME_LOOK = 40.0  # dB of PSNR: what another version of an encoder may cost


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What came of it. `output` holds the batch made again, of which the file is video `record.video`.

    same_bits: the frames have the hash that the file names; None where it names none. largest (of 255 levels) and
    psnr (dB): the file against the clip made again and written the same way, both decoded; None where their sizes
    differ. changes: what differs in the environment, as (was, is).
    """

    file: Path
    record: Record
    output: VideoOutput
    same_bits: bool | None
    largest: int | None
    psnr: float | None
    changes: dict[str, tuple[str, str]]

    @property
    def intact(self) -> bool:
        """Whether the file shows the clip made again; another version of the encoder may differ by SAME_LOOK."""
        close = self.psnr is not None and self.psnr >= SAME_LOOK
        return self.largest == 0 or (close and not self.changes.keys().isdisjoint({"writer", "version"}))

    @property
    def same(self) -> bool:
        """The same bits in an intact file; where the file names no hash, the same pictures."""
        return self.largest == 0 if self.same_bits is None else self.same_bits and self.intact

    def report(self) -> str:
        """Lines for people: what was made, whether frames and file are the same, what differs around them."""
        recipe, place = self.record.recipe, self.record.video
        made = (
            f"{recipe.prompts[place]!r}, noise {recipe.keys[place]}, {recipe.num_frames} frames of "
            f"{recipe.height} x {recipe.width}, {recipe.num_inference_steps} steps of {recipe.sampler}, "
            f"guidance scale {recipe.guidance_scale}{_further(recipe, place)}, "
            f"checkpoint {recipe.checkpoint[:12] or 'never saved'}"
        )
        frames = {
            True: "the same, bit for bit",
            False: "not the same: they have another sha256 than those first made",
            None: "the file names no sha256 (an older tubelet wrote it); only pictures can be compared",
        }
        rows = [("recipe", made), ("frames", frames[self.same_bits]), ("file", self._file())]
        for name, (was, now) in self.changes.items():
            failed = " (could not be restored)" if name == "threads" else ""
            rows.append(("differs", f"{name}: {was} -> {now}{failed}"))
        return "\n".join(f"{name:<8} {words}" for name, words in rows)

    def _file(self) -> str:
        how = "the clip made again and written the same way"
        if self.largest is None:
            return f"shows pictures of another size or number than {how}"
        if self.largest == 0:
            return f"shows exactly {how}"
        gap = f"against {how}: largest difference {self.largest} of 255 levels, PSNR {self.psnr:.1f} dB"
        return f"{gap}; another version of the encoder can do that" if self.intact else gap

    def why(self) -> str:
        """Why it is not the same, and what to do, on one line."""
        if self.same_bits:
            return (
                f"{self.file} was changed after it was made: the recipe's frames come out bit for bit, and the file "
                "does not show them; write them anew with -o OUT"
            )
        if self.changes:
            around = ", ".join(f"{name} {was}" for name, (was, _) in self.changes.items())
            return f"{self.file} is not the same; replay it where it was made: {around}"
        return (
            f"{self.file} is not the same, and its recipe names no reason: the processor is another model, or the file "
            "or its recipe was changed; replay it on the machine that made it"
        )

    def save(self, path: str | Path) -> None:
        """Write the clip made again, with its recipe."""
        self.output.write(path, self.record.video, fps=self.record.fps)


def replay(
    file: str | Path,
    pipe: VideoPipeline | None = None,
    *,
    checkpoint: str | Path | None = None,
    weaker: str | Path | None = None,
    max_pixels: int | None = None,
    callback: Callable[..., Any] | None = None,
) -> Replay:
    """Make the video in `file` again, by `pipe`, or the checkpoint in a folder, or the one that ships.

    weaker: the folder of the checkpoint that guided it, where one did. Its whole batch is made, with as many threads as
    then. max_pixels (MAX_PIXELS when None) bounds what a stranger's recipe may cost. Raises InputError where the file
    has no recipe that can be used, or a checkpoint is another.
    """
    file = Path(file)
    record = read_record(file)
    recipe = record.recipe
    pixels = len(recipe.prompts) * recipe.num_frames * recipe.height * recipe.width
    if pixels > (MAX_PIXELS if max_pixels is None else max_pixels):
        raise InputError(
            f"{file}: its recipe makes {len(recipe.prompts)} x {recipe.num_frames} frames of {recipe.height} x "
            f"{recipe.width}, {pixels:,} pixels at once; if you trust it and have the memory, "
            f"pass --max-pixels {pixels}"
        )
    shown = pictures(file)
    pipe = pipe or VideoPipeline.from_pretrained(checkpoint, weaker=weaker)
    _check_checkpoint(file, recipe.checkpoint, pipe.hash)
    with _threads(recipe.threads):
        here = environment(pipe.device)
        output = _made(file, pipe, replace(recipe, **here), callback)
    if record.fps is None:  # an older tubelet's; a sheet has no rate
        record = replace(record, fps=output.fps if file.suffix.lower() == ".png" else shown.fps)
    with tempfile.TemporaryDirectory() as folder:
        anew = Path(folder) / f"anew{file.suffix}"
        output.write(anew, record.video, fps=record.fps)
        largest, psnr = difference(shown.frames, pictures(anew).frames)
    sha256 = sha256_of(output.clip(record.video))
    return Replay(
        file=file,
        record=record,
        output=output,
        same_bits=None if record.frames_sha256 is None else record.frames_sha256 == sha256,
        largest=largest,
        psnr=psnr,
        changes=_changes(record, {**here, "writer": writer_of(file.suffix)}),
    )


def _further(recipe: Recipe, video: int) -> str:
    """What else guided a video, in words."""
    guidance = recipe.guidance
    words = [
        f"{each.name} {getattr(guidance, each.name)}"
        for each in fields(guidance)
        if each.name != "scale" and getattr(guidance, each.name) != each.default
    ]
    words += [
        f"composed with {text!r} {weight:g}"
        for terms in recipe.compositions[video : video + 1]
        for text, weight in terms
    ]
    words += [] if recipe.weaker is None else [f"weaker checkpoint {recipe.weaker[:12] or 'never saved'}"]
    return f" ({', '.join(words)})" if words else ""


def difference(a: Tensor, b: Tensor) -> tuple[int | None, float | None]:
    """Largest difference in levels and PSNR in dB (infinite where equal) of uint8 frames; None for unequal shapes."""
    if a.shape != b.shape:
        return None, None
    if torch.equal(a, b):
        return 0, math.inf
    gap = a.int() - b.int()
    return int(gap.abs().max()), 10 * math.log10(255**2 / gap.double().square().mean().item())


def pictures(file: Path) -> Clip:
    """What a file of any kind that tubelet writes shows, as a clip; a contact sheet is one frame."""
    return read_sheet(file) if file.suffix.lower() == ".png" else read_video(file)


def _check_checkpoint(file: Path, was: str, given: str) -> None:
    if was == given:
        return
    if not was:
        raise InputError(f"{file} was made by a pipeline that came from no checkpoint; pass that one as pipe")
    raise InputError(
        f"{file} was made by the checkpoint {was[:12]}, and this one is {given[:12] or 'unsaved'}; "
        "name the folder of the other with --checkpoint"
    )


def _made(
    file: Path, pipe: VideoPipeline, recipe: Recipe, callback: Callable[..., Any] | None
) -> VideoOutput:
    try:
        return pipe.make(recipe, "pt", callback)
    except (InputError, FloatingPointError) as error:
        raise InputError(f"{file}: its recipe does not suit its checkpoint: {error}") from error


def _changes(record: Record, here: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """What is known to differ between the environment that made the file and this one."""
    was = {**vars(record.recipe), "writer": record.writer}
    return {name: (str(was[name]), str(now)) for name, now in here.items() if was[name] not in (None, now)}


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """torch computes with that many threads inside the block, where the machine lets it: bits depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
