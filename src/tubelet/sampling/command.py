"""What `tubelet generate` and `tubelet replay` call."""

import csv
import itertools
import math
import sys
from pathlib import Path
from typing import Any

from tubelet.errors import InputError
from tubelet.progress import progress
from tubelet.sampling.pipeline import BATCH, VideoPipeline
from tubelet.sampling.record import read_record
from tubelet.sampling.replay import Replay, replay
from tubelet.video import check_writable


def generate_files(
    prompt: str,
    out: Path,
    *,
    checkpoint: Path | None,
    weaker: Path | None = None,
    **settings: Any,
) -> list[Path]:
    """Make the videos of a prompt, or of a file of prompts, and write them; returns the files."""
    check_writable(out)
    prompts = prompts_of(prompt)
    pipe = VideoPipeline.from_pretrained(checkpoint, weaker=weaker)
    for text in [*prompts, *(words for words, _ in settings.get("compose", ()))]:
        lost = pipe.text_encoder.lost_words(text)
        if lost:
            print(f"tubelet: the prompt is too long; these words are not read: {lost}", file=sys.stderr)
    videos = len(prompts) * settings.get("num_videos_per_prompt", 1)
    steps = itertools.count(1)
    with progress("denoising", settings["num_inference_steps"] * math.ceil(videos / BATCH)) as done:
        output = pipe(prompts, callback_on_step_end=lambda *_: done(next(steps)), **settings)
    files = output.save(out)
    for file in files:
        print(file)
    return files


def replay_file(
    file: Path,
    *,
    checkpoint: Path | None,
    out: Path | None,
    max_pixels: int | None,
    weaker: Path | None = None,
) -> Replay:
    """Make the video in a file again, say how far it is the same, and write it; InputError where it is not."""
    if out is not None:
        check_writable(out)
        if out.resolve() == file.resolve():
            raise InputError(f"-o {out} is the file to compare with; choose another name")
    steps = itertools.count(1)
    with progress("denoising", read_record(file).recipe.num_inference_steps) as done:
        result = replay(
            file,
            checkpoint=checkpoint,
            weaker=weaker,
            max_pixels=max_pixels,
            callback=lambda *_: done(next(steps)),
        )
    print(result.report())
    if out is not None:
        result.save(out)
        print(out)
    if not result.same:
        raise InputError(result.why())
    return result


def prompts_of(words: str) -> list[str]:
    """The prompt itself, or the prompts of a .txt (one a line) or .csv (column "prompt") file."""
    suffix = Path(words).suffix.lower()
    if suffix not in (".txt", ".csv") or " " in words:
        return [words]
    try:
        text = Path(words).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(
            f"prompt file {words} is not there; give an existing .txt or .csv, or a prompt"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"prompt file {words} is not UTF-8 text; save it as UTF-8") from None
    if suffix == ".txt":
        prompts = [line.strip() for line in text.splitlines() if line.strip()]
    else:
        rows = csv.DictReader(text.splitlines())
        if "prompt" not in (rows.fieldnames or []):
            raise InputError(f"{words} has no column named prompt; its first line must name the columns")
        prompts = [row["prompt"] for row in rows]
    if not prompts:
        raise InputError(f"{words} holds no prompts; put one on each line")
    return prompts
