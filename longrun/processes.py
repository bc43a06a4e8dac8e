"""Processes by number: whether one is still the one that was meant, and its descendants (Linux)."""

import contextlib
import os
import signal
from pathlib import Path

PROC = Path("/proc")


def fields(pid: int) -> list[str] | None:
    """State, parent and so on of a process (proc(5), from field 3 on); None where there is none, or it is dead."""
    try:
        found = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if found[0] in "ZX" else found


def identity(pid: int) -> str | None:
    """When a process began, and in which boot: its number alone is given to others after it. None for the dead."""
    found = fields(pid)
    return None if found is None else f"{found[19]} {boot()}"


def boot() -> str:
    """The name of this boot of the machine."""
    return (PROC / "sys" / "kernel" / "random" / "boot_id").read_text().strip()


def is_paused(pid: int) -> bool:
    """Whether a process is stopped by a signal."""
    found = fields(pid)
    return found is not None and found[0] in "Tt"


def family(pid: int) -> list[int]:
    """A process and all of its descendants, parents before children."""
    parents = {int(entry.name): fields(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdigit()}
    found = [pid]
    for each in found:  # grows on the way
        found += [child for child, stat in parents.items() if stat is not None and int(stat[1]) == each]
    return found


def send(number: signal.Signals, pids: list[int]) -> None:
    """A signal to each of them that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
