"""A run's folder and its log: one process at a time, nothing half done left behind, nothing ambiguous to read."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from training.runs import codec_run, events, go
from tubelet.errors import InputError
from tubelet.training import folder as folder_module
from tubelet.training.command import train_codec
from tubelet.training.folder import clear, sole_use
from tubelet.training.log import Log, read_events

fcntl = pytest.importorskip("fcntl")

HOLDER = """
import os, sys
from pathlib import Path
from tubelet.training.folder import sole_use
with sole_use(Path(sys.argv[1])):
    if os.fork() == 0:  # like a loader's worker, this one outlives its parent
        sys.stdin.read()
        os._exit(0)
    print("in", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that uses the folder, and has started another."""
    words = [sys.executable, "-c", HOLDER, str(tmp_path)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"in\n"
    yield process
    process.kill()
    process.communicate()


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(".step"))


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path, holder):
    (tmp_path / ".step-0000002.writing-1").mkdir()
    config = tmp_path / "run.toml"
    config.write_text(f"[loop]\nout = {str(tmp_path)!r}\n")
    with pytest.raises(InputError, match=rf"process {holder.pid} is training into .*--loop\.out"):
        train_codec([str(config)])
    assert leftovers(tmp_path) == [".step-0000002.writing-1"], "it may be the other's"
    assert not (tmp_path / "log.jsonl").exists()
    holder.kill()
    holder.wait()  # what it has started is still there, and holds nothing
    with sole_use(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())
        assert leftovers(tmp_path) == []


def test_what_killed_saves_left_is_cleared_and_nothing_else(tmp_path):
    gone = [
        ".step-0000002.writing-123",
        ".step-0000007.writing-9",
        ".final.writing-1",
        ".step-0000001.removing",
    ]
    stays = [".gitignore", ".step-x.writing-1", "damaged-step-0000003", "step-0000004", "final", ".other.old"]
    for name in [*gone, *stays, ".step-0000004.old", ".step-0000006.old"]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    clear(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*stays, "step-0000006"])
    assert (tmp_path / "step-0000006/file").read_text() == ".step-0000006.old", (
        "it was to be replaced, and was not"
    )
    assert (tmp_path / "step-0000004/file").read_text() == "step-0000004"


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_training_goes_on_and_clears_nothing(tmp_path, monkeypatch, error):
    def none(*_):
        raise OSError(error, "no locks here")

    monkeypatch.setattr(folder_module, "clear", none)
    monkeypatch.setattr(fcntl, "lockf", none)
    with sole_use(tmp_path):
        pass
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
    with sole_use(tmp_path):
        pass


def test_a_line_cut_short_stays_alone(tmp_path):
    log = Log(tmp_path)
    log.event("step", step=1, loss=0.5)
    log.event("step", step=2, loss=0.25)
    content = log.file.read_bytes()
    for length in range(len(content)):
        log.file.write_bytes(content[:length])
        Log(tmp_path).event("step", step=3, loss=0.125)
        found = [event["step"] for event in read_events(log.file)]
        whole = content[:length].count(b"\n") + (content[length : length + 1] == b"\n")
        assert found == [*[1, 2][:whole], 3], length


def test_a_resumed_run_reads_as_one_that_was_not_stopped(tmp_path):
    go(codec_run(tmp_path, 3, save_every=2, held_out_every=1))
    for path in tmp_path.glob("step-0000003*/*.json"):
        path.unlink()  # so that the run goes on from step 2
    go(codec_run(tmp_path, 4, save_every=2, held_out_every=1))
    assert [event["step"] for event in events(tmp_path, "step")] == [1, 2, 3, 3, 4]
    read = read_events(tmp_path / "log.jsonl")
    for kind in ("step", "held_out"):
        assert [event["step"] for event in read if event["event"] == kind] == [1, 2, 3, 4]
    assert [event["step"] for event in read if event["event"] in ("begin", "end")] == [0, 2, 4]
