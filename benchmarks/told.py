"""What it is worth to a denoiser to be told the truth: its held-out loss, and that where it is told otherwise.

    python benchmarks/told.py RUN

RUN is the folder of a training. For each of its sizes a JSON line: the mean held-out loss of its clips told the truth,
with no prompt, with the prompt of another clip and, where the run knows several rates (fps), told each of them.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from runs import task_of

from tubelet.training.batches import Content
from tubelet.training.denoiser_task import HELD_OUT_TIMES, DenoiserTask


@torch.no_grad()
def loss(
    task: DenoiserTask, size: int, told: Callable[[Content], Content] = lambda content: content
) -> float:
    """The mean loss of held-out clips of a size, told something."""
    found = []
    for content in map(told, task.samples.held_out(size)):
        for level in HELD_OUT_TIMES:
            batch = task.noised(content, torch.full((len(content.x0), 1), level, dtype=torch.float64))
            with task.run.loop.autocast():
                found.append(task.loss(batch)[0].expand(len(content.x0)))
    return round(float(torch.cat(found).mean()), 4)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    task = task_of(parser.parse_args().run)

    def without(content: Content) -> Content:
        return content._replace(text=task.encoder.encode([""] * len(content.x0)))

    def exchanged(
        content: Content,
    ) -> Content:  # half of them on, since clips of one label may follow each other
        count = len(content.x0)
        return content._replace(text=content.text[[(i + count // 2) % count for i in range(count)]])

    rates = task.scheduler.rates if len(task.scheduler.rates) > 1 else ()
    strides = {f"told_{fps:g}": task.scheduler.fps / fps for fps in rates}
    for number, size in enumerate(task.sizes):
        row = {"truth": loss(task, number), "no_prompt": loss(task, number, without)}
        row["anothers_prompt"] = loss(task, number, exchanged)
        for name, stride in strides.items():
            row[name] = loss(task, number, lambda content, stride=stride: content._replace(stride=stride))
        print(json.dumps({"size": size.name, "fps": size.clips.fps, **row}), flush=True)


if __name__ == "__main__":
    main()
