"""How much of the machine's matrix rate a training step of the denoiser reaches (forward and backward).

python benchmarks/train_step.py [--preset mini] [--batch 64] [--latents 5 8 8] [--compile whole] ...

The matrix rate and the steps are measured in turn and the best of each is taken, so the fraction holds on a
machine that others use too; there, `--threads 1 --clock cpu` does not count the time taken by others at all. Memory is
the most that the process ever held, and what it held before the model was made.
"""

import argparse
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch
from matrix_rate import matrix_rate
from torch import nn

from tubelet.model.cost import flops
from tubelet.model.foldings import FOLDINGS
from tubelet.model.presets import SIZES, preset
from tubelet.model.transformer import VideoTransformer
from tubelet.shapes import Text
from tubelet.training.blocks import CHECKPOINTING, checkpointed, compiled

Model = TypeVar("Model", bound=nn.Module)
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def awake(model: Model) -> Model:
    """The model without silent layers, whose zeros might make products cheaper."""
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return model


def training_step(model: VideoTransformer, options: argparse.Namespace) -> Callable[[], None]:
    """A function that runs forward and backward once on random input."""
    config, batch, size = model.config, options.batch, tuple(options.latents)
    length = torch.randint(1, options.text_tokens + 1, (batch, 1))
    text = Text(
        torch.randn(batch, options.text_tokens, config.text_width),
        torch.arange(options.text_tokens) < length,
        torch.randn(batch, config.text_width),
    )
    latents = torch.randn(batch, config.latent_channels, *size)
    t = torch.rand(batch, 1, *(size if options.times == "each" else (1, 1, 1)))
    run = torch.compile(model, dynamic=False) if options.compile == "whole" else model
    checkpointed(model.blocks, options.checkpointing)
    if options.compile == "blocks":
        compiled(model.blocks)

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.dtype == "bfloat16"):
            prediction = run(latents, t, text)
        (prediction - latents).square().mean().backward()
        model.zero_grad()

    return step


def main() -> None:
    """Measure and print one line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=SIZES, default="mini")
    parser.add_argument("--attention", choices=FOLDINGS, nargs="+", default=["joint"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--latents", type=int, nargs=3, default=(5, 8, 8), help="frames, rows, columns")
    parser.add_argument("--text-tokens", type=int, default=12)
    parser.add_argument(
        "--times", choices=("sample", "each"), default="sample", help="one t a sample or a latent"
    )
    parser.add_argument("--compile", choices=("no", "blocks", "whole"), default="no")
    parser.add_argument("--checkpointing", choices=CHECKPOINTING, default="none")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    config, clock = replace(preset(options.preset), attention=tuple(options.attention)), CLOCKS[options.clock]
    matrix_rate(getattr(torch, options.dtype), seconds=0.2, clock=clock)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    step, seconds, rate = training_step(awake(VideoTransformer(config)), options), float("inf"), 0.0
    for _ in range(2):
        step()
    for _ in range(options.rounds):
        rate = max(rate, matrix_rate(getattr(torch, options.dtype), seconds=0.2, clock=clock))
        start = clock()
        step()
        seconds = min(seconds, clock() - start)
    shape = (config.latent_channels, *options.latents)
    work = 3 * options.batch * flops(config, shape, options.text_tokens)
    print(
        f"{work / seconds / rate:.2f} of {rate / 1e9:.0f} GFLOP/s {options.dtype}: {seconds:.3f} s a step of "
        f"{options.batch} clips, {work / 1e9:.0f} GFLOP; {options.preset}, {' '.join(options.attention)}, "
        f"t for each {'latent' if options.times == 'each' else 'sample'}, compiled: {options.compile}, "
        f"checkpointing: {options.checkpointing}, {options.threads} threads, {options.clock} clock, "
        f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB with {before} of it before"
    )


if __name__ == "__main__":
    main()
