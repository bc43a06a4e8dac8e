"""This machine's rate of plain matrix products: the yardstick that other benchmarks divide by.

python benchmarks/matrix_rate.py [--size 2048] [--threads N]
"""

import argparse
import time
from collections.abc import Callable

import torch


def matrix_rate(
    dtype: torch.dtype,
    size: int = 2048,
    seconds: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """FLOP/s of a square product in `dtype`, best of the repetitions that fit into `seconds` of `clock`."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    torch.mm(a, b)  # the first product also chooses a kernel and packs
    best, end = float("inf"), clock() + seconds
    while clock() < end:
        start = clock()
        torch.mm(a, b)
        best = min(best, clock() - start)
    return 2 * size**3 / best


def main() -> None:
    """Print the rates in GFLOP/s."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=2048, help="rows and columns of the matrices")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads to use")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for dtype in (torch.bfloat16, torch.float32):
        rate = matrix_rate(dtype, options.size)
        print(f"{str(dtype).removeprefix('torch.'):9} {rate / 1e9:7.0f} GFLOP/s  ({options.threads} threads)")


if __name__ == "__main__":
    main()
