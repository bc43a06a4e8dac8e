"""Samples by number: what is drawn for each."""

import dataclasses
from pathlib import Path

import pytest

from training.runs import codec_run, denoiser_run, go
from tubelet.diffusion.times import TimeSampling
from tubelet.training.denoiser_task import DenoiserTask
from tubelet.training.log import Log


@pytest.fixture(scope="module")
def codec(tmp_path_factory) -> Path:
    return go(codec_run(tmp_path_factory.mktemp("codec") / "run", 2))


def test_stratified_times_take_each_part_of_a_batch_once_and_change_nothing_else(tmp_path, codec):
    run = denoiser_run(tmp_path, 2, codec, codec.parent / "cache", batch_size=8, micro_batches=2)
    plain = DenoiserTask(run, Log(tmp_path))
    even = DenoiserTask(dataclasses.replace(run, times=TimeSampling(stratified=True)), Log(tmp_path))
    parts = []
    for batch in range(6):
        numbers = range(8 * batch, 8 * batch + 8)
        ours, theirs = ([task.fetch(n) for n in numbers] for task in (even, plain))
        parts.append([int(8 * item["time"][0]) for item in ours])
        assert sorted(parts[-1]) == list(range(8))
        for mine, other in zip(ours, theirs, strict=True):
            assert mine["content"].noise.equal(other["content"].noise) and mine["keep"] == other["keep"]
    assert len({tuple(each) for each in parts}) == 6
