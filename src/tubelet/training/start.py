"""Weights that a run begins with: those of another run's checkpoint."""

from collections.abc import Callable, Collection
from typing import Any

from torch import Tensor, nn

from tubelet import checkpoint
from tubelet.checkpoint import Part
from tubelet.errors import InputError
from tubelet.sampling.pipeline import DEFAULT
from tubelet.training.config import from_dict, to_dict

Fit = Callable[[dict[str, Tensor], Any], dict[str, Tensor]]  # weights and their config -> weights that fit


def part_of(name: str, part: str) -> Part:
    """One part of a checkpoint: `name` is its folder, or "default" for the one that ships."""
    saved = checkpoint.load(DEFAULT if name == "default" else name)
    if part not in saved.parts:
        raise InputError(
            f"{name} holds no {part}, only {', '.join(sorted(saved.parts))}; give another checkpoint"
        )
    return saved.parts[part]


def take_weights(
    model: nn.Module, config: Any, name: str, part: str, free: Collection[str] = (), fit: Fit | None = None
) -> None:
    """Give the model the weights of a checkpoint's part; `config` is the model's own, which must be the part's.

    Its `free` fields may differ: they leave the weights as they are, or `fit` turns them into ones for the model, given
    the part's config. InputError names the first other field in which the two differ.
    """
    found = part_of(name, part)
    # Read as a config, so that fields which are newer than the checkpoint have their defaults.
    theirs = from_dict(type(config), found.config)
    for key, value in to_dict(config).items():
        if key not in free and to_dict(theirs)[key] != value:
            raise InputError(
                f"{name} has {part} {key} {to_dict(theirs)[key]}, this run {value}; set it to the checkpoint's "
                "or start from another"
            )
    tensors = {key: value.float() for key, value in found.tensors.items()}
    model.load_state_dict(tensors if fit is None else fit(tensors, theirs))
