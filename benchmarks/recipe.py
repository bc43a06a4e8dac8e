"""The recipe by measurement: runs of equal compute that differ from a config in one thing each, judged alike.

    python benchmarks/recipe.py [--config CONFIG] [--only base adamw ...] [--flops 2.46e14] [--keep 1] [--out FOLDER]

Each variant trains until it has spent --flops on forward and backward (64,000 samples of the shipped model), the last
quarter cooling down, and then makes --count clips of held-out prompts for the judge. A variant that is done is not
repeated, one that was interrupted goes on. To run two at a time on two cores, give each call one thread and its own
names: OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/recipe.py --only base.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from tubelet.training.command import run_of
from tubelet.training.config import DenoiserRun
from tubelet.training.denoiser_task import codec_for
from tubelet.training.log import read_events

VARIANTS: dict[str, list[str]] = {
    "base": [],
    "mean_0": ["--times.mean", "0.0", "--times.std", "1.0"],
    "mean_0.5": ["--times.mean", "0.5", "--times.std", "1.0"],
    "mean_1": ["--times.mean", "1.0", "--times.std", "1.0"],
    "batch_64": ["--loop.batch-size", "64", "--loop.average", "0.998"],
    "adamw": ["--loop.optimizer.name", "adamw"],
    "adamw_3e-4": ["--loop.optimizer.name", "adamw", "--loop.optimizer.rate", "3e-4"],
    "deep": ["--model.depth", "14", "--model.width", "192", "--model.heads", "3"],
    "wide": ["--model.depth", "5", "--model.width", "320", "--model.heads", "5"],
    "tubelet_1x1x1": ["--model.tubelet", "1", "1", "1"],
}
TEXT_TOKENS = 14  # of a usual caption


def samples_of(run: DenoiserRun, flops_to_spend: float) -> int:
    """How many training samples the compute buys: forward and backward cost three forwards."""
    from tubelet.data.source import held_out_clips
    from tubelet.model.transformer import flops

    codec, _ = codec_for(run.codec)
    latents = codec.latent_shape(*held_out_clips(run.data).frames(0).shape[:3])
    return int(flops_to_spend / (3 * flops(run.model, latents, TEXT_TOKENS)))


def train(name: str, arguments: argparse.Namespace) -> Path:
    """Train a variant, or what is left of it; returns the folder of its averaged weights."""
    flags = VARIANTS[name]
    run = run_of(DenoiserRun, [arguments.config, *flags], "tubelet train")
    steps = samples_of(run, arguments.flops) // run.loop.batch_size
    out = arguments.out / name
    if not (out / "final").exists():
        lengths = {"steps": steps, "warm-up": steps // 25, "cool-down": steps // 4}
        schedule = [word for key, value in lengths.items() for word in (f"--loop.schedule.{key}", str(value))]
        every = [f"--loop.held-out-every={steps // 4}", f"--loop.save-every={steps // 40}"]
        command = [sys.executable, "-m", "tubelet", "train", arguments.config, "--loop.out", str(out)]
        command += [
            *flags,
            *schedule,
            *every,
            f"--loop.preview-every={steps}",
            f"--loop.keep={arguments.keep}",
        ]
        subprocess.run(command, check=True)
    return out / "final"


def judge(name: str, final: Path, arguments: argparse.Namespace) -> Path:
    """The judge's lines on clips of held-out prompts, the summary last."""
    lines = arguments.out / f"{name}.jsonl"
    if not lines.exists():
        script = Path(__file__).with_name("prompt_fit.py")
        settings = ["--checkpoint", str(final), "--count", str(arguments.count), "--out", str(lines)]
        subprocess.run([sys.executable, str(script), *settings], check=True)
    return lines


def row(name: str, lines: Path, log: Path) -> dict[str, float | str]:
    """What a variant came to, for the table."""
    table = json.loads(lines.read_text().splitlines()[-1])["summary"]
    events = read_events(log)
    begin, end = events[0], events[-1]
    samples = end["step"] * begin["run"]["loop"]["batch_size"]
    losses = {key: round(value, 4) for key, value in end["held_out"].items()}
    judged = {key: table[key]["accuracy"] for key in ("shape", "colour", "motion", "both", "all")}
    return {"variant": name, "samples": samples, "parameters": begin["parameters"], **losses, **judged}


def main() -> None:
    """Train and judge every variant asked for, and print a JSON line of each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="configs/denoiser.toml")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument(
        "--flops", type=float, default=2.46e14, help="of forward and backward, for each variant"
    )
    parser.add_argument("--keep", type=int, default=1, help="checkpoints to keep; saved 40 times a run")
    parser.add_argument("--count", type=int, default=100, help="held-out prompts for the judge")
    parser.add_argument("--out", type=Path, default=Path("runs/recipe"))
    arguments = parser.parse_args()
    for name in arguments.only:
        lines = judge(name, train(name, arguments), arguments)
        print(json.dumps(row(name, lines, arguments.out / name / "log.jsonl")), flush=True)


if __name__ == "__main__":
    main()
