"""Does the device compute what the CPU does? One JSON line a question; exit code 1 where an answer is too far off.

    export PYTHONPATH=src:.gpu-bundle/site; python benchmarks/gpu/unpack.py .gpu-bundle
    python benchmarks/gpu/check.py --compile

Text states against the published ones; the shipped codec and denoiser in float32 and bf16, and gradients; the first
losses of one small run on the CPU and on the device, with the CPU's draws for both; a compiled step against the same
one uncompiled. An error is |device - cpu| / |cpu|.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import torch
from cut_text import NAME, CutMiniLM, register
from safetensors.torch import load_file
from torch import Tensor

from tubelet.data.source import DataConfig
from tubelet.model.transformer import TransformerConfig, VideoTransformer
from tubelet.shapes import Text
from tubelet.training.blocks import compiled as compile_blocks
from tubelet.training.blocks import released
from tubelet.training.config import DenoiserRun, LoopConfig
from tubelet.training.denoiser_task import DenoiserTask, codec_for
from tubelet.training.ema import Average
from tubelet.training.log import Log
from tubelet.training.loop import State, accumulate, moved
from tubelet.training.optim import Optimizers, Schedule
from tubelet.training.start import part_of
from tubelet.video import to_video
from tubelet.worlds.shapes.clips import ShapesClips
from tubelet.worlds.shapes.config import ShapesConfig

STEPS, BATCH, SHAPE, TOKENS = 12, 16, (16, 5, 8, 8), 20
Answer = tuple[str, float, float]  # what was asked, the error, the most it may be


def error(device: Tensor, cpu: Tensor) -> float:
    """|device - cpu| / |cpu|."""
    return float((device.detach().cpu().float() - cpu.float()).norm() / cpu.float().norm())


def text_states(bundle: Path, device: str) -> Iterator[Answer]:
    """The cut encoder on the device against the published states that the bundle carries."""
    captions = json.loads((bundle / "expected/captions.json").read_text("utf-8"))
    expected = load_file(bundle / "expected/states.safetensors")
    text = CutMiniLM(bundle / NAME, device).encode(captions)
    yield "text states, cut to 16 bits, against the published", error(text.tokens, expected["tokens"]), 1e-2


@torch.no_grad()
def codec(device: str) -> Iterator[Answer]:
    """The shipped codec there and back. Convolutions may use tf32 there."""
    clips = ShapesClips(ShapesConfig(), 8)
    video = to_video(torch.stack([clips.frames(i) for i in range(8)]))
    here, there = codec_for("default")[0], codec_for("default")[0].to(device)
    latents = here.encode(video).mean
    yield "codec, encoded", error(there.encode(video.to(device)).mean, latents), 5e-3
    with torch.autocast(device, dtype=torch.bfloat16):
        coarse = there.encode(video.to(device)).mean
    yield "codec, encoded in bf16", error(coarse, latents), 5e-2
    yield "codec, decoded", error(there.decode(latents.to(device)), here.decode(latents)), 5e-3


def shipped(device: str) -> VideoTransformer:
    """The denoiser that ships."""
    part = part_of("default", "transformer")
    model = VideoTransformer(TransformerConfig(**part.config))
    model.load_state_dict({name: value.float() for name, value in part.tensors.items()})
    return model.to(device)


def denoiser(device: str) -> Iterator[Answer]:
    """The shipped denoiser's prediction and gradient on random input."""
    source = torch.Generator().manual_seed(0)
    latents, target = (torch.randn(BATCH, *SHAPE, generator=source) for _ in range(2))
    t = torch.rand(BATCH, 1, 1, 1, 1, generator=source)
    lengths = torch.randint(1, TOKENS + 1, (BATCH, 1), generator=source)
    tokens = torch.randn(BATCH, TOKENS, 384, generator=source) / 3
    text = Text(tokens, torch.arange(TOKENS) < lengths, tokens.mean(1))
    batch = (latents, t, text)

    def run(where: str, bf16: bool) -> tuple[Tensor, Tensor]:
        model = shipped(where)
        with torch.autocast(where, dtype=torch.bfloat16, enabled=bf16):
            prediction = model(*moved(batch, where))
        (prediction.float() - target.to(where)).square().mean().backward()
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        return prediction.detach(), torch.cat(gradients).cpu()

    expected, gradient = run("cpu", False)
    for name, bf16, most in (("float32", False, 2e-3), ("bf16", True, 5e-2)):
        found, its_gradient = run(device, bf16)
        yield f"denoiser, prediction in {name}", error(found, expected), most
        yield f"denoiser, gradient in {name}", error(its_gradient, gradient), most


def small_task(folder: Path, device: str) -> DenoiserTask:
    """A few clips and a small model, float32."""
    loop = LoopConfig(
        out=str(folder / device), device=device, precision="float32", batch_size=BATCH, compile=False,
        schedule=Schedule(steps=STEPS, warm_up=2),
    )  # fmt: skip
    run = DenoiserRun(
        loop=loop, data=DataConfig(world=ShapesConfig(two_objects=0.0), clips=32, held_out=4), text=NAME,
        codec="default", cache=str(folder / "cache"), model=TransformerConfig(width=64, depth=2, heads=2),
    )  # fmt: skip
    return DenoiserTask(run, Log(Path(loop.out)))


def losses_of(task: DenoiserTask) -> list[float]:
    """Of the first steps, through the loop's own step."""
    loop = task.run.loop
    state = State(task.model, Average(task.model, loop.average), Optimizers(task.model, loop.optimizer))
    losses = []
    for step in range(STEPS):
        items = [task.fetch(number) for number in range(step * BATCH, (step + 1) * BATCH)]
        loss, *_ = accumulate(task, state, items, loop)
        state.optimizers.clip(loop.max_norm)
        state.optimizers.step(loop.schedule.factor(step))
        state.average.update(task.model, step)
        losses.append(float(loss))
    return losses


def training(device: str) -> Iterator[Answer]:
    """One small run, here and there."""
    with tempfile.TemporaryDirectory() as folder:
        here, there = (losses_of(small_task(Path(folder), where)) for where in ("cpu", device))
    print(json.dumps({"losses": {"cpu": here, device: there}}))
    yield f"losses of {STEPS} steps in float32", error(torch.tensor(there), torch.tensor(here)), 2e-2


def compiled(device: str) -> Iterator[Answer]:
    """Forward and backward of the loss on one batch with compiled blocks against the same without, in bf16."""
    with tempfile.TemporaryDirectory() as folder:
        task = small_task(Path(folder), device)
    for parameter in task.model.parameters():
        if not parameter.any():  # fresh gates are shut, and shut gates hide mistakes
            torch.nn.init.normal_(parameter, std=0.02)
    batch = moved(task.collate([task.fetch(number) for number in range(BATCH)]), device)
    gradients = []
    for prepare in (released, compile_blocks):
        prepare(task.blocks)
        task.model.zero_grad()
        with torch.autocast(device, dtype=torch.bfloat16):
            value, _ = task.loss(batch)
        value.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in task.model.parameters() if p.grad is not None]))
    yield "compiled, gradient in bf16", error(gradients[1], gradients[0].cpu()), 5e-2


def main() -> None:
    """Ask everything, print and keep the answers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=Path(".gpu-bundle"))
    parser.add_argument("--back", type=Path, default=Path(os.environ.get("OUT", "runs/gpu-back")))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--compile", action="store_true", help="also the compiled step (a minute)")
    options = parser.parse_args()
    device = options.device
    register(options.bundle)
    asked = {
        "text": lambda: text_states(options.bundle, device),
        "codec": lambda: codec(device),
        "denoiser": lambda: denoiser(device),
        "training": lambda: training(device),
        **({"compiled": lambda: compiled(device)} if options.compile else {}),
    }
    options.back.mkdir(parents=True, exist_ok=True)
    with (options.back / "check.jsonl").open("w") as file:
        lines = [line for name, answers in asked.items() for line in said(name, answers, file)]
    raise SystemExit(0 if all(line["ok"] for line in lines) else 1)


def said(name: str, answers: Callable[[], Iterator[Answer]], file: TextIO) -> list[dict[str, Any]]:
    """The answers as lines, written and printed as they come; what breaks off is a line too, and the rest goes on."""
    lines: list[dict[str, Any]] = []

    def say(line: dict[str, Any]) -> None:
        lines.append(line)
        for out in (file, None):
            print(json.dumps(line), file=out, flush=True)

    try:
        for question, found, most in answers():
            say({"asked": question, "error": found, "most": most, "ok": found <= most})
    except Exception as problem:
        say({"asked": name, "failed": f"{type(problem).__name__}: {str(problem)[:500]}", "ok": False})
    return lines


if __name__ == "__main__":
    main()
