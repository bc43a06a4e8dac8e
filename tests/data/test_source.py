"""One config for the world and for folders."""

import pytest

from tubelet.data.clips import write_clips
from tubelet.data.source import DataConfig, held_out_clips, training_clips
from tubelet.data.world import WorldClips, WorldConfig
from tubelet.errors import InputError

WORLD = WorldConfig(num_frames=5, height=16, width=16)


def test_the_world_is_split(tmp_path):
    config = DataConfig(world=WORLD, clips=7, held_out=3)
    assert (len(training_clips(config)), len(held_out_clips(config))) == (7, 3)
    assert training_clips(config).captions(0) != held_out_clips(config).captions(0)


def test_a_folder_is_split_and_its_held_out_clips_are_at_most_those_asked_for(tmp_path):
    write_clips(WorldClips(WORLD, 60), tmp_path / "clips")
    config = DataConfig(folder=str(tmp_path / "clips"), held_out=1)
    train, held_out = training_clips(config), held_out_clips(config)
    assert len(held_out) == 1
    assert 40 < len(train) < 60
    assert held_out.frames(0).shape == (5, 16, 16, 3)
    assert held_out.attributes(0) not in [train.attributes(i) for i in range(len(train))]


def test_a_folder_too_small_to_split_is_refused(tmp_path):
    write_clips(WorldClips(WORLD, 1), tmp_path / "clips")
    config = DataConfig(folder=str(tmp_path / "clips"))
    with pytest.raises(InputError, match="add clips"):
        training_clips(config)
        held_out_clips(config)


def test_training_on_real_clips_reads_them(shared_data):
    clips = held_out_clips(DataConfig(folder=str(shared_data / "drone_sky"), held_out=2))
    assert clips.frames(1).shape == (17, 64, 64, 3)
    assert "video of" in clips.captions(0)[0]
