"""Signals to all processes of a run, and workers that leave."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import pytest

from training.runs import codec_run, denoiser_run, events, go, write_toml


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="workers cannot tell who sends a signal here")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_of_a_run_saves_the_step_it_is_in(tmp_path, number):
    codec = go(codec_run(tmp_path / "codec", 1))
    run = denoiser_run(
        tmp_path, 5000, codec, tmp_path / "cache", workers=2, save_every=5000, preview_every=5000
    )
    run = dataclasses.replace(run, loop=dataclasses.replace(run.loop, held_out_every=5000))
    words = [sys.executable, "-m", "tubelet", "train", str(write_toml(run, tmp_path / "run.toml"))]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.time() + 120
    while not ((tmp_path / "log.jsonl").exists() and events(tmp_path, "step")) and time.time() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, number)
    said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130 and "Traceback" not in said, said
    last = events(tmp_path, "step")[-1]["step"]
    assert [path.name for path in tmp_path.glob("step-*")] == [f"step-{last:07d}"]
    assert f"step {last} is saved" in said


FAILING = """
import time
from tubelet.data.loader import batches

fetch = lambda number: {"x": "x" * 100_000}  # more than a pipe holds: the workers wait for somebody to take it
loader = batches(fetch, list, start=0, stop=100, size=2, workers=2)
next(loader)
time.sleep(1)
raise ValueError
"""


@pytest.mark.slow
def test_the_workers_of_a_process_that_fails_leave_too():
    process = subprocess.run([sys.executable, "-c", FAILING], capture_output=True, text=True, timeout=60)
    assert process.returncode == 1 and process.stderr.endswith("ValueError\n")
