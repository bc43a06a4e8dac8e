"""What `tubelet generate` calls."""

import csv
import itertools
import math
import sys
from pathlib import Path
from typing import Any

from tubelet.errors import InputError
from tubelet.progress import progress
from tubelet.sampling.pipeline import BATCH, VideoPipeline
from tubelet.video import check_writable


def generate_files(
    prompt: str, out: Path, *, checkpoint: Path | None, fps: float | None, **settings: Any
) -> list[Path]:
    """Make the videos of a prompt, or of a file of prompts, and write them; returns the files."""
    check_writable(out)
    prompts = prompts_of(prompt)
    pipe = VideoPipeline.from_pretrained(checkpoint)
    for text in prompts:
        lost = pipe.text_encoder.lost_words(text)
        if lost:
            print(f"tubelet: the prompt is too long; these words are not read: {lost}", file=sys.stderr)
    videos = len(prompts) * settings.get("num_videos_per_prompt", 1)
    steps = itertools.count(1)
    with progress("denoising", settings["num_inference_steps"] * math.ceil(videos / BATCH)) as done:
        output = pipe(prompts, callback_on_step_end=lambda *_: done(next(steps)), **settings)
    files = output.save(out, fps=fps)
    for file in files:
        print(file)
    return files


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
