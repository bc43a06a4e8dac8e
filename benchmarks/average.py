"""The length of the weights' EMA, measured after the run: raw weights of its last checkpoints, averaged anew.

    python benchmarks/average.py runs/recipe/mean_1 [--decay 0 0.98 0.99 0.995] [--out FOLDER]

The run must have kept several step-* folders (benchmarks/recipe.py --keep 12). The weights of the checkpoint at step s
count as decay^(last - s), which is the EMA of that decay read at the checkpoints only; 0 is the last weights alone.
Prints a JSON line of held-out losses for each decay, and for the run's own EMA; with --out the averages are written
as checkpoints, FOLDER/decay-0.98 and so on, for benchmarks/prompt_fit.py.
"""

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

from tubelet import checkpoint
from tubelet.training.config import DenoiserRun, from_dict
from tubelet.training.denoiser_task import DenoiserTask
from tubelet.training.log import Log
from tubelet.training.saving import taken


def averaged(weights: dict[int, dict[str, Tensor]], decay: float) -> dict[str, Tensor]:
    """The mean of weights by step, each counting as decay to the power of its distance from the last."""
    last = max(weights)
    shares = {step: float(decay) ** (last - step) for step in weights}
    total = sum(shares.values())
    names = weights[last]
    return {name: sum(shares[step] / total * weights[step][name] for step in weights) for name in names}


def main() -> None:
    """Measure every decay asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--decay", type=float, nargs="+", default=[0.0, 0.98, 0.99, 0.995])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    saved = {int(p.name[5:]): checkpoint.load(p) for p in sorted(arguments.run.glob("step-*"))}
    weights = {step: taken(each.parts["training"].tensors, "weights.") for step, each in saved.items()}
    last = saved[max(saved)]
    task = DenoiserTask(
        from_dict(DenoiserRun, last.parts["training"].config["run"]), Log(arguments.run / "averages")
    )
    choices = {f"{decay:g}": averaged(weights, decay) for decay in arguments.decay}
    choices["as trained"] = dict(last.parts["transformer"].tensors)
    for name, tensors in choices.items():
        task.network.load_state_dict(tensors)
        with torch.no_grad():
            losses = task.held_out()
        print(json.dumps({"decay": name, "checkpoints": len(weights), **losses}), flush=True)
        if arguments.out is not None:
            task.pipeline().save_pretrained(arguments.out / f"decay-{name.replace(' ', '-')}")


if __name__ == "__main__":
    main()
