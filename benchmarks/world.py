"""Clips of the procedural world rendered per second, on one thread, at 17 frames of 64 x 64.

Run: python benchmarks/world.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time

from tubelet.worlds.shapes.clips import ShapesClips
from tubelet.worlds.shapes.config import ShapesConfig

NUM_CLIPS = 1000


def main() -> None:
    """Print the rate of pixels alone, and of captions alone."""
    clips = ShapesClips(ShapesConfig(), NUM_CLIPS)
    for name, work in (("frames", clips.frames), ("captions", clips.captions)):
        start = time.process_time()
        for i in range(NUM_CLIPS):
            work(i)
        print(f"{name}: {NUM_CLIPS / (time.process_time() - start):.0f} clips a second of one core")


if __name__ == "__main__":
    main()
