"""What training minimises, and how its times are drawn."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tubelet.diffusion.paths import Path
from tubelet.diffusion.targets import target_of
from tubelet.errors import InputError, near_miss

TIMES = ("uniform", "logit_normal")


def mean_squared(prediction: Tensor, target: Tensor, unknown: Tensor | None = None) -> Tensor:
    """Mean of (prediction - target)^2 over the unknown latents of each sample: [B], at least float32.

    prediction, target: [B, ...]; unknown: bool, broadcastable to them, True where a latent counts; without it
    all count. A sample that knows all its latents has loss 0. Values at known latents, infinite ones too,
    change neither the loss nor its gradient.
    """
    difference = prediction.to(torch.promote_types(prediction.dtype, torch.float32)) - target
    if unknown is None:
        return difference.square().flatten(1).mean(1)  # [B]
    unknown = unknown.expand_as(difference)
    # Masked before it is squared: the gradient of an infinite square would be NaN even behind a mask.
    squares = difference.masked_fill(~unknown, 0.0).square()
    return squares.flatten(1).sum(1) / unknown.flatten(1).sum(1).clamp(min=1)  # [B]


def simple_loss(
    path: Path,
    target: str,
    prediction: Tensor,
    x0: Tensor,
    noise: Tensor,
    t: Tensor,
    unknown: Tensor | None = None,
) -> Tensor:
    """Mean square distance of each sample from what the network should predict: [B].   [DDPM 14]

    prediction, x0, noise: [B, ...]; t: [B] or broadcastable to x0; unknown as in mean_squared. It weights the
    steps of the bound unequally, which is why it is not a likelihood.
    """
    return mean_squared(prediction, target_of(target, path, x0, noise, t), unknown)


def uniform_times(uniform: Tensor) -> Tensor:
    """Times uniform in (0, 1] from draws uniform in [0, 1); nothing is to be learnt at t = 0."""
    return 1 - uniform


def logit_normal_times(uniform: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Times whose logit is N(mean, std^2), from draws uniform in [0, 1).   [SD3 19]"""
    return torch.sigmoid(mean + std * torch.special.ndtri(1 - uniform))


def shift_times(t: Tensor, shift: float) -> Tensor:
    """shift t / (1 + (shift - 1) t): above 1 moves the times towards noise.   [SD3 23]

    Times 0 and 1 stay exactly there; shift 1 changes nothing. A shift that is not positive raises InputError.
    """
    if not 0 < shift < math.inf:
        raise InputError(f"the time shift must be positive, got {shift:g}; pass 1 for none")
    return shift * t / (shift * t + (1 - t))


@dataclass(frozen=True)
class TimeSampling:
    """How training draws t: "uniform", or "logit_normal" with the mean and std of its logit.

    An unknown name, or a std that is not positive, raises InputError.
    """

    name: str = "uniform"
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in TIMES:
            raise InputError(f"unknown time sampling {self.name!r}: {near_miss(self.name, TIMES)}")
        if not (math.isfinite(self.mean) and 0 < self.std < math.inf):
            given = f"mean {self.mean:g}, std {self.std:g}"
            raise InputError(f"time sampling needs a finite mean and a positive std, got {given}")

    def times(self, uniform: Tensor) -> Tensor:
        """One time in (0, 1] for each draw uniform in [0, 1), in the draws' shape and dtype."""
        if self.name == "uniform":
            return uniform_times(uniform)
        return logit_normal_times(uniform, self.mean, self.std)
