"""What it is worth to a denoiser to be told the rate of a clip: its held-out loss told the truth, and told otherwise.

    python benchmarks/rates.py RUN

RUN is the folder of a training whose [[data.other]] have rates (fps) of their own. For each rate a JSON line: the mean
held-out loss of its clips when the network is told each of the run's rates.
"""

import argparse
import json
from pathlib import Path

import torch
from runs import task_of

from tubelet.training.denoiser_task import HELD_OUT_TIMES, DenoiserTask


@torch.no_grad()
def loss(task: DenoiserTask, size: int, stride: float) -> float:
    """The mean loss of held-out clips of a size, told a stride."""
    found = []
    for content in task.held_out_content(size):
        told = content._replace(stride=stride)
        for level in HELD_OUT_TIMES:
            batch = task.noised(told, torch.full((len(told.x0), 1), level, dtype=torch.float64))
            with task.run.loop.autocast():
                found.append(task.loss(batch)[0].expand(len(told.x0)))
    return float(torch.cat(found).mean())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    task = task_of(parser.parse_args().run)
    usual = task.scheduler.fps
    for number, size in enumerate(task.sizes):
        row = {f"told_{fps:g}": round(loss(task, number, usual / fps), 4) for fps in task.scheduler.rates}
        print(json.dumps({"size": size.name, "fps": size.clips.fps, **row}), flush=True)


if __name__ == "__main__":
    main()
