"""The held-out losses of a checkpoint on the clips, sizes and kinds of known content of any config: one JSON line.

    python benchmarks/held_out.py configs/sizes.toml CHECKPOINT [flags of `tubelet train`]

So a model trained at one size is measured at sizes that it never saw.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch

from tubelet.training.command import run_of
from tubelet.training.config import DenoiserRun
from tubelet.training.denoiser_task import DenoiserTask
from tubelet.training.log import Log


def main() -> None:
    """Measure and print."""
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    config, checkpoint, *flags = sys.argv[1:]
    run = run_of(DenoiserRun, [config, "--loop.start-from", checkpoint, *flags], "tubelet train")
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        task = DenoiserTask(run, Log(Path(folder)))
        task.model.eval()
        print(json.dumps({"checkpoint": checkpoint, "config": config, **task.held_out()}))


if __name__ == "__main__":
    main()
