"""One config for the world and for folders, and clips made shorter and smaller."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from tubelet.data.clips import write_clips
from tubelet.data.source import (
    DataConfig,
    SizeConfig,
    held_out_clips,
    other_clips,
    training_clips,
)
from tubelet.data.views import ResizedClips, resize
from tubelet.errors import InputError
from tubelet.worlds.shapes.clips import ShapesClips
from tubelet.worlds.shapes.config import ShapesConfig
from tubelet.worlds.shapes.render import SHAPES

WORLD = ShapesConfig(num_frames=5, height=16, width=16)


def test_the_world_is_split(tmp_path):
    config = DataConfig(world=WORLD, clips=7, held_out=3)
    assert (len(training_clips(config)), len(held_out_clips(config))) == (7, 3)
    assert training_clips(config).captions(0) != held_out_clips(config).captions(0)


def test_a_folder_is_split_and_its_held_out_clips_are_at_most_those_asked_for(tmp_path):
    write_clips(ShapesClips(WORLD, 60), tmp_path / "clips")
    config = DataConfig(folder=str(tmp_path / "clips"), held_out=1)
    train, held_out = training_clips(config), held_out_clips(config)
    assert len(held_out) == 1
    assert 40 < len(train) < 60
    assert held_out.frames(0).shape == (5, 16, 16, 3)
    assert held_out.attributes(0) not in [train.attributes(i) for i in range(len(train))]


def test_a_folder_too_small_to_split_is_refused(tmp_path):
    write_clips(ShapesClips(WORLD, 1), tmp_path / "clips")
    config = DataConfig(folder=str(tmp_path / "clips"))
    with pytest.raises(InputError, match="add clips"):
        training_clips(config)
        held_out_clips(config)


def test_training_on_real_clips_reads_them(shared_data):
    clips = held_out_clips(DataConfig(folder=str(shared_data / "drone_sky"), held_out=2))
    assert clips.frames(1).shape == (17, 64, 64, 3)
    assert "video of" in clips.captions(0)[0]


def test_clips_are_cut_to_the_size_asked_for_and_keep_rate_and_words(shared_data):
    whole = DataConfig(folder=str(shared_data / "drone_sky"), held_out=2)
    asked = dataclasses.replace(whole, frames=9, height=32, width=32)
    for read in (training_clips, held_out_clips):
        clips, raw = read(asked), read(whole)
        assert (len(clips), clips.fps) == (len(raw), raw.fps)
        assert clips.captions(1) == raw.captions(1) and clips.attributes(1) == raw.attributes(1)
        assert torch.equal(clips.frames(1), resize(raw.frames(1)[:9], 32, 32))
        assert clips.frames(1).shape == (9, 32, 32, 3) and clips.frames(1).is_contiguous()


def test_a_shorter_clip_of_the_world_is_the_same_by_either_field():
    cut = training_clips(DataConfig(world=WORLD, frames=3, clips=4))
    drawn = training_clips(DataConfig(world=dataclasses.replace(WORLD, num_frames=3), clips=4))
    assert all(torch.equal(cut.frames(i), drawn.frames(i)) for i in range(4))


def test_every_size_has_its_own_fingerprint():
    def fingerprint(**asked: int) -> str:
        return training_clips(DataConfig(world=WORLD, clips=2, **asked)).fingerprint

    sizes = [{}, {"frames": 3}, {"frames": 4}, {"height": 8}, {"width": 8}, {"height": 8, "width": 8}]
    assert len({fingerprint(**asked) for asked in sizes}) == len(sizes)
    assert fingerprint() == ShapesClips(WORLD, 2).fingerprint
    assert fingerprint(height=8) == fingerprint(frames=5, height=8, width=16)
    other = dataclasses.replace(WORLD, seed=1)
    assert fingerprint(frames=3) != ResizedClips(ShapesClips(other, 2), 3, None, None).fingerprint


@pytest.mark.parametrize("size", [(24, 20), (48, 40), (13, 31), (32, 8), (1, 1), (48, 7)])
def test_resizing_is_pillows_antialiased_bilinear_of_the_centred_part(size):
    frames = torch.randint(256, (3, 48, 40, 3), generator=torch.Generator().manual_seed(0)).byte()
    height, width = size
    scale = min(48 / height, 40 / width)
    high, wide = min(48, round(height * scale)), min(40, round(width * scale))
    left, top = (40 - wide) // 2, (48 - high) // 2
    small = resize(frames, height, width)
    assert small.dtype == torch.uint8 and small.shape == (3, height, width, 3)
    for ours, frame in zip(small.numpy(), frames.numpy(), strict=True):
        part = Image.fromarray(frame).crop((left, top, left + wide, top + high))
        theirs = np.asarray(part.resize((width, height), Image.Resampling.BILINEAR))
        assert (
            np.abs(ours.astype(int) - theirs).max() <= 1
        )  # both round between rows and columns, not always alike


def test_half_of_a_camera_clip_is_pillows_to_the_bit(shared_data):
    raw = held_out_clips(DataConfig(folder=str(shared_data / "drone_sky"), held_out=3))
    for index in range(3):
        frames = raw.frames(index)
        small = resize(frames, 32, 32).numpy()
        for ours, frame in zip(small, frames.numpy(), strict=True):
            assert np.array_equal(ours, Image.fromarray(frame).resize((32, 32), Image.Resampling.BILINEAR))


def test_a_part_of_the_same_scale_is_a_crop():
    frames = torch.arange(2 * 6 * 9 * 3).view(2, 6, 9, 3).byte()
    assert torch.equal(resize(frames, 6, 9), frames)
    assert torch.equal(resize(frames, 6, 5), frames[:, :, 2:7])
    assert torch.equal(resize(frames, 2, 9), frames[:, 2:4])


@pytest.mark.parametrize(("name", "most"), [("frames", 5), ("height", 16), ("width", 16)])
def test_a_size_out_of_reach_is_refused_with_the_flag(name, most):
    for read in (training_clips, held_out_clips):
        with pytest.raises(InputError, match=f"--data.{name} {most} or less"):
            read(DataConfig(world=WORLD, clips=2, **{name: most + 1}))
    for value in (0, -3):
        with pytest.raises(InputError, match=f"--data.{name} 1 or more"):
            DataConfig(**{name: value})


@pytest.mark.parametrize("fps", [4.0, 8 / 3])
def test_a_lower_rate_leaves_frames_out(tmp_path, fps):
    step = round(8 / fps)
    slow = training_clips(DataConfig(world=WORLD, clips=4, fps=fps, height=8))
    whole = training_clips(DataConfig(world=WORLD, clips=4, height=8))
    assert slow.fps == pytest.approx(fps) and slow.frames(3).is_contiguous()
    assert torch.equal(slow.frames(3), whole.frames(3)[::step])
    assert slow.fingerprint != whole.fingerprint and slow.captions(3) == whole.captions(3)
    assert (
        training_clips(DataConfig(world=WORLD, clips=4, fps=8)).fingerprint
        == ShapesClips(WORLD, 4).fingerprint
    )
    write_clips(ShapesClips(WORLD, 60), tmp_path / "clips")
    folder = DataConfig(folder=str(tmp_path / "clips"), held_out=1)
    for size in (SizeConfig(frames=2, height=8, width=8, fps=fps), SizeConfig(frames=2, height=8, width=8)):
        found = other_clips(dataclasses.replace(folder, fps=8 if size.fps else fps), size)
        for clips, raw in zip(found, (training_clips(folder), held_out_clips(folder)), strict=True):
            assert clips.fps == pytest.approx(fps)
            assert torch.equal(clips.frames(0), resize(raw.frames(0)[::step][:2], 8, 8))


def test_the_world_is_rendered_at_the_rate_of_a_size():
    config = DataConfig(world=WORLD, clips=4, held_out=2)
    (slow, _), (fast, _) = (
        other_clips(config, SizeConfig(frames=frames, height=16, width=16, fps=fps))
        for frames, fps in ((3, 4.0), (9, 16.0))
    )
    own = training_clips(config)
    assert (slow.fps, own.fps, fast.fps) == (4, 8, 16)
    for index in range(4):
        assert torch.equal(slow.frames(index), own.frames(index)[::2])
        assert torch.equal(fast.frames(index)[::2], own.frames(index))


@pytest.mark.parametrize(
    ("fps", "remedy"), [(5.0, "--data.fps 8 or 4"), (3.0, "4 or 2.66"), (16.0, "8 or 4")]
)
def test_a_rate_that_the_clips_do_not_have_is_refused_with_those_they_have(fps, remedy):
    with pytest.raises(InputError, match=remedy):
        training_clips(DataConfig(world=WORLD, clips=2, fps=fps))


@pytest.mark.parametrize("fps", [0.0, -8.0, math.nan])
def test_a_rate_is_above_zero(fps):
    with pytest.raises(InputError, match="fps"):
        DataConfig(fps=fps)
    with pytest.raises(InputError, match="fps"):
        SizeConfig(frames=1, height=8, width=8, fps=fps)


@pytest.mark.parametrize("frames", [1, 2, 4, 5])
def test_a_loop_goes_to_the_middle_and_back(frames):
    there = training_clips(DataConfig(world=WORLD, clips=2, frames=frames)).frames(1)
    clips = training_clips(DataConfig(world=WORLD, clips=2, frames=frames, loop=True))
    loop = clips.frames(1)
    assert loop.shape == there.shape and torch.equal(loop[: frames // 2 + 1], there[: frames // 2 + 1])
    twice = torch.cat((loop, loop))
    assert all(torch.equal(twice[k], twice[frames - k]) for k in range(1, frames))
    assert clips.fingerprint != training_clips(DataConfig(world=WORLD, clips=2, frames=frames)).fingerprint


def test_flags_and_configs_reach_the_sizes(tmp_path):
    from tubelet.training.command import run_of
    from tubelet.training.config import DenoiserRun

    (tmp_path / "run.toml").write_text('[loop]\nout = "out"\n[data]\nframes = 9\nheight = 32\n')
    flags = ["--data", "clips", "--data.frames", "5", "--data.width", "24", "--data.caption", "label"]
    data = run_of(DenoiserRun, [str(tmp_path / "run.toml"), *flags], "tubelet train").data
    assert (data.folder, data.frames, data.height, data.width, data.caption) == ("clips", 5, 32, 24, "label")


def test_another_size_of_the_world_is_its_scenes_rendered_at_that_size():
    config = DataConfig(world=WORLD, clips=7, held_out=3)
    train, held_out = other_clips(config, SizeConfig(frames=9, height=16, width=24, clips=4))
    assert (len(train), len(held_out)) == (4, 3)
    assert train.frames(1).shape == (9, 16, 24, 3) and held_out.frames(1).shape == (9, 16, 24, 3)
    assert train.attributes(1) == training_clips(config).attributes(1)
    assert held_out.attributes(1) == held_out_clips(config).attributes(1)
    fingerprints = {train.fingerprint, held_out.fingerprint, training_clips(config).fingerprint}
    assert len(fingerprints) == 3  # latents are cached under it


def test_another_size_of_a_folder_is_its_clips_made_smaller(tmp_path):
    write_clips(ShapesClips(WORLD, 60), tmp_path / "clips")
    config = DataConfig(folder=str(tmp_path / "clips"), held_out=1)
    train, held_out = other_clips(config, SizeConfig(frames=1, height=8, width=16, clips=4))
    assert (len(train), len(held_out)) == (4, 1)
    assert torch.equal(train.frames(2), resize(training_clips(config).frames(2)[:1], 8, 16))
    assert train.fingerprint != training_clips(config).fingerprint
    with pytest.raises(InputError, match=r"data\.other\.frames is 6.*data\.other\.frames 5 or less"):
        other_clips(config, SizeConfig(frames=6, height=16, width=16))


def test_other_sizes_that_make_no_sense_are_refused():
    size = SizeConfig(frames=1, height=16, width=16)
    with pytest.raises(InputError, match="more than once"):
        DataConfig(other=(size, dataclasses.replace(size, clips=3)))
    with pytest.raises(InputError, match="other_share is 1.5"):
        DataConfig(other=(size,), other_share=1.5)
    with pytest.raises(InputError, match="at least 1"):
        SizeConfig(frames=0, height=16, width=16)


def test_other_sizes_are_tables_of_the_file_and_other_flags_still_work(tmp_path):
    from tubelet.training.command import run_of
    from tubelet.training.config import CodecRun, DenoiserRun

    file, table = tmp_path / "run.toml", "[[data.other]]\nframes = {}\nheight = 32\nwidth = 48\n"
    file.write_text('[loop]\nout = "out"\n' + table.format(1) + table.format(9))
    flags = ["--data.frames", "5", "--data.other-share", "0.3"]
    data = run_of(DenoiserRun, [str(file), *flags], "tubelet train").data
    assert [size.label for size in data.other] == ["1x32x48", "9x32x48"]
    assert (data.frames, data.other_share) == (5, 0.3)
    assert run_of(CodecRun, [str(file)], "tubelet train-codec").data.other == data.other


def test_an_attribute_stands_for_the_caption():
    plain, named = (
        DataConfig(world=WORLD, clips=6, held_out=3),
        DataConfig(world=WORLD, clips=6, caption="shape"),
    )
    for read in (training_clips, held_out_clips):
        clips, labelled = read(plain), read(named)
        assert labelled.captions(1) == [clips.attributes(1)["objects"][0]["shape"]]
        assert torch.equal(labelled.frames(1), clips.frames(1)) and labelled.fps == clips.fps
        assert labelled.attributes(1) == clips.attributes(1)
    counted = training_clips(dataclasses.replace(named, caption="count"))
    assert counted.captions(1) == [str(training_clips(plain).attributes(1)["count"])]


def test_captions_of_every_kind_have_their_own_fingerprint():
    size = SizeConfig(frames=3, height=16, width=16)
    configs = [DataConfig(world=WORLD, clips=2, caption=name) for name in (None, "shape", "colour")]
    assert (
        len({training_clips(config).fingerprint for config in configs}) == 3
    )  # text states are cached under it
    assert len({other_clips(config, size)[0].fingerprint for config in configs}) == 3
    assert other_clips(configs[1], size)[1].captions(0)[0] in SHAPES


def test_a_folder_of_labels_needs_no_captions(tmp_path):
    folder = tmp_path / "clips"
    write_clips(ShapesClips(WORLD, 60), folder)
    of_the_world = training_clips(DataConfig(folder=str(folder), caption="colour"))
    assert of_the_world.captions(0) == [of_the_world.attributes(0)["objects"][0]["colour"]]
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    bare = [
        {"file_name": line["file_name"], "label": "AB"[i % 2], "objects": ["x"]}
        for i, line in enumerate(lines)
    ]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in bare))
    config = DataConfig(folder=str(folder), caption="label")
    size = SizeConfig(frames=1, height=8, width=8)
    for clips in (training_clips(config), held_out_clips(config), *other_clips(config, size)):
        assert {clips.captions(i)[0] for i in range(len(clips))} <= {"A", "B"} and len(clips)
    with pytest.raises(InputError, match="expected caption"):
        training_clips(DataConfig(folder=str(folder)))


@pytest.mark.parametrize(
    ("caption", "known"), [("label", "count, shape"), ("objects", "shape"), ("to_colour", "colour")]
)
def test_an_attribute_that_is_not_there_is_refused_with_those_that_are(caption, known):
    with pytest.raises(
        InputError, match=rf"data\.caption is '{caption}', which clip 0 does not .*{known[-5:]}"
    ):
        training_clips(DataConfig(world=WORLD, clips=2, caption=caption))
