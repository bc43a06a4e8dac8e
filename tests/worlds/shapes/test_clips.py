"""What the procedural world says about its clips is measured on their pixels."""

import dataclasses
import json
import math
import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch

from tubelet.errors import InputError
from tubelet.worlds.shapes import scene as words
from tubelet.worlds.shapes.captions import SHAPE_WORDS, SPEED_WORDS
from tubelet.worlds.shapes.clips import SPLITS, ShapesClips
from tubelet.worlds.shapes.config import ShapesConfig
from tubelet.worlds.shapes.render import SHAPES, coverage, masks, render

COUNT = 2000
TIMES = [k / 8 for k in range(17)]


@pytest.fixture(scope="module")
def clips() -> ShapesClips:
    return ShapesClips(ShapesConfig(), COUNT)


@pytest.fixture(scope="module")
def scenes(clips):
    return [clips.scene(i) for i in range(COUNT)]


@pytest.fixture(scope="module")
def captions(clips):
    return [clips.captions(i) for i in range(COUNT)]


def centre_of(frame: np.ndarray, background) -> tuple[float, float, float]:
    """Centre of mass x, y and the mass of what differs from a plain background."""
    far = np.abs(frame.astype(float) - np.array(background)).sum(-1)
    weight = np.where(far > 40, far, 0) / far.max()
    rows, columns = np.mgrid[: frame.shape[0], : frame.shape[1]]
    mass = max(weight.sum(), 1e-9)
    return (weight * columns).sum() / mass, (weight * rows).sum() / mass, weight.sum()


def lone(clips, scenes, motions, limit=40):
    """(scene, thing, frames) of scenes with one object over a plain background."""
    found = []
    for i, scene in enumerate(scenes):
        if len(scene.things) == 1 and scene.background.kind == "plain" and scene.things[0].motion in motions:
            found.append((scene, scene.things[0], clips.frames(i).numpy()))
    assert len(found) >= 10, f"too few scenes with {motions}"
    return found[:limit]


def test_a_clip_depends_on_seed_split_and_number_alone(clips):
    again = ShapesClips(ShapesConfig(), 10)
    assert all(torch.equal(again.frames(i), clips.frames(i)) for i in range(10))
    assert again.captions(3) == clips.captions(3) and again.fingerprint == clips.fingerprint
    others = [
        ShapesClips(ShapesConfig(seed=1), 10),
        *(ShapesClips(ShapesConfig(), 10, s) for s in SPLITS[1:]),
    ]
    assert len({c.fingerprint for c in (clips, *others)}) == 4
    assert not any(torch.equal(other.frames(0), clips.frames(0)) for other in others)


def test_frames_are_bytes_of_the_asked_size():
    frames = ShapesClips(ShapesConfig(num_frames=5, height=48, width=80), 1).frames(0)
    assert frames.dtype == torch.uint8 and frames.shape == (5, 48, 80, 3)


def test_numbers_outside_are_refused(clips):
    for number in (-1, COUNT):
        for read in (clips.frames, clips.captions, clips.attributes, clips.scene):
            with pytest.raises(IndexError):
                read(number)


@pytest.mark.parametrize(
    "bad", [{"num_frames": 0}, {"height": 8}, {"fps": 0.0}, {"seed": -1}, {"pan": 1.5}, {"two_objects": -0.1}]
)
def test_a_bad_config_is_refused(bad):
    with pytest.raises(InputError, match=next(iter(bad)) if "height" not in bad else "pixels"):
        ShapesConfig(**bad)


def test_an_unknown_split_names_the_near_miss():
    with pytest.raises(InputError, match="held_out"):
        ShapesClips(ShapesConfig(), 1, "heldout")
    with pytest.raises(InputError, match="count"):
        ShapesClips(ShapesConfig(), -1)


@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
def test_a_longer_clip_continues_a_shorter_one_bit_for_bit(scenes, size):
    for scene in scenes[:60]:
        long = render(scene, 33, *size, 8.0)
        for num_frames in (1, 17):
            assert np.array_equal(long[:num_frames], render(scene, num_frames, *size, 8.0))


def test_twice_the_rate_shows_the_same_scene(scenes):
    for scene in scenes[:30]:
        assert np.array_equal(render(scene, 17, 64, 64, 16.0)[::2], render(scene, 9, 64, 64, 8.0))


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (80, 64)])
def test_a_large_rendering_made_small_is_the_small_rendering(scenes, size):
    height, width = size
    for scene in scenes[:20]:
        small = render(scene, 3, height, width, 1.0).astype(float)
        large = render(scene, 3, 4 * height, 4 * width, 1.0).astype(float)
        off = np.abs(large.reshape(3, height, 4, width, 4, 3).mean((2, 4)) - small)
        assert off.mean() < 0.7 and np.quantile(off, 0.999) < 30


def test_every_word_occurs(clips):
    seen = Counter()
    for i in range(COUNT):
        about = clips.attributes(i)
        assert json.loads(json.dumps(about)) == about
        for thing in about["objects"]:
            seen.update(f"{key} {value}" for key, value in thing.items())
        seen.update([f"relation {about['relation']}", f"pan {about['pan']}", f"count {about['count']}"])
        seen.update([f"kind {about['background']['kind']}", *about["background"]["colours"]])
    vocabulary = [f"shape {w}" for w in SHAPES] + [f"colour {w}" for w in words.COLOURS]
    vocabulary += [f"size {w}" for w in (*words.SIZES, None)] + [f"speed {w}" for w in ("slow", "fast", None)]
    vocabulary += [f"relation {w}" for w in (*words.RELATIONS, None)] + [f"pan {w}" for w in words.PANS]
    vocabulary += [f"kind {w}" for w in ("plain", "gradient", *words.TEXTURES)] + list(words.BACKGROUNDS)
    rare = {word: seen[word] for word in vocabulary if seen[word] < 15}
    assert not rare
    assert min(seen[f"motion {w}"] for w in words.MOTIONS) >= 40
    assert 0.2 < seen["count 2"] / COUNT < 0.28
    kinds = [seen[f"kind {w}"] / COUNT for w in ("plain", "gradient")]
    assert kinds == pytest.approx([0.5, 0.25], abs=0.05)


def test_training_never_shows_an_unseen_pair_and_the_unseen_split_always_does(scenes):
    assert not any(thing.is_unseen() for scene in scenes for thing in scene.things)
    held_out = ShapesClips(ShapesConfig(), 600, "held_out")
    assert not any(thing.is_unseen() for i in range(600) for thing in held_out.scene(i).things)
    unseen = ShapesClips(ShapesConfig(), 600, "unseen_pairs")
    shown: Counter = Counter()
    for i in range(600):
        about = unseen.attributes(i)["objects"]
        pairs = {(o["shape"], o[key]) for o in about for key in ("colour", "to_colour", "motion")}
        hit = pairs & {*words.UNSEEN_COLOURS, *words.UNSEEN_MOTIONS}
        assert hit
        shown.update(hit)
    assert min(shown[pair] for pair in (*words.UNSEEN_COLOURS, *words.UNSEEN_MOTIONS)) >= 10


def test_an_unseen_pair_is_found_wherever_a_clip_is_all_pairs_or_all_pans():
    for config in (ShapesConfig(two_objects=1.0), ShapesConfig(two_objects=0.0, pan=1.0)):
        clips = ShapesClips(config, 200, "unseen_pairs")
        assert all(any(t.is_unseen() for t in clips.scene(i).things) for i in range(200))


def test_captions_are_many_and_the_plain_form_is_among_them(captions, scenes):
    for i, scene in enumerate(scenes):
        assert len(set(captions[i])) == len(captions[i]) >= 6
        assert not any("{" in c or "  " in c or "None" in c for c in captions[i])
        thing = scene.things[0]
        if len(scene.things) == 1 and thing.motion == "moves left":
            article = "an" if thing.colour == "orange" else "a"
            assert captions[i][1] == f"{article} {thing.colour} {thing.shape} moves left"


def test_no_caption_says_what_the_scene_does_not_show(captions, scenes):
    slow = {*SPEED_WORDS["slow"], "drifts", "drifting"}
    fast = {*SPEED_WORDS["fast"], "rushes", "rushing"}
    for i, scene in enumerate(scenes):
        for caption in captions[i]:
            said = set(re.findall(r"[a-z-]+", caption))
            colours = {w for t in scene.things for w in (t.colour, t.to_colour)}
            assert said & set(words.COLOURS) <= colours, caption
            assert said & set(words.BACKGROUNDS) <= set(scene.background.colours), caption
            speeds = {thing.speed for thing in scene.things}
            assert "slow" in speeds or not any(f" {w}" in caption for w in slow), caption
            assert "fast" in speeds or not any(re.search(rf" {w}\b", caption) for w in fast), caption
            assert scene.background.pan or not said & {"camera", "pans", "slides over"}, caption
            assert scene.relation == "behind" or not said & {"behind", "partly"}, caption
            sizes = {thing.size for thing in scene.things}
            for size, named in (("small", {"small", "little"}), ("large", {"large", "big"})):
                assert size in sizes or not said & named, caption


def test_relation_words_name_the_two_in_their_order(captions, scenes):
    forward = {"left of": "left of", "above": "above|higher than", "behind": "behind"}
    backward = {
        "left of": "right of",
        "above": "below|underneath",
        "behind": "in front of an? [a-z -]*{}|covering",
    }
    for i, scene in enumerate(scenes):
        if scene.relation is None:
            continue
        one, two = (f"({'|'.join(SHAPE_WORDS[thing.shape])})" for thing in scene.things)
        said = 0
        for caption in captions[i]:
            if re.search(rf"\b({forward[scene.relation]})\b", caption):
                assert re.search(rf"{one}.*\b({forward[scene.relation]})\b.*{two}", caption), caption
                said += 1
            if re.search(rf"\b({backward[scene.relation].format(one)})\b", caption):
                assert re.search(rf"{two}.*\b({backward[scene.relation].format(one)})\b", caption), caption
        assert said >= 2


def test_nothing_round_rotates_and_cameras_pan_over_texture_only(scenes):
    for scene in scenes:
        assert not any(t.motion == "rotates" and t.shape in ("circle", "ring") for t in scene.things)
        if scene.background.pan:
            assert scene.background.kind in words.TEXTURES
            if scene.background.kind == "stripes":
                across = "vertical" if scene.background.pan in ("left", "right") else "horizontal"
                assert scene.background.direction == across


def test_a_pan_moves_the_texture_the_other_way():
    clips = ShapesClips(ShapesConfig(pan=1.0, two_objects=0.0, num_frames=2), 60)
    for i in range(60):
        background = clips.scene(i).background
        bare = dataclasses.replace(clips.scene(i), things=())
        first, second = render(bare, 2, 64, 64, 8.0).astype(float)
        x, y = (int(part) for part in words.PANS[background.pan])
        off = {}
        for step in (-2, -1, 1, 2):
            moved = np.roll(first, (step * y, step * x), (0, 1))
            off[step] = np.abs(moved - second)[4:-4, 4:-4].mean()
        assert min(off, key=lambda step: off[step]) < 0


def test_slow_and_fast_have_a_gap_in_measured_pixels(clips, scenes):
    speeds = {"slow": [], "fast": []}
    for scene, thing, frames in lone(clips, scenes, words.DIRECTIONS, limit=200):
        if thing.radius > 0.2:
            continue  # a large one may lose a little of its side, and with it the measure
        ends = [centre_of(frames[k], scene.background.rgb[0]) for k in (4, 12)]
        way = (ends[1][0] - ends[0][0], ends[1][1] - ends[0][1])
        speeds[thing.speed].append(math.hypot(*way) / 8)
        angle = np.dot(way, words.DIRECTIONS[thing.motion]) / math.hypot(*way)
        assert angle > 0.98
    assert min(speeds["slow"]) > 0.85 and max(speeds["slow"]) < 1.2
    assert min(speeds["fast"]) > 1.75 and max(speeds["fast"]) < 2.4


@pytest.mark.parametrize(
    "motion", ["bounces", "falls", "orbits", "grows", "shrinks", "fades", "rotates", "stays"]
)
def test_a_motion_does_what_its_name_says(clips, scenes, motion):
    for scene, _, frames in lone(clips, scenes, [motion], limit=25):
        places = np.array([centre_of(frame, scene.background.rgb[0]) for frame in frames[:15]])
        x, y, mass = places.T
        path = np.hypot(np.diff(x), np.diff(y))
        if motion == "bounces":
            turns = [(np.sign(np.diff(v)[np.abs(np.diff(v)) > 0.2]) < 0) for v in (x, y)]
            assert all(len(set(turn)) == 2 for turn in turns)
            assert path.max() < 2.6
        elif motion == "falls":
            low = int(y[:9].argmax())
            assert 4 <= low <= 8 and y[low] - y[0] > 15 and y[low] - y[low + 1 : 14].min() > 6
            assert np.ptp(x) < 0.5
        elif motion == "orbits":
            assert np.ptp(x) > 4 and np.ptp(y) > 4 and path.max() < 2.6
        elif motion == "grows":
            assert mass[-1] > 1.5 * mass[0]
        elif motion == "shrinks":
            assert mass[0] > 1.5 * mass[-1]
        elif motion == "fades":
            far = np.abs(frames.astype(float) - np.array(scene.background.rgb[0])).max((1, 2, 3))
            assert (np.diff(far) < 0).all() and far[-1] < 0.1 * far[0]
        elif motion == "rotates":
            assert path.max() < 0.5 and np.abs(frames[0].astype(int) - frames[2]).max() > 40
        else:
            assert (frames == frames[0]).all()


def test_rendered_colours_are_the_named_ones(clips, scenes):
    palette = {**words.COLOURS, **words.BACKGROUNDS}
    for scene, frames in ((s, clips.frames(i).numpy()) for i, s in enumerate(scenes[:150])):
        for k, thing in enumerate(scene.things):
            inner = masks(thing, TIMES, 64, 64)
            for other in scene.things[k + 1 :]:
                inner = inner * (1 - masks(other, TIMES, 64, 64))
            shown = {0: thing.colour, 16: thing.to_colour or thing.colour}
            for frame, name in shown.items():
                if frame == 16 and (thing.motion == "fades" or thing.motion in words.DIRECTIONS):
                    continue
                mean = frames[frame][inner[frame] == 1].mean(0)
                assert min(palette, key=lambda w: math.dist(palette[w], mean)) == name


def test_objects_stand_out_from_what_lies_behind_them(scenes):
    for scene in scenes[:500]:
        for thing in scene.things:
            for rgb in scene.background.rgb:
                assert math.dist(rgb, thing.rgb) > 100 and math.dist(rgb, thing.to_rgb or thing.rgb) > 100


@pytest.mark.parametrize("size", [(64, 64), (64, 112), (96, 64)])
def test_relations_hold_in_every_frame(scenes, size):
    related = [scene for scene in scenes if scene.relation]
    assert len(related) > 100
    for scene in related[:80]:
        one, two = (masks(thing, TIMES, *size) for thing in scene.things)
        rows, columns = np.mgrid[: size[0], : size[1]]
        for a, b in zip(one, two, strict=True):
            if scene.relation == "left of":
                assert (a * columns).sum() / a.sum() < (b * columns).sum() / b.sum() - 5
            elif scene.relation == "above":
                assert (a * rows).sum() / a.sum() < (b * rows).sum() / b.sum() - 5
            else:
                assert 0.1 < (a * b).sum() / a.sum() < 0.55


def test_what_is_behind_is_painted_under_what_is_in_front(clips, scenes):
    behind = [i for i, scene in enumerate(scenes) if scene.relation == "behind"][:20]
    assert len(behind) >= 10
    for i in behind:
        back, front = (masks(thing, TIMES[:1], 64, 64)[0] for thing in scenes[i].things)
        both = clips.frames(i)[0].numpy()[(back == 1) & (front == 1)].astype(float)
        assert len(both) > 3 and np.abs(both - np.array(scenes[i].things[1].rgb)).max() <= 1


def test_objects_stay_mostly_inside_for_the_clock(scenes):
    for scene in scenes[:200]:
        for thing in scene.things:
            inside = masks(thing, TIMES, 64, 64).sum((1, 2))
            whole = coverage(thing, TIMES, 64, 64)[0].sum((1, 2))
            assert (inside > 0.6 * whole).all(), (thing.motion, (inside / whole).min())


def test_sizes_never_overlap(scenes):
    ranges = sorted(words.SIZES.values())
    assert all(low[1] < high[0] * 0.95 for low, high in pairwise(ranges))
    for scene in scenes:
        for thing in scene.things:
            assert (thing.size is None) == (thing.motion in ("grows", "shrinks"))
