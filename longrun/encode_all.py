"""Encodes every clip of a run into its cache, beside the training: python encode_all.py CONFIG CACHE LOG.

Any number of processes share the work, and each goes on where another one stopped. Appends what it took to LOG.
"""

import dataclasses
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from tubelet.data.loader import ALWAYS
from tubelet.training.config import DenoiserRun, read_run
from tubelet.training.denoiser_task import DenoiserTask
from tubelet.training.log import Log


def main() -> None:
    """Encode as the command line says."""
    config, cache, log = sys.argv[1:]
    run = dataclasses.replace(read_run(DenoiserRun, config), cache=cache, available=ALWAYS)
    with tempfile.TemporaryDirectory() as folder:
        DenoiserTask(run, Log(Path(folder)))
    with open(log, "a") as out:
        out.write(json.dumps({"time": time.time(), "cpu": sum(os.times()[:4])}) + "\n")


if __name__ == "__main__":
    main()
