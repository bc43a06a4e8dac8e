"""What the judge is held to on hundreds of clips: true ones, through the codec, shuffled and corrupted."""

import numpy as np
import pytest
import torch

from tubelet.evaluation.scores import score, shuffled_score
from tubelet.sampling.pipeline import VideoPipeline
from tubelet.video import to_frames, to_video
from tubelet.worlds.shapes.clips import ShapesClips
from tubelet.worlds.shapes.config import ShapesConfig
from tubelet.worlds.shapes.judge.compare import compared
from tubelet.worlds.shapes.judge.prompt_fit import read_clip

COUNT, FEWER = 300, 60
SINGLE = ("shape", "colour", "size", "motion", "speed", "background", "count")

pytestmark = pytest.mark.slow


def world(count, **config):
    clips = ShapesClips(ShapesConfig(**config), count, split="held_out")
    return [clips.frames(i).numpy() for i in range(count)], [clips.attributes(i) for i in range(count)]


def accuracies(clips, attributes):
    return {
        name: row["accuracy"]
        for name, row in score(compared, [read_clip(clip) for clip in clips], attributes).items()
    }


@pytest.fixture(scope="module")
def one():
    return world(COUNT, two_objects=0.0, pan=0.0)


@pytest.fixture(scope="module")
def readings(one):
    return [read_clip(clip) for clip in one[0]]


def test_true_clips_are_read(one, readings):
    table = score(compared, readings, one[1])
    assert all(table[name]["accuracy"] >= 0.98 for name in SINGLE), table
    assert table["all"]["accuracy"] >= 0.95


def test_shuffled_wishes_are_met_by_chance(one, readings):
    table = score(compared, readings[:FEWER], one[1][:FEWER])
    for name, accuracy in shuffled_score(compared, readings[:FEWER], one[1][:FEWER]).items():
        assert accuracy <= table[name]["chance"] + 0.02, name


def test_the_codec_costs_little(one, readings):
    codec = VideoPipeline.from_pretrained().codec
    again = []
    for start in range(0, COUNT, 16):
        video = to_video(torch.from_numpy(np.stack(one[0][start : start + 16])))
        with torch.no_grad():
            again += [*to_frames(codec.decode(codec.encode(video).mean)).numpy()]
    after, before = accuracies(again, one[1]), score(compared, readings, one[1])
    for name in SINGLE:
        assert after[name] >= before[name]["accuracy"] - 0.02, name


def test_a_frozen_clip_stays(one):
    clips, attributes = one[0][:FEWER], one[1][:FEWER]
    stays = np.mean([each["objects"][0]["motion"] == "stays" for each in attributes])
    table = accuracies([np.repeat(clip[:1], len(clip), axis=0) for clip in clips], attributes)
    assert table["motion"] == pytest.approx(stays, abs=0.03)
    assert min(table[name] for name in ("shape", "colour", "size", "background")) >= 0.95


def test_a_clip_played_backwards_moves_the_other_way(one):
    ways = ("moves", "falls", "grows", "shrinks", "fades")
    some = [k for k in range(COUNT) if one[1][k]["objects"][0]["motion"].startswith(ways)][:FEWER]
    table = accuracies([one[0][k][::-1].copy() for k in some], [one[1][k] for k in some])
    assert table["motion"] <= 0.02
    assert min(table[name] for name in ("shape", "size", "speed", "background")) >= 0.95


def test_exchanged_channels_spoil_the_colour_alone(one):
    clips, attributes = one[0][:FEWER], one[1][:FEWER]
    row = score(compared, [read_clip(clip[..., [2, 0, 1]].copy()) for clip in clips], attributes)
    assert row["colour"]["accuracy"] <= row["colour"]["chance"] + 0.05
    assert min(row[name]["accuracy"] for name in ("shape", "size", "motion", "speed", "count")) >= 0.95


@pytest.mark.parametrize("config", [{"two_objects": 1.0, "pan": 0.0}, {"two_objects": 0.0, "pan": 1.0}])
def test_two_objects_and_panning_cameras_are_read(config):
    table = accuracies(*world(FEWER, **config))
    assert all(table[name] >= 0.95 for name in SINGLE), table
    assert min(table.get("relation", 1), table.get("pan", 1)) >= 0.9
