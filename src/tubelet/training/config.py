"""Run files: TOML to frozen dataclasses; a key nobody reads is an error."""

import dataclasses
import json
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from tubelet.autoencoder.codec import CodecConfig
from tubelet.autoencoder.objective import CodecObjective
from tubelet.data.loader import ALWAYS, Available
from tubelet.data.source import DataConfig
from tubelet.diffusion.objective import Objective
from tubelet.diffusion.paths import PathConfig, path_config
from tubelet.diffusion.reverse import Reverse
from tubelet.diffusion.samplers import sampler_named
from tubelet.diffusion.targets import x0_coefficients
from tubelet.diffusion.times import TimeSampling
from tubelet.errors import InputError, near_miss
from tubelet.model.inflation import INFLATIONS
from tubelet.model.transformer import TransformerConfig
from tubelet.training.auxiliary import AuxiliaryConfig
from tubelet.training.blocks import CHECKPOINTING
from tubelet.training.known import KnownConfig
from tubelet.training.optim import OptimizerConfig, Schedule

Run = TypeVar("Run")

BATCHING = ("buckets", "packed")


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """What codec and denoiser training share.

    out: folder of checkpoints and log.jsonl; a run found there is continued.
    resume_from: a step-* folder of another run to branch from (a cool-down from the middle of a long run).
    start_from: a checkpoint whose weights to begin with ("default" is the shipped one); the rest begins anew.
    batch_size: clips a step, in `micro_batches` pieces.
    average: decay of the weights' EMA per step.
    *_every: steps between lines of the log, held-out measurements, previews and checkpoints. save_minutes: a checkpoint
    also when the last one is that old. keep: checkpoints kept. keep_at: steps that are saved and never deleted.
    device: "cpu" or "cuda"; every random draw is made on the CPU.
    precision: "bf16" (autocast) or "float32".
    compile: torch.compile of the model's blocks: half a minute before the first step of each size; needs g++.
    activation_checkpointing: "none"; "selective" or "full" save memory and cost time, see blocks.checkpointed.
    """

    out: str
    resume_from: str | None = None
    start_from: str | None = None
    seed: int = 0
    batch_size: int = 64
    micro_batches: int = 1
    workers: int = 0
    max_norm: float = 1.0
    average: float = 0.999
    log_every: int = 20
    held_out_every: int = 200
    preview_every: int = 400
    save_every: int = 200
    save_minutes: float | None = None
    keep: int = 2
    keep_at: tuple[int, ...] = ()
    device: str = "cpu"
    precision: str = "bf16"
    compile: bool = True
    activation_checkpointing: str = "none"
    schedule: Schedule = field(default_factory=lambda: Schedule(steps=1000))
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.micro_batches < 1 or self.batch_size % self.micro_batches:
            pieces = max(1, self.micro_batches)
            raise InputError(
                f"batch_size {self.batch_size} does not split into micro_batches {self.micro_batches}; "
                f"try --loop.batch-size {max(1, self.batch_size // pieces) * pieces}"
            )
        if self.precision not in ("bf16", "float32"):
            raise InputError(
                f"precision {self.precision!r} is unknown; {near_miss(self.precision, ['bf16', 'float32'])}"
            )
        which = self.activation_checkpointing
        if which not in CHECKPOINTING:
            raise InputError(
                f"activation_checkpointing {which!r} is unknown; {near_miss(which, CHECKPOINTING)}"
            )
        if self.device not in ("cpu", "cuda"):
            raise InputError(f"device {self.device!r} is unknown; {near_miss(self.device, ['cpu', 'cuda'])}")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("device cuda: torch finds no GPU here; use --loop.device cpu")
        for name in ("log_every", "held_out_every", "preview_every", "save_every", "keep"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.save_minutes is not None and not self.save_minutes > 0:
            raise InputError(
                f"save_minutes is {self.save_minutes:g}; give more than 0, or leave it out to save by steps alone"
            )
        if any(step < 1 for step in self.keep_at):
            raise InputError(f"keep_at {list(self.keep_at)} are steps that have been made; give 1 or more")

    def autocast(self) -> torch.autocast:
        """A context in which networks compute in the run's precision."""
        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.precision == "bf16")


@dataclass(frozen=True, kw_only=True)
class CodecRun:
    """`tubelet train-codec`: data, codec, objective and loop. pca_clips: training samples that PCA is fitted on.

    Where data.other names further sizes, a micro-batch has one of them. data.crop trains on parts of clips.

    decoder_only: the encoder stays as it is, so that denoisers trained on its latents stay valid. fixed_linear: PCA's
    linear maps stay as they were fitted; a step of AdamW on 3,072 pixels of 16 x 16 blocks moves their sum too far.
    """

    loop: LoopConfig
    data: DataConfig = field(default_factory=DataConfig)
    codec: CodecConfig = field(default_factory=CodecConfig)
    objective: CodecObjective = field(default_factory=CodecObjective)
    pca_clips: int = 256
    decoder_only: bool = False
    fixed_linear: bool = False

    def __post_init__(self) -> None:
        if self.pca_clips < 1:
            raise InputError(f"pca_clips is {self.pca_clips}; give at least 1")
        if self.decoder_only and self.loop.start_from is None:
            raise InputError(
                "decoder_only trains against an encoder that is there; name it with --loop.start-from"
            )


@dataclass(frozen=True, kw_only=True)
class DenoiserRun:
    """`tubelet train`: data, the codec's checkpoint (its folder; "default" is the shipped one), text, path, model.

    caption_drop: share of samples trained with the empty prompt. captions: phrasings encoded for each clip. cache:
    folder that keeps encoded clips. codec may also be "identity": a model of pixels. variance: of the reverse process;
    "learned" needs an objective that teaches it, "hybrid" or "vlb". sampler: what previews and pipelines use.
    batching: where data.other names further sizes, or known further kinds, a micro-batch has one of them ("buckets"),
    or each of its samples has its own and all go through the model in one row ("packed", never compiled).
    auxiliary: what layers learn besides the prediction, see training.auxiliary.
    available: rows of a sample number and the share of the training clips, the first ones, that samples from there on
    may have, as [[0, 0.25], [500000, 1.0]]: a run can begin while others encode the rest, see latents.encode_clips.
    inflation: how weights of loop.start_from grow to tubelets of more frames, see model.inflation.
    """

    loop: LoopConfig
    data: DataConfig = field(default_factory=DataConfig)
    codec: str = "default"
    text: str = "minilm"
    captions: int = 2
    cache: str = "cache"
    available: Available = ALWAYS
    caption_drop: float = 0.1
    path: PathConfig = field(default_factory=PathConfig)
    target: str = "velocity"
    variance: str = "small"
    sampler: str = "euler"
    batching: str = "buckets"
    known: KnownConfig = field(default_factory=KnownConfig)
    auxiliary: AuxiliaryConfig = field(default_factory=AuxiliaryConfig)
    inflation: str = "central"
    objective: Objective = field(default_factory=Objective)
    times: TimeSampling = field(default_factory=TimeSampling)
    model: TransformerConfig = field(default_factory=TransformerConfig)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", path_config(self.path))
        if self.captions < 1 or not 0 <= self.caption_drop <= 1:
            raise InputError(
                f"captions {self.captions} must be at least 1 and caption_drop {self.caption_drop} lie in 0..1"
            )
        starts, shares = [row[0] for row in self.available], [row[1] for row in self.available]
        if starts[:1] != [0] or starts != sorted(set(starts)) or not all(0 < share <= 1 for share in shares):
            raise InputError(
                f"available {[list(row) for row in self.available]}: give rows of a sample number, rising from 0, and "
                "a share of the clips above 0 and up to 1, such as [[0, 0.25], [500000, 1.0]]"
            )
        if self.batching not in BATCHING:
            raise InputError(f"batching {self.batching!r} is unknown; {near_miss(self.batching, BATCHING)}")
        self.auxiliary.check(self.model.depth, packed=self.batching == "packed")
        if self.inflation not in INFLATIONS:
            raise InputError(
                f"inflation {self.inflation!r} is unknown; {near_miss(self.inflation, INFLATIONS)}"
            )
        # Sampling begins at t = 1: a target that cannot be sampled is refused before training.
        x0_coefficients(self.target, self.path.make(), torch.ones(1))
        Reverse(self.path.make(), self.target, self.variance)
        sampler_named(self.sampler)
        simple = self.objective.name == "simple"
        if (self.variance == "learned") == simple:
            raise InputError(
                f"objective {self.objective.name} with {self.variance} variance: a learned variance is taught by "
                "objective hybrid or vlb, and they need one; set --variance learned and --objective.name hybrid"
            )
        if not simple and self.known.each_frame:
            raise InputError(
                "there is no bound where every frame has a time of its own; leave out known.each_frame, or train by "
                "objective simple"
            )
        if not simple and not self.times.steps:
            raise InputError(
                "the bound is a sum over a grid of times; give its T, such as --times.steps 1000"
            )


def read_run(kind: type[Run], file: str | Path) -> Run:
    """The run a TOML file describes. InputError names the file, the key and the near miss."""
    try:
        text = Path(file).read_text()
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"config {file} is not there; see configs/ for examples") from None
    try:
        return from_dict(kind, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"config {file} is not TOML: {error}") from None
    except InputError as error:
        raise InputError(f"config {file}: {error}") from None


def from_dict(kind: type[Run], values: dict[str, Any], where: str = "") -> Run:
    """A (nested) dataclass from plain values; unknown, missing and wrongly typed keys are refused by name."""
    kind = kind.variant(values) if hasattr(kind, "variant") else kind  # pyright: ignore
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}  # pyright: ignore[reportArgumentType]
    for key in values:
        if key not in fields:
            raise InputError(f"unknown key {where + key!r}; {near_miss(key, list(fields))}")
    for name, f in fields.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise InputError(f"missing key {where + name!r}; add it")
    return kind(**{key: _value(hints[key], value, where + key) for key, value in values.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if isinstance(value, str) and "name" in {f.name for f in dataclasses.fields(hint)}:
            value = {"name": value}  # a lone name stands for a table that says nothing else
        if not isinstance(value, dict):
            raise InputError(f"{where!r} must be a table, not {value!r}")
        return from_dict(typing.cast(type, hint), value, where + ".")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        return _value(next(a for a in arguments if a is not type(None)), value, where)
    if origin is tuple:
        open_ended = arguments[-1] is ...
        if not isinstance(value, list | tuple):
            if not open_ended:
                raise InputError(f"{where!r} must be a list, not {value!r}")
            value = (value,)  # a lone value is a list of one
        if not open_ended and len(value) != len(arguments):
            raise InputError(f"{where!r} needs {len(arguments)} values, not {len(value)}")
        return tuple(_value(arguments[0 if open_ended else i], item, where) for i, item in enumerate(value))
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise InputError(f"{where!r} must be {hint.__name__}, not {value!r}")
    return value


def to_dict(run: Any) -> dict[str, Any]:
    """Plain JSON values of a (nested) dataclass; `from_dict` reads them back."""
    return json.loads(json.dumps(dataclasses.asdict(run)))
