"""Buckets, packing and padding for clips of many sizes: tokens computed, and time of forward and backward a sample.

python benchmarks/packing.py [--shares 0.15 1.0] [--batch 32] [--rounds 5] [--compile] ...

The sizes are those of configs/sizes.toml, drawn sample by sample as training draws them; the model is `mini`, which
ships. buckets: a batch of each size, weighed by how many samples have it. packed: `VideoTransformer.packed`, with the
row's layout made anew each time, since layouts hardly repeat. padded: every sample padded to the largest size, behind
a mask (its rows share one grid's positions: what it predicts is of no use, what it costs is right). The ways are
measured in turn and the best of each is kept; cpu is the time of this process alone. --compile is for buckets.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor
from train_step import awake

from tubelet.data.buckets import bucket_of
from tubelet.model import attention, transformer
from tubelet.model.presets import preset
from tubelet.model.references import Outline
from tubelet.model.transformer import VideoTransformer, plan_of
from tubelet.model.tubelets import grid_of, marked
from tubelet.shapes import Text

# f x h x w of latents: 17x64x64, which most samples have, then 1x64x64, 9x64x64, 33x64x64, 17x48x80, 17x80x48.
SIZES = [(5, 8, 8), (1, 8, 8), (3, 8, 8), (9, 8, 8), (5, 6, 10), (5, 10, 6)]
TEXT_TOKENS = 12


def prompts(count: int, width: int) -> Text:
    """Prompts of random states."""
    mask = torch.ones(count, TEXT_TOKENS, dtype=torch.bool)
    return Text(torch.randn(count, TEXT_TOKENS, width), mask, torch.randn(count, width))


def bucket(
    model: VideoTransformer, size: tuple[int, ...], batch: int, compiled: bool
) -> Callable[[], Tensor]:
    """The loss of a batch of one size."""
    latents, t = torch.randn(batch, model.config.latent_channels, *size), torch.rand(batch, 1, 1, 1, 1)
    text, run = (
        prompts(batch, model.config.text_width),
        torch.compile(model, dynamic=False) if compiled else model,
    )
    return lambda: run(latents, t, text).square().mean()


def packed(model: VideoTransformer, sizes: list[tuple[int, ...]]) -> Callable[[], Tensor]:
    """The loss of samples of these sizes in one row: mean of each, then over samples."""
    latents = [torch.randn(model.config.latent_channels, *size) for size in sizes]
    t, text = torch.rand(len(sizes)), prompts(len(sizes), model.config.text_width)

    def loss() -> Tensor:
        transformer._plan.cache_clear()
        return torch.stack([each.square().mean() for each in model.packed(latents, t, text)]).mean()

    return loss


def padded(model: VideoTransformer, sizes: list[tuple[int, ...]]) -> Callable[[], Tensor]:
    """The loss of samples of these sizes, each padded to the largest of SIZES and masked."""
    config = model.config
    grids = [grid_of(size, config.tubelet) for size in sizes]
    largest = max((grid_of(size, config.tubelet) for size in SIZES), key=lambda grid: grid.tokens)
    counts = torch.tensor([grid.tokens for grid in grids])
    real = torch.arange(largest.tokens) < counts[:, None]  # [B, N]
    pieces = torch.zeros(len(sizes), largest.tokens, (config.latent_channels + 1) * 4)
    for row, size in zip(pieces, sizes, strict=True):
        own = marked(torch.randn(1, config.latent_channels, *size), torch.ones(()), config.tubelet)[0]
        row[: len(own)] = own
    times, text = torch.rand(len(sizes), 1), prompts(len(sizes), config.text_width)
    plan = plan_of(config, (Outline(largest),), torch.device("cpu"))
    plan = plan._replace(views=((real[:, None, None],),) * config.depth)

    def loss() -> Tensor:
        predicted = model.predict(pieces, times, text, plan).float().square().mean(-1)  # [B, N]
        return ((predicted * real).sum(1) / counts).mean()

    return loss


def timed(loss: Callable[[], Tensor], model: VideoTransformer) -> tuple[float, float]:
    """Seconds of wall and of processor for forward and backward."""
    wall, cpu = time.perf_counter(), time.process_time()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss()
    value.backward()
    spent = time.perf_counter() - wall, time.process_time() - cpu
    model.zero_grad()
    return spent


def measured(
    losses: dict[str, Callable[[], Tensor]], model: VideoTransformer, rounds: int
) -> dict[str, list]:
    """The best times of each, in turn; the first round does not count."""
    best = {name: [float("inf")] * 2 for name in losses}
    for number in range(rounds + 1):
        for name, loss in losses.items():
            spent = timed(loss, model)
            if number:
                best[name] = [min(pair) for pair in zip(best[name], spent, strict=True)]
    return best


def main() -> None:
    """Print a line of JSON for each share and way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shares", type=float, nargs="+", default=[0.15, 1.0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="buckets compiled, as training does it")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    attention.masked = attention.attend  # a view of padded samples is the mask itself
    model, batch = awake(VideoTransformer(preset("mini"))), options.batch
    tokens = [grid_of(size, model.config.tubelet).tokens for size in SIZES]
    buckets = {str(i): bucket(model, size, batch, options.compile) for i, size in enumerate(SIZES)}
    alone = measured(buckets, model, options.rounds)
    for share in options.shares:
        shares = [1 - share, *[share / (len(SIZES) - 1)] * (len(SIZES) - 1)]
        drawn = [bucket_of(0, number, shares) for number in range(batch)]
        sizes, useful = [SIZES[i] for i in drawn], sum(tokens[i] for i in drawn)
        ways = {"packed": packed(model, sizes), "padded": padded(model, sizes)}
        found = measured(ways, model, options.rounds)
        counts = Counter(drawn)
        found["buckets"] = [sum(n * alone[str(i)][c] for i, n in counts.items()) / batch for c in (0, 1)]
        for way, (wall, cpu) in sorted(found.items()):
            computed = batch * max(tokens) if way == "padded" else useful
            row = {"way": way, "share": share, "samples": batch, "tokens": useful}
            row |= {"computed": round(computed / useful, 3), "compiled": options.compile and way == "buckets"}
            row |= {"ms_per_sample": round(1e3 * wall / batch, 2), "cpu_ms": round(1e3 * cpu / batch, 2)}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
