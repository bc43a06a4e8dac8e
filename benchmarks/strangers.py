"""What strangers' prompts give: the share of clips whose statistics lie within those of the data.

python benchmarks/strangers.py [--checkpoint FOLDER] [--config configs/denoiser.toml] [--steps 16] [--out raw.jsonl]

benchmarks/strangers.txt has 60 prompts of people who do not know what the model was trained on. The band is that of 500
training clips of the config (see evaluation/plausible.py). Before the model's clips the measure reads held-out clips,
noise, and held-out clips with their contrast doubled, so that it is known what it sees. A JSON line each.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from tubelet.data.source import held_out_clips, training_clips
from tubelet.evaluation.plausible import Band
from tubelet.sampling.pipeline import VideoPipeline
from tubelet.training.config import DenoiserRun, read_run

PROMPTS = Path(__file__).with_suffix(".txt")
BAND, CHUNK = 500, 12


def row(what: str, clips: Iterable[Tensor], band: Band) -> dict[str, object]:
    """How many of some clips lie within the band, and which statistics of how many do not."""
    found = [band.outside(frames) for frames in clips]
    outside = Counter(name for names in found for name in names)
    within = sum(not names for names in found)
    return {
        "clips": what,
        "count": len(found),
        "within": round(within / len(found), 3),
        "outside": dict(outside),
    }


def sampled(pipe: VideoPipeline, prompts: list[str], steps: int, guidance: float) -> Iterable[Tensor]:
    """A clip of each prompt."""
    for first in range(0, len(prompts), CHUNK):
        some = prompts[first : first + CHUNK]
        made = pipe(
            some, seed=first, num_inference_steps=steps, guidance_scale=guidance, output_type="np"
        ).frames
        yield from (torch.as_tensor(each).mul(255).round().clamp(0, 255).byte() for each in made)


def main() -> None:
    """Print a line for each set of clips."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", default=None, help="default: the one that ships")
    parser.add_argument("--config", default="configs/denoiser.toml", help="whose clips are the data")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    data = read_run(DenoiserRun, options.config).data
    clips, held = training_clips(data), held_out_clips(data)
    band = Band.of([clips.frames(i) for i in range(min(BAND, len(clips)))])
    true = [held.frames(i) for i in range(len(held))]
    source = torch.Generator().manual_seed(0)
    noise = [torch.randint(256, true[0].shape, generator=source, dtype=torch.uint8) for _ in true]
    harsh = [((frames.float() - 127.5) * 2 + 127.5).clamp(0, 255).byte() for frames in true]
    lines = [
        row("held out", true, band),
        row("noise", noise, band),
        row("contrast doubled", harsh, band),
    ]
    pipe = VideoPipeline.from_pretrained(options.checkpoint)
    told = [held.captions(i)[0] for i in range(len(PROMPTS.read_text().splitlines()))]
    for what, prompts in (
        ("held-out captions", told),
        ("strangers' prompts", PROMPTS.read_text().splitlines()),
    ):
        lines.append(row(what, sampled(pipe, prompts, options.steps, options.guidance), band))
    settings = {"steps": options.steps, "guidance": options.guidance, "hash": pipe.hash}
    for line in lines:
        print(json.dumps(line | settings), flush=True)
    if options.out is not None:
        options.out.write_text("".join(json.dumps(line | settings) + "\n" for line in lines), "utf-8")


if __name__ == "__main__":
    main()
