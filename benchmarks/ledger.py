"""A row of docs/LEDGER.md: what a run has cost and what it came to, from its log.jsonl.

    python benchmarks/ledger.py RUNFOLDER [--name NAME] [--commit HASH] [--judge TEXT] [--bought TEXT]

Core-minutes are processor time of all its sessions, repeated work included; FLOPs are of forward and backward of the
samples it has done, as torch counts them.
"""

import argparse
import subprocess
from pathlib import Path

from tubelet.training.account import Account, account_of, words


def row(name: str, commit: str, account: Account, judge: str, bought: str) -> str:
    """A line of the table."""
    losses = ", ".join(
        f"{key.removeprefix('held_out_').removeprefix('loss_')} {value:.4g}"
        for key, value in account.held_out.items()
    )
    minutes, samples = f"{account.cpu / 60:,.0f}", f"{account.samples:,}"
    if account.samples < account.planned:
        samples += f" of {account.planned:,}"
    cells = name, commit, minutes, samples, f"{account.flops:.3g}", losses, judge, bought
    return f"| {' | '.join(cells)} |"


def head() -> str:
    """The short hash of the commit that is checked out."""
    command = ["git", "rev-parse", "--short=9", "HEAD"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", help="the folder's where it is left out")
    parser.add_argument(
        "--commit", default=head(), help="the one that trained; the one checked out where it is left out"
    )
    parser.add_argument("--judge", default="")
    parser.add_argument("--bought", default="", help="what is known or owned now that was not before")
    arguments = parser.parse_args()
    account = account_of(words(arguments.folder / "log.jsonl"))
    if account is None:
        parser.error(f"{arguments.folder / 'log.jsonl'} tells of no training yet")
    print(
        row(
            arguments.name or arguments.folder.resolve().name,
            arguments.commit,
            account,
            arguments.judge,
            arguments.bought,
        )
    )


if __name__ == "__main__":
    main()
