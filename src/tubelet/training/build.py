"""Where a run computes: what the bits of a step depend on besides the run itself."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tubelet import __version__
from tubelet.training.blocks import can_compile
from tubelet.training.config import LoopConfig


def build(loop: LoopConfig) -> dict[str, Any]:
    """Versions, threads, processor, device and compiler, as plain values.

    numpy draws and av decodes; Python itself computes nothing, and `workers` only changes who fetches a sample.
    """
    return {
        "tubelet": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "av": installed("av"),
        "threads": torch.get_num_threads(),
        "cpu": f"{processor()}, {torch.backends.cpu.get_cpu_capability()}",
        "device": torch.cuda.get_device_name() if loop.device == "cuda" else "cpu",
        "float32_matmul": torch.get_float32_matmul_precision(),
        "compile": compiler(loop) if loop.compile else "off",
    }


def installed(package: str) -> str:
    """A package's version, "" where it is absent: clips of the procedural world are trained on without av."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def compiler(loop: LoopConfig) -> str:
    """What is compiled and kept, and the first line of `g++ --version`: all decide bits. "off" without g++."""
    if not can_compile():
        return "off"
    said = subprocess.run(["g++", "--version"], capture_output=True, text=True).stdout.splitlines()
    return f"blocks, checkpointing {loop.activation_checkpointing}, {said[0] if said else 'g++'}"


def processor() -> str:
    """The processor's name: kernels are chosen by more of it than its vector width."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def breaks(step: int, was: dict[str, Any] | None, now: dict[str, Any]) -> list[dict[str, Any]]:
    """What of the build has changed at `step`, one dict of step, what, was and is each; `was` None is not recorded."""
    if was is None:
        return [{"step": step, "what": "build", "was": "not recorded", "is": now}]
    return [
        {"step": step, "what": what, "was": was.get(what), "is": now.get(what)}
        for what in sorted(was | now)
        if was.get(what) != now.get(what)
    ]


def told(found: list[dict[str, Any]]) -> str:
    """Breaks of one step on one line."""
    changes = [
        "the checkpoint does not say what it was made with"
        if row["what"] == "build"
        else f"{row['what']} was {row['was']}, is {row['is']}"
        for row in found
    ]
    return f"from step {found[0]['step']} on this run is no longer exact: {'; '.join(changes)}"
