"""`--verify-resume`: it tells an exact resume from one that is not, and leaves nothing."""

import tempfile
from pathlib import Path

import pytest
import torch

from training.runs import codec_run, denoiser_run, go, write_toml
from tubelet.cli import main
from tubelet.training import verify
from tubelet.training.verify import compared, difference, shortened, verdict


@pytest.mark.parametrize("command", ["train", "train-codec"])
def test_the_help_knows_it(capsys, command):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert "--verify-resume" in capsys.readouterr().out


def test_only_lengths_are_shortened(tmp_path):
    run = denoiser_run(tmp_path, 900, Path("codec"), Path("cache"), micro_batches=2, workers=2, average=0.5)
    short = shortened(run, tmp_path, "whole")
    assert (short.loop.micro_batches, short.loop.workers, short.loop.average) == (2, 2, 0.5)
    assert (short.model, short.data.world, short.loop.optimizer) == (
        run.model,
        run.data.world,
        run.loop.optimizer,
    )
    factors = [short.loop.schedule.factor(step) for step in range(verify.STEPS)]
    assert factors[0] < factors[verify.SAVED - 1] == factors[verify.SAVED] == 1 > factors[-1]
    assert shortened(codec_run(tmp_path, 9), tmp_path, "x").codec == codec_run(tmp_path, 9).codec


def test_the_comparison_is_of_bits():
    nan, zero = torch.tensor([float("nan"), 1.0]), torch.zeros(())
    assert difference("a", nan, nan.clone()) == ""
    assert difference("a", torch.empty(0), torch.empty(0)) == ""
    assert "a by up to 0 in 0 of 1" in difference("a", zero, -zero)
    assert "up to 0.5 in 1 of 2 values" in difference("a", torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5]))
    for other in (None, torch.zeros(1), zero.double()):
        assert "in one only, or of another shape" in difference("a", zero, other)
    one = {str(n): torch.full((2,), float(n)) for n in range(8)}
    assert compared(one, one) == (8, [])
    count, different = compared(one, {name: value + 1 for name, value in one.items()})
    said = verdict(count, different)
    assert "NOT exact: 8 of 8 tensors differ" in said and "and 3 more" in said and "\n  0 by up to 1" in said
    assert "resume is exact: 8 tensors" in verdict(8, [])


@pytest.mark.slow
@pytest.mark.parametrize("forgets", [False, True])
def test_the_command_says_whether_resuming_is_exact(tmp_path, monkeypatch, capfd, forgets):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    if forgets:  # a process that is not told of the optimizer's state goes on otherwise
        site = tmp_path / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(
            "from tubelet.training.optim import Optimizers\n"
            "Optimizers.load_state_tensors = lambda self, tensors: None\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(site))
    codec = go(codec_run(tmp_path / "codec", 2))
    run = denoiser_run(tmp_path / "out", 9, codec, tmp_path / "cache", micro_batches=2, workers=2)
    config = write_toml(run, tmp_path / "run.toml")
    with pytest.raises(SystemExit) as stop:
        main(["train", str(config), "--verify-resume", "--loop.average", "0.9"])
    said = capfd.readouterr()
    assert stop.value.code == (2 if forgets else 0), said.err
    assert ("resume is NOT exact" if forgets else "resume is exact") in said.out
    assert (" by up to " in said.out) == forgets
    assert not (tmp_path / "out").exists() and not list(temporary.iterdir())


@pytest.mark.slow
def test_what_the_user_can_mend_is_said_once(tmp_path, capfd):
    run = denoiser_run(tmp_path / "out", 9, tmp_path / "nowhere", tmp_path / "cache")
    with pytest.raises(SystemExit) as stop:
        main(["train", str(write_toml(run, tmp_path / "run.toml")), "--verify-resume"])
    said = capfd.readouterr().err
    assert stop.value.code == 2
    assert "nowhere: there is no such checkpoint folder" in said and "Traceback" not in said
