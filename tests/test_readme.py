"""What the README tells a user to do, done."""

import re
import shlex
from pathlib import Path

import pytest

from tubelet.cli import COMMANDS, main

README = (Path(__file__).parents[1] / "README.md").read_text()
COMMAND_LINES = re.findall(r"^\.venv/bin/tubelet (.*?)(?:\s+#.*)?$", README, flags=re.M)


def run(line: str) -> None:
    words = shlex.split(line)
    try:
        main(words)
    except SystemExit as stop:
        assert not stop.code, line


def test_every_command_of_the_readme_exists():
    assert len(COMMAND_LINES) >= 6
    assert {shlex.split(line)[0] for line in COMMAND_LINES} == set(COMMANDS)


@pytest.mark.parametrize(
    "line", [c for c in COMMAND_LINES if re.match(r"generate|world", c) and "runs/" not in c]
)
def test_generating_as_the_readme_says(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.txt").write_text("a blue star grows\n")
    run(line.replace("--count 100", "--count 3") + (" --num-inference-steps 2" if " -o " in line else ""))
    written = [*tmp_path.glob("out*"), *tmp_path.glob("*/metadata.jsonl")]
    assert written or "--help" in line


def test_replaying_as_the_readme_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(COMMAND_LINES[0] + " --num-inference-steps 2")
    replays = [c for c in COMMAND_LINES if c.startswith("replay")]
    assert replays
    for line in replays:
        run(line)  # exits with 0: the same, bit for bit


def test_the_python_snippet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", README, flags=re.S)
    assert code
    values: dict = {}
    exec(code[1], values)
    assert values["out"].frames.shape == (1, 17, 64, 64, 3)
    assert (tmp_path / "circle.mp4").stat().st_size > 0


@pytest.mark.slow
def test_training_as_the_readme_says_at_a_tiny_size(tmp_path, monkeypatch):
    """The training commands in the README's order, on a small folder of clips, with a few steps."""
    root = Path(__file__).parents[1]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(root / "configs")
    run("world --out clips --count 40")
    few = "--loop.schedule.steps 2 --loop.schedule.cool-down 1 --loop.batch-size 2 --loop.no-compile"
    few += " --data.held-out 2 --data.clips 4"
    for line in (c for c in COMMAND_LINES if c.startswith("train")):
        run(f"{line} {few} " + ("--pca-clips 8" if line.startswith("train-codec") else ""))
    run(next(c for c in COMMAND_LINES if "runs/denoiser/final" in c) + " --num-inference-steps 1")
    assert (tmp_path / "out.mp4").exists()
    (bound,) = (c for c in COMMAND_LINES if c.startswith("bound"))
    run(f"{bound} --clips 2 --rows 3")
    assert (tmp_path / "bound.png").exists()
