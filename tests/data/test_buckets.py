"""Sources are mixed by probability, and which bucket, clip and crop a sample has depends on its number alone."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch

from tubelet.data.buckets import bucket_of, buckets_of
from tubelet.data.clips import write_clips
from tubelet.data.loader import clip_of
from tubelet.data.source import DataConfig, SizeConfig, held_out_clips, training_clips
from tubelet.draws import stream
from tubelet.errors import InputError
from tubelet.worlds.depth.config import DepthConfig
from tubelet.worlds.shapes.clips import ShapesClips
from tubelet.worlds.shapes.config import ShapesConfig

DEPTH = DepthConfig(num_frames=5, height=32, width=32)
SHAPES = ShapesConfig(num_frames=5, height=32, width=32, fps=16.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixty clips of 9 x 32 x 32 at 8 frames a second."""
    place = tmp_path_factory.mktemp("clips") / "drones"
    write_clips(ShapesClips(ShapesConfig(num_frames=9, height=32, width=32), 60), place)
    return place


def mixture(folder, **changes) -> DataConfig:
    """Six buckets of two worlds and a folder, as a run in depth has them."""
    other = (
        SizeConfig(frames=3, height=16, width=16, clips=6),
        SizeConfig(frames=1, height=32, width=32, clips=6),
        SizeConfig(frames=5, height=32, width=32, clips=6, share=0.15, world=SHAPES),
        SizeConfig(frames=5, height=16, width=16, clips=6, share=0.05, folder=str(folder)),
    )
    return DataConfig(
        **{"world": DEPTH, "clips": 8, "held_out": 3, "other": other, "other_share": 0.4} | changes
    )


def test_a_mixture_has_a_bucket_for_each_source_and_size(folder):
    buckets = buckets_of(mixture(folder))
    assert {bucket.name: round(bucket.share, 9) for bucket in buckets} == {
        "5x32x32": 0.6,
        "3x16x16": 0.1,
        "1x32x32": 0.1,
        "5x32x32-shapes": 0.15,
        "5x16x16-drones": 0.05,
    }
    for bucket in buckets:
        assert (
            tuple(bucket.frames(0, 3).shape[:3]) == tuple(bucket.held_out.frames(0).shape[:3]) == bucket.size
        )
    assert [bucket.clips.fps for bucket in buckets] == [16.0, 16.0, 16.0, 16.0, 8.0]
    assert len({bucket.content for bucket in buckets}) == 5
    assert torch.equal(buckets[3].clips.frames(2), ShapesClips(SHAPES, 6).frames(2))
    smaller = DataConfig(world=dataclasses.replace(DEPTH, num_frames=3, height=16, width=16), clips=6)
    assert torch.equal(buckets[1].clips.frames(2), training_clips(smaller).frames(2))


def test_content_changes_with_any_source(folder):
    def contents(**changes):
        data = mixture(folder)
        sizes = [dataclasses.replace(data.other[3], **changes), *data.other[:3]]
        return {bucket.content for bucket in buckets_of(dataclasses.replace(data, other=tuple(sizes)))}

    same = contents(name="other name")
    assert same == contents()
    for changes in ({"frames": 3}, {"caption": "shape"}, {"clips": 5}, {"fps": 4.0}):
        assert len(contents(**changes) - same) == 1


def test_shares_that_are_left_are_divided_equally():
    sizes = [
        SizeConfig(frames=n, height=16, width=16, share=share) for n, share in enumerate((0.2, None, None), 1)
    ]
    assert DataConfig(other=tuple(sizes), other_share=0.5).shares == pytest.approx((0.5, 0.2, 0.15, 0.15))
    assert DataConfig(other=tuple(sizes[:1])).shares == pytest.approx((0.8, 0.2))  # other_share is not asked
    assert DataConfig(other=tuple(sizes[1:]), other_share=0.5).shares == (0.5, 0.25, 0.25)
    assert DataConfig().shares == (1.0,)


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ((-0.1, None), "share -0.1 is a share of samples"),
        ((1.5, None), "share 1.5 is a share"),
        ((float("nan"), None), "share nan"),
        ((0.6, 0.6), "sum to 1.2; give shares that sum to 1"),
        ((0.3, None), r"sum to 0.3 and leave nothing of data.other_share 0.15.*; raise it"),
    ],
)
def test_shares_that_do_not_sum_are_refused(shares, words):
    with pytest.raises(InputError, match=words):
        DataConfig(
            other=tuple(SizeConfig(frames=n, height=16, width=16, share=s) for n, s in enumerate(shares, 1))
        )


def test_buckets_are_drawn_in_their_shares():
    shares, count = (0.5, 0.3, 0.0, 0.15, 0.05), 8000
    drawn = Counter(bucket_of(7, number, shares) for number in range(count))
    for bucket, share in enumerate(shares):
        assert drawn[bucket] == pytest.approx(count * share, abs=3.5 * np.sqrt(count * share * (1 - share)))
    assert {bucket_of(0, number, (0.0, 0.3, 0.7)) for number in range(60)} == {1, 2}


def test_buckets_of_equal_shares_are_drawn_as_runs_begun_before_shares_drew_them():
    def before(number):
        source = stream(3, 0x51, number)
        return 1 + int(source.integers(3)) if source.random() < 0.6 else 0

    shares = DataConfig(
        other=tuple(SizeConfig(frames=n, height=16, width=16) for n in (1, 2, 3)), other_share=0.6
    ).shares
    assert all(bucket_of(3, number, shares) == before(number) for number in range(2000))


def test_a_source_is_a_folder_or_a_world_and_names_are_told_apart(folder):
    size = {"frames": 1, "height": 16, "width": 16}
    with pytest.raises(InputError, match="leave one out"):
        SizeConfig(folder="x", world=SHAPES, **size)
    both = SizeConfig(world=SHAPES, **size), SizeConfig(world=dataclasses.replace(SHAPES, pan=0.0), **size)
    with pytest.raises(InputError, match="1x16x16-shapes more than once; .*give each a name"):
        DataConfig(other=both)
    named = dataclasses.replace(both[1], name="still")
    assert [bucket.name for bucket in buckets_of(mixture(folder, other=(both[0], named)))][1:] == [
        "1x16x16-shapes",
        "still",
    ]


def test_a_run_on_a_folder_may_have_a_world_beside_it(folder):
    size = SizeConfig(frames=5, height=16, width=16, clips=4, share=0.3, world=DEPTH)
    main, other = buckets_of(DataConfig(folder=str(folder), frames=5, fps=4.0, other=(size,)))
    assert (main.name, main.clips.fps, other.name, other.clips.fps) == ("5x32x32", 4.0, "5x16x16-depth", 16.0)
    assert (main.share, other.share) == pytest.approx((0.7, 0.3))


def test_one_bucket_without_crops_is_the_clips_themselves():
    data = DataConfig(world=SHAPES, clips=8, held_out=3)
    (bucket,) = buckets_of(data)
    clips = training_clips(data)
    assert bucket.content == f"8 of {clips.fingerprint}"
    assert all(torch.equal(bucket.frames(5, n), clips.frames(clip_of(5, n, 8))) for n in range(12))


def test_crops_lie_anywhere_by_number_and_held_out_ones_in_the_middle():
    data = DataConfig(world=SHAPES, clips=8, held_out=3, crop=(16, 20))
    (bucket,) = buckets_of(data)
    whole = training_clips(data)
    assert bucket.size == (5, 16, 20)
    places = Counter()
    for number in range(300):
        part, frames = bucket.frames(0, number), whole.frames(clip_of(0, number, 8))
        if number < 20:
            assert torch.equal(part, bucket.frames(0, number)) and part.shape == (5, 16, 20, 3)
            found = [
                (i, j) for i in range(17) for j in range(13)
                if torch.equal(frames[:, i : i + 16, j : j + 20], part)
            ]  # fmt: skip
            assert found
            places.update(found[:1])
    assert len(places) > 10
    middle = held_out_clips(data).frames(1)[:, 8:24, 6:26]
    assert torch.equal(bucket.held_out.frames(1), middle)
    assert bucket.content != buckets_of(dataclasses.replace(data, crop=None))[0].content


def test_a_clip_of_the_crops_size_stays_whole_and_a_smaller_one_is_refused(folder):
    data = mixture(folder, crop=(16, 16))
    small = buckets_of(data)[1]
    assert torch.equal(small.frames(0, 4), small.clips.frames(clip_of(0, 4, len(small.clips))))
    assert {bucket.size[1:] for bucket in buckets_of(data)} == {(16, 16)}
    with pytest.raises(InputError, match="the clips of 3x16x16 are 16 x 16; give a smaller crop"):
        buckets_of(mixture(folder, crop=(32, 32)))
    with pytest.raises(InputError, match="of 1 or more"):
        DataConfig(crop=(0, 16))
