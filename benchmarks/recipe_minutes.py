"""The recipe of a long run, decided by equal core-minutes: runs that differ from a config in one thing each.

    python benchmarks/recipe_minutes.py CONFIG [--only base layer_sync ...] [--minutes 20] [--out FOLDER] [FLAGS]

A few steps tell what one costs in processor time, on a machine that does nothing else; variants whose steps are those
of base take base's. Then a variant trains from the beginning for as many steps as the minutes buy, the last quarter
cooling down. One that is done is not repeated, one that was interrupted goes on. Its loss on held-out clips is measured
at fixed noise levels with fixed noise, so each clip's losses are paired with those of `base`: a row holds the mean over
clips, and the mean difference to base with its standard error. Layers of layer_sync and truth_head are those of a
network of 8. Other FLAGS are those of `tubelet train` and hold for all.
"""

import argparse
import json
import math
from pathlib import Path
from statistics import mean, stdev

import torch
from runs import task_of, trained

from tubelet.training.account import account_of, words
from tubelet.training.denoiser_task import HELD_OUT_TIMES
from tubelet.training.known import NOTHING
from tubelet.training.loop import moved

VARIANTS: dict[str, list[str]] = {
    "base": [],
    "layer_sync": ["--auxiliary.layer-sync.weight", "0.2"],
    "truth_head": ["--auxiliary.truth-head.weight", "0.1"],
    "truth_head_0.5": ["--auxiliary.truth-head.weight", "0.5"],
    "width_320": ["--model.width", "320", "--model.heads", "5"],
    "rate_half": ["--loop.optimizer.rate", "5e-4", "--loop.optimizer.muon-rate", "5e-3"],
    "rate_double": ["--loop.optimizer.rate", "2e-3", "--loop.optimizer.muon-rate", "2e-2"],
    "mean_0.8": ["--times.mean", "0.8"],
    "mean_1.0": ["--times.mean", "1.0"],
    "mean_1.2": ["--times.mean", "1.2"],
    "std_1.0": ["--times.std", "1.0"],
    "std_1.8": ["--times.std", "1.8"],
    "stratified": ["--times.stratified"],
    "no_value_residual": ["--model.no-value-residual"],
}
OTHER_STEPS = (
    "layer_sync",
    "truth_head",
    "truth_head_0.5",
    "width_320",
    "no_value_residual",
)  # cost what base's do not
TRIAL = 60  # steps that show what one costs; those before the middle, which compile, do not count


def seconds_a_step(out: Path) -> float:
    """Processor time of a step of a run, by its second half."""
    steps = [event for event in words(out / "log.jsonl") if event["event"] == "step"]
    last, middle = steps[-1], next(event for event in steps if event["step"] >= steps[-1]["step"] / 2)
    return (last["cpu"] - middle["cpu"]) / (last["step"] - middle["step"])


def lengths(steps: int, seldom: int) -> list[str]:
    """Flags of a run of so many steps that measures and saves every `seldom`."""
    schedule = {"steps": steps, "warm-up": steps // 25, "cool-down": steps // 4}
    flags = [word for name, value in schedule.items() for word in (f"--loop.schedule.{name}", str(value))]
    for name in ("held-out-every", "preview-every", "save-every"):
        flags += [f"--loop.{name}", str(seldom)]
    return flags


def train(name: str, arguments: argparse.Namespace) -> Path:
    """Train a variant for its minutes, or do what is left of that; returns the run's folder."""
    tried = name if name in OTHER_STEPS else "base"
    short = [*arguments.flags, *VARIANTS[tried], *lengths(TRIAL, TRIAL), "--loop.log-every", "10"]
    trial = trained(arguments.config, arguments.out / tried / "trial", short)
    steps = int(60 * arguments.minutes / seconds_a_step(trial))
    flags = [*arguments.flags, *VARIANTS[name], *lengths(steps, -(-steps // 4))]
    return trained(arguments.config, arguments.out / name / "run", flags)


@torch.no_grad()
def losses(out: Path) -> dict[str, list[float]]:
    """The loss of each held-out clip at each of the fixed noise levels, with fixed noise; kept beside the run."""
    file = out / "losses.json"
    if not file.exists():
        task, found = task_of(out), {f"{level:g}": [] for level in HELD_OUT_TIMES}
        for level in HELD_OUT_TIMES:
            for content in task.samples.held_out(0, NOTHING):
                t = torch.full((len(content.x0), 1), level, dtype=torch.float64)
                batch = moved(task.noised(content, t), task.run.loop.device)
                with task.run.loop.autocast():
                    predicted = task.network(batch.xt, batch.t, batch.text, batch.references, batch.stride)
                found[f"{level:g}"] += task.terms(batch, predicted)["loss"].tolist()
        file.write_text(json.dumps(found))
    return json.loads(file.read_text())


def row(name: str, out: Path, base: dict[str, list[float]] | None) -> dict[str, object]:
    """What a variant came to, for the table; away: from base, paired by clip, of the mean over the levels."""
    own = losses(out)
    account = account_of(words(out / "log.jsonl"))
    assert account is not None
    counts = {
        "variant": name,
        "samples": account.samples,
        "core_minutes": round(account.cpu / 60, 1),
        "parameters": account.parameters,
    }
    levels = {f"loss_{level}": round(mean(each), 4) for level, each in own.items()}
    each = [mean(clip) for clip in zip(*own.values(), strict=True)]
    found = {**counts, "loss": round(mean(each), 4), **levels}
    if base is not None:
        pairs = zip(each, [mean(clip) for clip in zip(*base.values(), strict=True)], strict=True)
        away = [ours - theirs for ours, theirs in pairs]
        found |= {"away": round(mean(away), 5), "error": round(stdev(away) / math.sqrt(len(away)), 5)}
    return found


def main() -> None:
    """Train and measure every variant asked for, base first, and print a JSON line of each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--minutes", type=float, default=20.0, help="of one core, for each variant")
    parser.add_argument("--out", type=Path, default=Path("runs/recipe_minutes"))
    arguments, arguments.flags = parser.parse_known_args()
    base = None
    for name in sorted(arguments.only, key=lambda name: name != "base"):
        out = train(name, arguments)
        print(json.dumps(row(name, out, base)), flush=True)
        base = losses(out) if name == "base" else base


if __name__ == "__main__":
    main()
