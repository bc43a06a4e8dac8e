"""General code finds worlds by their kind, and each kind has its own fields."""

import dataclasses
import subprocess
import sys

import pytest

from tubelet.errors import InputError
from tubelet.training.command import run_of
from tubelet.training.config import DenoiserRun, from_dict, read_run, to_dict
from tubelet.worlds import WORLDS, WorldConfig, default_config, world_of
from tubelet.worlds.depth.config import DepthConfig
from tubelet.worlds.shapes.config import ShapesConfig


@pytest.mark.parametrize("kind", WORLDS)
def test_every_world_has_its_row(kind):
    world = world_of(kind)
    small = {"num_frames": 2, "height": 32, "width": 48}
    clips = world.clips(world.config(**small), 2, world.splits[1])
    assert world.config().kind == world.plain.kind == kind and world.splits[:2] == ("train", "held_out")
    assert clips.frames(1).shape == (2, 32, 48, 3) and len(clips) == 2 and clips.fps == world.config().fps
    assert clips.captions(1) and clips.attributes(1)
    assert hasattr(clips, "truth") == world.has_truth
    if world.judge is not None:
        reading = world.judge.read(clips.frames(0).numpy(), fps=clips.fps)
        assert world.judge.compare(reading, clips.attributes(0))


def test_naming_the_worlds_loads_none():
    code = "import sys, tubelet.worlds; print([m for m in sys.modules if 'shapes.' in m or 'depth' in m])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_an_unknown_kind_names_the_near_miss(tmp_path):
    with pytest.raises(InputError, match="did you mean 'depth'"):
        world_of("dept")
    file = tmp_path / "run.toml"
    file.write_text('[loop]\nout = "x"\n[data.world]\nkind = "shape"\n')
    with pytest.raises(InputError, match=r"run\.toml: .*'shape' is unknown; did you mean 'shapes'"):
        read_run(DenoiserRun, file)
    file.write_text('[loop]\nout = "x"\n')
    with pytest.raises(InputError, match="did you mean 'depth'"):
        run_of(DenoiserRun, [str(file), "--data.world.kind", "dept"], "tubelet train")
    with pytest.raises(InputError, match="other fields than 'shapes'"):
        dataclasses.replace(ShapesConfig(), kind="depth")


def test_a_file_without_a_kind_is_of_the_flat_world(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('[loop]\nout = "x"\n[data.world]\ntwo_objects = 0.0\n')
    run = read_run(DenoiserRun, file)
    assert run.data.world == ShapesConfig(two_objects=0.0)
    before = to_dict(run)
    del before["data"]["world"]["kind"]  # as runs were written before there were kinds
    assert from_dict(DenoiserRun, before) == run
    assert isinstance(default_config(), ShapesConfig)


def test_fields_of_one_world_are_refused_for_another(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('[loop]\nout = "x"\n[data.world]\nkind = "depth"\ntwo_objects = 0.0\n')
    with pytest.raises(InputError, match=r"unknown key 'data\.world\.two_objects'"):
        read_run(DenoiserRun, file)
    file.write_text('[loop]\nout = "x"\n[data.world]\nkind = "depth"\nseed = 3\n')
    assert read_run(DenoiserRun, file).data.world == DepthConfig(seed=3)


def test_flags_are_those_of_the_kind_and_a_flag_chooses_it(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('[loop]\nout = "x"\n[data.world]\nheight = 32\n')

    def world(*flags: str) -> WorldConfig:
        return run_of(DenoiserRun, [str(file), *flags], "tubelet train").data.world

    assert world("--data.world.two-objects", "0.5") == ShapesConfig(height=32, two_objects=0.5)
    as_before = {"num_frames": 17, "height": 32, "width": 64, "fps": 8.0}
    for flags in (["--data.world.kind", "depth"], ["--data.world.kind=depth"]):
        assert world(*flags, "--data.world.seed", "2") == DepthConfig(seed=2, **as_before)
