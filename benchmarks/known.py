"""What known content costs a forward and backward of the denoiser, beside the same clips with nothing known.

python benchmarks/known.py [--preset mini] [--batch 32] [--latents 5 8 8] [--rounds 10] [--clock cpu]

One JSON line a case. All cases take turns and the least of each is taken, so ratios hold on a machine that others use
too. `flops` is the same ratio by formula. A time for each latent has no levels to share: a modulation for each token,
which is what every case but the first costs without levels.
"""

import argparse
import json
import time
from typing import Any

import torch
from torch import Tensor

from tubelet.model.cost import flops
from tubelet.model.presets import SIZES, preset
from tubelet.model.references import Reference, place_of
from tubelet.model.times import times_of
from tubelet.model.transformer import VideoTransformer
from tubelet.shapes import Text

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def cases(latents: Tensor) -> dict[str, dict[str, Any]]:
    """Times and references by name, for latents [B, C, f, h, w]."""
    batch, channels, frames, rows, columns = latents.shape
    one, frame = torch.rand(batch, 1, 1, 1, 1), torch.arange(frames).view(1, 1, -1, 1, 1)
    first_known = one * (frame > 0)
    image = Reference(torch.randn(batch, channels, 1, rows, columns), 0)
    return {
        "nothing known": {"t": one},
        "first latent known, t for each frame": {"t": first_known},
        "first latent known, t for each latent": {"t": first_known.expand(-1, -1, -1, rows, columns)},
        "each frame its own time": {"t": torch.rand(batch, 1, frames, 1, 1)},
        "each latent its own time": {"t": torch.rand(batch, 1, frames, rows, columns)},
        "one reference image": {"t": one, "references": (image,)},
    }


def prompts(batch: int, tokens: int, width: int) -> Text:
    """Random prompts of random lengths."""
    mask = torch.arange(tokens) < torch.randint(1, tokens + 1, (batch, 1))
    return Text(torch.randn(batch, tokens, width), mask, torch.randn(batch, width))


def main() -> None:
    """Measure and print a line for each case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=SIZES, default="mini")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--latents", type=int, nargs=3, default=(5, 8, 8), help="frames, rows, columns")
    parser.add_argument("--text-tokens", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="cpu")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    clock, model = CLOCKS[options.clock], VideoTransformer(preset(options.preset))
    config = model.config
    latents = torch.randn(options.batch, config.latent_channels, *options.latents)
    text, given = prompts(options.batch, options.text_tokens, config.text_width), cases(latents)
    seconds = {name: float("inf") for name in given}
    for _ in range(1 + options.rounds):  # the first is slower
        for name, known in given.items():
            start = clock()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                prediction = model(latents, text=text, **known)
            (prediction - latents).square().mean().backward()
            seconds[name] = min(seconds[name], clock() - start)
            model.zero_grad()
    nothing = flops(config, tuple(latents.shape[1:]), options.text_tokens)
    for name, known in given.items():
        places = tuple(
            place_of(each, latents, config.tubelet, config.frames_per_latent)
            for each in known.get("references", ())
        )
        levels = times_of(known["t"], options.latents, config.tubelet).levels.shape[1]
        work = flops(config, tuple(latents.shape[1:]), options.text_tokens, places, levels)
        line = {
            "case": name,
            "seconds": round(seconds[name], 3),
            "ratio": round(seconds[name] / seconds["nothing known"], 3),
            "flops": round(work / nothing, 3),
        }
        print(json.dumps(line))


if __name__ == "__main__":
    main()
