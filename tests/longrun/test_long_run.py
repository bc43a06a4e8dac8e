"""The long run by its command, in a repository of its own whose `tubelet train` is stand_in.py."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ("__init__.py", "progress.py", "training/__init__.py", "training/account.py")
CONFIG = "[loop]\nbatch_size = 4\nseed = 7\nkeep_at = [10, 80]\n[loop.schedule]\nsteps = {steps}\n"
MAKEFILE = f"""
.venv/.core:
	mkdir -p .venv/bin
	ln -s {sys.executable} .venv/bin/python
	touch $@
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are read in /proc")


class LongRun:
    """The commands of a long run, and what it wrote."""

    def __init__(self, folder: Path):
        self.tree, self.runs = folder / "tree", folder / "runs"
        self.run, self.pin = self.runs / "run", self.tree / "longrun" / "pin.toml"

    def __call__(self, command: str, code: int = 0, nice: int = 0, cores: int = 1) -> str:
        script = [
            sys.executable,
            "-S",
            str(self.tree / "longrun" / "long_run.py"),
        ]  # -S: as if nothing were installed
        flags = ["--runs", str(self.runs), "--nice", str(nice), "--cores", str(cores)]
        done = subprocess.run([*script, command, *flags], capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def commit(self, steps: int) -> str:
        """A commit of the tree whose run has so many steps; its hash."""
        (self.tree / "configs" / "depth.toml").write_text(CONFIG.format(steps=steps))
        for arguments in (["add", "-A"], ["commit", "--allow-empty", "-qm", f"{steps} steps"]):
            subprocess.run(
                ["git", "-c", "user.name=a", "-c", "user.email=b", *arguments], cwd=self.tree, check=True
            )
        head = ["git", "rev-parse", "HEAD"]
        return subprocess.run(head, cwd=self.tree, check=True, capture_output=True, text=True).stdout.strip()

    def pinned(self, steps: int) -> "LongRun":
        """Pinned at a new commit whose run has so many steps."""
        commit = self.commit(steps)
        self.pin.write_text(f'commit = "{commit}"\nconfig = "configs/depth.toml"\n')
        return self

    def events(self, kind: str) -> list[dict]:
        file = self.run / "log.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def until(self, condition) -> None:
        """Wait until something holds."""
        end = time.monotonic() + 100
        while not condition():
            assert time.monotonic() < end, self("status")
            time.sleep(0.02)

    @property
    def process(self) -> int:
        return json.loads((self.runs / "processes.json").read_text())["train"]["pid"]

    @property
    def worker(self) -> int:
        return int((self.run / "worker").read_text())


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture
def long_run(tmp_path: Path) -> Iterator[LongRun]:
    run = LongRun(tmp_path)
    package = run.tree / "src" / "tubelet"
    for name in PACKAGE:
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "src" / "tubelet" / name, package / name)
    shutil.copy(Path(__file__).with_name("stand_in.py"), package / "__main__.py")
    (run.tree / "longrun").mkdir()
    for script in (ROOT / "longrun").glob("*.py"):
        shutil.copy(script, run.tree / "longrun")
    (run.tree / "configs").mkdir()
    (run.tree / "Makefile").write_text(MAKEFILE)
    subprocess.run(["git", "init", "-q"], cwd=run.tree, check=True)
    yield run
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and os.readlink(process / "cwd").startswith(str(tmp_path)):
                os.kill(int(process.name), signal.SIGKILL)


def test_a_run_without_a_pin_is_refused_with_the_remedy(long_run):
    long_run.pin.write_text('commit = ""\nconfig = "configs/depth.toml"\n')
    assert "names no commit yet; write the hash" in long_run("start", code=2)
    assert "no commit yet" in long_run("status")


def test_nothing_is_there_and_the_status_says_so(long_run):
    assert "is not at work" in long_run.pinned(5)("status")
    assert "is not at work" in long_run("pause")
    assert "is not at work" in long_run("continue")
    assert "is not at work" in long_run("stop")
    assert "no checkpoint to copy yet" in long_run("keep", code=2)


def test_it_runs_to_its_end_detached_of_low_priority_and_on_one_thread(long_run):
    assert "at work as process" in long_run.pinned(150)("start", nice=5)
    long_run.until(lambda: (long_run.run / "final").exists())
    told = long_run.events("begin")[0]["told"]
    assert (
        told["nice"] == 5
        and told["session"]
        and told["OMP_NUM_THREADS"] == "1"
        and told["command"] == "train"
    )
    assert told["TORCHINDUCTOR_CACHE_DIR"] == str(long_run.runs / "compiled")
    said = long_run("status")
    assert "is done" in said and "600 of 600 (100.0%), 1 sessions" in said and "held_out_loss 0.1" in said
    assert "is done" in long_run("start") and len(long_run.events("begin")) == 1


def test_pause_stops_process_and_workers_until_continue(long_run):
    long_run.pinned(2000)("start")
    long_run.until(lambda: len(long_run.events("step")) > 5)
    assert "at work as process" in long_run("start") and len(long_run.events("begin")) == 1
    assert "paused as process" in long_run("pause")
    assert state_of(long_run.process) == state_of(long_run.worker) == "T"
    done = len(long_run.events("step"))
    time.sleep(0.3)
    assert len(long_run.events("step")) == done
    assert "paused as process" in long_run("status") and "paused as process" in long_run("start")
    assert "at work as process" in long_run("continue")
    long_run.until(lambda: len(long_run.events("step")) > done)
    assert state_of(long_run.worker) == "S"
    long_run("pause")
    assert "is not at work" in long_run("stop")  # which lets it go on, save and end
    assert len(list(long_run.run.glob("step-*"))) > 0


def test_processes_that_encode_stand_beside_it_and_stop_with_it(long_run):
    encode = """
import json, sys, time
from pathlib import Path
config, cache, log = sys.argv[1:]
Path(cache).mkdir(exist_ok=True)
Path(cache, "clips").write_text("clips")
while not Path(cache, "enough").exists():
    time.sleep(0.02)
Path(log).write_text(json.dumps({"time": 0, "cpu": 1800}) + "\\n")
"""
    (long_run.tree / "longrun" / "encode_all.py").write_text(encode)
    long_run.pinned(2000)("start", cores=2)
    beside = json.loads((long_run.runs / "processes.json").read_text())["encode 1"]["pid"]
    long_run.until(lambda: (long_run.runs / "cache" / "clips").exists())
    assert "growing by encode 1" in long_run("status")
    long_run("pause")
    assert state_of(beside) == "T"
    long_run("continue")
    assert state_of(beside) != "T"
    os.kill(long_run.process, signal.SIGKILL)
    long_run.until(lambda: long_run("status").startswith("the long run is not at work"))
    long_run("start", cores=2)  # the one that still encodes is not begun again
    assert json.loads((long_run.runs / "processes.json").read_text())["encode 1"]["pid"] == beside
    (long_run.runs / "cache" / "enough").touch()
    long_run.until(lambda: "0.50 of encoding beside them" in long_run("status"))
    assert "growing" not in long_run("status")
    long_run("stop")


def test_what_was_killed_goes_on_from_its_last_checkpoint_and_cpu_time_adds_up(long_run):
    long_run.pinned(150)("start")
    long_run.until(lambda: list(long_run.run.glob("step-*")))
    os.kill(long_run.process, signal.SIGKILL)
    long_run.until(lambda: "is not at work" in long_run("status"))
    newest = max(long_run.run.glob("step-*")).name
    assert newest in long_run("status")
    long_run("start")
    long_run.until(lambda: len(long_run.events("begin")) == 2)
    assert long_run.events("begin")[1]["step"] == int(newest[5:]) > 0
    long_run.until(lambda: (long_run.run / "final").exists())
    said = long_run("status")
    assert "600 of 600 (100.0%), 2 sessions" in said
    assert "CPU time     1.00 core-hours" in said  # each session of the stand-in begins with half an hour


def test_another_process_with_the_same_number_is_not_taken_for_it(long_run):
    long_run.pinned(5)
    long_run.runs.mkdir()
    note = {"train": {"pid": os.getpid(), "identity": "1 another"}}
    (long_run.runs / "processes.json").write_text(json.dumps(note))
    assert "is not at work" in long_run("stop")


def test_data_that_is_not_in_the_repository_is_linked_or_missed_by_name(long_run, monkeypatch):
    long_run.pinned(5)
    long_run.pin.write_text(long_run.pin.read_text() + 'data = ["clips"]\n')
    monkeypatch.setenv("TUBELET_DATA", str(long_run.tree.parent / "data"))
    assert "data/clips; set TUBELET_DATA to the folder that holds clips" in long_run("start", code=2)
    for name in ("data", "other"):  # the data may move
        (long_run.tree.parent / name / "clips").mkdir(parents=True)
        (long_run.tree.parent / name / "clips" / "metadata.jsonl").write_text(name)
        monkeypatch.setenv("TUBELET_DATA", str(long_run.tree.parent / name))
        shutil.rmtree(long_run.run, ignore_errors=True)
        long_run("start")
        long_run.until(lambda: (long_run.run / "final").exists())
        assert (long_run.runs / "clone" / "clips" / "metadata.jsonl").read_text() == name


def test_later_commits_change_nothing_until_the_pin_does(long_run):
    long_run.pinned(6)
    long_run.commit(steps=9)
    long_run("start")
    long_run.until(lambda: (long_run.run / "final").exists())
    assert long_run.events("end")[0]["step"] == 6
    shutil.rmtree(long_run.run)
    long_run.pinned(9)("start")
    long_run.until(lambda: (long_run.run / "final").exists())
    assert long_run.events("end")[0]["step"] == 9


def test_clone_and_environment_are_made_again_and_the_folder_may_move(long_run):
    long_run.pinned(150)("start")
    long_run.until(lambda: list(long_run.run.glob("step-*")))
    long_run("stop")
    shutil.rmtree(long_run.runs / "clone")
    moved = long_run.runs.with_name("elsewhere")
    os.rename(long_run.runs, moved)
    long_run.runs, long_run.run = moved, moved / "run"
    long_run("start")
    long_run.until(lambda: (long_run.run / "final").exists())
    assert long_run.events("begin")[1]["step"] >= 5


def test_without_state_the_averaged_weights_are_what_it_begins_with(long_run):
    averaged = long_run.pinned(60).tree / "longrun" / "averaged"
    averaged.mkdir()
    (averaged / "model_index.json").write_text(json.dumps({"step": 40, "samples": 160}))
    long_run.run.mkdir(parents=True)
    (long_run.run / "log.jsonl").write_text("what was said before is kept\n")
    long_run("start")
    long_run.until(lambda: (long_run.run / "final").exists())
    flags = long_run.events("begin")[0]["told"]["flags"]
    assert flags["--loop.start-from"] == "../start" and flags["--loop.schedule.steps"] == "20"
    assert flags["--loop.seed"] == "47" and flags["--loop.keep-at"] == "40"
    assert (long_run.runs / "start" / "model_index.json").exists()
    assert [path.name for path in long_run.runs.glob("run-until-*/*")] == ["log.jsonl"]
    said = long_run("status")
    assert "warm restart from the averaged weights at 160 samples" in said and "240 of 240" in said
    assert long_run.events("warm_restart")[0]["samples"] == 160


def test_a_process_that_fails_at_once_is_reported_with_its_last_words(long_run):
    bad = long_run.tree / "src" / "tubelet" / "__main__.py"
    bad.write_text("raise SystemExit('the config is not there')\n")
    long_run.pinned(5)
    assert "ended at once" in (said := long_run("start", code=2)) and "the config is not there" in said
