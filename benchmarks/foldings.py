"""Foldings at equal parameters: held-out loss at equal steps and at equal FLOPs, time of a step, memory; and a figure.

    python benchmarks/foldings.py [--config configs/foldings.toml] [--only joint split_heads ...] [--seeds 0 1]
        [--flops 1.2e14] [--out FOLDER] [--plot FILE.png]

Each folding trains until it has spent --flops on forward and backward. The rate is constant and held-out loss is that
of averaged weights, so any step of a run can be compared with that step of another. Equal steps are those of the
shortest run. A run that is done is not repeated, one that was interrupted goes on. With one thread a run:
OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/foldings.py --only joint. Prints a JSON line of each run.
"""

import argparse
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from recipe import TEXT_TOKENS
from runs import curve, trained

from tubelet.data.source import held_out_clips
from tubelet.model.cost import flops
from tubelet.model.foldings import FOLDINGS
from tubelet.training.command import run_of
from tubelet.training.config import DenoiserRun
from tubelet.training.denoiser_task import codec_for
from tubelet.training.log import read_events


def steps_of(run: DenoiserRun, folding: str, flops_to_spend: float) -> int:
    """How many steps the compute buys, in whole measurements: forward and backward cost three forwards."""
    codec, _ = codec_for(run.codec)
    latents = codec.latent_shape(*held_out_clips(run.data).frames(0).shape[:3])
    sample = 3 * flops(replace(run.model, attention=(folding,)), latents, TEXT_TOKENS)
    every = run.loop.held_out_every
    return max(round(flops_to_spend / sample / run.loop.batch_size / every), 1) * every


def train(folding: str, seed: int, arguments: argparse.Namespace) -> Path:
    """Train a folding, or what is left of it; returns the run's folder, which holds its peak memory too."""
    run = run_of(DenoiserRun, [arguments.config], "tubelet train")
    steps = steps_of(run, folding, arguments.flops)
    flags = ["--loop.seed", str(seed), "--model.attention", folding, "--loop.schedule.steps", str(steps)]
    return trained(arguments.config, arguments.out / f"{folding}-{seed}", flags)


def row(folding: str, seed: int, out: Path) -> dict[str, Any]:
    """What a run came to: its curve of held-out loss by step and by FLOPs, its time, its memory."""
    events = read_events(out / "log.jsonl")
    begin, end = read_events(out / "log.jsonl", "begin")[0], events[-1]["step"]
    batch = begin["run"]["loop"]["batch_size"]
    steps = [e for e in events if e["event"] == "step"]
    paces = [(b["time"] - a["time"]) / (b["step"] - a["step"]) for a, b in pairwise(steps)]
    return {
        "folding": folding, "seed": seed, "parameters": begin["parameters"],
        "flops_per_sample": begin["flops_per_sample"], "steps": end, "samples": batch * end,
        "seconds_per_step": round(median(paces), 3), "curve": curve(out), **json.loads((out / "peak.json").read_text()),
    }  # fmt: skip


def plot(rows: list[dict[str, Any]], file: Path) -> None:
    """Held-out loss against FLOPs, a line for each run, a colour for each folding."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    names = list(dict.fromkeys(each["folding"] for each in rows))
    for each in rows:
        batch = each["samples"] / each["steps"]
        spent = [int(step) * batch * each["flops_per_sample"] for step in each["curve"]]
        label = each["folding"] if each["seed"] == rows[0]["seed"] else None
        axes.plot(spent, list(each["curve"].values()), color=f"C{names.index(each['folding'])}", label=label)
    axes.set(xlabel="FLOPs of training", ylabel="held-out loss", xscale="log", yscale="log")
    axes.legend()
    figure.savefig(file, dpi=120)


def main() -> None:
    """Train every folding asked for, and print and plot what they came to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="configs/foldings.toml")
    parser.add_argument("--only", nargs="+", choices=FOLDINGS, default=list(FOLDINGS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--flops", type=float, default=1.2e14, help="of forward and backward, for each run")
    parser.add_argument("--out", type=Path, default=Path("runs/foldings"))
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    rows = [
        row(folding, seed, train(folding, seed, arguments))
        for seed in arguments.seeds
        for folding in arguments.only
    ]
    same = min(each["steps"] for each in rows)
    for each in rows:
        found = each["curve"]
        equal = {"at_equal_steps": found[same], "at_equal_flops": found[each["steps"]]}
        print(json.dumps({**each, **equal}), flush=True)
    if arguments.plot is not None:
        plot(rows, arguments.plot)


if __name__ == "__main__":
    main()
