"""Replay: a written video is made again, and what differs is said."""

import json
from pathlib import Path

import pytest
import torch

from tubelet.errors import InputError
from tubelet.sampling.command import replay_file
from tubelet.sampling.pipeline import BATCH
from tubelet.sampling.recipe import environment
from tubelet.sampling.record import KEY, read_record, sha256_of
from tubelet.sampling.replay import difference, pictures, replay
from tubelet.video import WRITERS, write_video

PROMPT = "a red circle moves left"


@pytest.fixture(scope="module")
def saved(pipe, tmp_path_factory):
    """The small pipeline as it is loaded from a folder, so that it has a hash."""
    folder = tmp_path_factory.mktemp("checkpoint") / "small"
    pipe.save_pretrained(folder)
    return type(pipe).from_pretrained(folder), folder


def written(pipe, path: Path, prompt=PROMPT, **settings) -> Path:
    return pipe(prompt, **{"seed": 0, "num_inference_steps": 2, **settings}).save(path)[-1]


def edited(file: Path, *, lift: int = 0, without: tuple[str, ...] = (), **fields) -> Path:
    """A copy whose recipe is changed, and whose pictures are so many levels lighter."""
    clip = pictures(file)
    recipe = json.loads(clip.metadata[KEY]) | fields
    text = json.dumps({name: value for name, value in recipe.items() if name not in without})
    copy = file.with_stem("edited")
    frames = (clip.frames.int() + lift).clamp(0, 255).to(torch.uint8)
    write_video(copy, frames, fps=clip.fps, metadata={KEY: text}, enlarge=False)
    return copy


# The same.


@pytest.mark.parametrize("suffix", sorted(WRITERS))
@pytest.mark.parametrize("sampler", ["euler", "ancestral"])
def test_a_written_video_is_made_again_bit_for_bit(saved, tmp_path, suffix, sampler):
    pipe, folder = saved
    file = written(
        pipe,
        tmp_path / f"a{suffix}",
        negative_prompt="blue",
        guidance_scale=2.5,
        num_frames=9,
        sampler=sampler,
    )
    result = replay(file, checkpoint=folder)
    assert (result.same, result.same_bits, result.largest, result.changes) == (True, True, 0, {})
    assert "bit for bit" in result.report() and repr(PROMPT) in result.report()


def test_a_video_of_any_batch_is_made_again_from_its_own_batch_alone(saved, tmp_path):
    pipe, _ = saved
    output = pipe([f"prompt {i}" for i in range(BATCH + 3)], seed=1, num_inference_steps=2)
    files = output.save(tmp_path / "a.png", fps=12.5)
    for number in (2, BATCH, BATCH + 2):
        result = replay(files[number], pipe)
        assert result.same_bits and result.same
        assert result.record.recipe.prompts[result.record.video] == f"prompt {number}"
        assert len(result.record.recipe.prompts) == (BATCH if number < BATCH else 3)
        assert sha256_of(output.clip(number)) == result.record.frames_sha256


def test_fresh_noise_and_generators_are_made_again(saved, tmp_path):
    pipe, _ = saved
    for generator in (None, torch.Generator().manual_seed(7)):
        assert replay(written(pipe, tmp_path / "a.png", seed=None, generator=generator), pipe).same_bits


@pytest.mark.parametrize("change", [{"shift": 3.0}, {"grid": "karras"}, {"sampler": "dpmpp_2m_sde"}])
def test_times_and_samplers_that_are_not_the_checkpoints_are_kept(saved, tmp_path, change):
    from dataclasses import replace

    pipe, folder = saved
    other = type(pipe).from_pretrained(folder)
    other.scheduler = replace(other.scheduler, **change)
    assert replay(written(other, tmp_path / "a.png"), pipe).same_bits


def test_the_clip_made_again_carries_its_recipe_and_replays(saved, tmp_path):
    pipe, _ = saved
    file = written(pipe, tmp_path / "a.mp4", [PROMPT, "b"], num_videos_per_prompt=2)
    replay(file, pipe).save(tmp_path / "again.mp4")
    assert (tmp_path / "again.mp4").read_bytes() == file.read_bytes()


def test_the_threads_of_the_recipe_are_restored_for_the_replay_alone(saved, tmp_path):
    pipe, _ = saved
    before, seen = torch.get_num_threads(), []
    file = edited(written(pipe, tmp_path / "a.png"), threads=before + 1)
    result = replay(file, pipe, callback=lambda *_: seen.append(torch.get_num_threads()))
    assert (seen, torch.get_num_threads()) == ([before + 1] * 2, before)
    assert "threads" not in result.changes


# Not the same.


def test_threads_that_cannot_be_had_are_named(saved, tmp_path, monkeypatch):
    pipe, _ = saved
    file = edited(written(pipe, tmp_path / "a.png"), threads=1000)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    result = replay(file, pipe)
    assert result.changes == {"threads": ("1000", str(torch.get_num_threads()))}
    assert "threads: 1000 -> " in result.report() and "could not be restored" in result.report()


def test_other_bits_come_with_what_differs_in_the_environment(saved, tmp_path):
    pipe, _ = saved
    file = edited(
        written(pipe, tmp_path / "a.png"), lift=3, torch="2.0.0", cpu="NEON", frames_sha256="0" * 64
    )
    result = replay(file, pipe)
    assert (result.same, result.same_bits, result.largest) == (False, False, 3)
    assert 38.5 < result.psnr < 42  # 38.59 where no pixel was too bright to be lifted
    here = environment(pipe.device)
    assert result.changes == {"torch": ("2.0.0", here["torch"]), "cpu": ("NEON", here["cpu"])}
    assert "torch: 2.0.0 -> " in result.report() and "largest difference 3" in result.report()
    assert "cpu NEON" in result.why()


def test_the_same_bits_in_another_environment_are_the_same(saved, tmp_path):
    pipe, _ = saved
    result = replay(edited(written(pipe, tmp_path / "a.png"), version="0.0.1"), pipe)
    assert result.same and list(result.changes) == ["version"]


def test_other_bits_without_a_reason_say_so(saved, tmp_path):
    pipe, _ = saved
    result = replay(edited(written(pipe, tmp_path / "a.png"), prompts=["another"]), pipe)
    assert not result.same and not result.changes
    assert "names no reason" in result.why()


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_a_file_changed_after_it_was_made_is_told_from_other_frames(saved, tmp_path, suffix):
    pipe, _ = saved
    result = replay(edited(written(pipe, tmp_path / f"a{suffix}"), lift=9), pipe)
    assert (result.same_bits, result.intact, result.same) == (True, False, False)
    assert result.largest and result.largest >= 5
    assert "was changed after it was made" in result.why()


def test_a_file_of_another_size_is_no_crash(saved, tmp_path):
    pipe, _ = saved
    file = written(pipe, tmp_path / "a.png")
    write_video(file, pictures(file).frames[:, 1:], metadata=pictures(file).metadata, enlarge=False)
    result = replay(file, pipe)
    assert (result.same_bits, result.largest, result.same) == (True, None, False)
    assert "another size" in result.report()


def test_another_version_of_the_encoder_is_no_change_of_the_file(saved, tmp_path):
    pipe, _ = saved
    result = replay(edited(written(pipe, tmp_path / "a.png"), lift=1, writer="pillow 1.0"), pipe)
    assert (result.same_bits, result.largest, result.same) == (True, 1, True)
    assert "another version of the encoder" in result.report()
    assert not replay(edited(written(pipe, tmp_path / "a.png"), lift=30, writer="pillow 1.0"), pipe).same


# Files of an older tubelet: every prompt of the call, no hash, no rate.

LATER = ("grid", "shift", "cpu", "device", "fps", "writer", "frames_sha256", "compositions", "weaker")
LATER += tuple(f"guidance_{name}" for name in ("interval", "rescale", "parallel", "threshold", "momentum"))


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_a_file_of_an_older_tubelet_is_compared_by_its_pictures(saved, tmp_path, suffix):
    pipe, _ = saved
    output = pipe([PROMPT] * (BATCH + 2), seed=0, num_inference_steps=2)
    video, file = BATCH + 1, tmp_path / f"a{suffix}"
    fields = {name: value for name, value in vars(output.recipe).items() if name not in LATER}
    metadata = {KEY: json.dumps({**fields, "video": video})}
    write_video(file, output.clip(video), fps=12.5, metadata=metadata)
    result = replay(file, pipe)
    assert (result.same_bits, result.largest, result.same) == (None, 0, True)
    assert len(result.record.recipe.prompts) == 2 and "older tubelet" in result.report()


def test_older_files_that_differ_are_not_the_same(saved, tmp_path):
    pipe, _ = saved
    result = replay(edited(written(pipe, tmp_path / "a.png"), lift=1, without=LATER), pipe)
    assert (result.same_bits, result.largest, result.same) == (None, 1, False)


# Refused.


def test_another_checkpoint_is_refused_with_both_hashes(saved, pipe, tmp_path):
    made_by, _ = saved
    file = edited(written(made_by, tmp_path / "a.png"), checkpoint="ab" * 32)
    with pytest.raises(InputError, match=rf"abababababab.*{made_by.hash[:12]}.*--checkpoint"):
        replay(file, made_by)
    with pytest.raises(InputError, match="no checkpoint"):
        replay(written(pipe, tmp_path / "b.png"), made_by)
    assert replay(tmp_path / "b.png", pipe).same_bits


def test_a_costly_recipe_is_refused_before_anything_is_made(saved, tmp_path):
    pipe, _ = saved
    file = edited(written(pipe, tmp_path / "a.png"), num_frames=65, height=4096, width=4096)
    with pytest.raises(InputError, match=r"1 x 65 frames of 4096 x 4096.*--max-pixels 1090519040"):
        replay(file, pipe)
    small = written(pipe, tmp_path / "b.png")
    with pytest.raises(InputError, match="--max-pixels 7680"):
        replay(small, pipe, max_pixels=7679)
    assert replay(small, pipe, max_pixels=7680).same


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"num_frames": 6}, "6 frames do not fill"),
        ({"sampler": "magic"}, "unknown sampler 'magic'"),
        ({"grid": "magic"}, "unknown grid 'magic'"),
        ({"prompts": ["\ud800"]}, "UTF-8"),
    ],
)
def test_a_recipe_that_the_checkpoint_cannot_make_is_refused(saved, tmp_path, fields, words):
    pipe, _ = saved
    with pytest.raises(InputError, match=rf"edited\.png: its recipe does not suit its checkpoint: .*{words}"):
        replay(edited(written(pipe, tmp_path / "a.png"), **fields), pipe)


# The command and the measure.


def test_the_command_reports_writes_and_refuses(saved, tmp_path, capsys):
    pipe, folder = saved
    file, out = written(pipe, tmp_path / "a.png"), tmp_path / "again.gif"
    settings = {"checkpoint": folder, "out": out, "max_pixels": None}
    assert replay_file(file, **settings).same
    assert "bit for bit" in capsys.readouterr().out and read_record(out).recipe.prompts == [PROMPT]
    before = file.read_bytes()
    with pytest.raises(InputError, match="choose another name"):
        replay_file(file, **{**settings, "out": file})
    assert file.read_bytes() == before
    out.unlink()
    with pytest.raises(InputError, match="was changed after it was made"):
        replay_file(edited(file, lift=9), **settings)
    assert out.exists() and "largest difference 9" in capsys.readouterr().out


def test_the_measure_of_a_difference():
    a = torch.full((1, 2, 2, 3), 100, dtype=torch.uint8)
    assert difference(a, a) == (0, float("inf"))
    assert difference(a, a + 1) == (1, pytest.approx(48.1308, abs=1e-4))
    assert difference(a, a[:, 1:]) == (None, None)
