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
        self.output, self.note = self.runs / "output.txt", self.runs / "process.json"
        self.warm = self.run / "warm_restart.json"

    @property
    def python(self) -> Path:
        """Of the clone's environment."""
        return self.clone / ".venv" / "bin" / "python"

    @property
    def process(self) -> int | None:
        """The number of the process that is at work; another one that got the same number since does not count."""
        if not self.note.exists():
            return None
        note = json.loads(self.note.read_text())
        now = identity(note["pid"])
        return note["pid"] if now is not None and now == note["identity"] else None

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
