"""Run files: every committed config reads; what is misspelt is named."""

from pathlib import Path

import pytest

from tubelet.diffusion.objective import Objective
from tubelet.diffusion.paths import PathConfig
from tubelet.errors import InputError
from tubelet.training.command import run_of
from tubelet.training.config import CodecRun, DenoiserRun, LoopConfig, from_dict, read_run, to_dict

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.toml")), ids=lambda p: p.stem)
def test_every_committed_config_reads(file):
    kind = CodecRun if "codec" in file.stem else DenoiserRun
    run = read_run(kind, file)
    assert from_dict(kind, to_dict(run)) == run


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[loop]\nout = 'x'\nbatch_sise = 4", "batch_size"),
        ("[loop]\nbatch_size = 4", "missing key 'loop.out'"),
        ("[loop]\nout = 3", "'loop.out' must be str"),
        ("[loop]\nout = 'x'\nbatch_size = 5\nmicro_batches = 2", "--loop.batch-size 4"),
        ("[loop]\nout = 'x'\n[data]\ncrop = [1, 2, 3]", "needs 2 values"),
        ("[loop]\nout = 'x'\n[codec]\nkind = 'casual'", "did you mean 'causal'"),
        ("loop = 3", "must be a table"),
        ("[loop", "not TOML"),
    ],
)
def test_bad_configs_say_file_key_and_remedy(tmp_path, text, words):
    file = tmp_path / "run.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        read_run(CodecRun, file)
    assert "run.toml" in str(caught.value)


def test_a_missing_config_is_named():
    with pytest.raises(InputError, match=r"nothing\.toml"):
        read_run(CodecRun, "nothing.toml")


def test_flags_override_any_field(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("[loop]\nout = 'x'\n")
    run = run_of(
        DenoiserRun,
        [str(file), "--data", "clips", "--loop.schedule.steps", "7", "--model.width", "64"],
        "tubelet",
    )
    assert (run.data.folder, run.loop.schedule.steps, run.model.width) == ("clips", 7, 64)
    assert isinstance(run.loop, LoopConfig)
    assert run_of(DenoiserRun, [str(file), "--data=clips"], "tubelet").data.folder == "clips"


def test_a_lone_folding_reads_as_a_list_of_one_and_a_flag_takes_several(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("[loop]\nout = 'x'\n[model]\nattention = 'window'\n")
    assert read_run(DenoiserRun, file).model.attention == ("window",)
    flags = ["--model.attention", "joint", "window", "--model.window", "2", "4", "4"]
    model = run_of(DenoiserRun, [str(file), *flags], "tubelet").model
    assert (model.attention, model.window) == (("joint", "window"), (2, 4, 4))
    file.write_text("[loop]\nout = 'x'\n[model]\ntubelet = 2\n")
    with pytest.raises(InputError, match=r"'model\.tubelet' must be a list"):
        read_run(DenoiserRun, file)


def test_a_config_must_come_first():
    with pytest.raises(InputError, match="needs a config first"):
        run_of(CodecRun, ["--loop.out", "x"], "tubelet train-codec")


def test_a_lone_name_stands_for_a_table_that_says_nothing_else(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('path = "ddpm_cosine"\nobjective = "simple"\n[loop]\nout = "x"\n')
    run = read_run(DenoiserRun, file)
    assert run.path == PathConfig(name="ddpm_cosine") and run.objective == Objective()
    file.write_text('[loop]\nout = "x"\n[path]\nname = "ddpm_linear"\nT = 100\n')
    assert read_run(DenoiserRun, file).path.make().T == 100


def test_a_noise_target_on_a_zero_terminal_path_is_refused():
    path = PathConfig(name="ddpm_linear", zero_terminal=True)
    with pytest.raises(InputError, match="target velocity, v or x0"):
        DenoiserRun(loop=LoopConfig(out="x"), path=path, target="noise")
