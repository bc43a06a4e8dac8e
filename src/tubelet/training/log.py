"""What a run says of itself: JSONL always, one line on the screen."""

import json
import sys
import time
from pathlib import Path
from typing import Any


class Log:
    """Appends events to `log.jsonl`; keeps one line on the screen, rewritten on a terminal, plain lines elsewhere."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "log.jsonl"
        self.begun = time.time()
        self._open_line = False

    def event(self, kind: str, **values: Any) -> None:
        """One JSON object: its kind, the Unix time, and values (numbers, strings, lists, dicts)."""
        line = {"event": kind, "time": round(time.time(), 3), **values}
        with self.file.open("a") as out:
            out.write(json.dumps(line) + "\n")

    def line(self, text: str) -> None:
        """Show `text` as the current state."""
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[2K" + text)
            self._open_line = True
        else:
            sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._open_line:
            sys.stderr.write("\n")
            self._open_line = False
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
