"""Training with known content: who knows what, that it stays clean and outside of the loss, and that it helps."""

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from training.runs import DATA, codec_run, denoiser_run, events, go, same_bits
from tubelet import checkpoint
from tubelet.autoencoder.codec import codec_of
from tubelet.data.source import SizeConfig, training_clips
from tubelet.diffusion.objective import Objective
from tubelet.diffusion.times import TimeSampling
from tubelet.draws import stream
from tubelet.errors import InputError
from tubelet.training.config import DenoiserRun
from tubelet.training.denoiser_task import DenoiserTask
from tubelet.training.known import NOTHING, KnownConfig, frames_of, kind_of, unknown_of
from tubelet.training.log import Log
from tubelet.video import to_video
from tubelet.worlds.shapes.config import ShapesConfig

KNOWN = KnownConfig(first=0.2, region=0.2, last=0.2, keyframes=0.2, each_frame=0.1)
LONG = dataclasses.replace(DATA, world=ShapesConfig(num_frames=9, height=32, width=32))
IMAGE = SizeConfig(frames=1, height=32, width=32, clips=6)


@pytest.fixture(scope="module")
def codec(tmp_path_factory) -> Path:
    return go(codec_run(tmp_path_factory.mktemp("codec") / "run", 2))


def run_of(out: Path, codec: Path, steps: int = 4, known=KNOWN, **changes) -> DenoiserRun:
    run = denoiser_run(out, steps, codec, codec.parent / "cache", micro_batches=2, precision="float32")
    return dataclasses.replace(run, **{"data": LONG, "known": known, **changes})


def task_of(tmp_path: Path, codec: Path, **changes) -> DenoiserTask:
    task = DenoiserTask(run_of(tmp_path, codec, **changes), Log(tmp_path))
    with torch.no_grad():
        for parameter in task.model.parameters():  # a fresh model predicts zero
            if not parameter.any():
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    return task


def batch_of(task: DenoiserTask, kind: str, count: int = 4):
    return task.collate([task.sample(number, 0, kind) for number in range(count)])


def test_kinds_are_drawn_by_seed_and_unit_in_their_shares():
    drawn = [kind_of(KNOWN, 0, unit) for unit in range(4000)]
    assert drawn == [kind_of(KNOWN, 0, unit) for unit in range(4000)]
    assert drawn != [kind_of(KNOWN, 1, unit) for unit in range(4000)]
    counts = Counter(drawn)
    for kind, share in KNOWN.kinds.items():
        assert counts[kind] == pytest.approx(4000 * share, abs=80), kind  # three standard deviations
    assert {kind_of(KnownConfig(), 0, unit) for unit in range(9)} == {NOTHING}
    assert {kind_of(KnownConfig(last=1.0), 0, unit) for unit in range(50)} == {"last"}


def test_the_first_frames_that_are_known_are_one_half_of_the_time_and_never_all():
    draws = [unknown_of("first", (5, 2, 2), (1, 2, 2), stream(0, i)) for i in range(2000)]
    counts = Counter(int((~unknown).sum()) for unknown in draws)
    assert set(counts) == {1, 2, 3, 4} and counts[1] == pytest.approx(2000 * 5 / 8, abs=70)
    assert all(unknown.flatten().tolist() == sorted(unknown.flatten().tolist()) for unknown in draws)


def test_a_region_is_whole_tokens_on_all_frames_and_never_all_of_them_known():
    shares = []
    for i in range(500):
        unknown = unknown_of("region", (2, 4, 6), (1, 2, 3), stream(0, i))
        assert unknown.shape == (1, 2, 4, 6) and unknown.any()
        assert torch.equal(unknown[:, 0], unknown[:, 1])
        tokens = unknown[0, 0].unfold(0, 2, 2).unfold(1, 3, 3).flatten(2).float().mean(2)
        assert set(tokens.flatten().tolist()) <= {0.0, 1.0}
        shares.append(float(tokens.mean()))
    assert min(shares) == 0.25 and max(shares) == 1.0


def test_keyframes_are_one_or_two_ends_of_latents_in_order():
    drawn = {frames_of("keyframes", 5, 0, unit) for unit in range(300)}
    assert drawn == {(a,) for a in range(1, 5)} | {(a, b) for b in range(1, 5) for a in range(1, b)}
    assert {frames_of("keyframes", 2, 0, unit) for unit in range(9)} == {(1,)}
    assert frames_of("last", 5, 0, 3) == (4,) and frames_of("first", 5, 0, 3) == ()


@pytest.mark.parametrize("kind", ["first", "region"])
def test_what_stands_in_place_is_clean_at_time_0_and_counts_for_nothing(tmp_path, codec, kind):
    task = task_of(tmp_path, codec)
    batch = batch_of(task, kind)
    x0 = torch.cat([task.sample(number, 0, kind)["content"].x0 for number in range(4)])
    known = ~batch.unknown.expand_as(x0[:, :1])
    assert known.any() and torch.equal(known, (batch.t == 0).expand_as(known))
    known = known.expand_as(x0)
    assert torch.equal(batch.xt[known], x0[known]) and not torch.equal(batch.xt[~known], x0[~known])
    loss = task.loss(batch)[0]
    wrong = batch._replace(target=batch.target.masked_fill(known, float("nan")))
    assert torch.equal(task.loss(wrong)[0], loss) and loss.isfinite()


def test_references_are_frames_encoded_on_their_own(tmp_path, codec):
    task = task_of(tmp_path, codec)
    batch = batch_of(task, "last")
    (reference,) = batch.references
    assert reference.frame == 8 and reference.latents.shape == (4, 4, 1, 4, 4)
    assert batch.unknown is None and batch.t.shape == (4, 1, 1, 1, 1)
    alone = codec_of(checkpoint.load(codec).parts["autoencoder"])
    clips, data = training_clips(LONG), task.encoded[0][0]
    for clip in (0, 3):
        video = to_video(clips.frames(clip)[None])
        for latent in range(3):
            with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
                expected = alone.encode(video[:, :, 4 * latent : 4 * latent + 1])
            still = data.still(clip, latent)
            torch.testing.assert_close(still.mean, expected.mean[0], atol=0.05, rtol=0.02)
            torch.testing.assert_close(still.log_var, expected.log_var[0], atol=0.05, rtol=0.02)
    assert not torch.allclose(data.still(0, 1).mean, data.posterior(0).mean[:, 1:2], atol=0.1)


def test_every_frame_may_have_a_time_of_its_own(tmp_path, codec):
    batch = batch_of(task_of(tmp_path, codec), "each_frame")
    assert batch.t.shape == (4, 1, 3, 1, 1) and len(batch.t.unique()) == 12 and batch.unknown is None


def test_an_image_has_nothing_to_know(tmp_path, codec):
    data = dataclasses.replace(LONG, other=(IMAGE,), other_share=0.5)
    task = task_of(tmp_path, codec, data=data, known=KnownConfig(last=1.0))
    assert {task.fetch(number)["group"] for number in range(16)} == {(0, "last", (2,)), (1, NOTHING, ())}
    assert [share for share, _ in task.kinds()] == [0.5, 0.0, 0.5]


def test_a_run_that_knows_nothing_draws_as_one_without_known_content(tmp_path, codec):
    some, none = (task_of(tmp_path, codec, known=known) for known in (KNOWN, KnownConfig()))
    for number in range(3):
        mine, other = some.sample(number, 0), none.fetch(number)
        assert torch.equal(mine["content"].x0, other["content"].x0) and mine["time"] == other["time"]


@pytest.mark.parametrize("batching", ["buckets", "packed"])
def test_four_steps_that_know_something_and_four_more_are_eight(tmp_path, codec, batching):
    go(run_of(tmp_path / "whole", codec, 8, batching=batching))
    go(run_of(tmp_path / "halves", codec, 4, batching=batching))
    go(run_of(tmp_path / "halves", codec, 8, batching=batching))
    assert same_bits(tmp_path / "whole/step-0000008", tmp_path / "halves/step-0000008")
    measured = events(tmp_path / "whole", "end")[0]["held_out"]
    assert {f"loss_{kind}" for kind in KNOWN.kinds if kind != NOTHING} < set(measured)


@torch.no_grad()
def test_known_content_is_measured_at_the_levels_of_all_else(tmp_path, codec):
    task = task_of(tmp_path, codec)
    levels = task.losses_at_levels(kind="each_frame")
    assert set(levels) == set(task.losses_at_levels()) and np.isfinite(list(levels.values())).all()
    (content,) = task.held_out_content(kind="keyframes")
    assert len(content.references) in (1, 2) and torch.equal(
        content.x0, next(task.held_out_content()).x0
    )  # the same clips and noise


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"first": 1.5}, r"known\.first is 1\.5"),
        ({"last": -0.1}, r"known\.last is -0\.1"),
        ({"first": 0.6, "each_frame": 0.6}, r"come to 1\.2"),
    ],
)
def test_shares_that_are_none_are_refused(known, words):
    with pytest.raises(InputError, match=words):
        KnownConfig(**known)


def test_times_for_each_frame_have_no_bound(tmp_path, codec):
    with pytest.raises(InputError, match="every frame has a time of its own"):
        run_of(
            tmp_path, codec, known=KnownConfig(each_frame=0.1), objective=Objective(name="vlb"), variance="learned",
            times=TimeSampling(steps=10),
        )  # fmt: skip


def test_a_model_of_pixels_has_its_frames_in_place(tmp_path, codec):
    run = run_of(tmp_path, codec)
    model = dataclasses.replace(
        run.model, latent_channels=3, frames_per_latent=1, pixels_per_latent=1, tubelet=(1, 8, 8)
    )
    run = dataclasses.replace(run, codec="identity", model=model)
    with pytest.raises(InputError, match=r"leave out known\.last"):
        DenoiserTask(run, Log(tmp_path))
    first = DenoiserTask(dataclasses.replace(run, known=KnownConfig(first=1.0)), Log(tmp_path))
    assert first.loss(batch_of(first, "first"))[0].isfinite()
