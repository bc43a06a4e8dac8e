"""The report's own model trained by each objective, and its bound in bits per dimension, term by term.

    python benchmarks/objectives.py --data FOLDER [--only hybrid simple vlb] [--seeds 0 1] [--clips 64] [--out FOLDER]

FOLDER holds real clips (17 x 64 x 64, made 9 x 32 x 32). Each model is trained as configs/pixels.toml says, at equal
steps, and then bounded by `tubelet bound` on held-out clips: with its own variance, and with both fixed ones. What is
done is not repeated, what was interrupted goes on. For one run a core: OMP_NUM_THREADS=1 taskset -c 0 python ...
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from tubelet.training.log import read_events

VARIANTS: dict[str, list[str]] = {
    "hybrid": [],
    "vlb": ["--objective.name", "vlb", "--times.name", "importance"],
    "simple": ["--variance", "small", "--objective.name", "simple", "--model.predictions", "1"],
}
TUBELET = [sys.executable, "-m", "tubelet"]


def train(name: str, seed: int, arguments: argparse.Namespace) -> Path:
    """Train a variant, or what is left of it; returns its folder."""
    out = arguments.out / f"{name}-{seed}"
    if not (out / "final").exists():
        command = [*TUBELET, "train", arguments.config, "--data", arguments.data, "--loop.out", str(out)]
        subprocess.run([*command, "--loop.seed", str(seed), *VARIANTS[name]], check=True)
    return out


def bound(folder: Path, variance: str, arguments: argparse.Namespace) -> list[dict]:
    """The lines of `tubelet bound` with a variance, the total last."""
    lines = folder.with_name(f"{folder.name}-{variance}.jsonl")
    if not lines.exists():
        command = [*TUBELET, "bound", str(folder / "final"), "--data", arguments.data, "-o", str(lines)]
        command += ["--clips", str(arguments.clips), "--plot", str(lines.with_suffix(".png"))]
        subprocess.run([*command, "--variance", variance], check=True)
    return [json.loads(line) for line in lines.read_text().splitlines()]


def main() -> None:
    """Train and bound every variant asked for, and print a JSON line of each variance."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="configs/pixels.toml")
    parser.add_argument("--data", required=True)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--clips", type=int, default=64, help="held-out clips that are bounded")
    parser.add_argument("--out", type=Path, default=Path("runs/objectives"))
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        for name in arguments.only:
            folder = train(name, seed, arguments)
            held_out = read_events(folder / "log.jsonl")[-1]["held_out"]["held_out_loss"]
            for variance in ("small", "large") if name == "simple" else ("learned", "small", "large"):
                *terms, total = bound(folder, variance, arguments)
                parts = {"L_0": terms[1], "L_T": terms[0], "bound": total}
                bits = {key: round(line["bits_per_dim"], 4) for key, line in parts.items()}
                error = round(total["standard_error"], 4)
                row = {"objective": name, "seed": seed, "variance": variance, "held_out_loss": held_out}
                print(json.dumps({**row, **bits, "standard_error": error}), flush=True)


if __name__ == "__main__":
    main()
