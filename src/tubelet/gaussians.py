"""Gaussians as values, so that the variational bound reads as the bound."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """N(mean, exp(log_var) I), one independent Gaussian per element.

    Shapes: mean any; log_var broadcasts against mean. log_var = -inf is a point mass. All logarithms are
    natural.
    """

    mean: Tensor
    log_var: Tensor

    @property
    def var(self) -> Tensor:
        """The variance, in the shape of log_var."""
        return self.log_var.exp()

    @property
    def std(self) -> Tensor:
        """The standard deviation, in the shape of log_var."""
        return (0.5 * self.log_var).exp()

    def sample(self, noise: Tensor) -> Tensor:
        """mean + std noise, for standard normal `noise` of the shape of mean."""
        return self.mean + self.std * noise

    def kl(self, other: "Gaussian") -> Tensor:
        """KL(self || other) of each element, in nats.

        Against a point mass it is infinite, unless self is the same point mass: then it is 0.
        """
        ratio = self.log_var - other.log_var
        distance = (self.mean - other.mean).square() * (-other.log_var).exp()
        smooth = 0.5 * (ratio.expm1() - ratio + distance)  # expm1 keeps small divergences exact
        same = (self.log_var == other.log_var) & (self.mean == other.mean)
        at_a_point = torch.where(same, 0.0, math.inf).to(smooth)
        return torch.where((other.log_var == -math.inf).to(smooth.device), at_a_point, smooth)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density at x of each element; at a point mass +inf on the point and -inf off it."""
        distance = (x - self.mean).square() * (-self.log_var).exp()
        smooth = -0.5 * (math.log(2 * math.pi) + self.log_var + distance)
        at_a_point = torch.where(x == self.mean, math.inf, -math.inf).to(smooth)
        return torch.where((self.log_var == -math.inf).to(smooth.device), at_a_point, smooth)

    def log_prob_discretised(self, x: Tensor, bin_width: float = 2 / 255) -> Tensor:
        """Log probability of the bin around x of each element, for 8-bit data scaled to [-1, 1].   [DDPM 13]

        The first and the last bin reach to infinity, so the bins of one element sum to 1. A bin far out in a
        tail keeps its true finite value, which a difference of two cumulative probabilities would round to
        log 0.
        """
        half = bin_width / 2
        lower = (x - half - self.mean) / self.std
        upper = (x + half - self.mean) / self.std
        # Mirrored where needed so that both edges lie in the lower tail, where log_ndtr has all its digits.
        mirror = lower + upper > 0
        near = torch.special.log_ndtr(torch.where(mirror, -lower, upper))
        far = torch.special.log_ndtr(torch.where(mirror, -upper, lower))
        inside = near + (-(far - near).expm1()).log()
        first = torch.special.log_ndtr(upper)
        last = torch.special.log_ndtr(-lower)
        return torch.where(x < half - 1, first, torch.where(x > 1 - half, last, inside))

    def entropy(self) -> Tensor:
        """Differential entropy of each element, in nats; -inf for a point mass."""
        entropy = 0.5 * (math.log(2 * math.pi * math.e) + self.log_var)
        return entropy.expand(torch.broadcast_shapes(self.mean.shape, self.log_var.shape))


STANDARD = Gaussian(torch.zeros(()), torch.zeros(()))


@dataclass(frozen=True)
class Laplace:
    """A Laplace distribution of each element: density exp(-|x - mean| / scale) / (2 scale).

    Shapes: mean any; scale broadcasts against mean, positive.
    """

    mean: Tensor
    scale: Tensor

    def log_prob_discretised(self, x: Tensor, bin_width: float = 2 / 255) -> Tensor:
        """Log probability of the bin around x of each element, for 8-bit data scaled to [-1, 1].

        The first and the last bin reach to infinity, so the bins of one element sum to 1; means lie in [-1, 1].
        """
        half = bin_width / (2 * self.scale)
        away = (x - self.mean).abs() / self.scale
        # exp(-away) sinh(half) beside the mean, 1 - exp(-half) cosh(away) around it, without overflow.
        beside = half - away + (-(-2 * half).expm1()).log() - math.log(2)
        near = torch.minimum(away, half)
        around = (-0.5 * (near - half).exp() - 0.5 * (-near - half).exp()).log1p()
        inside = torch.where(away > half, beside, around)
        first, last = x < bin_width / 2 - 1, x > 1 - bin_width / 2
        # The tail beyond the inner edge: the mean lies on its inner side (beyond by `past` > 0), or within the bin.
        past = torch.where(first, self.mean - x, x - self.mean) / self.scale - half
        tail = torch.where(past > 0, -past - math.log(2), (-0.5 * past.clamp(max=0).exp()).log1p())
        return torch.where(first | last, tail, inside)
