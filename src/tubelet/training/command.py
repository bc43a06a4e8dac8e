"""What `tubelet train` and `tubelet train-codec` call."""

import re
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import tyro

from tubelet.errors import InputError
from tubelet.training.config import CodecRun, DenoiserRun, read_run
from tubelet.training.folder import sole_use
from tubelet.training.log import Log
from tubelet.training.loop import Task, train
from tubelet.worlds import WorldConfig

Run = TypeVar("Run", CodecRun, DenoiserRun)

VERIFY = "--verify-resume"
VERIFY_HELP = f"""{VERIFY} trains nothing. It checks on this machine that a run of CONFIG survives kill -9 bit for bit,
with a few of its steps in a temporary folder, and exits with 0 if it does, with 2 if not."""


def train_codec(arguments: list[str]) -> None:
    """CONFIG and flags -> a trained codec in loop.out."""
    from tubelet.training.codec_task import CodecTask

    _train(CodecRun, CodecTask, arguments, "tubelet train-codec")


def train_denoiser(arguments: list[str]) -> None:
    """CONFIG and flags -> a trained pipeline in loop.out."""
    from tubelet.training.denoiser_task import DenoiserTask

    _train(DenoiserRun, DenoiserTask, arguments, "tubelet train")


def _train(kind: type[Run], make: Callable[[Run, Log], Task], arguments: list[str], name: str) -> None:
    run = run_of(kind, [word for word in arguments if word != VERIFY], name)
    if VERIFY in arguments:
        from tubelet.training.verify import verify_resume

        raise SystemExit(0 if verify_resume(run) else 2)
    with sole_use(Path(run.loop.out)):
        log = Log(Path(run.loop.out))
        train(make(run, log), run, log)


def run_of(kind: type[Run], arguments: list[str], name: str) -> Run:
    """The run of a command line: CONFIG first, then a flag for any field; `--data FOLDER` means --data.folder."""
    if not arguments or arguments[0].startswith("-"):
        if {"-h", "--help"} & set(arguments):
            print(f"usage: {name} CONFIG [--data FOLDER] [{VERIFY}] [--FIELD VALUE ...]\n\n{kind.__doc__}\n")
            print(
                f"{VERIFY_HELP}\n\n`{name} CONFIG --help` lists every field with the value CONFIG gives it."
            )
            raise SystemExit(0)
        raise InputError(f"{name} needs a config first, such as configs/denoiser.toml")
    flags = [re.sub(r"^--data(?==|$)", "--data.folder", word) for word in arguments[1:]]
    about = f"{kind.__doc__}\n\n{VERIFY_HELP}"
    default = in_world(read_run(kind, arguments[0]), flags)
    return tyro.cli(kind, default=default, args=flags, prog=f"{name} CONFIG", description=about)


def in_world(run: Run, flags: list[str]) -> Run:
    """The run in the world of a flag --data.world.kind, at the size it had, so that this kind's own flags are there."""
    words = " ".join(flags).replace("=", " ").split()
    if "--data.world.kind" not in words[:-1]:
        return run
    kind = words[words.index("--data.world.kind") + 1]
    shared: dict[str, Any] = {f.name: getattr(run.data.world, f.name) for f in fields(WorldConfig)}
    shared["kind"] = kind
    if kind != run.data.world.kind:
        world = WorldConfig.variant(shared)(**shared)
        run = replace(run, data=replace(run.data, world=world))
    return run
