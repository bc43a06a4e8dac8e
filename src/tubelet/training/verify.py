"""A check, on the user's machine and with the user's config, that a killed run goes on as if nothing had been."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tubelet import checkpoint
from tubelet.errors import InputError
from tubelet.training.batches import smaller
from tubelet.training.config import CodecRun, DenoiserRun, from_dict, to_dict
from tubelet.training.folder import sole_use
from tubelet.training.log import Log
from tubelet.training.loop import train
from tubelet.training.optim import Schedule

SAVED, KILLED, STEPS = 4, 5, 8  # the last save before the kill, the step it dies in, and the end
SCHEDULE = Schedule(steps=STEPS, warm_up=2, cool_down=3)  # cools down from step 5 on
EPOCH = 5  # steps an epoch has at most, so that one ends on the way
NAMED = 5  # differing tensors that are named

Run = CodecRun | DenoiserRun


def verify_resume(run: Run) -> bool:
    """Whether a few steps of `run` end in the same bits whole as killed and continued; says so, leaves nothing."""
    with tempfile.TemporaryDirectory(prefix="tubelet-verify-") as name:
        folder = Path(name)
        whole, cut = (shortened(run, folder, out) for out in ("whole", "cut"))
        print(f"1 of 3: {STEPS} steps without a stop", file=sys.stderr)
        leg(whole)
        print(f"2 of 3: the same, killed in step {KILLED}", file=sys.stderr)
        leg(cut, KILLED)
        print(f"3 of 3: from step {SAVED} on", file=sys.stderr)
        leg(cut)
        count, different = compared(state(folder / "whole"), state(folder / "cut"))
    print(verdict(count, different))
    return not different


def shortened(run: Run, folder: Path, out: str) -> Run:
    """A few steps of a run under `folder`, with as little as can be beside them: what is trained and how stays."""
    loop = dataclasses.replace(
        run.loop, out=str(folder / out), resume_from=None, schedule=SCHEDULE, log_every=1, save_every=SAVED,
        held_out_every=STEPS, preview_every=STEPS, keep=STEPS,
    )  # fmt: skip
    data = smaller(run.data, EPOCH * loop.batch_size)
    if isinstance(run, CodecRun):
        return dataclasses.replace(run, loop=loop, data=data, pca_clips=min(run.pca_clips, 32))
    # A folder of clips is encoded whole, and training will want it; a few clips of the world are nobody else's.
    cache = run.cache if data.folder is not None else str(folder / "cache")
    return dataclasses.replace(run, loop=loop, data=data, cache=cache)


def leg(run: Run, killed: int = 0) -> None:
    """Train in a fresh process, which dies in step `killed`; anything else must end well."""
    job = {"codec": isinstance(run, CodecRun), "run": to_dict(run), "killed": killed}
    command = [sys.executable, "-c", f"from {__name__} import work; work()"]
    code = subprocess.run(command, input=json.dumps(job), text=True).returncode
    if code == 2:  # it has said why
        raise SystemExit(2)
    if code in (0, 1) if killed else code != 0:
        raise RuntimeError(f"training for the check ended with exit code {code}")


class _Deadly(Log):
    """A log that kills its process when it is told of a certain step: no clean-up, no last words."""

    def __init__(self, folder: Path, step: int):
        super().__init__(folder)
        self.step = step

    def event(self, kind: str, **values: Any) -> None:
        super().event(kind, **values)
        if kind == "step" and values["step"] == self.step:
            os.kill(
                os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM)
            )  # both are final where they are used


def work() -> None:
    """What the process of a leg does; its job is on stdin."""
    from tubelet.training.codec_task import CodecTask
    from tubelet.training.denoiser_task import DenoiserTask

    job = json.load(sys.stdin)
    run = from_dict(CodecRun if job["codec"] else DenoiserRun, job["run"])
    try:
        with sole_use(Path(run.loop.out)):
            log = _Deadly(Path(run.loop.out), job["killed"])
            task = CodecTask(run, log) if isinstance(run, CodecRun) else DenoiserTask(run, log)
            train(task, run, log)
    except (InputError, OSError) as error:
        print(f"tubelet: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:  # the parent was interrupted too, and says so
        sys.exit(130)


def state(folder: Path) -> dict[str, Tensor]:
    """Every tensor of the last step-* and of final under a run's folder, by part."""
    found = {}
    for which in (f"step-{STEPS:07d}", "final"):
        for part, held in checkpoint.load(folder / which).parts.items():
            prefix = "" if part == "training" else f"{which}.{part}."
            found |= {f"{prefix}{name}": tensor for name, tensor in held.tensors.items()}
    return found


def compared(one: dict[str, Tensor], other: dict[str, Tensor]) -> tuple[int, list[str]]:
    """How many tensors there are, and what to say of each that is not the same bits in both."""
    names = sorted(one | other)
    return len(names), [said for name in names if (said := difference(name, one.get(name), other.get(name)))]


def difference(name: str, one: Tensor | None, other: Tensor | None) -> str:
    """How far apart two tensors are, "" when they are the same bits."""
    if one is None or other is None or one.shape != other.shape or one.dtype != other.dtype:
        return f"{name} is there in one only, or of another shape"
    if torch.equal(bits(one), bits(other)):
        return ""
    apart = (one.double() - other.double()).abs()
    return (
        f"{name} by up to {float(apart.max()):.3g} in {int((apart != 0).sum()):,} of {one.numel():,} values"
    )


def bits(tensor: Tensor) -> Tensor:
    """The bytes of a tensor: NaN equals itself there, and 0 is not -0."""
    return tensor.contiguous().flatten().view(torch.uint8)


def verdict(count: int, different: list[str]) -> str:
    """What to tell the user."""
    how = f"after {STEPS} steps, killed (kill -9) in step {KILLED} and continued from step {SAVED}"
    if not different:
        return f"resume is exact: {count} tensors of weights, average, optimizer and final are the same bits {how}"
    rest = [f"and {len(different) - NAMED} more"] if len(different) > NAMED else []
    rows = "\n  ".join([*different[:NAMED], *rest])
    return f"resume is NOT exact: {len(different)} of {count} tensors differ {how}:\n  {rows}"
