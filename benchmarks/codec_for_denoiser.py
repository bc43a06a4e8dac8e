"""What a codec is worth: by itself, and to the denoiser that learned on its latents. On clips of the world in depth.

    python benchmarks/codec_for_denoiser.py codec FOLDER ... [--size 33 128 128] [--count 48] [--fast] [--out raw.jsonl]
    python benchmarks/codec_for_denoiser.py x0 FOLDER ... [--size 33 128 128] [--count 48] [--out raw.jsonl]
    python benchmarks/codec_for_denoiser.py rescale FOLDER --kind half --into FOLDER [--size 17 128 128]

codec: a line for each checkpoint. PSNR in dB, of all pixels, of those inside bodies by their image speed, of changes
from frame to frame; beside it PCA of the same blocks. `axes`: the variance that each axis of the standardised latents
makes of the picture, and the variance that it has. `gaussian_x0`: PSNR of the best x0-prediction if latents were
independent Gaussians of these variances, which tells what the scale of the channels alone decides. `reach`: latents
that move by more than 1 % of a deviation when a square of 32 x 32 pixels changes. Rates are of one thread.
x0: of trained pipelines, PSNR of the decoded x0-prediction at three times, every clip with its own noise; and from the
second folder on the difference to the first, clip by clip, with its standard error.
rescale: the same codec with its latents standardised another way, without training. See autoencoder/channels.py.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from depth_regions import Clip, errors, held_out, pooled
from torch import Tensor

from tubelet import checkpoint
from tubelet.autoencoder.channels import moments, rescaled
from tubelet.autoencoder.codec import CHANNEL_SCALES, CausalCodec, codec_of, codec_part
from tubelet.autoencoder.objective import CodecObjective, codec_loss, psnr
from tubelet.diffusion.process import add_noise
from tubelet.draws import normal, stream
from tubelet.sampling.pipeline import VideoPipeline
from tubelet.video import to_video
from tubelet.worlds.depth.clips import DepthClips
from tubelet.worlds.depth.config import DepthConfig

TIMES = (0.5, 0.7, 0.9)
SQUARE, MOVED = 32, 0.01
PCA_CLIPS, RESCALE_CLIPS, REACH_CLIPS = 64, 128, 8
NOISE = 0xC0  # sets the noise of x0-predictions apart


def training_videos(size: list[int], count: int) -> list[Tensor]:
    """Training clips in chunks of 8: [8, 3, F, H, W]."""
    frames, height, width = size
    clips = DepthClips(DepthConfig(num_frames=frames, height=height, width=width), count, "train")
    return [
        to_video(torch.stack([clips.frames(i) for i in range(first, min(first + 8, count))]))
        for first in range(0, count, 8)
    ]


def codec_in(folder: str) -> CausalCodec:
    codec = codec_of(checkpoint.load(folder).parts["autoencoder"])
    assert isinstance(codec, CausalCodec)
    return codec


def axes(codec: CausalCodec, clips: list[Clip]) -> dict[str, Any]:
    """How the variances of latents and of what they make of the picture fall from axis to axis."""
    latents = [codec.encode(clip.video).mean for clip in clips]
    _, covariance, cross = moments(codec, [(clip.video, z) for clip, z in zip(clips, latents, strict=True)])
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors / values.clamp(min=1e-9).sqrt() @ vectors.T
    made, turn = torch.linalg.eigh(root @ cross.T @ cross @ root)
    made, turn = made.flip(0).clamp(min=0), turn.flip(1)
    own = (turn.T @ root.inverse()).square().sum(1)  # variance of the latents along each of them
    pixels = torch.cat([codec.blocks_of(clip.video) for clip in clips]).var(0, correction=0).sum()
    spectrum = values.flip(0) / values.sum()
    return {
        "made": [round(float(v), 4) for v in made],
        "variance": [round(float(v), 4) for v in own],
        "made_share": float(made.sum() / pixels),
        "modes": float(1 / spectrum.square().sum()),  # participation ratio of the latents' own spectrum
        "modes_of_pixels": float(made.sum().square() / made.square().sum()),
        "gaussian_x0": {
            str(t): float(
                psnr(
                    (pixels - made.sum() + (made * t**2 / ((1 - t) ** 2 * own + t**2)).sum())
                    / codec.config.block
                )
            )
            for t in TIMES
        },
    }


def reach(codec: CausalCodec, clips: list[Clip]) -> dict[str, Any]:
    """Share of latents that move, by how many latents they lie from those of the changed square; and the farthest."""
    side = codec.pixels_per_latent
    deviation = torch.cat([codec.encode(c.video).mean.flatten(3).flatten(2) for c in clips], 2).std((0, 2))
    moved, there = {}, {}
    for number, (clip, other) in enumerate(zip(clips, clips[1:] + clips[:1], strict=True)):
        video, source = clip.video, stream(number)
        top, left = (int(source.integers(size - SQUARE + 1)) for size in video.shape[3:])
        changed = video.clone()
        changed[..., top : top + SQUARE, left : left + SQUARE] = other.video[
            ..., top : top + SQUARE, left : left + SQUARE
        ]
        off = (codec.encode(changed).mean - codec.encode(video).mean)[0] / deviation.view(-1, 1, 1, 1)
        far = off.square().mean(0).sqrt() > MOVED  # [f, h, w]
        away = [
            torch.maximum(
                begin // side - torch.arange(n), torch.arange(n) - (begin + SQUARE - 1) // side
            ).clamp(min=0)
            for begin, n in zip((top, left), far.shape[1:], strict=True)
        ]
        distance = torch.maximum(away[0][:, None], away[1]).expand(far.shape)
        for k in range(int(distance.max()) + 1):
            moved[k] = moved.get(k, 0) + int(far[distance == k].sum())
            there[k] = there.get(k, 0) + int((distance == k).sum())
    shares = {k: moved[k] / there[k] for k in sorted(there)}
    beyond = {
        k: sum(moved[j] for j in moved if j > k) / max(1, sum(there[j] for j in there if j > k))
        for k in range(4)
    }
    return {"at": shares, "beyond": beyond, "farthest": max((k for k in moved if moved[k]), default=0)}


def rates(codec: CausalCodec, size: list[int]) -> dict[str, float]:
    """Clips a second of one thread, encoding and training, under bf16 autocast, eager."""
    video, found = torch.rand(2, codec.config.pixel_channels, *size) * 2 - 1, {}
    noise = torch.randn(2, *codec.latent_shape(*size))

    def encode() -> None:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            codec.encode(video)

    def train() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            posterior = codec.posterior(video)
            decoded = codec.reconstruct(posterior.sample(noise))
            loss, _ = codec_loss(CodecObjective(), video, decoded, posterior)
        loss.backward()

    for name, step in (("encode", encode), ("train", train)):
        step()
        seconds = []
        for _ in range(3):
            begun = time.process_time()
            step()
            seconds.append(time.process_time() - begun)
        found[name] = len(video) / min(seconds)
    return found


@torch.no_grad()
def measured_codec(folder: str, clips: list[Clip], size: list[int], fast: bool) -> dict[str, Any]:
    codec = codec_in(folder)
    rows = [errors(clip, codec.decode(codec.encode(clip.video).mean)) for clip in clips]
    line = {"codec": folder, "size": size, "clips": len(clips), "psnr": pooled(rows)}
    line |= {
        "parameters": sum(p.numel() for p in codec.parameters()),
        "channel_scale": codec.config.channel_scale,
    }
    line |= {"axes": axes(codec, clips), "reach": reach(codec, clips[:REACH_CLIPS])}
    if not fast:
        pca = CausalCodec(codec.config)
        pca.fit_pca(training_videos([min(17, size[0]), *size[1:]], PCA_CLIPS))
        rows = [errors(clip, pca.reconstruct(pca.posterior(clip.video).mean)) for clip in clips]
        line["pca"] = pooled(rows)
        with torch.enable_grad():
            line["rates"] = rates(codec, size)
    return line


@torch.no_grad()
def measured_x0(folder: str, clips: list[Clip], size: list[int]) -> dict[str, Any]:
    """The rows of every clip at each time stand beside the pooled PSNR, for differences clip by clip."""
    pipe = VideoPipeline.from_pretrained(folder)
    path, rows = pipe.reverse.path, {t: [] for t in TIMES}
    for number, clip in enumerate(clips):
        posterior, text = pipe.codec.encode(clip.video), pipe.text_encoder.encode([clip.caption])
        for place, level in enumerate(TIMES):
            source = stream(NOISE, number, place)
            shape = tuple(posterior.mean.shape)
            x0, t = (
                posterior.sample(normal(source, shape)),
                torch.full((1, 1, 1, 1, 1), level, dtype=torch.float64),
            )
            xt = add_noise(path, x0, normal(source, shape), t)
            with torch.autocast("cpu", torch.bfloat16):
                predicted = pipe.transformer(xt, t.float(), text)
            x0 = pipe.reverse.x0(predicted.float(), xt, t)
            rows[level].append(errors(clip, pipe.codec.decode(x0.float())))
    line: dict[str, Any] = {"pipeline": folder, "size": size, "clips": len(clips)}
    return line | {"x0": {str(t): pooled(rows[t]) for t in TIMES}, "rows": {str(t): rows[t] for t in TIMES}}


def differences(line: dict[str, Any], first: dict[str, Any], draws: int = 1000) -> dict[str, Any]:
    """Pooled PSNR of `line` minus that of `first` by region, and its standard error by bootstrap over clips."""
    found: dict[str, Any] = {}
    pick = torch.randint(line["clips"], (draws, line["clips"]), generator=torch.Generator().manual_seed(0))
    for t, rows in line["rows"].items():
        for region in ("whole", "inside", "below 3"):
            one, two = (
                torch.tensor([row[region] for row in each], dtype=torch.float64)
                for each in (rows, first["rows"][t])
            )
            totals = [each[pick].sum(1) for each in (one, two)]  # [draws, 2]: squares, values
            away = psnr(totals[0][:, 0] / totals[0][:, 1]) - psnr(totals[1][:, 0] / totals[1][:, 1])
            mean = line["x0"][t].get(region, math.nan) - first["x0"][t].get(region, math.nan)
            found[f"{region} at {t}"] = {"dB": mean, "error": float(away.std())}
    return found


@torch.no_grad()
def rescale(folder: str, kind: str, into: str, size: list[int]) -> None:
    """Write the codec anew; a checkpoint of a codec alone."""
    codec = codec_in(folder)
    chunks = []
    for chunk, video in enumerate(training_videos(size, RESCALE_CLIPS)):
        posterior = codec.posterior(video)
        chunks.append((video, posterior.sample(normal(stream(chunk), tuple(posterior.mean.shape)))))
    part = codec_part(rescaled(codec, kind, chunks))
    checkpoint.save(into, {"autoencoder": part}, {"library": "tubelet", "parts": ["autoencoder"]})
    print(f"{into}: {kind}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("codec", "x0", "rescale"))
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--size", type=int, nargs=3, default=[33, 128, 128])
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--fast", action="store_true", help="neither PCA nor rates")
    parser.add_argument("--kind", choices=CHANNEL_SCALES, default="half")
    parser.add_argument("--into")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "rescale":
        assert options.into, "give --into FOLDER"
        return rescale(options.folders[0], options.kind, options.into, options.size)
    clips, lines = held_out(options.count, *options.size), []
    for folder in options.folders:
        if options.what == "codec":
            lines.append(measured_codec(folder, clips, options.size, options.fast))
        else:
            lines.append(measured_x0(folder, clips, options.size))
            if len(lines) > 1:
                lines[-1]["minus_first"] = differences(lines[-1], lines[0])
        print(json.dumps({name: value for name, value in lines[-1].items() if name != "rows"}), flush=True)
        if options.out:
            with options.out.open("a") as out:
                out.write(json.dumps(lines[-1]) + "\n")


if __name__ == "__main__":
    main()
