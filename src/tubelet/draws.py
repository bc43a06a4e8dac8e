"""Random draws that depend on a key alone: the same in any batch, in any worker, after any resume."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def stream(*key: int) -> np.random.Generator:
    """The random stream of a key of non-negative integers, such as (seed, global sample number)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def stratum(uniform: float, place: int, parts: int, *key: int) -> float:
    """A draw uniform in [0, 1), moved into one of `parts` equal strata: another for each place 0 .. parts - 1.   [CARV]

    Which place has which is a permutation drawn from the key, so each draw alone is uniform still.
    """
    moved = (int(stream(*key).permutation(parts)[place]) + uniform) / parts
    return min(moved, math.nextafter(1, 0))  # the sum may round up


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's global generator starts from `seed` inside the block (weights are born there) and is untouched after."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def normal(source: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    """Standard normal float32 of a shape, drawn on the CPU."""
    return torch.from_numpy(source.standard_normal(shape, dtype=np.float32))
