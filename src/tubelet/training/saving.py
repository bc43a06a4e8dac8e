"""Checkpoints of a run: written aside and renamed, the last K kept, resumed from the newest that is whole."""

import errno
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tubelet import __version__, checkpoint
from tubelet.checkpoint import Checkpoint, Part
from tubelet.errors import InputError
from tubelet.training.build import breaks, build, told
from tubelet.training.config import CodecRun, DenoiserRun, from_dict, to_dict
from tubelet.training.log import Log

if TYPE_CHECKING:
    from tubelet.training.loop import State, Task

FREE = (
    "out",
    "resume_from",
    "schedule",
    "workers",
    "keep",
    "keep_at",
    "save_minutes",
    "compile",
    "activation_checkpointing",
    "device",
)  # of the loop: a branch may change them
LARGEST = 1.8e19  # the square root of what float32 can hold
PATHS = ("codec", "cache", "data.folder")  # what lies there is compared instead


class Saver:
    """The checkpoints of one run: step-NNNNNNN (whole state) and final (averaged weights, bf16) in `loop.out`.

    `breaks` lists what changed of the build, and at which step, since the run began: while it is empty, the run is what
    an uninterrupted one would be, bit for bit. Every checkpoint repeats it. `content` is what the task learns from, as
    hashes: a path may lead to something else tomorrow.
    """

    def __init__(self, run: CodecRun | DenoiserRun, log: Log, content: dict[str, str]):
        loop = run.loop
        self.folder, self.resume_from = Path(loop.out), loop.resume_from
        self.keep, self.keep_at = loop.keep, {f"step-{step:07d}" for step in loop.keep_at}
        self.kind, self.run = type(run), to_dict(run)
        self.log, self.content, self.build = log, content, build(loop)
        self.breaks: list[dict[str, Any]] = []

    def steps(self) -> list[Path]:
        """Folders of checkpoints, oldest first."""
        found = [p for p in self.folder.glob("step-*") if re.fullmatch(r"step-\d{7,}", p.name)]
        return sorted(found, key=lambda p: int(p.name.removeprefix("step-")))

    def resume(self, state: "State", task: "Task") -> None:
        """Continue from the newest whole checkpoint of the folder, else from `resume_from`, else from nothing."""
        if self.steps():
            source, saved = self.newest_whole()
        elif self.resume_from is not None:
            source, saved = Path(self.resume_from), sound(Path(self.resume_from))
        else:
            return
        if "training" not in saved.parts:
            raise InputError(f"{source} holds no training state; give --loop.resume-from a step-* folder")
        part = saved.parts["training"]
        content = part.config.get("content", self.content)  # older checkpoints do not say
        # Read as a run, so that fields which are newer than the checkpoint have their defaults.
        before = to_dict(from_dict(self.kind, part.config["run"]))
        difference = differing(meaning(before) | content, meaning(self.run) | self.content)
        if difference:
            raise InputError(
                f"{source} was trained with another {difference}; give a new folder with --loop.out, or the old value"
            )
        weights = taken(part.tensors, "weights.")
        state.model.load_state_dict(weights)
        state.average.load(taken(part.tensors, "average."))
        state.optimizers.load_state_tensors(taken(part.tensors, "optimizer."))
        state.step = part.config["step"]
        for name, tensor in task.tensors().items():
            tensor.copy_(part.tensors[f"task.{name}"])
        self.compare_build(part.config)

    def newest_whole(self) -> tuple[Path, Checkpoint]:
        """The newest checkpoint that is undamaged. Newer ones are set aside and named; InputError when none is left."""
        damaged: dict[Path, str] = {}
        for folder in reversed(self.steps()):
            try:
                saved = sound(folder)
            except InputError as error:
                damaged[folder] = str(error).rpartition("; ")[0]  # without the remedy: here we are the remedy
            except OSError as error:
                if error.errno != errno.EIO:  # a disk that cannot read it back
                    raise
                damaged[folder] = str(error)
            else:
                for bad, why in damaged.items():
                    aside = set_aside(bad)
                    self.log.event("damaged", checkpoint=bad.name, now=aside.name, why=why)
                    self.log.say(f"{why}; set aside as {aside.name}, going on from {folder.name}")
                return folder, saved
        raise InputError(
            f"no checkpoint in {self.folder} is whole: {'; '.join(damaged.values())}. Put a copy of one in its place; "
            "or move them elsewhere to begin anew, or begin in another folder with --loop.out"
        )

    def compare_build(self, saved: dict[str, Any]) -> None:
        """Take over the breaks of a checkpoint's training part; add and announce those between its build and ours."""
        found = breaks(saved["step"], saved.get("build"), self.build)
        self.breaks = [*saved.get("breaks", []), *found]
        if found:
            self.log.event("inexact", step=saved["step"], breaks=found)
            self.log.say(told(found))

    def save(self, state: "State", task: "Task") -> None:
        """The whole state and, beside it, what others need to use the averaged weights."""
        from tubelet.training.loop import averaged

        with averaged(state):  # copies: outside, the same tensors hold the weights that are being trained
            parts = {name: copied(part) for name, part in task.parts().items()}
        tensors = {
            **{f"weights.{name}": value for name, value in state.model.state_dict().items()},
            **{f"average.{name}": value for name, value in state.average.tensors().items()},
            **{f"optimizer.{name}": value for name, value in state.optimizers.state_tensors().items()},
            **{f"task.{name}": value for name, value in task.tensors().items()},
        }
        if name := spoilt(tensors):
            raise InputError(
                f"{name} is beyond all bounds after step {state.step}; nothing was saved, and the last checkpoint is "
                "unharmed: begin anew in another folder (--loop.out) with a lower --loop.optimizer.rate"
            )
        config = {"step": state.step, "run": self.run, "content": self.content, "build": self.build}
        config |= self.exactness()
        parts["training"] = Part(config, tensors)
        checkpoint.save(self.folder / f"step-{state.step:07d}", parts, self.index_of(parts))
        for old in [step for step in self.steps() if step.name not in self.keep_at][: -self.keep]:
            removing = old.with_name(f".{old.name}.removing")  # half a checkpoint must not look like one
            shutil.rmtree(removing, ignore_errors=True)
            os.rename(old, removing)
            shutil.rmtree(removing)

    def finish(self, task: "Task") -> Path:
        """The model as it stands (averaged) in bf16, in `final`; returns that folder."""
        parts = {name: Part(part.config, in_bf16(part.tensors)) for name, part in task.parts().items()}
        checkpoint.save(self.folder / "final", parts, self.index_of(parts))
        return self.folder / "final"

    def exactness(self) -> dict[str, Any]:
        """Whether an uninterrupted run would have the same bits, and if not, since when and why."""
        return {"exact": not self.breaks, "breaks": self.breaks}

    def index_of(self, parts: dict[str, Part]) -> dict[str, Any]:
        """The model_index.json of these parts."""
        return {
            "library": "tubelet",
            "version": __version__,
            "parts": sorted(parts),
            "training": self.exactness(),
        }


def sound(folder: Path) -> Checkpoint:
    """A checkpoint that one can train on from: whole, and with numbers in it. InputError for others."""
    saved = checkpoint.load(folder)
    if "training" in saved.parts and (name := spoilt(saved.parts["training"].tensors)):
        raise InputError(
            f"{folder} is spoilt: {name} is not finite, or beyond all bounds; take an earlier step"
        )
    return saved


def spoilt(tensors: dict[str, Tensor]) -> str:
    """The first tensor with a value that is not finite, or too large for its square to be; "" where there is none."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.numel() and not tensor.detach().abs().amax() < LARGEST:
            return name
    return ""


def set_aside(folder: Path) -> Path:
    """Rename step-N to damaged-step-N, with a number behind it where that is taken; returns the new path."""
    numbered = (
        folder.with_name(f"damaged-{folder.name}{end}") for end in ["", *(f"-{n}" for n in range(2, 10_000))]
    )
    aside = next(path for path in numbered if not path.exists())
    os.rename(folder, aside)
    return aside


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
            if where + key in PATHS and isinstance(value, str | None):
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
