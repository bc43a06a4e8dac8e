"""What a clip costs against its length, for each folding: time of forward with backward, FLOPs, kept activations.

    python benchmarks/frames.py [--frames 5 9 17 33 65 129 257] [--size 128] [--preset mini] [--threads 1 --clock cpu]
        [--rounds 3] [--out FILE.jsonl] [--plot FILE.png]

One clip of size x size pixels at a time, bf16 autocast, as written. Of each length the foldings are measured in turn
and the least of the rounds counts. "exponent" is that of cost against frames over the last doubling: 1 is linear.
"""

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from train_step import CLOCKS, awake

from tubelet.model.cost import flops
from tubelet.model.foldings import FOLDINGS
from tubelet.model.presets import SIZES, preset
from tubelet.model.transformer import TransformerConfig, VideoTransformer
from tubelet.shapes import Text

TEXT_TOKENS = 14


def once(model: VideoTransformer, latents: Tensor, text: Text, clock: Any) -> tuple[float, float]:
    """Seconds of one forward with backward, and the MiB that the forward keeps for the backward."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        start = clock()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(latents, torch.full((1, 1, 1, 1, 1), 0.5), text).square().mean()
    loss.backward()
    taken = clock() - start
    model.zero_grad()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    return taken, sum(size for place, size in kept.items() if place not in weights) / 2**20


def rows_of(config: TransformerConfig, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each length and folding."""
    clock, rows = CLOCKS[options.clock], []
    models = {name: awake(VideoTransformer(replace(config, attention=(name,)))) for name in FOLDINGS}
    mask = torch.ones(1, TEXT_TOKENS, dtype=torch.bool)
    text = Text(torch.randn(1, TEXT_TOKENS, config.text_width), mask, torch.randn(1, config.text_width))
    side = options.size // config.pixels_per_latent
    for frames in options.frames:
        shape = (config.latent_channels, 1 + (frames - 1) // config.frames_per_latent, side, side)
        latents, best = torch.randn(1, *shape), dict.fromkeys(models, (math.inf, 0.0))
        for _ in range(options.rounds + 1):  # the first makes the plan
            for name, model in models.items():
                best[name] = min(best[name], once(model, latents, text, clock))
        for name, (seconds, mib) in best.items():
            work = 3 * flops(models[name].config, shape, TEXT_TOKENS)
            rows.append({"folding": name, "frames": frames, "tokens": shape[1] * side**2 // 4, "flops": work,
                         "seconds": round(seconds, 4), "kept_mib": round(mib, 1)})  # fmt: skip
            before = [row for row in rows[:-1] if row["folding"] == name]
            if before:
                doubling = math.log(frames / before[-1]["frames"])
                for what in ("flops", "seconds", "kept_mib"):
                    exponent = math.log(rows[-1][what] / before[-1][what]) / doubling
                    rows[-1][f"{what}_exponent"] = round(exponent, 2)
            print(json.dumps(rows[-1]), flush=True)
    return rows


def plot(rows: list[dict[str, Any]], file: Path) -> None:
    """Seconds, FLOPs and memory for each frame against frames: a line that is level is linear."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.8), layout="constrained")
    panels = {
        "seconds": "ms of forward and backward a frame",
        "flops": "GFLOP a frame",
        "kept_mib": "MiB kept a frame",
    }
    for axes, (what, label), scale in zip(
        figure.subplots(1, 3), panels.items(), (1e3, 1e-9, 1.0), strict=True
    ):
        for name in dict.fromkeys(row["folding"] for row in rows):
            mine = [row for row in rows if row["folding"] == name]
            each = [scale * row[what] / row["frames"] for row in mine]
            axes.plot([row["frames"] for row in mine], each, marker="o", label=name)
        axes.set(xscale="log", xlabel="frames", ylabel=label)
        axes.set_ylim(bottom=0)
    figure.axes[0].legend(fontsize="small")
    figure.savefig(file, dpi=120)


def main() -> None:
    """Measure, print and keep the rows, and draw them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, nargs="+", default=[5, 9, 17, 33, 65, 129, 257])
    parser.add_argument("--size", type=int, default=128, help="pixels of a side")
    parser.add_argument("--preset", choices=SIZES, default="mini")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    rows = rows_of(preset(options.preset), options)
    if options.out is not None:
        options.out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if options.plot is not None:
        plot(rows, options.plot)


if __name__ == "__main__":
    main()
