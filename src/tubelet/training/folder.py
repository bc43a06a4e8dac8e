"""A run's folder: one process at a time trains into it, and what a killed one left half done is cleared."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tubelet.errors import InputError

LEFTOVER = re.compile(r"\.(?P<name>step-\d+|final)\.(?P<kind>writing-\d+|old|removing)")


@contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Inside the block no other process trains into `folder`, and nothing half done is left in it.

    InputError names the process that is in there. Without locks (Windows, some network drives) nothing is refused and,
    since another process may be at work, nothing is cleared.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+") as file:
        if locked(file, folder):
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            clear(folder)
        yield


def locked(file: IO[str], folder: Path) -> bool:
    """Whether the system gave us the lock; False where it has none to give. The system frees it when we die, however.

    A POSIX lock and not flock: a loader's worker inherits a flock, and would hold it after its parent was killed.
    """
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        raise InputError(
            f"process {file.read() or 'unknown'} is training into {folder}; wait for it or stop it, "
            "or give another folder with --loop.out"
        ) from None
    except OSError:
        return False
    return True


def clear(folder: Path) -> None:
    """Delete what killed saves left; a checkpoint that was put aside to be replaced, and was not, goes back."""
    for path in sorted(folder.iterdir()):
        match = LEFTOVER.fullmatch(path.name)
        if not match:
            continue
        if match["kind"] == "old" and not (folder / match["name"]).exists():
            os.rename(path, folder / match["name"])
        else:
            shutil.rmtree(path, ignore_errors=True)
