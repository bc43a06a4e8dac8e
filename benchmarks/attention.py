"""The kernels of attention side by side: milliseconds of forward and of backward, in bfloat16 on one core.

python benchmarks/attention.py

Processor time, the least of 4 rounds. "floor" is what the two products of the forward take at the matrix rate.
"""

import json
import time

import torch
from matrix_rate import matrix_rate

from tubelet.model.kernels import KERNELS

SHAPES = [(1, 6, 4096, 64), (2, 4, 2048, 64), (4, 4, 1088, 64)]  # batch, heads, tokens, head_dim
ROUNDS = 4


def main() -> None:
    """Print a JSON line for each shape and kernel."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rate = matrix_rate(torch.bfloat16, seconds=0.5, clock=time.process_time)
    for shape in SHAPES:
        batch, heads, tokens, head_dim = shape
        q, k, v = (torch.randn(shape).bfloat16().requires_grad_() for _ in range(3))
        out = torch.randn(shape).bfloat16()
        floor = 4 * batch * heads * tokens**2 * head_dim / rate
        for name, kernel in KERNELS.items():
            best = [float("inf")] * 2
            for _ in range(ROUNDS):
                begun = time.process_time()
                seen = kernel(q / head_dim**0.5, k, v)
                between = time.process_time()
                torch.autograd.grad(seen, (q, k, v), out)
                taken = between - begun, time.process_time() - between
                best = [min(pair) for pair in zip(best, taken, strict=True)]
            times = {"forward_ms": best[0], "backward_ms": best[1], "floor_ms": floor}
            rounded = {key: round(1e3 * value, 1) for key, value in times.items()}
            print(json.dumps({"shape": shape, "kernel": name, **rounded}), flush=True)


if __name__ == "__main__":
    main()
