"""Clips of the world in depth: keyed, of any size, with truth that agrees with their pixels."""

import io
import json

import numpy as np
import pytest
import torch

from tubelet.errors import InputError
from tubelet.worlds import world_of
from tubelet.worlds.depth.clips import SPLITS, DepthClips
from tubelet.worlds.depth.config import DepthConfig

SMALL = {"num_frames": 5, "height": 32, "width": 48, "fps": 4.0}


@pytest.fixture(scope="module")
def clips() -> DepthClips:
    return DepthClips(DepthConfig(num_frames=17, height=64, width=64, fps=8.0), 500)


def test_the_registry_makes_them():
    world = world_of("depth")
    made = world.clips(world.config(**SMALL), 3, "train")
    assert isinstance(made, DepthClips) and len(made) == 3 and made.fps == 4.0


def test_a_clip_depends_on_seed_split_and_number_alone():
    one, again = (DepthClips(DepthConfig(**SMALL), count) for count in (4, 9))
    assert all(torch.equal(one.frames(i), again.frames(i)) for i in range(4))
    assert one.captions(3) == again.captions(3) and one.fingerprint == again.fingerprint
    others = [DepthClips(DepthConfig(seed=1, **SMALL), 4)]
    others += [DepthClips(DepthConfig(**SMALL), 4, split) for split in SPLITS[1:]]
    assert len({each.fingerprint for each in (one, *others)}) == 4
    assert not any(torch.equal(other.frames(0), one.frames(0)) for other in others)


def test_frames_are_bytes_of_the_asked_size_and_attributes_are_json():
    clips = DepthClips(DepthConfig(**SMALL), 30)
    frames = clips.frames(0)
    assert frames.dtype == torch.uint8 and frames.shape == (5, 32, 48, 3)
    for i in range(30):
        assert json.loads(json.dumps(clips.attributes(i))) == clips.attributes(i)


def test_numbers_outside_and_unknown_splits_are_refused(clips):
    for number in (-1, 500):
        for read in (clips.frames, clips.captions, clips.attributes, clips.scene, clips.truth):
            with pytest.raises(IndexError):
                read(number)
    with pytest.raises(InputError, match="held_out"):
        DepthClips(DepthConfig(), 1, "heldout")
    with pytest.raises(InputError, match="count"):
        DepthClips(DepthConfig(), -1)


def test_a_longer_clip_begins_with_a_shorter_one(clips):
    short = DepthClips(DepthConfig(num_frames=5, height=64, width=64, fps=8.0), 3)
    for i in range(3):
        assert torch.equal(clips.frames(i)[:5], short.frames(i))


def test_truth_is_arrays_of_every_frame_and_body(clips):
    for i in range(12):
        truth = clips.truth(i)
        frames, bodies = truth["position"].shape[:2]
        assert frames == 17 and len(clips.scene(i).things) == bodies
        for name in ("velocity", "spin", "rotation", "hidden"):
            assert truth[name].shape[:2] == (17, bodies)
        assert truth["mark"].shape == truth["mark_time"].shape == truth["mark_body"].shape
        assert (np.diff(truth["mark_time"]) >= 0).all() and (truth["mark_time"] <= 2).all()
        file = io.BytesIO()
        np.savez(file, **truth)
        file.seek(0)
        read = np.load(file, allow_pickle=False)
        assert all(np.array_equal(read[name], truth[name]) for name in truth)


def test_what_a_wall_hides_has_no_pixel_and_comes_out_as_itself(clips):
    """Both from the geometry and from the picture; it is hidden for way / speed."""
    found = [i for i in range(120) if clips.scene(i).event == "behind"][:4]
    assert len(found) == 4
    for i in found:
        truth = clips.truth(i, dense=True)
        hidden, shown = truth["hidden"][:, 0], truth["visible"][:, 0]
        assert 3 <= hidden.sum() <= 6
        assert (shown[hidden] < 0.01).all()  # the soft edge of a silhouette
        assert not (truth["ids"][hidden] == 0).any()
        assert (shown[[0, -1]] > 0.6).all()
        assert (shown[~hidden] > 0).sum() >= (~hidden).sum() - 1  # an outermost pixel's worth may be missed
        colours = [clips.frames(i).numpy()[k][truth["ids"][k] == 0].mean(0) for k in (0, -1)]
        assert np.abs(colours[0] - colours[1]).max() < 60


def test_pixels_of_a_body_lie_where_the_truth_puts_it(clips):
    for i in range(25):
        scene, truth = clips.scene(i), clips.truth(i, dense=True)
        at, depth = scene.shot(clips.times).camera.project(truth["position"], 64, 64)
        for k, thing in enumerate(scene.counted):
            if thing.body.kind != "ball":
                continue
            for f in range(0, 17, 4):
                rows, columns = np.nonzero(truth["ids"][f] == k)
                if truth["visible"][f, k] > 0.98:
                    centre = [columns.mean() + 0.5, rows.mean() + 0.5]
                    assert centre == pytest.approx(at[f, k], abs=1.2), (i, scene.event)
                    near = truth["depth"][f][truth["ids"][f] == k].min()
                    assert near == pytest.approx(depth[f, k] - thing.body.half[0], abs=0.12)
