"""The recipe by measurement: runs of equal compute that differ from a config in one thing each, judged alike.

    python benchmarks/recipe.py [--config CONFIG] [--only base adamw ...] [--seeds 0 1] [--flops 2.46e14] [--out FOLDER]

Each variant trains until it has spent --flops on forward and backward (64,000 samples of the shipped model), the last
quarter cooling down, and then makes --count clips of held-out prompts for the judge. A variant that is done is not
repeated, one that was interrupted goes on. To run two at a time on two cores, give each call one thread and its own
names: OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/recipe.py --only base. Besides the run's own held-out loss,
which depends on its path and target, a row holds the mean square of the error in x0 at the same log-SNRs for all.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from runs import task_of, trained

from tubelet.diffusion.grids import time_at
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
# Paths, targets and weights. A chain's times are drawn evenly, as its schedule was made for.
EVEN = ["--times.name", "uniform", "--sampler", "ddim"]
LINEAR, COSINE = ["--path.name", "ddpm_linear", *EVEN], ["--path.name", "ddpm_cosine", *EVEN]
# The square of a line from sqrt(0.00085) to sqrt(0.012), as Stable Diffusion has it: no name here stands for it.
SCALED = [(0.00085**0.5 + (0.012**0.5 - 0.00085**0.5) * n / 999) ** 2 for n in range(1000)]
VARIANTS |= {
    "linear_noise": [*LINEAR, "--target", "noise"],
    "linear_x0": [*LINEAR, "--target", "x0"],
    "linear_v": [*LINEAR, "--target", "v"],
    "cosine_noise": [*COSINE, "--target", "noise"],
    "cosine_x0": [*COSINE, "--target", "x0"],
    "cosine_v": [*COSINE, "--target", "v"],
    "sigmoid_v": ["--path.name", "ddpm_sigmoid", *EVEN, "--target", "v"],
    "zero_terminal_v": [*LINEAR, "--path.zero-terminal", "--target", "v"],
    "betas_v": ["--path.name", "betas", "--path.betas", *map(repr, SCALED), *EVEN, "--target", "v"],
    "min_snr": [*COSINE, "--target", "v", "--objective.weight", "min_snr"],
    "sigmoid_weight": [*COSINE, "--target", "v", "--objective.weight", "sigmoid"],
}
# What the layers are made of.
VARIANTS |= {
    "no_qk_norm": ["--model.no-qk-norm"],
    "swiglu": ["--model.feed-forward", "swiglu"],
    "rms_norm": ["--model.norm", "rms"],
    "instance_norm": ["--model.norm", "instance"],
    "registers_4": ["--model.registers", "4"],
    "value_residual": ["--model.value-residual"],
    "sincos": ["--model.positions", "sincos"],
    "learned_positions": ["--model.positions", "learned"],
    "rotary": ["--model.positions", "rotary"],  # beside the base of configs/loops.toml, which is periodic
}
# Where the prompt is read and how it steers.
VARIANTS |= {
    "block_modulation": ["--model.modulation", "block"],  # 12,084,288 parameters
    # 9,325,504 parameters, where base has 9,331,776: a block of two streams is as large as two.
    "streams": [
        "--model.prompt",
        "joint",
        "--model.width",
        "192",
        "--model.depth",
        "10",
        "--model.heads",
        "3",
    ],
    "no_cross_attention": ["--model.prompt", "none"],  # 7,128,384 parameters
}
# Half of the samples know something: first frames or a region in place, single frames beside, times for each frame.
KNOWN = {"first": 0.15, "region": 0.1, "last": 0.1, "keyframes": 0.1, "each-frame": 0.05}
VARIANTS |= {"known": [word for name, share in KNOWN.items() for word in (f"--known.{name}", f"{share}")]}
LOG_SNRS = (4.0, 2.0, 0.0, -2.0, -4.0)
TEXT_TOKENS = 14  # of a usual caption


def samples_of(run: DenoiserRun, flops_to_spend: float) -> int:
    """How many training samples the compute buys: forward and backward cost three forwards."""
    from tubelet.data.source import held_out_clips
    from tubelet.model.cost import flops

    codec, _ = codec_for(run.codec)
    latents = codec.latent_shape(*held_out_clips(run.data).frames(0).shape[:3])
    return int(flops_to_spend / (3 * flops(run.model, latents, TEXT_TOKENS)))


def train(name: str, seed: int, arguments: argparse.Namespace) -> Path:
    """Train a variant, or what is left of it; returns the run's folder."""
    flags = [*VARIANTS[name], "--loop.seed", str(seed)]
    run = run_of(DenoiserRun, [arguments.config, *flags], "tubelet train")
    steps = samples_of(run, arguments.flops) // run.loop.batch_size
    lengths = {"steps": steps, "warm-up": steps // 25, "cool-down": steps // 4}
    flags += [word for key, value in lengths.items() for word in (f"--loop.schedule.{key}", str(value))]
    flags += [f"--loop.held-out-every={steps // 4}", f"--loop.save-every={steps // 40}"]
    flags += [f"--loop.preview-every={steps}", f"--loop.keep={arguments.keep}"]
    return trained(arguments.config, arguments.out / (f"{name}-{seed}" if seed else name), flags)


def judge(out: Path, arguments: argparse.Namespace) -> Path:
    """The judge's lines on clips of held-out prompts, the summary last."""
    lines = out.with_name(f"{out.name}.jsonl")
    if not lines.exists():
        script = Path(__file__).with_name("prompt_fit.py")
        settings = ["--checkpoint", str(out / "final"), "--count", str(arguments.count), "--out", str(lines)]
        subprocess.run([sys.executable, str(script), *settings], check=True)
    return lines


@torch.no_grad()
def x0_errors(out: Path) -> Iterator[tuple[str, float]]:
    """The mean square of the error in x0 of held-out latents, at each of LOG_SNRS."""
    task = task_of(out)
    for log_snr in LOG_SNRS:
        t = time_at(task.reverse.path, torch.tensor([log_snr]))
        errors = []
        for content in task.samples.held_out():
            each = t.expand(len(content.x0))
            batch = task.noised(content, each[:, None])
            with task.run.loop.autocast():
                prediction = task.network(batch.xt, batch.t, batch.text).float()
            error = task.reverse.x0(prediction, batch.xt, each) - content.x0
            errors.append(error.square().flatten(1).mean(1))
        yield f"x0_at_{log_snr:g}", round(torch.cat(errors).mean().item(), 4)


def row(name: str, seed: int, out: Path, lines: Path) -> dict[str, float | str]:
    """What a variant came to, for the table."""
    table = json.loads(lines.read_text().splitlines()[-1])["summary"]
    events = read_events(out / "log.jsonl")
    begin, end = next(each for each in events if each["event"] == "begin"), events[-1]
    samples = end["step"] * begin["run"]["loop"]["batch_size"]
    losses = {key: round(value, 4) for key, value in end["held_out"].items()}
    judged = {key: table[key]["accuracy"] for key in ("shape", "colour", "motion", "both", "all")}
    counts = {"samples": samples, "parameters": begin["parameters"]}
    return {"variant": name, "seed": seed, **counts, **losses, **dict(x0_errors(out)), **judged}


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
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--keep", type=int, default=1, help="checkpoints to keep; saved 40 times a run")
    parser.add_argument("--count", type=int, default=100, help="held-out prompts for the judge")
    parser.add_argument("--out", type=Path, default=Path("runs/recipe"))
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        for name in arguments.only:
            out = train(name, seed, arguments)
            print(json.dumps(row(name, seed, out, judge(out, arguments))), flush=True)


if __name__ == "__main__":
    main()
