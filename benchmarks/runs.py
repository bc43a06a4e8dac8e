"""Training runs of benchmarks: begun or gone on with, and read back."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tubelet.training.config import DenoiserRun, from_dict
from tubelet.training.denoiser_task import DenoiserTask
from tubelet.training.log import Log, read_events
from tubelet.training.start import part_of


def trained(config: str, out: Path, flags: list[str]) -> Path:
    """Train by a config and flags, or do what is left of it; returns the run's folder, with peak.json in it.

    A run that is done is not repeated.
    """
    if not (out / "final").exists():
        command = [sys.executable, "-m", "tubelet", "train", config, "--loop.out", str(out), *flags]
        child = subprocess.Popen(command)
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            raise SystemExit(os.waitstatus_to_exitcode(status))
        (out / "peak.json").write_text(json.dumps({"peak_mib": usage.ru_maxrss // 1024}))
    return out


def curve(out: Path, key: str = "held_out_loss") -> dict[int, float]:
    """What was measured on held-out clips, by step."""
    return {each["step"]: round(each[key], 4) for each in read_events(out / "log.jsonl", "held_out")}


def task_of(out: Path) -> DenoiserTask:
    """The task of a run with its final weights."""
    run = from_dict(DenoiserRun, read_events(out / "log.jsonl", "begin")[0]["run"])
    task = DenoiserTask(run, Log(out / "errors"))
    task.network.load_state_dict(part_of(str(out / "final"), "transformer").tensors)
    task.network.eval()
    return task
