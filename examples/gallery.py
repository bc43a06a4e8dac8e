"""The README's picture: eight prompts, fixed beforehand, a row each; seeds 0 to 7, a column each; nothing picked.

python examples/gallery.py [--out docs/gallery.gif] [--checkpoint FOLDER]
"""

import argparse

import torch
from torch.nn import functional as F

from tubelet import VideoPipeline
from tubelet.video import to_frames, write_video

PROMPTS = (
    "a large red circle moves left over a plain grey background",
    "a blue square rotates over a plain black background",
    "a green triangle grows over a plain navy background",
    "a yellow star falls and bounces over a plain maroon background",
    "a large purple heart moves up over a plain grey background",
    "an orange circle orbits over a plain navy background",
    "a pink star moves diagonally down and to the right over a plain black background",
    "a large green square fades out over a plain grey background",
)
SEEDS = range(8)


def column(pipe: VideoPipeline, seed: int) -> torch.Tensor:
    """Every prompt with one seed, one above the other in white frames: uint8 [F, rows, 68, 3]."""
    video = pipe(PROMPTS, seed=seed, output_type="pt").video
    assert video is not None
    clips = F.pad(to_frames(video), (0, 0, 2, 2, 2, 2), value=255)  # [8, F, 68, 68, 3]
    return torch.cat(list(clips), 1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="docs/gallery.gif")
    parser.add_argument("--checkpoint")
    arguments = parser.parse_args()
    pipe = VideoPipeline.from_pretrained(arguments.checkpoint)
    sheet = torch.cat([column(pipe, seed) for seed in SEEDS], 2)  # [F, 8 * 68, 8 * 68, 3]
    write_video(arguments.out, sheet, fps=pipe.scheduler.fps, enlarge=False)
    print(arguments.out)


if __name__ == "__main__":
    main()
