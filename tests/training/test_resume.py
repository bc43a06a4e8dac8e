"""A run that is killed, damaged or moved: it goes on bit for bit, or says that it does not."""

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training.runs import codec_run, denoiser_run, events, go, same_bits, write_toml
from tubelet import checkpoint
from tubelet.errors import InputError
from tubelet.training import saving
from tubelet.training.build import build
from tubelet.training.log import read_events
from tubelet.training.optim import Schedule


@pytest.fixture(scope="module")
def codec(tmp_path_factory) -> Path:
    return go(codec_run(tmp_path_factory.mktemp("codec") / "run", 2))


# Killed

# Syncing a file takes longer here than it would, so that a save can be caught while it is written.
CHILD = """
import os, sys, time
sync = os.fsync
os.fsync = lambda descriptor: (time.sleep(0.02), sync(descriptor))
from tubelet.cli import main
main(["train", *sys.argv[1:]])
"""


class Child:
    """`tubelet train` in a process of its own."""

    def __init__(self, config: Path, out: Path):
        words = [sys.executable, "-c", CHILD, str(config), "--loop.out", str(out)]
        self.process, self.out = subprocess.Popen(words, stderr=subprocess.PIPE), out
        self.before = self.saved()

    def saved(self) -> set[str]:
        return {path.name for path in self.out.glob("step-*")}

    def wait_for(self, moment) -> None:
        deadline = time.time() + 120
        while self.process.poll() is None and not moment() and time.time() < deadline:
            time.sleep(0.002)

    def has_saved(self) -> bool:
        """Whether it has got further than the process before it."""
        return bool(self.saved() - self.before)

    def is_saving(self) -> bool:
        """Whether it is writing a checkpoint, and not its first."""
        return self.has_saved() and any(self.out.glob(f".*.writing-{self.process.pid}"))

    def finish(self) -> None:
        said = self.process.communicate()[1].decode()
        assert self.process.returncode == 0, said


def kill(process: subprocess.Popen) -> None:
    """kill -9; what the process has started must not outlive it."""
    started = children(process)
    process.kill()
    process.wait()
    deadline = time.time() + 10
    while (left := [number for number in started if is_alive(number)]) and time.time() < deadline:
        time.sleep(0.01)
    for number in left:
        os.kill(int(number), signal.SIGKILL)
    process.communicate()  # closes the pipes, which those that are left would keep open
    assert not left, f"processes {left} of {started} had not left"


def children(process: subprocess.Popen) -> list[str]:
    """The numbers of what it has started, where Linux shows them."""
    file = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return file.read_text().split() if file.exists() else []


def is_alive(number: str) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{number}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


LOADER = """
import time
from tubelet.data.loader import batches

fetch = lambda number: {"x": "x" * 100_000}  # more than a pipe holds: the workers wait for somebody to take it
loader = batches(fetch, list, start=0, stop=100, size=2, workers=2)
next(loader)
print("loading", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes where Linux shows them")
def test_the_workers_of_a_killed_process_leave_though_nobody_takes_their_batches():
    process = subprocess.Popen([sys.executable, "-c", LOADER], stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"loading\n"
    time.sleep(0.5)  # until the pipe is full
    assert len(children(process)) == 2
    kill(process)


@pytest.mark.parametrize(("kills", "steps"), [(2, 8), pytest.param(10, 48, marks=pytest.mark.slow)])
def test_a_run_killed_at_any_moment_ends_as_if_it_had_not_been(tmp_path, codec, kills, steps):
    """Every other kill is while a checkpoint is written; the kills lie on both sides of the cool-down's boundary."""
    schedule = Schedule(steps=steps, warm_up=2, cool_down=steps // 2)
    run = denoiser_run(
        tmp_path,
        steps,
        codec,
        tmp_path / "cache",
        schedule=schedule,
        micro_batches=2,
        workers=2,
        preview_every=steps,
    )
    config = write_toml(run, tmp_path / "run.toml")
    Child(config, tmp_path / "whole").finish()
    draw, caught, out = random.Random(kills), 0, tmp_path / "cut"
    for number in range(kills):
        child = Child(config, out)
        child.wait_for(child.has_saved if number % 2 else child.is_saving)
        if number:
            time.sleep(draw.uniform(0, 0.4))
        kill(child.process)
        assert child.process.returncode == -signal.SIGKILL
        caught += child.is_saving()  # what it was writing is still there
    assert caught, "no save was caught while it was written"
    Child(config, out).finish()
    begun = [event["step"] for event in events(out, "begin")]
    assert len(begun) == kills + 1 and begun[0] == 0 < begun[1] < begun[-1] == max(begun), begun
    for name in (f"step-{steps - 2:07d}", f"step-{steps:07d}", "final"):
        assert same_bits(tmp_path / "whole" / name, out / name), name
    assert checkpoint.load(out / "final").index["training"] == {"exact": True, "breaks": []}
    assert losses(out, steps) == losses(tmp_path / "whole", steps)
    assert not [path for path in out.iterdir() if path.name.startswith(".") and path.name != ".lock"]


def losses(out: Path, steps: int) -> list[float]:
    rows = [event for event in read_events(out / "log.jsonl") if event["event"] == "step"]
    assert [row["step"] for row in rows] == list(range(1, steps + 1))
    return [row["loss"] for row in rows]


# Damaged


@pytest.fixture(scope="module")
def runs(tmp_path_factory, codec) -> Path:
    """A run of five steps, and one that has stopped after four and holds the checkpoints of two and four."""
    folder = tmp_path_factory.mktemp("runs")
    go(denoiser_run(folder / "whole", 5, codec, folder / "cache"))
    go(denoiser_run(folder / "stopped", 4, codec, folder / "cache"))
    return folder


@pytest.fixture
def stopped(tmp_path, runs) -> Path:
    return Path(shutil.copytree(runs / "stopped", tmp_path / "run"))


def flip_a_bit(file: Path, draw: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    file.write_bytes(content)


FILES = ["manifest.json", "model_index.json"]
FILES += [
    f"{part}/config.json"
    for part in ("autoencoder", "scheduler", "text_encoder", "training", "transformer", "words")
]
FILES += [f"{part}/model.safetensors" for part in ("autoencoder", "training", "transformer")]


def test_the_list_of_files_is_complete(stopped):
    files = [p for p in (stopped / "step-0000004").rglob("*") if p.is_file()]
    assert sorted(p.relative_to(stopped / "step-0000004").as_posix() for p in files) == sorted(FILES)


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_costs_two_steps_and_changes_nothing(stopped, runs, codec, capsys, name):
    flip_a_bit(stopped / "step-0000004" / name, random.Random(name))
    with pytest.raises(InputError, match=f"step-0000004/{name} is damaged"):
        checkpoint.load(stopped / "step-0000004")
    go(denoiser_run(stopped, 5, codec, runs / "cache"))
    said = capsys.readouterr().err
    assert (
        f"step-0000004/{name} is damaged" in said
        and "set aside as damaged-step-0000004, going on from" in said
    )
    assert events(stopped, "damaged")[0]["now"] == "damaged-step-0000004"
    assert [p.name for p in sorted(stopped.glob("*step-*"))] == [
        "damaged-step-0000004", "step-0000004", "step-0000005"
    ]  # fmt: skip
    for folder in ("step-0000004", "step-0000005", "final"):
        assert same_bits(stopped / folder, runs / "whole" / folder)
    assert checkpoint.load(stopped / "final").index["training"]["exact"]


def test_files_cut_short_or_missing_are_damage_too(stopped, runs, codec, capsys):
    newest = stopped / "step-0000004"
    for number in (6, 7):
        shutil.copytree(stopped / "step-0000002", newest.with_name(f"step-000000{number}"))
    (stopped / "step-0000007/manifest.json").unlink()
    (stopped / "step-0000006/training/model.safetensors").unlink()
    (newest / "training/model.safetensors").write_bytes(b"short")
    go(denoiser_run(stopped, 5, codec, runs / "cache"))
    said = capsys.readouterr().err
    assert "step-0000007 is not a checkpoint: it has no manifest.json; set aside" in said
    assert "step-0000006/training/model.safetensors is missing; set aside" in said
    assert "step-0000004/training/model.safetensors is damaged: 5 bytes instead of" in said
    assert len(list(stopped.glob("damaged-step-*"))) == 3
    assert same_bits(stopped / "final", runs / "whole/final")


def test_a_checkpoint_damaged_twice_is_set_aside_twice(stopped, runs, codec):
    for _ in range(2):
        (stopped / "step-0000004/manifest.json").unlink()
        go(denoiser_run(stopped, 4, codec, runs / "cache"))
    names = [p.name for p in sorted(stopped.glob("*step-*"))]
    assert names == ["damaged-step-0000004", "damaged-step-0000004-2", "step-0000002", "step-0000004"]


@pytest.mark.parametrize("tensor", ["weights.", "average.", "optimizer."])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_checkpoint_of_numbers_that_are_none_is_damaged(stopped, runs, codec, capsys, tensor, value):
    saved = checkpoint.load(stopped / "step-0000004")
    tensors = saved.parts["training"].tensors
    name = next(name for name in tensors if name.startswith(tensor) and tensors[name].ndim)
    tensors[name].view(-1)[-1] = value
    checkpoint.save(stopped / "step-0000004", saved.parts, saved.index)
    with pytest.raises(InputError, match="is spoilt"):
        go(
            denoiser_run(
                stopped.with_name("branch"),
                5,
                codec,
                runs / "cache",
                resume_from=str(stopped / "step-0000004"),
            )
        )
    go(denoiser_run(stopped, 5, codec, runs / "cache"))
    said = capsys.readouterr().err
    assert f"step-0000004 is spoilt: {name} is not finite" in said and "going on from step-0000002" in said
    assert same_bits(stopped / "final", runs / "whole/final")


def test_nothing_is_begun_anew_where_every_checkpoint_is_damaged(stopped, runs, codec):
    for name in ("step-0000002", "step-0000004"):
        flip_a_bit(stopped / name / "training/model.safetensors", random.Random(0))
    for _ in range(2):  # the second time, too
        with pytest.raises(InputError, match="begin anew") as refused:
            go(denoiser_run(stopped, 5, codec, runs / "cache"))
        for name in ("step-0000002", "step-0000004"):
            assert f"{name}/training/model.safetensors is damaged" in str(refused.value)
            assert (stopped / name).is_dir()


# Built otherwise


def test_another_build_is_said_once_and_remembered_for_ever(tmp_path, codec, monkeypatch, capsys):
    go(codec_run(tmp_path, 2))
    now = build(codec_run(tmp_path, 2).loop)
    assert {"torch", "threads", "cpu", "compile", "numpy"} <= now.keys()
    monkeypatch.setattr(saving, "build", lambda loop: {**now, "torch": "9.9", "threads": 64})
    go(codec_run(tmp_path, 4))
    broken = [
        {"step": 2, "what": "threads", "was": now["threads"], "is": 64},
        {"step": 2, "what": "torch", "was": now["torch"], "is": "9.9"},
    ]
    said = capsys.readouterr().err
    assert "from step 2 on this run is no longer exact: threads was" in said and ", is 64; torch was" in said
    assert events(tmp_path, "inexact")[0]["breaks"] == broken
    assert events(tmp_path, "begin")[1]["exact"] is False
    go(codec_run(tmp_path, 6))
    assert "no longer exact" not in capsys.readouterr().err
    monkeypatch.undo()
    go(codec_run(tmp_path, 8))  # back on the first build, which mends nothing
    for name, breaks in [("step-0000006", broken), ("step-0000008", None), ("final", None)]:
        saved = checkpoint.load(tmp_path / name)
        found = saved.index["training"]
        assert not found["exact"] and found["breaks"][:2] == broken
        assert [row["step"] for row in found["breaks"]] == ([2, 2] if breaks else [2, 2, 6, 6])
        if "training" in saved.parts:
            assert saved.parts["training"].config["exact"] is False
            assert saved.parts["training"].config["breaks"] == found["breaks"]


def test_compiling_or_not_is_a_break_and_workers_are_not(tmp_path, monkeypatch):
    loop = codec_run(tmp_path, 2).loop
    assert build(loop) == build(codec_run(tmp_path, 4, workers=3).loop)
    compiled = codec_run(tmp_path, 2, compile=True).loop
    if shutil.which("g++"):
        assert "g++" in build(compiled)["compile"]
        selective = dataclasses.replace(compiled, activation_checkpointing="selective")
        assert build(selective)["compile"] != build(compiled)["compile"]
    monkeypatch.setenv("PATH", "")
    assert build(compiled) == build(loop)  # without a compiler, nothing is compiled


def test_a_checkpoint_that_does_not_name_its_build_may_come_from_any(tmp_path, capsys):
    go(codec_run(tmp_path, 2))
    saved = checkpoint.load(tmp_path / "step-0000002")
    for key in ("build", "exact", "breaks"):
        del saved.parts["training"].config[key]
    checkpoint.save(tmp_path / "step-0000002", saved.parts, saved.index)
    go(codec_run(tmp_path, 4))
    assert "no longer exact: the checkpoint does not say what it was made with" in capsys.readouterr().err
    found = checkpoint.load(tmp_path / "final").index["training"]
    assert not found["exact"] and found["breaks"][0]["was"] == "not recorded"


def test_a_branch_with_another_schedule_is_exact(tmp_path):
    go(codec_run(tmp_path / "run", 4))
    branch = Schedule(steps=6, warm_up=1, cool_down=3)
    source = str(tmp_path / "run/step-0000002")
    go(codec_run(tmp_path / "branch", 6, schedule=branch, resume_from=source, workers=1))
    assert json.loads((tmp_path / "branch/final/model_index.json").read_text())["training"]["exact"]
