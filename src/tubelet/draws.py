"""Random draws that depend on a key alone: the same in any batch, in any worker, after any resume."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def stream(*key: int) -> np.random.Generator:
    """The random stream of a key of non-negative integers, such as (seed, global sample number)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's global generator starts from `seed` inside the block (weights are born there) and is untouched after."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def normal(source: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    """Standard normal float32 of a shape, drawn on the CPU."""
    return torch.from_numpy(source.standard_normal(shape, dtype=np.float32))
