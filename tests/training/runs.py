"""Runs of a size for tests: a few steps of a tiny codec or denoiser, in this process or in one of its own."""

import json
from pathlib import Path

import torch

from tubelet import checkpoint
from tubelet.autoencoder.codec import CodecConfig
from tubelet.data.source import DataConfig
from tubelet.model.transformer import TransformerConfig
from tubelet.training.codec_task import CodecTask
from tubelet.training.config import CodecRun, DenoiserRun, LoopConfig, to_dict
from tubelet.training.denoiser_task import DenoiserTask
from tubelet.training.log import Log
from tubelet.training.loop import train
from tubelet.training.optim import Schedule
from tubelet.worlds.shapes.config import ShapesConfig

DATA = DataConfig(world=ShapesConfig(num_frames=5, height=32, width=32), clips=12, held_out=4)
CODEC = CodecConfig(latent_channels=4, widths=(8, 16), encoder_depths=(1, 1), decoder_depths=(1, 1))
MODEL = TransformerConfig(latent_channels=4, width=32, depth=2, heads=2, text_width=128)


def loop_of(out: Path, steps: int, **changes) -> LoopConfig:
    values = {
        "schedule": Schedule(steps=steps, warm_up=1),
        "batch_size": 4,
        "compile": False,
        "save_every": 2,
        "held_out_every": 2,
        "preview_every": 4,
        "log_every": 1,
    }
    return LoopConfig(out=str(out), **{**values, **changes})


def codec_run(out: Path, steps: int, **changes) -> CodecRun:
    return CodecRun(loop=loop_of(out, steps, **changes), data=DATA, codec=CODEC, pca_clips=8)


def denoiser_run(out: Path, steps: int, codec: Path, cache: Path, **changes) -> DenoiserRun:
    return DenoiserRun(
        loop=loop_of(out, steps, **changes), data=DATA, codec=str(codec), text="bytes", captions=2, cache=str(cache),
        model=MODEL,
    )  # fmt: skip


def go(run: CodecRun | DenoiserRun) -> Path:
    log = Log(Path(run.loop.out))
    task = CodecTask(run, log) if isinstance(run, CodecRun) else DenoiserTask(run, log)
    return train(task, run, log)


def write_toml(run: CodecRun | DenoiserRun, file: Path) -> Path:
    """A config file that reads as `run`; None, which TOML cannot say, is the default of every field it is in."""

    def table(values: dict, where: str) -> list[str]:
        plain = {
            key: value for key, value in values.items() if not isinstance(value, dict) and value is not None
        }
        lines = [f"[{where}]"] if where else []
        lines += [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
        for key, value in values.items():
            if isinstance(value, dict):
                lines += table(value, f"{where}.{key}" if where else key)
        return lines

    file.write_text("\n".join(table(to_dict(run), "")))
    return file


def state(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(folder).parts["training"].tensors


def same_bits(one: Path, other: Path) -> bool:
    """Whether two checkpoints hold the same tensors in all their parts."""
    a, b = (
        {(part, name): t for part, held in checkpoint.load(folder).parts.items() for name, t in held.tensors.items()}
        for folder in (one, other)
    )  # fmt: skip
    return a.keys() == b.keys() and len(a) > 10 and all(torch.equal(a[key], b[key]) for key in a)


def events(out: Path, kind: str) -> list[dict]:
    """Every event of a kind, repeated ones too."""
    lines = (json.loads(line) for line in (out / "log.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == kind]
