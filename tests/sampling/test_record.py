"""The record in a file's metadata: what a stranger may have written is read, or refused by name."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tubelet.errors import InputError
from tubelet.sampling import record
from tubelet.sampling.record import KEY, Record, read_record, sha256_of
from tubelet.video import WRITERS, write_video

FRAMES = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)


@pytest.fixture
def good(pipe) -> Record:
    recipe = pipe(["a", "b"], seed=0, num_inference_steps=1, output_type="latent").recipe
    return Record.of(recipe, 1, FRAMES, 8.0, ".png")


@pytest.fixture
def read(good, tmp_path, monkeypatch):
    """(fields) -> what is read where these fields of a good record are changed."""
    (tmp_path / "a.png").touch()

    def reading(**fields) -> Record:
        text = json.dumps(json.loads(good.metadata()[KEY]) | fields)
        monkeypatch.setattr(record, "read_metadata", lambda _: {KEY: text})
        return read_record(tmp_path / "a.png")

    return reading


def with_recipe(path: Path, text: str) -> Path:
    write_video(path, torch.zeros(1, 8, 8, 3, dtype=torch.uint8), metadata={KEY: text})
    return path


def test_a_record_is_read_as_it_was_written(good, read, tmp_path):
    assert read() == good
    for suffix in WRITERS:
        write_video(tmp_path / f"b{suffix}", FRAMES, metadata=good.metadata())
        assert read_record(tmp_path / f"b{suffix}") == good


def test_a_record_holds_all_that_decides_a_video(good):
    assert set(json.loads(good.metadata()[KEY])) == set(record.FIELDS)
    lacking = [name for name, value in json.loads(good.metadata()[KEY]).items() if value is None]
    assert lacking == ["weaker"]
    assert good.frames_sha256 == hashlib.sha256(bytes(2 * 8 * 8 * 3)).hexdigest()


def test_the_hash_is_that_of_the_frames_wherever_they_lie():
    frames = torch.arange(4 * 24, dtype=torch.uint8).view(4, 2, 4, 3)
    assert sha256_of(frames[1:3]) == sha256_of(frames[1:3].clone()) != sha256_of(frames[:2])
    assert sha256_of(frames.permute(0, 2, 1, 3)) == sha256_of(frames.permute(0, 2, 1, 3).contiguous())


def test_every_field_can_be_anything_and_none_is_a_bug(read):
    for name in record.FIELDS:
        for value in (None, [], {}, "", "x", -1, 2**70, 1e308, True, [[]], [None], {"a": [1]}):
            try:
                read(**{name: value})
            except InputError as error:
                assert "a.png: its recipe cannot be used: " in str(error)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"lora": "x" * 99}, r"does not know \['lora'\].*tubelet 0"),
        ({"height": "64"}, "height is '64', expected a whole number"),
        ({"height": True}, "height is True"),
        ({"num_inference_steps": 10**9}, "num_inference_steps is 1000000000, expected .* to 10000"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan"),
        ({"guidance_scale": 10**400}, r"guidance_scale is 1000.*\.\.\."),
        ({"keys": [[-1], [0]]}, "keys is"),
        ({"keys": [[0]]}, r"video 1 of \{'prompts': 2, 'negative_prompts': 2, 'keys': 1\}"),
        ({"compositions": [[]]}, r"'compositions': 1\}"),
        (
            {"compositions": [[["a", 2]], []]},
            r"compositions is \[\[\['a', 2\]\], \[\]\], expected .* from -1 to 1",
        ),
        ({"compositions": [[["a", -1], ["b", -1]], []]}, "--compose: the weights sum to -2"),
        ({"compositions": [[["a", 0.1]] * 5, []]}, "--compose: 5 further prompts"),
        ({"guidance_interval": [0.5]}, r"guidance_interval is \[0.5\], expected two times"),
        ({"guidance_interval": [0.5, 0.2]}, "--guidance-interval must be"),
        ({"guidance_rescale": 2}, "guidance_rescale is 2, expected a number from 0 to 1"),
        ({"guidance_momentum": "x"}, "guidance_momentum is 'x'"),
        ({"weaker": "../x"}, "weaker is"),
        ({"weaker": "ab" * 32, "negative_prompts": ["a", ""]}, "--negative-prompt and --weaker"),
        ({"video": 2}, "video 2 of"),
        ({"prompts": []}, "prompts is"),
        ({"prompts": "a"}, "prompts is"),
        ({"checkpoint": "../x"}, "checkpoint is"),
        ({"version": "\x1b[2J"}, r"version is '\\x1b"),
        ({"threads": 0}, "threads is 0"),
        ({"batch": None}, "batch is missing"),
        ({"fps": "fast"}, "fps is 'fast'"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused_by_field(read, fields, words):
    with pytest.raises(InputError, match=rf"a\.png: .*{words}") as raised:
        read(**fields)
    assert "\x1b" not in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"prompts": ["a"', "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("1" * 5000, "no JSON"),
        ("[]", "no JSON object"),
        ("{}", "prompts is missing"),
        ('"' + "a" * 2**20 + '"', "1,048,578 characters"),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".png"])
def test_a_damaged_recipe_is_refused(tmp_path, text, words, suffix):
    with pytest.raises(InputError, match=rf"a{suffix}.*{words}"):
        read_record(with_recipe(tmp_path / f"a{suffix}", text))


def test_files_without_a_recipe_are_refused(tmp_path):
    for suffix in WRITERS:
        write_video(tmp_path / f"a{suffix}", FRAMES)
        with pytest.raises(InputError, match="carries no recipe; only videos written by tubelet do"):
            read_record(tmp_path / f"a{suffix}")
        (tmp_path / f"b{suffix}").write_text("not a video")
        with pytest.raises(InputError, match=rf"b{suffix} is not a readable"):
            read_record(tmp_path / f"b{suffix}")
        with pytest.raises(InputError, match="no such file"):
            read_record(tmp_path / f"c{suffix}")
    (tmp_path / "a.mkv").touch()
    with pytest.raises(InputError, match=r"'\.mkv'; give a \.mp4"):
        read_record(tmp_path / "a.mkv")


WRITE = """
import hashlib, sys, torch
from tubelet.video import read_video, write_video

def written(file):
    for size in (16, 16), (24, 36), (64, 64), (64, 80), (256, 272):
        torch.manual_seed(0)
        frames = torch.randint(256, (5, *(side // 4 for side in size), 3), dtype=torch.uint8)
        write_video(file, frames.repeat_interleave(4, 1).repeat_interleave(4, 2))
        yield hashlib.sha256(open(file, "rb").read() + read_video(file).frames.numpy().tobytes()).hexdigest()

said = list(written(sys.argv[1]))
"""


def test_what_lay_in_memory_before_does_not_enter_an_mp4(tmp_path, monkeypatch):
    """glibc fills fresh memory with the pattern; elsewhere the two runs are merely equal."""
    file = str(tmp_path / "a.mp4")
    command = [sys.executable, "-c", f"{WRITE}print(*said)", file]
    environment = os.environ | {"MALLOC_PERTURB_": "85"}
    other = subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout.split()
    monkeypatch.setattr(sys, "argv", ["", file])
    values: dict = {}
    with torch.random.fork_rng():
        exec(WRITE, values)
    assert values["said"] == other and len(other) == 5
