"""How training draws its times."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tubelet.diffusion.bound import strata
from tubelet.errors import InputError, near_miss

TIMES = ("uniform", "logit_normal", "importance")
BINS = 24  # of the second moments: see bound.strata
SEEN = 10  # terms that a bin must have shown before its moment counts
MEMORY = 40  # terms of a bin that its moment remembers
EVEN = 0.1  # share of the draws that stays even over the bins, so that no moment grows stale


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


def size_shift(tokens: int, trained: int) -> float:
    """sqrt(tokens / trained): the shift at which a size is as noisy as the one trained on is without.   [SD3 23]

    Both count the same things, tokens or latents. The mean of more of them shows more of what lies beneath the noise;
    on a rectified flow, with this shift, equally much.
    """
    return math.sqrt(tokens / trained)


@dataclass(frozen=True)
class TimeSampling:
    """How training draws t: "uniform"; "logit_normal" with the mean and std of its logit; or "importance", see Moments.

    steps: T of a training grid; times are then rounded up to one of 1 / T .. 1, as the bound's objectives need. 0
    leaves them continuous. stratified: whether the draws of a batch are spread evenly, one to each of as many equal
    parts as it has samples. An unknown name, a std that is not positive or negative steps raise InputError.
    """

    name: str = "uniform"
    mean: float = 0.0
    std: float = 1.0
    steps: int = 0
    stratified: bool = False

    def __post_init__(self) -> None:
        if self.name not in TIMES:
            raise InputError(f"unknown time sampling {self.name!r}: {near_miss(self.name, TIMES)}")
        if not (math.isfinite(self.mean) and 0 < self.std < math.inf):
            given = f"mean {self.mean:g}, std {self.std:g}"
            raise InputError(f"time sampling needs a finite mean and a positive std, got {given}")
        if self.steps < 0 or (self.name == "importance" and not self.steps):
            raise InputError(f"times.steps is {self.steps}; give the T of a training grid, such as 1000")

    def times(self, uniform: Tensor) -> Tensor:
        """One time in (0, 1] for each draw uniform in [0, 1), in the draws' shape and dtype. Not for "importance"."""
        normal = self.name == "logit_normal"
        t = logit_normal_times(uniform, self.mean, self.std) if normal else uniform_times(uniform)
        return t if not self.steps else (t * self.steps).ceil().clamp(min=1) / self.steps

    def before(self, t: Tensor) -> Tensor:
        """The time before each t of the training grid: t - 1 / T, exactly 0 for the first."""
        return ((t * self.steps).round() - 1) / self.steps

    def share(self, t: Tensor) -> Tensor:
        """The probability of each t of the training grid, float64, in the shape of t."""
        t = t.double()
        if self.name == "uniform":
            return torch.full_like(t, 1 / self.steps)
        low, high = ((each.logit() - self.mean) / self.std for each in (self.before(t), t))
        return torch.special.ndtr(high) - torch.special.ndtr(low)


class Moments:
    """Draws steps of a grid in proportion to the root of their term's second moment, measured on the way.   [IDDPM 18]

    The variance of one random term of the bound is least so. A grid has more steps than training visits often, so
    moments are kept for bins, whose lengths grow from the one step of L_0 on. Until every bin has shown enough terms,
    and for a share of the draws ever after, bins are drawn evenly. Its two tensors are its whole state.
    """

    def __init__(self, sampling: TimeSampling):
        self.steps = sampling.steps
        # Step n lies in (edge, next edge].
        self.edges = torch.tensor([0, *(row.stop - 1 for row in strata(self.steps, BINS))])
        self.moments = torch.zeros(len(self.edges) - 1, dtype=torch.float64)
        self.seen = torch.zeros(len(self.edges) - 1, dtype=torch.float64)

    def shares(self) -> Tensor:
        """The probability of each bin."""
        even = torch.full_like(self.moments, 1 / len(self.moments))
        if bool((self.seen < SEEN).any()):
            return even
        root = self.edges.diff() * self.moments.sqrt().clamp(min=1e-30)  # all may be 0
        return torch.lerp(root / root.sum(), even, EVEN)

    def times(self, uniform: Tensor) -> Tensor:
        """One time of the grid for each draw uniform in [0, 1)."""
        upto = self.shares().cumsum(0)
        uniform = uniform.double() * upto[-1]
        place = torch.searchsorted(upto, uniform, right=True).clamp(max=len(upto) - 1)
        inside = 1 - (upto[place] - uniform) / self.shares()[place]  # how far into its bin, in [0, 1)
        lengths = self.edges.diff()[place]
        step = self.edges[place] + 1 + (inside * lengths).long().clamp(min=0).minimum(lengths - 1)
        return step / self.steps

    def share(self, t: Tensor) -> Tensor:
        """The probability with which each t would be drawn now."""
        place = self._bin(t)
        return self.shares()[place] / self.edges.diff()[place]

    def observe(self, t: Tensor, term: Tensor) -> None:
        """Take in the terms that were found at t; both [B]."""
        place, bins = self._bin(t), len(self.seen)
        count = torch.bincount(place, minlength=bins)
        total = torch.bincount(place, weights=term.double().square(), minlength=bins)
        self.seen += count
        mean = total / count.clamp(min=1)
        self.moments += (mean - self.moments) * (count / self.seen.clamp(1, MEMORY)).clamp(max=1)

    def _bin(self, t: Tensor) -> Tensor:
        return torch.searchsorted(self.edges, (t.double() * self.steps).round().long()) - 1
