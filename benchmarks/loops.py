"""Whether videos come round: the step from the last frame to the first, beside the steps inside.

    python benchmarks/loops.py RUN [--frames 17 33] [--count 32] [--sheet FILE.png]

RUN is the folder of a training on loops (data.loop). It makes --count clips of held-out prompts (30 steps, guidance 4)
at each length and prints a JSON line of each: the root mean square difference of pixels, 0 to 1, between the last frame
and the first, between neighbours inside, and their quotient, which is 1 for a loop that cannot be told from its inside;
with means over clips. The clips trained on and the codec's own reconstruction of them come first. --sheet draws five
clips of the first length from the middle, over the seam, to the middle.
"""

import argparse
import json
from pathlib import Path

import torch
from einops import rearrange
from runs import task_of
from torch import Tensor

from tubelet.video import to_frames, to_video, write_video

SHOWN = 5


def steps_of(video: Tensor) -> dict[str, float]:
    """Of videos [B, 3, F, H, W] in [-1, 1]: how large the step over the seam is, and a step inside."""
    ahead = video.roll(-1, dims=2)
    steps = ((ahead - video) / 2).square().mean(dim=(1, 3, 4)).sqrt()  # [B, F], the last over the seam
    seam, inside = steps[:, -1].mean().item(), steps[:, :-1].mean().item()
    return {"seam": round(seam, 4), "inside": round(inside, 4), "seam_by_inside": round(seam / inside, 3)}


def sheet(video: Tensor) -> Tensor:
    """Every other frame of videos, begun in their middle: uint8 [1, rows, columns, 3]."""
    turned = to_frames(video[:SHOWN].roll(video.shape[2] // 2, dims=2))[:, ::2]
    return rearrange(turned, "clip frame row column colour -> 1 (clip row) (frame column) colour")


def main() -> None:
    """Measure, print, and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--frames", type=int, nargs="+", default=[17, 33])
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    task = task_of(options.run)
    clips = task.sizes[0].held_out
    real = to_video(torch.stack([clips.frames(i) for i in range(options.count)]))
    print(json.dumps({"what": "clips", "frames": real.shape[2], **steps_of(real)}), flush=True)
    with torch.no_grad():
        back = torch.cat([task.codec.decode(task.codec.encode(some).mean) for some in real.split(8)])
    print(json.dumps({"what": "codec", "frames": real.shape[2], **steps_of(back)}), flush=True)
    pipe = task.pipeline()
    prompts = [clips.captions(i)[0] for i in range(options.count)]
    for frames in options.frames:
        video = pipe(prompts, seed=0, num_frames=frames, output_type="pt").video
        assert video is not None
        print(json.dumps({"what": "samples", "frames": frames, **steps_of(video)}), flush=True)
        if options.sheet is not None and frames == options.frames[0]:
            write_video(options.sheet, sheet(video))


if __name__ == "__main__":
    main()
