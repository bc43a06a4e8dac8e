"""The order of samples as a pure function of (seed, sample number), and batches of them by workers."""

import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from tubelet.draws import stream

Available = tuple[tuple[int, float], ...]

ALWAYS: Available = ((0, 1.0),)
ORDER = 0x0D  # sets the stream of the epochs' orders apart from the samples' own draws


@lru_cache(maxsize=32)
def epoch_order(seed: int, epoch: int, size: int, phase: int = 0) -> np.ndarray:
    """The permutation of 0..size-1 that epoch number `epoch` visits, of a phase."""
    return stream(seed, ORDER, epoch, *((phase,) if phase else ())).permutation(size)


def clip_of(seed: int, number: int, size: int, available: Available = ALWAYS) -> int:
    """Which of `size` clips global sample number `number` trains on; each once an epoch.

    available: rows of a sample number and the share of the clips, the first ones, that samples from it on may have. A
    row begins a phase, with epochs of its own.
    """
    phase = max(row for row, (start, _) in enumerate(available) if start <= number)
    start, share = available[phase]
    count = max(1, math.floor(share * size))
    epoch, place = divmod(number - start, count)
    return int(epoch_order(seed, epoch, count, phase)[place])


class _Samples(Dataset):
    def __init__(self, fetch: Callable[[int], dict[str, Any]], total: int):
        self.fetch, self.total = fetch, total

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, number: int) -> dict[str, Any]:
        return self.fetch(number)


class _Batches:
    def __init__(self, start: int, stop: int, size: int):
        self.start, self.stop, self.size = start, stop, size

    def __iter__(self) -> Iterator[list[int]]:
        for first in range(self.start, self.stop, self.size):
            yield list(range(first, first + self.size))

    def __len__(self) -> int:
        return (self.stop - self.start) // self.size


def batches(
    fetch: Callable[[int], dict[str, Any]],
    collate: Callable[[list[dict[str, Any]]], Any],
    *,
    start: int,
    stop: int,
    size: int,
    workers: int,
) -> Iterator[Any]:
    """Batches of samples start..stop-1 in order, `size` at a time; what `fetch` draws is keyed by the number."""
    loader = DataLoader(
        _Samples(fetch, stop),
        batch_sampler=_Batches(start, stop, size),
        collate_fn=collate,
        num_workers=workers,
        worker_init_fn=_begin_worker if workers else None,
    )
    with _held_back(signal.SIGINT, signal.SIGTERM):
        return iter(loader)


@contextmanager
def _held_back(*signals: signal.Signals) -> Iterator[None]:
    """Inside the block these signals wait, and in processes that it starts for ever.

    A terminal, or a machine that is shut down, sends them to all processes of a run: the first decides what to do, and
    needs its workers to finish the step. They leave when it says so, or is gone.
    """
    if not hasattr(signal, "sigwaitinfo"):  # Windows, macOS
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker(worker: int) -> None:
    torch.set_num_threads(1)
    for leave in (_leave_with_parent, _leave_when_told):
        threading.Thread(target=leave, daemon=True).start()


def _leave_when_told() -> None:
    """End this process when its parent sends SIGTERM, as it does where an error ends it; others' are for the parent."""
    while hasattr(signal, "sigwaitinfo"):
        if signal.sigwaitinfo({signal.SIGTERM}).si_pid == os.getppid():
            os._exit(0)


def _leave_with_parent() -> None:
    """End this process when its parent is gone.

    torch's own watch ends the loop of a worker, which then waits for ever to hand over batches that nobody takes: the
    workers hold each other's pipes open.
    """
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)
