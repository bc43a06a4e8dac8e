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
from tubelet.data.latents import Span, chosen_captions
from tubelet.data.source import SizeConfig, other_clips, training_clips
from tubelet.diffusion.objective import Objective
from tubelet.diffusion.times import TimeSampling
from tubelet.errors import InputError
from tubelet.holes import fill_hole, unknown_of
from tubelet.sampling.pipeline import VideoPipeline
from tubelet.text.words import counted, words_of
from tubelet.training.config import DenoiserRun
from tubelet.training.denoiser_task import HELD_OUT_TIMES, DenoiserTask
from tubelet.training.known import (
    MOST,
    NOTHING,
    PARTS,
    Kind,
    KnownConfig,
    beside_of,
    kind_of,
    measured_kinds,
    outlines_of,
    spans_of,
)
from tubelet.training.log import Log
from tubelet.video import to_video
from tubelet.worlds.shapes.config import ShapesConfig

KNOWN = KnownConfig(first=0.5, last=0.5, keyframes=0.3, region=0.2, each_frame=0.2, endings=(5,), share=0.8)
LONG = dataclasses.replace(DATA, world=ShapesConfig(num_frames=9, height=64, width=64), clips=50)
IMAGE = SizeConfig(frames=1, height=64, width=64, clips=6)
LAST, ENDING = Span(8), Span(4, 5)


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


def batch_of(task: DenoiserTask, kind: Kind, count: int = 4):
    return task.collate([task.samples.sample(number, 0, kind) for number in range(count)])


def parts_of(kind: Kind) -> tuple[str, ...]:
    last = any(span.first + span.count == 33 for span in kind.references)
    keyframes = len(kind.references) > last
    drawn = (kind.first > 0, last, keyframes, kind.region, kind.each_frame)
    return tuple(name for name, there in zip(PARTS, drawn, strict=True) if there)


def test_parts_are_drawn_independently_by_seed_and_unit():
    """Counts of every combination against the closed form; a keyframe at the end would count as an ending."""
    known = dataclasses.replace(KNOWN, keyframes=0.0)
    drawn = [kind_of(known, 0, unit, 9) for unit in range(8000)]
    assert drawn == [kind_of(known, 0, unit, 9) for unit in range(8000)]
    assert drawn != [kind_of(known, 1, unit, 9) for unit in range(8000)]
    expected = Counter()
    for parts, share in known.shares().items():
        expected[tuple(p for p in parts if p != "each_frame" or "region" not in parts)] += share
    assert sum(expected.values()) == pytest.approx(1)
    assert expected[("first", "last")] == pytest.approx(0.8 * 0.5 * 0.5 * 0.8 * 0.8)
    counts = Counter(map(parts_of, drawn))
    for parts, share in expected.items():
        assert counts[parts] == pytest.approx(8000 * share, abs=4 * (8000 * share) ** 0.5), parts
    assert {kind_of(KnownConfig(), 0, unit, 9) for unit in range(9)} == {NOTHING}
    assert not KnownConfig().anything and KNOWN.anything


def test_a_beginning_is_one_latent_half_of_the_time_and_never_all():
    counts = Counter(kind_of(KnownConfig(first=1.0), 0, unit, 5).first for unit in range(2000))
    assert set(counts) == {1, 2, 3, 4} and counts[1] == pytest.approx(1000, abs=70)
    assert counts[2] == pytest.approx(333, abs=60)
    assert {kind_of(KnownConfig(first=1.0), 0, unit, 2).first for unit in range(20)} == {1}
    assert {kind_of(KnownConfig(first=1.0), 0, unit, 8, depth=4).first for unit in range(20)} == {1}


def test_references_are_an_ending_and_keyframes_before_it():
    known = KnownConfig(last=0.5, keyframes=0.5, endings=(5, 9))
    found = {kind_of(known, 0, unit, 9).references for unit in range(3000)}
    for spans in found:
        assert list(spans) == sorted(spans) and len(set(spans)) == len(spans)
        assert sum(1 + span.count // 4 for span in spans) <= MOST
        assert all(span.first % 4 == 0 and span.first > 0 and span.first + span.count <= 33 for span in spans)
        ends = [span.first for span in spans if span.first + span.count == 33 and span.count > 1]
        assert all(span.first < end or span.count > 1 for span in spans for end in ends)
    assert {span.count for spans in found for span in spans} == {1, 5, 9}
    lengths = Counter(
        kind_of(KnownConfig(last=1.0, endings=(5, 9)), 0, i, 9).references[0].count for i in range(4000)
    )
    assert lengths[1] == pytest.approx(2000, abs=120) and lengths[5] == pytest.approx(1000, abs=100)


@pytest.mark.parametrize("latents", [2, 3, 5])
def test_short_clips_know_what_fits(latents):
    known = KnownConfig(last=0.7, keyframes=0.7, endings=(5, 9))
    for unit in range(300):
        for span in kind_of(known, 0, unit, latents).references:
            assert span.first >= 4 and span.first + span.count <= 1 + 4 * (latents - 1)
    assert kind_of(dataclasses.replace(known, region=1.0, each_frame=1.0), 0, 0, 1) == NOTHING


def test_each_clip_has_the_references_that_its_pattern_can_be_asked_for():
    known = dataclasses.replace(KNOWN, references=40)
    spans = spans_of(known, 9, 100)
    assert spans is not None and spans(40) == () and spans(3) == spans(27)
    for unit in range(500):
        kind = kind_of(known, 0, unit, 9)
        assert set(kind.references) <= set(spans(kind.pattern))
    assert spans_of(KnownConfig(first=1.0), 9, 100) is None and spans_of(known, 1, 100) is None


def test_shares_by_number_of_reference_latents_are_those_drawn():
    known = KnownConfig(share=0.7, first=0.3, last=0.6, keyframes=0.4, endings=(5, 9))
    size = lambda kind: sum(1 + span.count // 4 for span in kind.references)  # noqa: E731
    counts = Counter(size(kind_of(known, 0, unit, 9)) for unit in range(6000))
    shares = {size(kind): share for share, kind in outlines_of(known, 9, 100)}
    assert sum(shares.values()) == pytest.approx(1) and set(shares) == set(counts) == {0, 1, 2, 3}
    for number, share in shares.items():
        assert counts[number] == pytest.approx(6000 * share, abs=150)


@pytest.mark.parametrize("kind", [Kind(first=2), Kind(region=True), Kind(first=1, region=True)])
def test_what_stands_in_place_is_clean_at_time_0_and_counts_for_nothing(tmp_path, codec, kind):
    task = task_of(tmp_path, codec)
    batch = batch_of(task, kind)
    content = [task.samples.sample(number, 0, kind)["content"] for number in range(4)]
    x0 = torch.cat([each.x0 if each.known is None else each.known for each in content])
    known = ~batch.unknown.expand_as(x0[:, :1])
    assert known.any() and torch.equal(known, (batch.t == 0).expand_as(known))
    known = known.expand_as(x0)
    assert torch.equal(batch.xt[known], x0[known]) and not torch.equal(batch.xt[~known], x0[~known])
    loss = task.loss(batch)[0]
    wrong = batch._replace(target=batch.target.masked_fill(known, float("nan")))
    assert torch.equal(task.loss(wrong)[0], loss) and loss.isfinite()


def test_a_region_is_known_from_the_filled_clip_and_learned_from_the_true_one(tmp_path, codec):
    task = task_of(tmp_path, codec)
    alone = codec_of(checkpoint.load(codec).parts["autoencoder"])
    clips, holed = training_clips(LONG), task.samples.sources[0].train.holed
    samples = task.samples
    for number in range(6):
        kind = Kind(region=True, first=number % 2)
        clip = samples.clip(number, samples.sources[0].train, kind)
        hole = holed.hole(clip, (9, 64, 64))
        assert bool(hole[0].any()) != (number % 2 == 1)
        content = samples.sample(number, 0, kind)["content"]
        assert torch.equal(content.unknown[0], unknown_of(hole, 4, 8, (1, 2, 2)))
        frames = clips.frames(clip)
        filled = fill_hole(frames, hole)
        assert torch.equal(filled[~hole], frames[~hole])
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            given, true = (alone.encode(to_video(each[None])).mean for each in (filled, frames))
        small = alone.encode(to_video(frames[None])).log_var.exp().sqrt().amax()
        for found, expected in ((content.known, given), (content.x0, true)):
            assert (found - expected).abs().amax() < 6 * small


def test_references_are_frames_encoded_on_their_own(tmp_path, codec):
    task = task_of(tmp_path, codec)
    pattern = next(p for p in range(24) if beside_of(KNOWN, p, 3, True, 1) == (ENDING,))
    batch = batch_of(task, Kind(first=1, pattern=pattern, references=(ENDING,)))
    (reference,) = batch.references
    assert reference.frame == 4 and reference.latents.shape == (4, 4, 2, 8, 8)
    assert batch.t.shape == (4, 1, 3, 1, 1) and not batch.t[:, :, 0].any()
    alone = codec_of(checkpoint.load(codec).parts["autoencoder"])
    clips, data = training_clips(LONG), task.samples.sources[0].train.data
    spans = spans_of(KNOWN, 3, 50)
    assert spans is not None
    for clip in (0, 3):
        video = to_video(clips.frames(clip)[None])
        for span in spans(clip):
            with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
                expected = alone.encode(video[:, :, span.first : span.first + span.count])
            part = data.part(clip, span)
            torch.testing.assert_close(part.mean, expected.mean[0], atol=0.05, rtol=0.02)


def test_samples_of_a_kind_show_clips_that_have_its_references(tmp_path, codec):
    task = task_of(tmp_path, codec)
    for first in range(0, 120, 2):
        one, other = task.fetch(first), task.fetch(first + 1)
        assert one["group"] == other["group"] and task.collate([one, other]).xt.shape[0] == 2
    half = task.samples.sources[0].train
    kind = Kind(pattern=5, references=beside_of(KNOWN, 5, 3, True, 0))
    assert {task.samples.clip(number, half, kind) % 24 for number in range(60)} == {5}


def test_every_frame_may_have_a_time_of_its_own(tmp_path, codec):
    batch = batch_of(task_of(tmp_path, codec), Kind(each_frame=True))
    assert batch.t.shape == (4, 1, 3, 1, 1) and len(batch.t.unique()) == 12 and batch.unknown is None


def test_an_image_has_nothing_to_know(tmp_path, codec):
    data = dataclasses.replace(LONG, other=(IMAGE,), other_share=0.5)
    task = task_of(tmp_path, codec, data=data, known=KnownConfig(last=1.0))
    groups = {task.fetch(number)["group"] for number in range(60)}
    assert {kind for size, kind in groups if size} == {NOTHING}
    assert {kind.references for size, kind in groups if not size} == {(LAST,)}
    assert [share for share, _ in task.kinds()] == pytest.approx([0.5, 0.5])


def test_a_run_that_knows_nothing_draws_as_one_without_known_content(tmp_path, codec):
    some, none = (task_of(tmp_path, codec, known=known) for known in (KNOWN, KnownConfig()))
    for number in range(3):
        mine, other = some.samples.sample(number, 0), none.fetch(number)
        assert torch.equal(mine["content"].x0, other["content"].x0) and mine["time"] == other["time"]


@pytest.mark.parametrize("batching", ["buckets", "packed"])
def test_four_steps_that_know_something_and_four_more_are_eight(tmp_path, codec, batching):
    go(run_of(tmp_path / "whole", codec, 8, batching=batching))
    go(run_of(tmp_path / "halves", codec, 4, batching=batching))
    go(run_of(tmp_path / "halves", codec, 8, batching=batching))
    assert same_bits(tmp_path / "whole/step-0000008", tmp_path / "halves/step-0000008")
    measured = events(tmp_path / "whole", "end")[0]["held_out"]
    assert {f"loss_{name}" for name in measured_kinds(KNOWN, 3)} < set(measured)
    assert {"loss_first_last", "loss_prefix_ending", "loss_region"} < set(measured)


@torch.no_grad()
def test_known_content_is_measured_on_the_clips_and_noise_of_all_else(tmp_path, codec):
    task = task_of(tmp_path, codec)
    levels = task.losses_at_levels(kind=Kind(each_frame=True))
    assert set(levels) == set(task.losses_at_levels()) and np.isfinite(list(levels.values())).all()
    plain = next(task.samples.held_out())
    for kind in measured_kinds(KNOWN, 3).values():
        (content,) = task.samples.held_out(0, kind)
        assert torch.equal(content.x0, plain.x0) and torch.equal(content.noise, plain.noise)
        assert tuple(span.first for span in kind.references) == tuple(x.frame for x in content.references)


@torch.no_grad()
def test_a_side_loss_is_the_mean_over_clips_each_at_a_level_in_turn(tmp_path, codec):
    task = task_of(tmp_path, codec)
    (content,) = task.samples.held_out()
    t = torch.tensor(HELD_OUT_TIMES[: len(content.x0)], dtype=torch.float64)[:, None]
    assert task.side_loss(0, NOTHING) == pytest.approx(float(task.loss(task.noised(content, t))[0]))


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"first": 1.5}, r"known\.first is 1\.5"),
        ({"last": -0.1}, r"known\.last is -0\.1"),
        ({"share": 2.0}, r"known\.share is 2"),
        ({"endings": (4,)}, r"known\.endings has 4"),
        ({"holes": 0}, r"known\.holes is 0"),
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
    known = KnownConfig(first=1.0, region=0.5)
    task = DenoiserTask(dataclasses.replace(run, known=known), Log(tmp_path))
    for kind in (Kind(first=1), Kind(region=True)):
        assert task.loss(batch_of(task, kind))[0].isfinite()


def test_a_checkpoint_keeps_the_words_of_the_captions_it_was_trained_with(tmp_path, codec):
    run = run_of(tmp_path, codec, 2, data=dataclasses.replace(LONG, other=(IMAGE,)))
    words = words_of(checkpoint.load(go(run)).parts)
    clips = [(training_clips(LONG), 50), (other_clips(run.data, IMAGE)[0], 6)]
    said = [
        text
        for some, count in clips
        for i in range(count)
        for text in chosen_captions(some.captions(i), i, 2)
    ]
    assert words == counted(said) and max(words.values()) > 20
    assert VideoPipeline.from_pretrained(tmp_path / "final").transformer is not None
