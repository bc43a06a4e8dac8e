"""Checkpoints of a run: written aside and renamed, the last K kept, resumed from the newest."""

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tubelet import __version__, checkpoint
from tubelet.checkpoint import Part
from tubelet.errors import InputError

if TYPE_CHECKING:
    from tubelet.training.loop import State, Task

FREE = (
    "out",
    "resume_from",
    "schedule",
    "workers",
    "keep",
    "compile",
    "device",
)  # fields of the loop a branch may change


class Saver:
    """The checkpoints of one run in `folder`: step-NNNNNNN (whole state) and final (averaged weights, bf16)."""

    def __init__(self, folder: Path, run: dict[str, Any], keep: int, resume_from: str | None):
        self.folder, self.run, self.keep, self.resume_from = folder, run, keep, resume_from

    def steps(self) -> list[Path]:
        """Folders of checkpoints, oldest first."""
        return sorted(p for p in self.folder.glob("step-*") if re.fullmatch(r"step-\d{7,}", p.name))

    def resume(self, state: "State") -> None:
        """Continue from the newest checkpoint of the folder, else from `resume_from`, else from nothing."""
        found = self.steps()
        source = found[-1] if found else self.resume_from
        if source is None:
            return
        saved = checkpoint.load(source)
        if "training" not in saved.parts:
            raise InputError(f"{source} holds no training state; give --loop.resume-from a step-* folder")
        part = saved.parts["training"]
        difference = differing(meaning(part.config["run"]), meaning(self.run))
        if difference:
            raise InputError(
                f"{source} was trained with another {difference}; give a new folder with --loop.out, or the old value"
            )
        weights = taken(part.tensors, "weights.")
        state.model.load_state_dict(weights)
        state.average.load(taken(part.tensors, "average."))
        state.optimizers.load_state_tensors(taken(part.tensors, "optimizer."))
        state.step = part.config["step"]

    def save(self, state: "State", task: "Task") -> None:
        """The whole state and, beside it, what others need to use the averaged weights."""
        from tubelet.training.loop import averaged

        with averaged(state):  # copies: outside, the same tensors hold the weights that are being trained
            parts = {name: copied(part) for name, part in task.parts().items()}
        tensors = {
            **{f"weights.{name}": value for name, value in state.model.state_dict().items()},
            **{f"average.{name}": value for name, value in state.average.tensors().items()},
            **{f"optimizer.{name}": value for name, value in state.optimizers.state_tensors().items()},
        }
        parts["training"] = Part({"step": state.step, "run": self.run}, tensors)
        checkpoint.save(self.folder / f"step-{state.step:07d}", parts, index_of(parts))
        for old in self.steps()[: -self.keep]:
            shutil.rmtree(old)

    def finish(self, task: "Task") -> Path:
        """The model as it stands (averaged) in bf16, in `final`; returns that folder."""
        parts = {name: Part(part.config, in_bf16(part.tensors)) for name, part in task.parts().items()}
        checkpoint.save(self.folder / "final", parts, index_of(parts))
        return self.folder / "final"


def index_of(parts: dict[str, Part]) -> dict[str, Any]:
    """The model_index.json of these parts."""
    return {"library": "tubelet", "version": __version__, "parts": sorted(parts)}


def copied(part: Part) -> Part:
    """A part whose tensors nobody changes afterwards."""
    return Part(part.config, {name: tensor.detach().clone() for name, tensor in part.tensors.items()})


def in_bf16(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of two dimensions or more in bf16 (they are most of the size); the rest as it is."""
    return {
        name: t.bfloat16() if t.dtype == torch.float32 and t.ndim > 1 else t for name, t in tensors.items()
    }


def taken(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, without it."""
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def meaning(run: dict[str, Any]) -> dict[str, Any]:
    """The fields of a run that change what is learnt at a step, flat."""
    flat: dict[str, Any] = {}

    def walk(values: dict[str, Any], where: str) -> None:
        for key, value in values.items():
            if where == "loop." and (key in FREE or key.endswith("_every")):
                continue
            if isinstance(value, dict):
                walk(value, f"{where}{key}.")
            else:
                flat[where + key] = value

    walk(run, "")
    return flat


def differing(one: dict[str, Any], other: dict[str, Any]) -> str:
    """The first key in which two runs differ, "" if none does."""
    return next((key for key in sorted(one | other) if one.get(key) != other.get(key)), "")
