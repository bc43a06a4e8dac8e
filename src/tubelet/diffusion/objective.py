"""What training minimises."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from tubelet.diffusion.bound import step_term
from tubelet.diffusion.paths import Path
from tubelet.diffusion.process import q_xs, spread
from tubelet.diffusion.reverse import Reverse, Step
from tubelet.diffusion.targets import x0_coefficients
from tubelet.errors import InputError, near_miss
from tubelet.gaussians import Gaussian

OBJECTIVES = ("simple", "hybrid", "vlb")
WEIGHTS = ("target", "min_snr", "sigmoid")


def mean_squared(
    prediction: Tensor, target: Tensor, unknown: Tensor | None = None, weight: Tensor | None = None
) -> Tensor:
    """Mean of weight (prediction - target)^2 over the unknown latents of each sample: [B], at least float32.

    prediction, target: [B, ...]; unknown: bool, broadcastable to them, True where a latent counts; without it
    all count; weight: [B] or broadcastable to them, 1 where there is none. A sample that knows all its latents has loss
    0. Values at known latents, infinite ones too, change neither the loss nor its gradient.
    """
    difference = prediction.to(torch.promote_types(prediction.dtype, torch.float32)) - target
    if unknown is not None:
        # Masked before it is squared: the gradient of an infinite square would be NaN even behind a mask.
        difference = difference.masked_fill(~unknown, 0.0)
    square = difference.square()
    if weight is not None:
        weight = spread(weight, square)
        square = square * (weight if unknown is None else weight.where(unknown, weight.new_zeros(())))
    return _mean_over(square, unknown)


def _mean_over(values: Tensor, unknown: Tensor | None) -> Tensor:
    """Mean of [B, ...] over the unknown elements of each sample: [B]."""
    if unknown is None:
        return values.flatten(1).mean(1)
    unknown = unknown.expand_as(values)
    return values.masked_fill(~unknown, 0.0).flatten(1).sum(1) / unknown.flatten(1).sum(1).clamp(min=1)


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What training minimises: of a prediction's error in its target, and of a learned variance.

    "simple": mean square of the error [DDPM 14]. "vlb": the bound in bits per dimension, all of it through one random
    step [IDDPM 4]. "hybrid": simple + vlb_weight vlb, where the vlb teaches the variance alone [IDDPM 16].
    weight: how much the error of each time counts in simple and hybrid, see weight_of; most: the weight of |x0 error|^2
    that low noise comes to. An unknown name, a negative weight, or a weight beside vlb, raises InputError.
    """

    name: str = "simple"
    vlb_weight: float = 1e-3
    weight: str = "target"
    most: float = 5.0

    def __post_init__(self) -> None:
        if self.name not in OBJECTIVES:
            raise InputError(f"unknown objective {self.name!r}: {near_miss(self.name, OBJECTIVES)}")
        if self.weight not in WEIGHTS:
            raise InputError(f"unknown weight {self.weight!r}: {near_miss(self.weight, WEIGHTS)}")
        if self.name == "vlb" and self.weight != "target":
            raise InputError(
                f"objective vlb weighs the times as the bound does; leave out weight {self.weight}"
            )
        if not 0 < self.most < math.inf:
            raise InputError(f"objective.most must be above 0, got {self.most:g}; try 5")
        if not 0 <= self.vlb_weight < math.inf:
            raise InputError(f"vlb_weight must be 0 or more, got {self.vlb_weight:g}; try 0.001")


def weight_of(objective: Objective, target: str, path: Path, t: Tensor) -> Tensor:
    """What the mean square of the target's error at t counts, float32 in the shape of t.

    One weight w(t) of |x0 - x0_hat|^2 makes every target the same objective; another target's error takes w(t)
    (dx0 / dtarget)^2, see targets.x0_coefficients.

    target    1 for the target itself, whatever that makes of w
    min_snr   w = min(snr, most)   [MinSNR]
    sigmoid   w = snr sigmoid(log most - log snr) = 1 / (1 / snr + 1 / most), the same without its corner   [VDM++]
    """
    if objective.weight == "target":
        return torch.ones_like(t, dtype=torch.float32)
    snr = path.log_snr(t).exp()
    most = torch.full_like(snr, objective.most)
    w = snr.minimum(most) if objective.weight == "min_snr" else 1 / (1 / snr + 1 / most)
    return (w * x0_coefficients(target, path, t)[1].square()).float()


class BoundStep(NamedTuple):
    """All that a step of the bound needs besides a prediction, and that needs no gradient.

    x0 and xt: [B, C, ...]; mean, log_var: of q(x_s | x_t, x0); reverse: p's coefficients; share: [B], the probability
    with which the step was drawn.
    """

    x0: Tensor
    xt: Tensor
    mean: Tensor
    log_var: Tensor
    reverse: Step
    share: Tensor


def bound_step(reverse: Reverse, x0: Tensor, xt: Tensor, s: Tensor, t: Tensor, share: Tensor) -> BoundStep:
    """The step of the bound from t to s < t, all [B], drawn with probability share [B]. x0, xt: [B, C, ...]."""
    q = q_xs(reverse.path, x0, xt, s, t)
    return BoundStep(x0, xt, q.mean, q.log_var, reverse.step(s, t, xt), share.float())


def loss_terms(
    objective: Objective,
    decoder: str,
    predicted: Tensor,
    place: Tensor | None,
    target: Tensor,
    step: BoundStep | None = None,
    unknown: Tensor | None = None,
    weight: Tensor | None = None,
) -> dict[str, Tensor]:
    """The loss of each sample, [B], and its parts: "loss", "simple" and, where there is a step, "vlb" in bits/dim.

    predicted, place: the two parts of Reverse.split, [B, C, ...], at least float32; target: what should be predicted;
    unknown and weight, of simple, as in mean_squared and weight_of; decoder as in bound.step_term.
    Tensor operations only. One step's vlb estimates the bound without L_T, which nothing learns from.
    """
    simple = mean_squared(predicted, target, unknown, weight)
    if step is None:
        return {"loss": simple, "simple": simple}
    p = step.reverse.p_xs(predicted.detach() if objective.name == "hybrid" else predicted, place, step.xt)
    nats = step_term(Gaussian(step.mean, step.log_var), p, step.x0, step.reverse.last, decoder)
    vlb = _mean_over(nats, unknown) / (math.log(2) * step.share)
    loss = {"simple": simple, "vlb": vlb, "hybrid": simple + objective.vlb_weight * vlb}[objective.name]
    return {"loss": loss, "simple": simple, "vlb": vlb}
