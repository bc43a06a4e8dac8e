"""The folder of the long run, outside of this repository: what lies in it, and which process is at work there."""

import contextlib
import fcntl
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from processes import identity

ROOT = Path(__file__).resolve().parents[1]
PIN, AVERAGED = ROOT / "longrun" / "pin.toml", ROOT / "longrun" / "averaged"


class Refused(Exception):
    """What the user can mend, in one line with the remedy."""


class Place:
    """The folder of the long run and what lies in it."""

    def __init__(self, runs: Path):
        self.runs = runs.resolve()
        self.clone, self.cache, self.run = self.runs / "clone", self.runs / "cache", self.runs / "run"
        self.output, self.notes = self.runs / "output.txt", self.runs / "processes.json"
        self.warm, self.encoding = self.run / "warm_restart.json", self.runs / "encoding.jsonl"

    @property
    def python(self) -> Path:
        """Of the clone's environment."""
        return self.clone / ".venv" / "bin" / "python"

    @property
    def processes(self) -> dict[str, int]:
        """The numbers of the processes at work: "train", and "encode 1" and so on beside it.

        Another process that got the number of one since is not taken for it.
        """
        notes = json.loads(self.notes.read_text()) if self.notes.exists() else {}
        return {
            name: note["pid"] for name, note in notes.items() if identity(note["pid"]) == note["identity"]
        }

    @property
    def process(self) -> int | None:
        """The number of the one that trains."""
        return self.processes.get("train")

    def note(self, pids: dict[str, int]) -> None:
        """Write down which processes are at work."""
        notes = {name: {"pid": pid, "identity": identity(pid) or "ended"} for name, pid in pids.items()}
        self.notes.write_text(json.dumps(notes))

    @property
    def steps(self) -> list[Path]:
        """Checkpoints with the whole state, oldest first."""
        return sorted(self.run.glob("step-*"))

    @property
    def begun_with(self) -> dict[str, Any]:
        """Step and samples of the averaged weights that a warm restart began with; 0 where there was none."""
        return json.loads(self.warm.read_text()) if self.warm.exists() else {"step": 0, "samples": 0}

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Of two that start at the same moment the second waits, and finds the first at work."""
        self.runs.mkdir(parents=True, exist_ok=True)
        with open(self.runs / ".starting", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def pinned() -> tuple[str, str]:
    """Commit and config of the run."""
    pin = tomllib.loads(PIN.read_text())
    if not pin["commit"]:
        raise Refused("longrun/pin.toml names no commit yet; write the hash of the one to train into it")
    return pin["commit"], pin["config"]
