"""Rows by key, in files that are verified: what is dear to compute is computed once, whoever asks for it.

A file holds entries: their keys [n, 16], the first row of each and the one behind its last [n, 2], and tables of rows.
It is named by the sha256 of its content, so one that was cut, changed or swapped is noticed and set aside; what it held
is then made again. Files are added and never changed, so several processes may read and add at the same time.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

INDEX = ("keys", "places")  # of a file's tensors; all others are tables of rows
SUFFIX = ".safetensors"
DEAD = 3600  # seconds after which a file that is being written has no writer any more

Rows = dict[str, Tensor]


def key_of(*parts: object) -> bytes:
    """A key of 16 bytes, equal where all parts are."""
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).digest()[:16]


class Store:
    """The entries in the files of one folder. `say` is told, in a line, of files that are damaged."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder, self.say = folder, say
        self.names: list[str] = []
        self.verified: set[int] = set()
        self.keys, self.places = np.empty((0, 2), np.uint64), np.empty((0, 3), np.int64)  # sorted by key
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".writing-*"):
            with contextlib.suppress(OSError):  # somebody else may clear it, too
                if time.time() - left.stat().st_mtime > DEAD:
                    left.unlink()

    def find(self, keys: Sequence[bytes]) -> np.ndarray:
        """Where each key's rows lie: int64 [n, 3] of file, first row and the one behind the last; file -1 for nowhere.

        Of the files that are named the content has been verified.
        """
        wanted = np.frombuffer(b"".join(keys), np.uint64).reshape(-1, 2)
        self._take_in()
        while True:
            found = self._found(wanted)
            fresh = {int(number) for number in found[:, 0]} - self.verified - {-1}
            damaged = {number for number in fresh if not self._is_whole(number)}
            self.verified |= fresh - damaged
            if not damaged:
                return found
            self._forget(damaged)

    def rows(self, place: np.ndarray) -> Rows:
        """Of every table the rows at a place that `find` gave. They are read now and not kept."""
        number, start, stop = (int(value) for value in place)
        with safe_open(self.folder / self.names[number], "pt") as file:
            return {name: file.get_slice(name)[start:stop] for name in file.keys() if name not in INDEX}  # noqa: SIM118

    def add(self, keys: Sequence[bytes], places: Tensor, rows: Rows) -> None:
        """Write entries: the first row of each and the one behind its last, [n, 2], in these tables.

        Written aside, synced and renamed. Raises OSError with the remedy where the disk refuses.
        """
        stacked = torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8).view(-1, 16)
        content = save({"keys": stacked, "places": places.long().contiguous(), **rows})
        name = hashlib.sha256(content).hexdigest() + SUFFIX
        writing = self.folder / f".writing-{secrets.token_hex(8)}"
        if name in self.names:  # and yet its entries were not found
            self._is_whole(number := self.names.index(name))
            self._forget({number})
        try:
            with open(writing, "xb") as file:  # with the mode that the user's umask gives
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(writing, self.folder / name)
        except OSError as error:
            remedy = "free that much" if error.errno == errno.ENOSPC else "make it writable"
            raise OSError(
                error.errno,
                f"cannot write {len(content) / 1e6:.1f} MB into the cache {self.folder}: {error.strerror or error}; "
                f"{remedy}, or give another folder with --cache. What was encoded before is kept",
            ) from error
        finally:
            writing.unlink(missing_ok=True)
        self._take_in()
        self.verified.add(self.names.index(name))

    @contextlib.contextmanager
    def claim(self, name: str, wait: bool) -> Iterator[bool]:
        """Inside the block, whether this process alone does the work of a name. One that has it may be waited for.

        The system frees the claim of a process that dies. Without locks (Windows, some network drives) work may be done
        twice, which harms nothing.
        """
        path = self.folder / f".claim-{name}"
        with open(path, "a") as file:
            ours = _locked(file.fileno(), wait)
            try:
                yield ours
            finally:
                if ours:
                    path.unlink(missing_ok=True)

    def _take_in(self) -> None:
        """Read what files that were not there before hold."""
        known, keys, places = set(self.names), [self.keys], [self.places]
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            if path.name in known or path.name.startswith("damaged-"):
                continue
            try:
                with safe_open(path, "np") as file:
                    own, rows = (file.get_tensor(name) for name in INDEX)
                keys.append(own.view(np.uint64))
            except (SafetensorError, ValueError):
                self._set_aside(path)
                continue
            places.append(np.column_stack([np.full(len(rows), len(self.names)), rows]))
            self.names.append(path.name)
        if len(keys) > 1:
            self.keys, self.places = np.concatenate(keys), np.concatenate(places)
            order = np.argsort(self.keys[:, 0], kind="stable")
            self.keys, self.places = self.keys[order], self.places[order]

    def _found(self, wanted: np.ndarray) -> np.ndarray:
        at = np.searchsorted(self.keys[:, 0], wanted[:, 0])
        near = np.minimum(at, max(len(self.keys) - 1, 0))
        nowhere = np.full((len(wanted), 3), -1)
        if not len(self.keys):
            return nowhere
        return np.where((self.keys[near] == wanted).all(1)[:, None], self.places[near], nowhere)

    def _forget(self, numbers: set[int]) -> None:
        """Do not know any more what these files hold: their names are free for what they should."""
        kept = ~np.isin(self.places[:, 0], list(numbers))
        self.keys, self.places = self.keys[kept], self.places[kept]
        for number in numbers:
            self.names[number] = ""

    def _is_whole(self, number: int) -> bool:
        """Whether a file's content is what its name says; else it is set aside."""
        path = self.folder / self.names[number]
        with open(path, "rb") as file:
            whole = hashlib.file_digest(file, "sha256").hexdigest() + SUFFIX == path.name
        if not whole:
            self._set_aside(path)
        return whole

    def _set_aside(self, path: Path) -> None:
        aside = path.with_name(f"damaged-{path.name}")
        with contextlib.suppress(FileNotFoundError):  # another process has done it
            os.replace(path, aside)
        self.say(f"{path} is damaged: set aside as {aside.name}, what it held is encoded again")


def _locked(descriptor: int, wait: bool) -> bool:
    """Whether the lock is ours; True, too, where the system has none to give.

    A POSIX lock and not flock: a loader's worker inherits a flock, and would hold it after its parent was killed.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True


class Entries:
    """Entries of things 0 .. count - 1 in a store, several for each: looked up, or made, `chunk` things at a time.

    keys: those of a thing's entries. make: given the thing and the number of the entry for some, the places and tables
    of rows that `Store.add` takes.
    """

    def __init__(
        self,
        store: Store,
        count: int,
        chunk: int,
        keys: Callable[[int], list[bytes]],
        make: Callable[[list[tuple[int, int]]], tuple[Tensor, Rows]],
    ) -> None:
        self.store, self.count, self.chunk, self.keys, self.make = store, count, chunk, keys, make
        self.tables: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # first entry of each thing, places of all

    def fill(self, upto: int, progress: Callable[[int], None] | None = None) -> None:
        """See that the entries of the first `upto` things are there.

        What another process is making is left to it, and waited for at the end: several share the work.
        """
        left, done = range(-(-upto // self.chunk)), 0
        for wait in (False, True):
            later = []
            for number in left:
                if not self._fill(number, wait):
                    later.append(number)
                    continue
                done += min(self.chunk, self.count - number * self.chunk)
                if progress:
                    progress(min(done, upto))
            left = later

    def rows(self, index: int, entry: int = 0) -> Rows:
        """Of every table the rows of one entry of a thing; made first where they are not there yet."""
        return self.store.rows(self._places(index)[entry])

    def lengths(self, index: int) -> np.ndarray:
        """Rows of each of a thing's entries."""
        places = self._places(index)
        return places[:, 2] - places[:, 1]

    def _places(self, index: int) -> np.ndarray:
        if not 0 <= index < self.count:
            raise IndexError(f"{index} of {self.count}")
        number, row = divmod(index, self.chunk)
        if number not in self.tables:
            self._fill(number, wait=True)
        begins, places = self.tables[number]
        return places[begins[row] : begins[row + 1]]

    def _fill(self, number: int, wait: bool) -> bool:
        """Look up or make one chunk; False where another process is making it and shall not be waited for."""
        if number in self.tables:
            return True
        things = range(number * self.chunk, min((number + 1) * self.chunk, self.count))
        each = [self.keys(thing) for thing in things]
        keys = [key for some in each for key in some]
        entries = [(thing, i) for thing, some in zip(things, each, strict=True) for i in range(len(some))]
        found = self.store.find(keys)
        if (found[:, 0] < 0).any():
            with self.store.claim(hashlib.sha256(b"".join(keys)).hexdigest()[:24], wait) as ours:
                if not ours:
                    return False
                found = self.store.find(keys)  # others may have made some of them meanwhile
                missing = {keys[i]: entries[i] for i in np.flatnonzero(found[:, 0] < 0)}  # equal ones once
                if missing:
                    self.store.add(list(missing), *self.make(list(missing.values())))
                    found = self.store.find(keys)
        self.tables[number] = np.cumsum([0, *map(len, each)]), found
        return True
