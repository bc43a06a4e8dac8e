"""How well a denoiser knows the 16 clips it was overfitted on (configs/overfit.toml, configs/depth_overfit.toml).

    python benchmarks/overfit.py runs/overfit/final [--steps 20] [--out overfit.png]
    python benchmarks/overfit.py runs/depth_overfit/final

Samples the 16 captions without guidance and compares each sample with the codec's reconstruction of its own clip and of
every other; the clips are those of the run whose log lies beside the checkpoint. Prints one JSON line: how many samples
are nearest to their own clip, and the median PSNR to it.
"""

import argparse
import json
from pathlib import Path

import torch

from tubelet.autoencoder.objective import psnr
from tubelet.data.latents import chosen_captions
from tubelet.data.source import training_clips
from tubelet.sampling.pipeline import VideoPipeline
from tubelet.training.config import DenoiserRun, from_dict
from tubelet.training.log import read_events
from tubelet.video import to_frames, to_video, write_video


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", default="overfit.png")
    arguments = parser.parse_args()
    log = Path(arguments.checkpoint).parent / "log.jsonl"
    run = from_dict(DenoiserRun, read_events(log, "begin")[0]["run"])
    clips = training_clips(run.data)
    prompts = [chosen_captions(clips.captions(i), i, 1)[0] for i in range(len(clips))]
    pipe = VideoPipeline.from_pretrained(arguments.checkpoint)
    output = pipe(prompts, seed=0, guidance_scale=1, num_inference_steps=arguments.steps, output_type="pt")
    assert output.video is not None
    video = to_video(torch.stack([clips.frames(i) for i in range(len(clips))]))
    with torch.no_grad():
        truth = pipe.codec.decode(pipe.codec.encode(video).mean).clamp(-1, 1)
    error = (output.video[:, None] - truth[None]).square().mean((2, 3, 4, 5))  # [sample, clip]
    own = psnr(error.diagonal())
    nearest = (error.argmin(1) == torch.arange(len(clips))).sum()
    print(json.dumps({"nearest_is_own": int(nearest), "of": len(clips), "median_psnr": float(own.median())}))
    rows = [torch.cat(list(to_frames(x)[:, ::4].flatten(1, 2)), 1) for x in (truth, output.video)]
    write_video(arguments.out, torch.cat(rows, 1)[None])


if __name__ == "__main__":
    main()
