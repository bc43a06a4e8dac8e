"""Clips of the procedural worlds rendered per second of processor time, on one thread.

Run: python benchmarks/world.py

Pixels of the flat world at 17 frames of 64 x 64; those of the world in depth at several sizes, and its scenes without
pixels. "usual" is the median over rounds, "best" the fastest round, which other work on the machine disturbs least.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import time
from collections.abc import Callable
from functools import partial

from tubelet.worlds.depth.clips import DepthClips
from tubelet.worlds.depth.config import DepthConfig
from tubelet.worlds.shapes.clips import ShapesClips
from tubelet.worlds.shapes.config import ShapesConfig

CLIPS, ROUNDS = 60, 5
SIZES = ((17, 64, 64, 8), (33, 96, 96, 16), (17, 128, 128, 8), (33, 128, 128, 16), (33, 96, 160, 16))


def rate(work: Callable[[int], object], count: int) -> tuple[float, float]:
    """Clips a second, usual and best, over rounds of the same clips."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for i in range(count):
            work(i)
        times.append((time.process_time() - start) / count)
    return 1 / statistics.median(times), 1 / min(times)


def main() -> None:
    """Print the rates of both worlds."""
    flat = ShapesClips(ShapesConfig(), CLIPS)
    print("flat world, clips a second (usual, best)")
    for name, work in (("frames", flat.frames), ("captions", flat.captions)):
        print(f"  {name:24s} {rate(work, CLIPS)[0]:8.0f} {rate(work, CLIPS)[1]:8.0f}")
    print("world in depth")
    for frames, height, width, fps in SIZES:
        clips = DepthClips(DepthConfig(num_frames=frames, height=height, width=width, fps=fps), CLIPS)
        count = max(8, CLIPS * 17 * 64 * 64 // (frames * height * width))
        usual, best = rate(clips.frames, count)
        print(f"  {f'{frames} x {height} x {width} at {fps} fps':24s} {usual:8.1f} {best:8.1f}")
    clips = DepthClips(DepthConfig(), CLIPS)
    usual, best = rate(partial(DepthClips.captions, clips), CLIPS)
    print(f"  {'scenes and captions':24s} {usual:8.0f} {best:8.0f}")


if __name__ == "__main__":
    main()
