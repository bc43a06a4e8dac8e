"""Training steps a second and share of the matrix rate, over shapes and batch sizes; one JSON line a measurement.

    export PYTHONPATH=src:.gpu-bundle/site; python benchmarks/gpu/unpack.py .gpu-bundle
    python benchmarks/gpu/throughput.py --minutes 8

Of each shape and batch size, eager, with compiled blocks (as training has them), compiled whole and as CUDA graphs:
milliseconds of forward and backward, of the whole step (clipping, Muon and AdamW, average), samples a second of the
whole step, the share of the bf16 matrix rate measured in the same process and of the nominal one, and the most memory.
Products of the model are counted, three times the forward's; the optimizer's are not. A row that fails says why, and
the next one is measured.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tubelet.diffusion.objective import mean_squared
from tubelet.model.cost import flops
from tubelet.model.transformer import TransformerConfig, VideoTransformer
from tubelet.shapes import Text
from tubelet.training.blocks import compiled
from tubelet.training.ema import Average
from tubelet.training.optim import OptimizerConfig, Optimizers

NOMINAL = {"H100": 989e12, "H200": 989e12}  # dense bf16 FLOP/s of the SXM parts, by the vendor's data sheet
TEXT_TOKENS = 24
MODES = ("eager", "blocks", "whole", "graphs")


@dataclass(frozen=True)
class Shape:
    """A model, the latents it trains on, and the batch sizes measured: eager, and compiled (a minute each)."""

    model: TransformerConfig
    latents: tuple[int, int, int]
    batches: tuple[int, ...]
    compiled: tuple[int, ...]


LATTE = {"latent_channels": 4, "width": 384, "depth": 12, "heads": 6}
SHAPES = {
    # 9.3 M parameters, 80 tokens of 5 x 8 x 8 latents
    "shipped": Shape(
        TransformerConfig(), (5, 8, 8), (64, 128, 256, 512, 1024, 2048, 4096), (256, 1024, 4096)
    ),
    # the shape of Latte-S/2: 4,096 tokens of 16 x 32 x 32 latents
    "s2-joint": Shape(TransformerConfig(**LATTE), (16, 32, 32), (4, 16, 32), (16,)),
    "s2-space-then-time": Shape(
        TransformerConfig(**LATTE, attention="space_then_time"), (16, 32, 32), (4, 16, 32), (16,)
    ),
    # for a CPU: does the script run?
    "tiny": Shape(TransformerConfig(width=32, depth=2, heads=2), (2, 4, 4), (2, 4), (4,)),
}


class Trained:
    """A model on random data with its optimizers and average, as the loop would step it."""

    def __init__(self, shape: Shape, batch: int, device: str, mode: str):
        config = shape.model
        torch.manual_seed(0)
        with torch.device(device):
            self.model = VideoTransformer(config)
            self.latents = torch.randn(batch, config.latent_channels, *shape.latents)
            self.target = torch.randn_like(self.latents)
            self.t = torch.rand(batch, 1, 1, 1, 1)
            mask = torch.arange(TEXT_TOKENS) < torch.randint(1, TEXT_TOKENS + 1, (batch, 1))
            self.text = Text(
                torch.randn(batch, TEXT_TOKENS, config.text_width),
                mask,
                torch.randn(batch, config.text_width),
            )
        for parameter in self.model.parameters():  # layers that are zero at first might make products cheaper
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.02)
        self.optimizers, self.average = Optimizers(self.model, OptimizerConfig()), Average(self.model, 0.999)
        self.device, self.number = device, 0
        self.compute: Callable[[], Tensor] = self.loss
        if mode == "blocks":
            compiled(self.model.blocks)
        elif mode != "eager":
            options = {"mode": "reduce-overhead"} if mode == "graphs" else {}
            self.compute = torch.compile(self.loss, dynamic=False, **options)

    def loss(self) -> Tensor:
        """The loss of the batch."""
        return mean_squared(self.model(self.latents, self.t, self.text).float(), self.target).mean()

    def pass_(self) -> Tensor:
        """Forward and backward."""
        self.optimizers.clear()
        with torch.autocast(self.device, dtype=torch.bfloat16):
            loss = self.compute()
        loss.backward()
        return loss.detach().clone()

    def step(self) -> None:
        """The whole step, with the one wait for the loss that the loop has."""
        loss = self.pass_()
        if not loss.isfinite():
            raise FloatingPointError("the loss is not finite")
        self.optimizers.clip(1.0)
        self.optimizers.step(1e-3)
        self.average.update(self.model, self.number)
        self.number += 1


def seconds(work: Callable[[], Any], device: str, budget: float) -> float:
    """Median seconds of `work` over five rounds that fit about into `budget` seconds; two calls warm up."""
    for _ in range(2):
        work()
    once = timed(work, device, 1)
    calls = max(1, min(200, int(budget / 5 / max(once, 1e-6))))
    return statistics.median(timed(work, device, calls) for _ in range(5))


def timed(work: Callable[[], Any], device: str, calls: int) -> float:
    """Seconds of one call, from `calls` in a row."""
    wait(device)
    begun = time.perf_counter()
    for _ in range(calls):
        work()
    wait(device)
    return (time.perf_counter() - begun) / calls


def wait(device: str) -> None:
    """Until the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def matrix_rate(device: str, budget: float) -> float:
    """FLOP/s of a square bf16 product of random matrices, large enough to fill the device."""
    size = 8192 if device == "cuda" else 512
    a, b = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    return 2 * size**3 / seconds(lambda: torch.mm(a, b), device, budget)


def measured(name: str, batch: int, mode: str, device: str, rate: float, budget: float) -> dict[str, Any]:
    """One row."""
    shape = SHAPES[name]
    config = shape.model
    torch.compiler.reset()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    begun = time.perf_counter()
    trained = Trained(shape, batch, device, mode)
    trained.step()
    wait(device)
    first = time.perf_counter() - begun
    both, whole = (seconds(work, device, budget) for work in (trained.pass_, trained.step))
    work = 3 * batch * flops(config, (config.latent_channels, *shape.latents), TEXT_TOKENS)
    nominal = next((peak for key, peak in NOMINAL.items() if key in device_name(device)), None)
    return {
        "first_step_s": round(first, 2),
        "forward_backward_ms": 1e3 * both,
        "step_ms": 1e3 * whole,
        "samples_per_s": batch / whole,
        "gflop_per_sample": work / batch / 1e9,
        "share_of_measured": {"forward_backward": work / both / rate, "step": work / whole / rate},
        "share_of_nominal": nominal
        and {"forward_backward": work / both / nominal, "step": work / whole / nominal},
        "memory_gb": torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else None,
    }


def device_name(device: str) -> str:
    """What the device calls itself."""
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"


def rows(names: list[str], modes: list[str]) -> Iterator[tuple[str, int, str]]:
    """What is measured, the quickest to have first: all that needs no compiling, then the rest."""
    for mode in modes:
        for name in names:
            for batch in SHAPES[name].batches if mode == "eager" else SHAPES[name].compiled:
                yield name, batch, mode


def main() -> None:
    """Measure until the minutes are over."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--back", type=Path, default=Path(os.environ.get("OUT", "runs/gpu-back")))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--minutes", type=float, default=8.0, help="no row begins after so many")
    parser.add_argument("--seconds", type=float, default=1.5, help="for the repetitions of one figure")
    parser.add_argument(
        "--shapes", nargs="+", choices=SHAPES, default=["shipped", "s2-joint", "s2-space-then-time"]
    )
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    options = parser.parse_args()
    begun, device = time.monotonic(), options.device
    options.back.mkdir(parents=True, exist_ok=True)
    rate = matrix_rate(device, options.seconds)
    about = {"device": device_name(device), "torch": torch.__version__, "matrix_tflops": rate / 1e12}
    with (options.back / "throughput.jsonl").open("w") as file:

        def say(line: dict[str, Any]) -> None:
            for out in (file, None):
                print(json.dumps(line), file=out, flush=True)

        say(about)
        for name, batch, mode in rows(options.shapes, options.modes):
            row: dict[str, Any] = {"shape": name, "batch": batch, "mode": mode}
            if time.monotonic() - begun > 60 * options.minutes:
                say({**row, "skipped": "the minutes are over"})
                continue
            try:
                row |= measured(name, batch, mode, device, rate, options.seconds)
            except Exception as problem:  # out of memory, or a compiler's: the next row may fit
                row["failed"] = f"{type(problem).__name__}: {str(problem)[:300]}"
            say(row)


if __name__ == "__main__":
    main()
