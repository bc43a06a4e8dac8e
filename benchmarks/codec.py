"""PSNR of a codec on clips it was not trained on, beside PCA of the same blocks fitted on training clips.

    python benchmarks/codec.py [--checkpoint FOLDER] [--data FOLDER] [--count 128] [--noise 0.1 0.2] [--out raw.jsonl]

Without --data the clips are the procedural world's. Prints one JSON line with the PSNR in dB of the codec and of PCA;
with --noise also of latents that are off by noise of these deviations (their own is 1): what a denoiser's error costs.
"""

import argparse
import json
from collections.abc import Iterable

import torch
from torch import Tensor

from tubelet import checkpoint
from tubelet.autoencoder.codec import CausalCodec, codec_of
from tubelet.autoencoder.objective import psnr
from tubelet.data.clips import Clips
from tubelet.data.loader import clip_of
from tubelet.data.source import DataConfig, held_out_clips, training_clips
from tubelet.sampling.pipeline import DEFAULT
from tubelet.video import to_frames, to_video

PCA_CLIPS = 256


def video_of(clips: Clips, numbers: Iterable[int]) -> Tensor:
    return to_video(torch.stack([clips.frames(i) for i in numbers]))


def squared_error(codec: CausalCodec, video: Tensor, noise: float = 0.0) -> Tensor:
    """Of the decoded 8-bit frames, in units of [-1, 1]: [B, F]. Noise of deviation `noise` is added to the latents."""
    rows, generator = [], torch.Generator().manual_seed(0)
    with torch.no_grad():
        for some in video.split(16):
            latents = codec.encode(some).mean
            decoded = codec.decode(latents + noise * torch.randn(latents.shape, generator=generator))
            again = to_video(to_frames(decoded))
            rows.append((again - some).square().mean((1, 3, 4)))
    return torch.cat(rows)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", default=str(DEFAULT))
    parser.add_argument("--data")
    parser.add_argument("--count", type=int, default=128)
    parser.add_argument("--noise", type=float, nargs="*", default=[])
    parser.add_argument("--out")
    arguments = parser.parse_args()
    codec = codec_of(checkpoint.load(arguments.checkpoint).parts["autoencoder"])
    assert isinstance(codec, CausalCodec)
    config = DataConfig(folder=arguments.data, held_out=arguments.count)
    held_out, train = held_out_clips(config), training_clips(config)
    video = video_of(held_out, range(min(arguments.count, len(held_out))))
    error = squared_error(codec, video)
    pca = CausalCodec(codec.config)
    pca.fit_pca(video_of(train, (clip_of(0, n, len(train)) for n in range(PCA_CLIPS))))
    line = {
        "data": "world" if arguments.data is None else arguments.data.rstrip("/").split("/")[-1],
        "clips": len(video),
        "psnr": float(psnr(error.mean())),
        "psnr_first_frame": float(psnr(error[:, 0].mean())),
        "psnr_median_clip": float(psnr(error.mean(1)).median()),
        "pca_psnr": float(psnr(squared_error(pca, video).mean())),
    }
    for noise in arguments.noise:
        line[f"psnr_noise_{noise:g}"] = float(psnr(squared_error(codec, video, noise).mean()))
    print(json.dumps(line))
    if arguments.out:
        with open(arguments.out, "a") as out:
            out.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
