"""Files of entries: written whole or not at all, by any number of processes."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch

from tubelet.data.store import DEAD, Entries, Store, key_of


def store_of(folder: Path) -> Store:
    return Store(folder, lambda line: pytest.fail(line))


def numbers(store: Store, count: int, log: Path | None = None, chunk: int = 2) -> Entries:
    """Entries of things: thing i has i % 3 of them, the j-th of j + 1 rows of the number 10 i + j."""

    def make(wanted):
        if log:
            time.sleep(0.05)
            with log.open("a") as file:
                file.write("".join(f"{i} {j}\n" for i, j in wanted))
        rows = torch.cat([torch.full((j + 1, 2), 10 * i + j) for i, j in wanted])
        ends = torch.tensor([j + 1 for _, j in wanted]).cumsum(0)
        return torch.stack([ends - torch.tensor([j + 1 for _, j in wanted]), ends], 1), {"number": rows}

    return Entries(store, count, chunk, lambda i: [key_of(i, j) for j in range(i % 3)], make)


def all_right(entries: Entries) -> bool:
    return all(
        entries.rows(i, j)["number"].tolist() == [[10 * i + j] * 2] * (j + 1)
        for i in range(entries.count)
        for j in range(i % 3)
    )


@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
def test_entries_come_back_whatever_lies_together(tmp_path, chunk):
    entries = numbers(store_of(tmp_path), 17, chunk=chunk)
    entries.fill(17)
    assert all_right(entries) and entries.lengths(8).tolist() == [1, 2]
    assert all_right(numbers(store_of(tmp_path), 17, chunk=3))  # by another division of the same things


def work(folder: Path, log: Path) -> None:
    entries = numbers(Store(folder, print), 40, log)
    entries.fill(40)
    assert all_right(entries)


def test_processes_share_the_work(tmp_path):
    log = tmp_path / "made"
    some = [
        multiprocessing.get_context("fork").Process(target=work, args=(tmp_path / "s", log)) for _ in range(3)
    ]
    for process in some:
        process.start()
    for process in some:
        process.join()
    assert [process.exitcode for process in some] == [0, 0, 0]
    made = sorted(log.read_text().split("\n")[:-1])
    assert made == sorted(f"{i} {j}" for i in range(40) for j in range(i % 3))  # each once
    assert not list((tmp_path / "s").glob(".*"))


def test_files_have_the_mode_of_the_umask_and_what_dead_writers_left_is_cleared(tmp_path):
    left, live = tmp_path / ".writing-dead", tmp_path / ".writing-live"
    left.touch()
    live.touch()
    os.utime(left, (0, time.time() - 2 * DEAD))
    before = os.umask(0o027)
    try:
        numbers(store_of(tmp_path), 5).fill(5)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("*.safetensors")} == {0o640}
    assert [path.name for path in tmp_path.glob(".*")] == [".writing-live"]


def test_a_full_disk_is_said_with_the_remedy_and_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="free that much"):
        numbers(store_of(tmp_path), 5).fill(5)
    assert not list(tmp_path.iterdir())


def test_a_key_is_of_its_parts():
    assert len({key_of(*parts) for parts in (("a", "b"), ("ab",), ("a", "b", ""), (1, 2), (12,))}) == 5
    assert key_of("a", 1) == key_of("a", "1") and len(key_of()) == 16
