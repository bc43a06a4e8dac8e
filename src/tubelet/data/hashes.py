"""Hashes of files' contents, each computed once while the file stays what it is."""

import contextlib
import hashlib
import json
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

SETTLED = 2.0  # seconds after which a change of a file has a time of its own


def user_cache() -> Path:
    """Where this user's programs keep what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tubelet"


def hashes_of(folder: Path, names: Sequence[str], memory: Path | None = None) -> list[str]:
    """The sha256 of files in a folder, nothing of which is written to.

    A file of the size, times and inode that it had is not read again: these are kept under `memory`, in the user's
    cache folder where left out; where that cannot be written, every file is read every time. OSError or ValueError for
    a name that is no file.
    """
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:24]
    file = (user_cache() / "hashes" if memory is None else memory) / f"{place}.json"
    known, found = _read(file), {}
    for name in dict.fromkeys(names):
        status = (folder / name).stat()
        # The time of change, too: a copy may set the other one to anything.
        seen = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        if name not in known or known[name][:-1] != seen:
            with open(folder / name, "rb") as opened:
                known[name] = [*seen, hashlib.file_digest(opened, "sha256").hexdigest()]
        found[name] = known[name]
    # Two changes in one tick of the clock look the same: what is as new as that is not remembered.
    late = time.time_ns() - SETTLED * 1e9
    _write(file, {name: row for name, row in found.items() if max(row[1:3]) < late})
    return [found[name][-1] for name in names]


def _read(file: Path) -> dict[str, list]:
    try:
        known = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    rows = known.items() if isinstance(known, dict) else ()
    return {
        name: row
        for name, row in rows
        if isinstance(row, list) and len(row) == 5 and isinstance(row[-1], str)
    }


def _write(file: Path, rows: dict[str, list]) -> None:
    if rows == _read(file):
        return
    writing = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    with contextlib.suppress(OSError):  # it only saves time
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            writing.write_text(json.dumps(rows))
            os.replace(writing, file)
        finally:
            writing.unlink(missing_ok=True)
