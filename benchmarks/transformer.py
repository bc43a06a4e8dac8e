"""The denoiser against diffusers' video transformers of the same width, depth, heads and tokens, side by side.

    python benchmarks/transformer.py [--shape latte shipped] [--mode eager compiled] [--checkpointing selective]
        [--threads 1 --clock cpu]

Latte takes turns between space and time, so it meets `space_then_time`; its --depth counts both kinds of blocks, and
those of time do not read the prompt, as ours do. CogVideoX attends jointly to prompt and video and meets `joint`. All
run under bfloat16 autocast, forward alone and forward with backward, in turn, and the best of --rounds counts. When
compiled, ours is by blocks, as training has it, and theirs whole. The matrix rate is measured between them; peak memory
in a process of each one's own, above what it held before the model. Prints a JSON line for each.
"""

import argparse
import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matrix_rate import matrix_rate
from torch import Tensor, nn
from train_step import CLOCKS, awake

from tubelet.model.cost import flops
from tubelet.model.transformer import TransformerConfig, VideoTransformer
from tubelet.shapes import Text
from tubelet.training.blocks import CHECKPOINTING, checkpointed, compiled

TEXT_TOKENS, TEXT_WIDTH = 16, 384


@dataclass(frozen=True)
class Shape:
    """Latents (C, f, h, w) in tubelets of 1 x 2 x 2, a batch of them, and the size of the transformer."""

    latents: tuple[int, int, int, int]
    batch: int
    width: int
    depth: int
    heads: int


SHAPES = {
    "latte": Shape((4, 16, 32, 32), 1, 384, 12, 6),  # Latte-S/2: 4,096 tokens
    "shipped": Shape((16, 5, 8, 8), 32, 256, 8, 4),  # 80 tokens
}


def ours(shape: Shape, folding: str) -> tuple[nn.Module, Callable[[nn.Module, dict[str, Tensor]], Tensor]]:
    """tubelet's transformer, and how it is called."""
    config = TransformerConfig(
        latent_channels=shape.latents[0], width=shape.width, depth=shape.depth, heads=shape.heads, tubelet=(1, 2, 2),
        attention=(folding,), text_width=TEXT_WIDTH,
    )  # fmt: skip
    mask = torch.ones(shape.batch, TEXT_TOKENS, dtype=torch.bool)

    def call(model: nn.Module, given: dict[str, Tensor]) -> Tensor:
        text = Text(given["text"], mask.to(given["text"].device), given["text"].mean(1))
        return model(given["latents"], given["t"].view(-1, 1, 1, 1, 1), text)

    return VideoTransformer(config), call


def latte(shape: Shape) -> tuple[nn.Module, Callable[[nn.Module, dict[str, Tensor]], Tensor]]:
    """diffusers' Latte: half of the blocks over space, half over time."""
    from diffusers import LatteTransformer3DModel

    channels, frames, size, _ = shape.latents
    model = LatteTransformer3DModel(
        num_attention_heads=shape.heads, attention_head_dim=shape.width // shape.heads, in_channels=channels,
        out_channels=channels, num_layers=shape.depth // 2, cross_attention_dim=shape.width, attention_bias=True,
        sample_size=size, patch_size=2, activation_fn="gelu-approximate", num_embeds_ada_norm=1000,
        norm_type="ada_norm_single", norm_elementwise_affine=False, norm_eps=1e-6, caption_channels=TEXT_WIDTH,
        video_length=frames,
    )  # fmt: skip

    def call(model: nn.Module, given: dict[str, Tensor]) -> Tensor:
        return model(given["latents"], 1000 * given["t"], given["text"], return_dict=False)[0]

    return model, call


def cogvideox(shape: Shape) -> tuple[nn.Module, Callable[[nn.Module, dict[str, Tensor]], Tensor]]:
    """diffusers' CogVideoX: prompt and video in one sequence, every token sees every other."""
    from diffusers import CogVideoXTransformer3DModel

    channels, frames, size, _ = shape.latents
    model = CogVideoXTransformer3DModel(
        num_attention_heads=shape.heads, attention_head_dim=shape.width // shape.heads, in_channels=channels,
        out_channels=channels, text_embed_dim=TEXT_WIDTH, num_layers=shape.depth, sample_width=size,
        sample_height=size, sample_frames=4 * (frames - 1) + 1, patch_size=2, max_text_seq_length=TEXT_TOKENS,
    )  # fmt: skip

    def call(model: nn.Module, given: dict[str, Tensor]) -> Tensor:
        frames_first = given["latents"].transpose(1, 2)
        return model(frames_first, given["text"], 1000 * given["t"], return_dict=False)[0].transpose(1, 2)

    return model, call


MODELS: dict[str, Callable[[Shape], Any]] = {
    "tubelet space_then_time": lambda shape: ours(shape, "space_then_time"),
    "diffusers Latte": latte,
    "tubelet joint": lambda shape: ours(shape, "joint"),
    "diffusers CogVideoX": cogvideox,
}
PEERS = {"diffusers Latte": "tubelet space_then_time", "diffusers CogVideoX": "tubelet joint"}


def step_of(name: str, shape: Shape, options: argparse.Namespace) -> Callable[[bool], None]:
    """A function that runs a model once on random input, with backward or without."""
    torch.manual_seed(0)
    model, call = MODELS[name](shape)
    model = awake(model).to(options.device)
    run = model
    if isinstance(model, VideoTransformer):
        checkpointed(model.blocks, options.checkpointing)
    if options.compiled and isinstance(model, VideoTransformer):
        compiled(model.blocks)  # as training has it
    elif options.compiled:
        run = torch.compile(model, dynamic=False)
    given = {
        "latents": torch.randn(shape.batch, *shape.latents, device=options.device),
        "t": torch.rand(shape.batch, device=options.device),
        "text": torch.randn(shape.batch, TEXT_TOKENS, TEXT_WIDTH, device=options.device),
    }

    def step(backward: bool) -> None:
        with torch.set_grad_enabled(backward), torch.autocast(options.device, dtype=torch.bfloat16):
            out = call(run, given)
        if backward:
            out.float().square().mean().backward()
            model.zero_grad()
        if options.device == "cuda":
            torch.cuda.synchronize()

    return step


def peak_mib(name: str, shape: str, options: argparse.Namespace) -> int:
    """Peak memory of a forward with backward above what the process held before it, in a process of its own."""
    command = [sys.executable, __file__, "--shape", shape, "--device", options.device, "--memory-of", name]
    command += [
        "--threads",
        str(options.threads),
        *(["--mode", "compiled"] if options.compiled else ["--mode", "eager"]),
        "--checkpointing",
        options.checkpointing,
    ]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def print_memory(name: str, shape: Shape, options: argparse.Namespace) -> None:
    """Peak memory of a step, in MiB, above what the process held before the model was made; the first steps compile."""
    before = held("VmRSS")
    step = step_of(name, shape, options)
    for _ in range(2):
        step(True)
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step(True)
        print(torch.cuda.max_memory_allocated() >> 20)
        return
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what compiling left
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    step(True)
    print(held("VmHWM") - before)


def held(what: str) -> int:
    """A line of the process's status, in MiB: VmRSS is held now, VmHWM was the most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith(what))


def compare(shape_name: str, options: argparse.Namespace) -> None:
    """Time all models of a shape in turn and print a line for each."""
    shape, clock = SHAPES[shape_name], CLOCKS[options.clock]
    steps = {name: step_of(name, shape, options) for name in MODELS}
    best = {(name, backward): float("inf") for name in MODELS for backward in (False, True)}
    rate = 0.0
    for number in range(options.rounds + 1):
        if options.device == "cpu":
            rate = max(rate, matrix_rate(torch.bfloat16, seconds=0.2, clock=clock))
        for name, backward in best:
            start = clock()
            steps[name](backward)
            if number:  # the first warms up, or compiles
                best[name, backward] = min(best[name, backward], clock() - start)
    for name in MODELS:
        line = {"shape": shape_name, "model": name, "compiled": options.compiled, "device": options.device}
        line |= {"forward_s": round(best[name, False], 4), "both_s": round(best[name, True], 4)}
        if name in PEERS:
            line["tubelet_is_faster_by"] = round(best[name, True] / best[PEERS[name], True], 3)
            line["forward_by"] = round(best[name, False] / best[PEERS[name], False], 3)
        else:
            model, _ = MODELS[name](shape)
            work = 3 * shape.batch * flops(model.config, shape.latents, TEXT_TOKENS)
            line |= {
                "checkpointing": options.checkpointing,
                "tflops": round(work / best[name, True] / 1e12, 3),
                "of_matrix_rate": round(work / best[name, True] / rate, 3) if rate else None,
            }
        print(json.dumps({**line, "peak_mib": peak_mib(name, shape_name, options)}), flush=True)


def main() -> None:
    """Compare every shape and mode asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--mode", nargs="+", choices=("eager", "compiled"), default=["eager", "compiled"])
    parser.add_argument("--checkpointing", choices=CHECKPOINTING, default="none", help="of ours")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--memory-of", choices=MODELS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for mode in options.mode:
        options.compiled = mode == "compiled"
        for shape in options.shape:
            if options.memory_of:
                print_memory(options.memory_of, SHAPES[shape], options)
            else:
                compare(shape, options)


if __name__ == "__main__":
    main()
