"""One training of many sizes: who has which, what is minimised, and that resuming is exact."""

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
import torch

from training.runs import DATA, codec_run, denoiser_run, events, go, same_bits
from tubelet.data.buckets import bucket_of
from tubelet.data.source import SizeConfig
from tubelet.diffusion.objective import Objective
from tubelet.diffusion.times import TimeSampling
from tubelet.errors import InputError
from tubelet.training.batches import Batch, groups_of
from tubelet.training.config import DenoiserRun
from tubelet.training.denoiser_task import DenoiserTask
from tubelet.training.known import KnownConfig
from tubelet.training.log import Log
from tubelet.training.loop import flops_of

KNOWN = KnownConfig(first=0.3, region=0.2, last=0.1, keyframes=0.1, each_frame=0.2)
IMAGE = SizeConfig(frames=1, height=32, width=32, clips=6)
WIDE = SizeConfig(frames=5, height=16, width=48, clips=8)


SLOW = SizeConfig(frames=5, height=32, width=32, clips=8, fps=4.0)


@pytest.fixture(scope="module")
def codec(tmp_path_factory) -> Path:
    return go(codec_run(tmp_path_factory.mktemp("codec") / "run", 2))


def run_of(
    out: Path, codec: Path, batching: str, steps: int = 4, share: float = 0.6, **changes
) -> DenoiserRun:
    run = denoiser_run(out, steps, codec, codec.parent / "cache", **changes)
    data = dataclasses.replace(DATA, other=(IMAGE, WIDE), other_share=share)
    return dataclasses.replace(run, data=data, batching=batching)


def task_of(tmp_path: Path, codec: Path, batching: str, **changes) -> DenoiserTask:
    run = run_of(tmp_path, codec, batching, precision="float32", micro_batches=2)
    task = DenoiserTask(dataclasses.replace(run, **changes), Log(tmp_path))
    with torch.no_grad():
        for parameter in task.model.parameters():  # a fresh model predicts zero
            if not parameter.any():
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    return task


def test_sizes_are_drawn_by_seed_and_number_in_their_shares():
    shares = [0.7, 0.1, 0.1, 0.1]
    drawn = [bucket_of(0, number, shares) for number in range(4000)]
    assert drawn == [bucket_of(0, number, shares) for number in range(4000)]
    assert drawn != [bucket_of(1, number, shares) for number in range(4000)]
    counts = Counter(drawn)
    assert counts[0] == pytest.approx(2800, abs=90)  # three standard deviations
    assert all(counts[size] == pytest.approx(400, abs=60) for size in (1, 2, 3))
    assert {bucket_of(0, number, [1.0, 0.0, 0.0]) for number in range(50)} == {0}
    assert 0 not in {bucket_of(0, number, [0.0, 0.5, 0.5]) for number in range(50)}
    assert bucket_of(0, 7, [1.0]) == 0


def test_a_bucket_has_one_size_and_a_packed_batch_has_several(tmp_path, codec):
    buckets, packed = (task_of(tmp_path, codec, batching) for batching in ("buckets", "packed"))
    pairs = [[buckets.fetch(n)["group"][0] for n in (first, first + 1)] for first in range(0, 40, 2)]
    assert all(one == other for one, other in pairs) and {one for one, _ in pairs} == {0, 1, 2}
    batch = buckets.collate([buckets.fetch(n) for n in (0, 1)])
    assert isinstance(batch, Batch) and buckets.few_shapes
    groups = groups_of(packed.collate([packed.fetch(n) for n in range(12)]))
    shapes = [tuple(group.xt.shape[1:]) for group in groups]
    assert shapes == [(4, 2, 4, 4), (4, 1, 4, 4), (4, 2, 2, 6)]
    assert sum(len(group.xt) for group in groups) == 12 and not packed.few_shapes


OBJECTIVES = {
    "simple": {},
    "min_snr": {"objective": Objective(weight="min_snr")},
    "known": {"known": KNOWN},
    "hybrid": {
        "known": dataclasses.replace(KNOWN, each_frame=0.0),
        "objective": Objective(name="hybrid"),
        "variance": "learned",
        "times": TimeSampling(name="importance", steps=20),
    },
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_loss_of_a_packed_batch_is_the_mean_of_its_samples_losses(tmp_path, codec, name):
    changes = OBJECTIVES[name]
    if name == "hybrid":
        model = run_of(tmp_path, codec, "packed").model
        changes = {**changes, "model": dataclasses.replace(model, predictions=2)}
    task = task_of(tmp_path, codec, "packed", **changes)
    items = [task.fetch(n) for n in range(8)]
    assert len({item["group"][0] for item in items}) == 3
    assert "known" not in changes or len({item["group"] for item in items}) > 4
    batch = task.collate(items)
    loss, terms = task.loss(batch)
    single = torch.stack([task.loss(task.collate([item]))[0] for item in items]).mean()
    gradients = [torch.autograd.grad(each, list(task.model.parameters())) for each in (loss, single)]
    torch.testing.assert_close(loss, single, atol=1e-5, rtol=1e-5)
    for packed, alone in zip(*gradients, strict=True):
        torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-4)
    assert all(term.shape == (8,) for term in terms.values())
    if name == "hybrid":
        task.observe(batch, {key: term.detach() for key, term in terms.items()})
        assert task.tensors()["seen"].sum() == 8


@pytest.mark.parametrize("batching", ["buckets", "packed"])
def test_four_steps_of_many_sizes_and_four_more_are_eight(tmp_path, codec, batching):
    go(run_of(tmp_path / "whole", codec, batching, 8, micro_batches=2))
    go(run_of(tmp_path / "halves", codec, batching, 4, micro_batches=2, workers=1))
    go(run_of(tmp_path / "halves", codec, batching, 8, micro_batches=2))
    assert same_bits(tmp_path / "whole/step-0000008", tmp_path / "halves/step-0000008")
    measured = events(tmp_path / "whole", "end")[0]["held_out"]
    assert {"loss_1x32x32", "loss_5x16x48"} < set(measured)
    shares = events(tmp_path / "whole", "sizes")[0]["samples"]
    assert shares == pytest.approx({"5x32x32": 0.4, "1x32x32": 0.3, "5x16x48": 0.3})


@pytest.mark.parametrize("batching", ["buckets", "packed"])
def test_clips_of_another_rate_are_told_as_such(tmp_path, codec, batching):
    data = dataclasses.replace(DATA, other=(SLOW, dataclasses.replace(SLOW, fps=None)), other_share=0.6)
    task = task_of(tmp_path, codec, batching, data=data)
    items = [task.fetch(n) for n in range(16)]
    assert {item["content"].stride for item in items} == {1.0, 2.0}
    batch = task.collate(items)
    single = torch.stack([task.loss(task.collate([item]))[0] for item in items]).mean()
    torch.testing.assert_close(task.loss(batch)[0], single, atol=1e-5, rtol=1e-5)
    untold = tuple(group._replace(stride=1.0) for group in groups_of(batch))
    assert (task.loss(untold)[0] - single).abs() > 1e-4
    pipe = task.pipeline()
    assert (pipe.scheduler.fps, pipe.scheduler.rates) == (8.0, (4.0, 8.0))
    with torch.no_grad():
        assert "loss_5x32x32@4" in task.held_out()


def test_a_run_with_another_size_is_not_continued(tmp_path, codec):
    run = run_of(tmp_path, codec, "buckets", 2)
    go(run)
    fewer = dataclasses.replace(run.data, other=(IMAGE,))
    with pytest.raises(InputError, match="another clips 5x16x48"):
        go(dataclasses.replace(run, data=fewer))


def test_the_other_sizes_change_nothing_of_the_main_one(tmp_path, codec):
    many = task_of(tmp_path, codec, "buckets")
    one = task_of(tmp_path, codec, "buckets", data=DATA)
    for number in range(3):
        mine, other = many.samples.sample(number, 0), one.fetch(number)
        assert torch.equal(mine["content"].x0, other["content"].x0) and mine["time"] == other["time"]


def test_a_samples_cost_is_the_mean_over_the_mixture(tmp_path, codec):
    task = task_of(
        tmp_path, codec, "packed", data=dataclasses.replace(DATA, other=(IMAGE,), other_share=0.25)
    )
    each = []
    for batch in (batch for _, batch in task.kinds()):
        task.kinds = lambda batch=batch: [(1.0, batch)]
        each.append(flops_of(task, "cpu"))
    del task.kinds
    assert each[0] > each[1]
    assert flops_of(task, "cpu") == round(0.75 * each[0] + 0.25 * each[1])


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ({"frames": 4}, r"data\.other 4x32x32: .*try --num-frames 5"),
        ({"height": 40}, r"data\.other 1x40x32: .*try 32 or 48"),
        ({"width": 36}, r"data\.other 1x32x36: .*try --width 32"),
    ],
)
def test_a_size_that_does_not_fill_tubelets_is_refused_with_the_nearest(tmp_path, codec, size, words):
    data = dataclasses.replace(DATA, other=(dataclasses.replace(IMAGE, **size),))
    with pytest.raises(InputError, match=words):
        task_of(tmp_path, codec, "buckets", data=data)


def test_an_unknown_batching_is_refused_with_the_near_miss(tmp_path, codec):
    with pytest.raises(InputError, match="packed"):
        run_of(tmp_path, codec, "pack")
