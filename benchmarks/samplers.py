"""What each sampler adds to the time of its network calls: the shipped model, 8 videos of latents [16, 5, 8, 8].

python benchmarks/samplers.py [--steps 8] [--batch 8] [--rounds 2] [--threads 1] [--clock cpu]

One JSON line a sampler. Calls are not guided, the shorter ones there are. Both times come from the same run, and
drawing noise counts as the sampler's own; `added` is the least of the rounds, for others may use the machine too.
"""

import argparse
import json
import time

import torch
from torch import Tensor

from tubelet.diffusion.grids import GRIDS, time_grid
from tubelet.diffusion.samplers import SAMPLERS
from tubelet.sampling.pipeline import VideoPipeline

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@torch.no_grad()
def main() -> None:
    """Measure and print a line for each sampler."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--grid", choices=GRIDS, default="uniform")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock, pipe = CLOCKS[options.clock], VideoPipeline.from_pretrained()
    text = pipe.text_encoder.encode(["a red circle moves left"] * options.batch)
    x = torch.randn(options.batch, *pipe.latent_shape(17, 64, 64))
    times = time_grid(options.steps, 1.0, options.grid, pipe.reverse.path)
    calls: list[float] = []

    def denoise(xt: Tensor, t: Tensor) -> Tensor:
        start = clock()
        prediction = pipe.transformer(xt, t.view(-1, 1, 1, 1, 1), text)
        calls.append(clock() - start)
        return prediction

    denoise(x, torch.ones(len(x)))  # the first call is slower
    for name, sampler in SAMPLERS.items():
        rounds = []
        for _ in range(options.rounds):
            calls.clear()
            start = clock()
            for _ in sampler(denoise, x, pipe.reverse, times, noise=lambda: torch.randn(x.shape)):
                pass
            rounds.append((clock() - start) / sum(calls) - 1)
        call = sum(calls) / len(calls)
        line = {
            "sampler": name,
            "calls": len(calls),
            "call_s": round(call, 4),
            "added": round(min(rounds), 5),
        }
        print(json.dumps(line | {"shape": list(x.shape), "threads": options.threads}), flush=True)


if __name__ == "__main__":
    main()
