"""What a run says of itself: JSONL always, one line on the screen."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


class Log:
    """Appends events to `log.jsonl`; keeps one line on the screen, rewritten on a terminal, plain lines elsewhere."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "log.jsonl"
        end_last_line(self.file)
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


def end_last_line(file: Path) -> None:
    """A line that a kill cut short ends here, so that the next one does not become part of it."""
    if file.exists() and file.stat().st_size:
        with file.open("rb+") as both:
            both.seek(-1, os.SEEK_END)
            if both.read(1) != b"\n":
                both.write(b"\n")


def read_events(file: str | Path, name: str | None = None) -> list[dict[str, Any]]:
    """The events of a log.jsonl, or those of a name, as an uninterrupted run would have left them.

    A run that goes on from step s says `begin` with that step and repeats what came after it, so what was said of later
    steps before is dropped; so are lines that a kill cut short.
    """
    events: list[dict[str, Any]] = []
    for line in Path(file).read_bytes().splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event["event"] == "begin":
            events = [past for past in events if past.get("step", 0) <= event["step"]]
        events.append(event)
    return [event for event in events if name in (None, event["event"])]
