"""The command line: exit codes and what it says."""

from pathlib import Path

import pytest

from tubelet import __version__
from tubelet.cli import COMMANDS, main


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
        raise SystemExit(0)
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def test_help_lists_every_command(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(name in out for name in COMMANDS)


def test_the_version(capsys):
    assert run(capsys, "--version") == (0, f"tubelet {__version__}\n", "")


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_help(capsys, command):
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    assert f"tubelet {command}" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generat", "x"], "did you mean 'generate'"),
        (["generate", "x", "-o", "x.avi"], ".mp4"),
        (["generate", "x", "-o", "x.mp4", "--checkpoint", "nowhere"], "nowhere"),
        (["generate", "x", "-o", "nowhere/x.mp4"], "nowhere"),
        (["generate", "x", "-o", "x.mp4", "--num-inference-step", "3"], "--num-inference-steps"),
        (["generate", "none.txt", "-o", "x.mp4"], "none.txt"),
        (["replay", "none.mp4"], "none.mp4: there is no such file"),
        (["replay", "none.mp4", "-o", "x.avi"], ".mp4"),
        (["replay", str(Path(__file__))], "give a .mp4"),
        (["replay"], "FILE"),
        (["train", "nothing.toml"], "nothing.toml"),
        (["train"], "config"),
        (["train-codec", "nothing.toml"], "nothing.toml"),
        (["world", "--out", "x"], "--count"),
        (["world", "--out", "x", "--count", "1", "--split", "trian"], "train"),
    ],
)
def test_what_the_user_can_mend_exits_with_2(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert words in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["out.mp4", "out.gif", "out.png"])
def test_what_the_shipped_model_generates_is_replayed(capsys, tmp_path, name):
    file, again = str(tmp_path / name), tmp_path / "again.mp4"
    prompt = ["a red circle moves left", "--num-inference-steps", "2", "--num-frames", "5"]
    assert run(capsys, "generate", *prompt, "-o", file)[0] == 0
    code, out, _ = run(capsys, "replay", file, "-o", str(again))
    assert (code, again.exists()) == (0, True)
    assert "bit for bit" in out and "'a red circle moves left'" in out


def test_a_replay_that_is_not_the_same_exits_with_2_and_says_why(capsys, tmp_path):
    from tubelet.sampling.replay import pictures
    from tubelet.video import write_video

    file = tmp_path / "out.png"
    prompt = ["a red circle moves left", "--num-inference-steps", "1", "--num-frames", "1"]
    assert run(capsys, "generate", *prompt, "-o", str(file))[0] == 0
    clip = pictures(file)
    write_video(file, clip.frames // 2, metadata=clip.metadata, enlarge=False)
    code, out, err = run(capsys, "replay", str(file))
    assert code == 2
    assert "bit for bit" in out and "largest difference" in out
    assert "was changed after it was made" in err and "Traceback" not in err


def test_a_bug_keeps_its_traceback(monkeypatch):
    def broken(arguments: list[str]) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setitem(COMMANDS, "generate", broken)
    with pytest.raises(ZeroDivisionError):
        main(["generate"])


def test_an_interrupt_exits_with_130(capsys, monkeypatch):
    def interrupted(arguments: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(COMMANDS, "generate", interrupted)
    assert run(capsys, "generate")[0] == 130


def test_world_writes_an_ordinary_folder_of_clips(capsys, tmp_path):
    code, out, _ = run(
        capsys, "world", "--out", str(tmp_path / "w"), "--count", "3", "--height", "32", "--width", "32"
    )
    assert code == 0
    assert "3 clips" in out
    from tubelet.data.clips import FolderClips

    clips = FolderClips(tmp_path / "w")
    assert clips.frames(2).shape == (17, 32, 32, 3)
    assert len(clips.captions(0)) >= 6
