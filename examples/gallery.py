"""The README's picture: eight prompts, fixed beforehand, with seed 0, failures included.

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
COLUMNS = 4


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="docs/gallery.gif")
    parser.add_argument("--checkpoint")
    arguments = parser.parse_args()
    pipe = VideoPipeline.from_pretrained(arguments.checkpoint)
    output = pipe(PROMPTS, seed=0, output_type="pt")
    assert output.video is not None
    clips = F.pad(to_frames(output.video), (0, 0, 2, 2, 2, 2), value=255)  # [8, F, 68, 68, 3], a white frame
    rows = [torch.cat(list(row), 2) for row in clips.split(COLUMNS)]
    sheet = torch.cat(rows, 1).repeat_interleave(2, 1).repeat_interleave(2, 2)
    write_video(arguments.out, sheet, fps=output.fps, enlarge=False)
    print(arguments.out)


if __name__ == "__main__":
    main()
