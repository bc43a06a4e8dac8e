"""A denoiser trains on several worlds and a folder at once, and each source has its held-out loss."""

import dataclasses
import tomllib
from pathlib import Path

import pytest

from training.runs import codec_run, denoiser_run, events, go, same_bits
from tubelet.data.source import DataConfig
from tubelet.errors import InputError
from tubelet.training.config import DenoiserRun, from_dict, read_run
from tubelet.training.denoiser_task import DenoiserTask
from tubelet.training.log import Log

MIXTURE = """
[loop]
out = "out"
[data]
clips = 8
held_out = 3
other_share = 0.8
[data.world]
kind = "depth"
num_frames = 5
height = 32
width = 32
[[data.other]]
frames = 5
height = 16
width = 16
clips = 6
[[data.other]]
frames = 1
height = 32
width = 32
clips = 6
[[data.other]]
frames = 5
height = 32
width = 32
clips = 6
share = 0.2
fps = 16
world = {{ kind = "shapes" }}
[[data.other]]
frames = 5
height = 16
width = 16
clips = 6
share = 0.2
folder = "{folder}"
"""
BUCKETS = ["5x16x16", "1x32x32", "5x32x32@16-shapes", "5x16x16-drone_sky"]


@pytest.fixture(scope="module")
def codec(tmp_path_factory) -> Path:
    return go(codec_run(tmp_path_factory.mktemp("codec") / "run", 2))


def run_of(out: Path, codec: Path, folder: Path, steps: int, **changes) -> DenoiserRun:
    file = codec.parent / "mixture.toml"
    file.write_text(MIXTURE.format(folder=folder))
    run = denoiser_run(out, steps, codec, codec.parent / "cache", **changes)
    return dataclasses.replace(run, data=read_run(DenoiserRun, file).data)


def test_training_on_two_worlds_and_a_folder_runs_with_a_held_out_loss_for_each(tmp_path, codec, shared_data):
    go(run_of(tmp_path, codec, shared_data / "drone_sky", 4))
    measured = events(tmp_path, "end")[0]["held_out"]
    assert {f"loss_{name}" for name in BUCKETS} | {"held_out_loss"} <= set(measured)
    shares = events(tmp_path, "sizes")[0]["samples"]
    assert shares == pytest.approx(dict.fromkeys(["5x32x32", *BUCKETS], 0.2))


@pytest.mark.slow
@pytest.mark.parametrize("batching", ["buckets", "packed"])
def test_two_steps_on_a_mixture_and_two_more_are_four(tmp_path, codec, shared_data, batching):
    for name, steps in (("whole", 4), ("halves", 2), ("halves", 4)):
        run = run_of(tmp_path / name, codec, shared_data / "drone_sky", steps, micro_batches=2)
        go(dataclasses.replace(run, batching=batching))
    assert same_bits(tmp_path / "whole/step-0000004", tmp_path / "halves/step-0000004")


def test_a_run_with_another_source_is_not_continued(tmp_path, codec, shared_data):
    run = run_of(tmp_path, codec, shared_data / "drone_sky", 2)
    task = DenoiserTask(run, Log(tmp_path))
    *rest, last = run.data.other
    other = (*rest, dataclasses.replace(last, caption="label"))
    changed = dataclasses.replace(run, data=dataclasses.replace(run.data, other=other))
    before, after = task.content(), DenoiserTask(changed, Log(tmp_path)).content()
    assert [name for name in before if before[name] != after[name]] == ["clips 5x16x16-drone_sky"]


def test_the_mixture_in_the_docs_reads():
    page = (Path(__file__).parents[2] / "docs/ARCHITECTURE.md").read_text()
    table = tomllib.loads(page.partition("```toml\n")[2].partition("```")[0])
    data = from_dict(DataConfig, table["data"])
    assert data.shares == pytest.approx((0.5, 0.15, 0.15, 0.15, 0.05))
    assert [size.label for size in data.other] == [
        "17x64x64",
        "1x128x128",
        "33x128x128@16-shapes",
        "17x64x64-drone_sky",
    ]


def test_crops_are_for_codecs(tmp_path, codec):
    run = denoiser_run(tmp_path, 2, codec, tmp_path / "cache")
    run = dataclasses.replace(run, data=dataclasses.replace(run.data, crop=(16, 16)))
    with pytest.raises(InputError, match=r"data\.crop is for codecs"):
        DenoiserTask(run, Log(tmp_path))
