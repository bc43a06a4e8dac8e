"""Wall time and peak memory of `tubelet generate` as a user runs it: imports, loading, 30 steps, decoding, writing.

    python benchmarks/generate.py [--repeats 3] [--checkpoint FOLDER]

Prints one JSON line a run and the median. One 17 x 64 x 64 clip, 30 steps with guidance.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--checkpoint")
    arguments = parser.parse_args()
    extra = ["--checkpoint", arguments.checkpoint] if arguments.checkpoint else []
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tubelet", "generate", "a red circle moves left"]
        command += ["-o", os.path.join(folder, "out.mp4"), "--seed", "0", *extra]
        for _ in range(arguments.repeats):
            begun = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - begun)
            peak = (
                resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            )  # of the largest child so far
            print(json.dumps({"seconds": round(seconds[-1], 2), "peak_mib": round(peak)}))
    print(json.dumps({"median_seconds": round(statistics.median(seconds), 2), "cores": os.cpu_count()}))


if __name__ == "__main__":
    main()
