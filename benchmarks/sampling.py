"""Every sampler, grid and way of guiding, sampled for real: how often the shipped model then obeys.

    python benchmarks/sampling.py [--count 100] [--weaker FOLDER] [--only euler_10 ...] [--out FOLDER]

Each row is a call of benchmarks/prompt_fit.py on the same held-out prompts and noise; one that is done is not repeated.
Samplers are compared at equal network calls (Heun takes two a step), where they differ most: with few of them.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROWS: dict[str, list[str]] = {
    "euler_10": ["--sampler", "euler", "--steps", "10"],
    "heun_10": ["--sampler", "heun", "--steps", "5"],
    "ddim_10": ["--sampler", "ddim", "--steps", "10"],
    "dpmpp_2m_10": ["--sampler", "dpmpp_2m", "--steps", "10"],
    "dpmpp_3m_10": ["--sampler", "dpmpp_3m", "--steps", "10"],
    "unipc_bh1_10": ["--sampler", "unipc_bh1", "--steps", "10"],
    "unipc_bh2_10": ["--sampler", "unipc_bh2", "--steps", "10"],
    "dpmpp_2m_10_log_snr": ["--sampler", "dpmpp_2m", "--steps", "10", "--grid", "log_snr"],
    "dpmpp_2m_10_karras": ["--sampler", "dpmpp_2m", "--steps", "10", "--grid", "karras"],
    "ancestral_30": ["--sampler", "ancestral"],
    "dpmpp_2m_sde_30": ["--sampler", "dpmpp_2m_sde"],
    "dpmpp_3m_sde_30": ["--sampler", "dpmpp_3m_sde"],
    "dpmpp_2m_30": ["--sampler", "dpmpp_2m"],
    "interval_30": ["--guidance-interval", "0.2", "0.95"],
    "rescale_30": ["--guidance-rescale", "0.7"],
    "apg_30": ["--guidance-parallel", "0", "--guidance-momentum", "-0.5", "--guidance-threshold", "0.5"],
    "weaker_30": ["--guidance", "2"],
}


def main() -> None:
    """Run the rows asked for, and print a JSON line of each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--count", type=int, default=100, help="held-out prompts")
    parser.add_argument("--weaker", help="folder of the weaker checkpoint that the last row is guided by")
    parser.add_argument("--out", type=Path, default=Path("runs/sampling"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        if name.startswith("weaker") and arguments.weaker is None:
            continue
        flags = ROWS[name] + (["--weaker", arguments.weaker] if name.startswith("weaker") else [])
        lines = arguments.out / f"{name}.jsonl"
        if not lines.exists():
            script = Path(__file__).with_name("prompt_fit.py")
            settings = ["--count", str(arguments.count), "--out", str(lines), *flags]
            subprocess.run([sys.executable, str(script), *settings], check=True, stdout=subprocess.DEVNULL)
        last = json.loads(lines.read_text().splitlines()[-1])
        judged = {key: value["accuracy"] for key, value in last["summary"].items()}
        print(json.dumps({"row": name, "flags": flags, **judged}), flush=True)


if __name__ == "__main__":
    main()
