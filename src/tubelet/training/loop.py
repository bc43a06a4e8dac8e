"""The loop that trains codec and denoiser alike."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tubelet.checkpoint import Part
from tubelet.data.loader import batches
from tubelet.errors import InputError
from tubelet.model.kernels import FLOPS
from tubelet.progress import duration
from tubelet.training.blocks import (
    can_compile,
    checkpointed,
    compiled,
    failed_to_compile,
    released,
    uncompiled,
)
from tubelet.training.config import CodecRun, DenoiserRun, LoopConfig, to_dict
from tubelet.training.ema import Average
from tubelet.training.log import Log
from tubelet.training.optim import Optimizers
from tubelet.training.saving import Saver
from tubelet.video import write_video


class Task(Protocol):
    """What the loop trains: a model, where its samples come from, and what is measured on it."""

    @property
    def model(self) -> nn.Module:
        """What is trained."""
        ...

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """Parts of the model that are most of it, and few of them different: compiled and checkpointed one by one."""
        ...

    def content(self) -> dict[str, str]:
        """What the samples are made of, by name, as hashes: a run goes on only with the same."""
        ...

    def fetch(self, number: int) -> dict[str, Any]:
        """Sample `number` with every random draw it needs, keyed by (seed, number)."""
        ...

    @property
    def few_shapes(self) -> bool:
        """Whether its batches come in a few shapes again and again, so that compiling for each pays."""
        ...

    def kinds(self) -> list[tuple[float, Any]]:
        """A batch of one sample of each kind that samples come in, and the share of samples that are so."""
        ...

    def collate(self, items: list[dict[str, Any]]) -> Any:
        """A batch of fetched samples, with everything computed that needs no gradient."""
        ...

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to minimise, a scalar (mean over samples), and terms to log the means of."""
        ...

    def observe(self, batch: Any, terms: dict[str, Tensor]) -> None:
        """What the task itself learns from the terms of a batch."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """All that `observe` changes, in place: saved, and filled again when a run goes on."""
        ...

    def held_out(self) -> dict[str, float]:
        """Measurements on held-out clips, of the model as it stands."""
        ...

    def preview(self) -> Tensor:
        """Something to look at: frames uint8 [F, H, W, 3]."""
        ...

    def parts(self) -> dict[str, Part]:
        """What others need to use the model as it stands."""
        ...


@dataclass
class State:
    """Everything that changes while training. compiled: whether the model's blocks are."""

    model: nn.Module
    average: Average
    optimizers: Optimizers
    step: int = 0
    compiled: bool = False


Observed = tuple[Any, dict[str, Tensor]]  # a batch and its terms
Hook = Callable[[State, Tensor, dict[str, Tensor], Tensor], None]


def train(task: Task, run: CodecRun | DenoiserRun, log: Log) -> Path:
    """Train `task` as `run.loop` says, from the last checkpoint in its folder if there is one; returns `final`.

    The whole run is kept in every checkpoint, and resuming compares it. One process at a time may train into a folder:
    see folder.sole_use.
    """
    loop, model = run.loop, task.model
    state = State(model, Average(model, loop.average), Optimizers(model, loop.optimizer))
    saver = Saver(run, log, task.content())
    saver.resume(state, task)
    size, stop = loop.batch_size, loop.schedule.steps * loop.batch_size
    with loop.autocast():
        flops = flops_of(task, loop.device)
    log.event(
        "begin", step=state.step, run=to_dict(run), parameters=count(model), build=saver.build, exact=not saver.breaks,
        flops_per_sample=flops,
    )  # fmt: skip
    every = hooks(task, loop, log, saver)
    batch_of_step = batches(
        task.fetch, list, start=state.step * size, stop=stop, size=size, workers=loop.workers
    )
    prepare(task, loop, state, log)
    model.train()
    with noted_interrupts() as interrupted:
        for items in batch_of_step:
            loss, terms, observed = accumulate_anyhow(task, state, items, loop, log)
            norm = state.optimizers.clip(loop.max_norm)
            refuse_unless_finite(state.step, {"loss": loss, "norm of the gradient": norm})
            for batch, each in observed:
                task.observe(batch, each)
            state.optimizers.step(loop.schedule.factor(state.step))
            state.average.update(model, state.step)
            state.step += 1
            for hook in every:
                hook(state, loss, terms, norm)
            if interrupted():
                saver.save(state, task)
                log.say(f"step {state.step} is saved in {loop.out}; the same command goes on from there")
                raise KeyboardInterrupt
    with averaged(state):
        measured = task.held_out()
        final = saver.finish(task)
    log.event("end", step=state.step, held_out=measured)
    log.say(f"done: {final}  {shown(measured)}")
    return final


def prepare(task: Task, loop: LoopConfig, state: State, log: Log) -> None:
    """Checkpoint and compile the model's blocks where that is wanted and can be."""
    checkpointed(task.blocks, loop.activation_checkpointing)
    if loop.compile and not task.few_shapes:
        log.say("packed batches have a new layout at every step: training without torch.compile")
    elif loop.compile and not can_compile():
        log.say("no g++ here: training without torch.compile, about 1.3 times slower")
    elif loop.compile:
        compiled(task.blocks)
        state.compiled = True


def accumulate_anyhow(
    task: Task, state: State, items: list[Any], loop: LoopConfig, log: Log
) -> tuple[Tensor, dict[str, Tensor], list[Observed]]:
    """`accumulate`; where the compiler fails, once more without it, and so from then on."""
    try:
        return accumulate(task, state, items, loop)
    except Exception as problem:
        if not state.compiled or not failed_to_compile(problem):
            raise
        log.event("compile_failed", step=state.step, error=str(problem))
        log.say(
            "torch.compile failed (log.jsonl has its words): training goes on without it, about 1.3 times slower"
        )
        released(task.blocks)
        checkpointed(task.blocks, loop.activation_checkpointing)
        state.compiled = False
        return accumulate(task, state, items, loop)


def accumulate(
    task: Task, state: State, items: list[Any], loop: LoopConfig
) -> tuple[Tensor, dict[str, Tensor], list[Observed]]:
    """Gradients of the mean loss over a batch, in micro batches; returns the loss and its terms, detached.

    Also what the task is to observe of each micro batch: the caller knows whether the step is one to learn from.
    """
    state.optimizers.clear()
    pieces = loop.micro_batches
    size = len(items) // pieces
    total, sums, observed = torch.zeros((), device=loop.device), {}, []
    for piece in range(pieces):
        batch = moved(task.collate(items[piece * size : (piece + 1) * size]), loop.device)
        with loop.autocast():
            loss, terms = task.loss(batch)
        (loss / pieces).backward()
        total = total + loss.detach() / pieces
        terms = {name: term.detach() for name, term in terms.items()}
        observed.append((batch, terms))
        for name, term in terms.items():
            sums[name] = sums.get(name, 0) + term.mean() / pieces
    return total, sums, observed


def refuse_unless_finite(step: int, values: dict[str, Tensor]) -> None:
    """InputError for a step that would spoil the weights, before it has changed anything."""
    for name, value in values.items():
        if not value.isfinite():
            raise InputError(
                f"the {name} of step {step} is {float(value)}; nothing was changed or saved by it, and the last "
                "checkpoint is unharmed: begin from it in another folder (--loop.start-from, --loop.out) with a lower "
                "--loop.optimizer.rate"
            )


def hooks(task: Task, loop: LoopConfig, log: Log, saver: Saver) -> list[Hook]:
    """What happens now and then: a line, held-out measurements, a preview, a checkpoint."""
    measured: dict[str, float] = {}
    clock = {"time": time.monotonic(), "step": None, "saved": time.monotonic()}

    def due(state: State, every: int) -> bool:
        return state.step % every == 0 or state.step == loop.schedule.steps

    def line(state: State, loss: Tensor, terms: dict[str, Tensor], norm: Tensor) -> None:
        if not due(state, loop.log_every):
            return
        now, since = time.monotonic(), clock["step"]
        steps, seconds = state.step - since if since is not None else 0, now - clock["time"]
        rate = steps * loop.batch_size / seconds if seconds > 0 else 0.0
        clock.update(time=now, step=state.step)
        values = {name: float(term) for name, term in terms.items()}
        # Seconds of this process, and of its children that have ended.
        values["cpu"] = round(sum(os.times()[:4]), 2)
        values["learning_rate"] = loop.optimizer.rate * loop.schedule.factor(state.step - 1)
        samples = state.step * loop.batch_size
        log.event(
            "step", step=state.step, samples=samples, loss=float(loss), norm=float(norm), rate=rate, **values
        )
        left = (loop.schedule.steps - state.step) * loop.batch_size / rate if rate else None
        log.line(
            f"step {state.step}/{loop.schedule.steps}  loss {float(loss):.4f}  {rate:.1f} clips/s  "
            f"{shown(dict(list(measured.items())[:1]))}"
            + (f"  {duration(left)} left" if left is not None else "")
        )

    def measure(state: State, loss: Tensor, terms: dict[str, Tensor], norm: Tensor) -> None:
        if due(state, loop.held_out_every):
            with averaged(state):
                measured.update(task.held_out())
            log.event("held_out", step=state.step, samples=state.step * loop.batch_size, **measured)

    def preview(state: State, loss: Tensor, terms: dict[str, Tensor], norm: Tensor) -> None:
        if due(state, loop.preview_every):
            with averaged(state):
                write_video(Path(loop.out) / f"preview-{state.step:07d}.png", task.preview())

    def save(state: State, loss: Tensor, terms: dict[str, Tensor], norm: Tensor) -> None:
        minutes = (time.monotonic() - clock["saved"]) / 60
        late = loop.save_minutes is not None and minutes >= loop.save_minutes
        if late or due(state, loop.save_every) or state.step in loop.keep_at:
            saver.save(state, task)
            clock["saved"] = time.monotonic()

    return [measure, preview, line, save]


@contextlib.contextmanager
def noted_interrupts() -> Iterator[Callable[[], bool]]:
    """Whether the user interrupted (SIGINT or SIGTERM), to be asked between steps; a second time stops at once.

    An interrupt raised in the middle of a step would leave weights, average and step number out of line. Only the main
    thread may watch for signals: in another one nothing is noted.
    """
    seen = False
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def note(number: int, frame: Any) -> None:
        nonlocal seen
        if seen:
            raise KeyboardInterrupt
        seen = True

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def averaged(state: State) -> Iterator[None]:
    """The model holds the averaged weights, is in evaluation mode and runs as it is written inside the block.

    Held-out clips and previews come in sizes of their own, and seldom: compiling for them would take longer.
    """
    state.average.swap(state.model)
    state.model.eval()
    try:
        with torch.no_grad(), uncompiled() if state.compiled else contextlib.nullcontext():
            yield
    finally:
        state.average.swap(state.model)
        state.model.train()


def moved(batch: Any, device: str) -> Any:
    """A batch (tensors, Text and plain values, in tuples, named or not) on a device."""
    if not isinstance(batch, tuple):
        return batch.to(device) if hasattr(batch, "to") else batch
    items = [moved(item, device) for item in batch]
    return type(batch)(*items) if hasattr(batch, "_fields") else tuple(items)


def flops_of(task: Task, device: str) -> int:
    """Floating-point operations of a sample's forward and backward as torch counts them, the mean over its kinds."""
    total = 0.0
    for share, batch in task.kinds():
        with FlopCounterMode(display=False, custom_mapping=FLOPS) as counter:
            task.loss(moved(batch, device))[0].backward()
        total += share * counter.get_total_flops()
    for parameter in task.model.parameters():
        parameter.grad = None
    return round(total)


def count(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def shown(values: dict[str, float]) -> str:
    """Measurements on one line."""
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())
