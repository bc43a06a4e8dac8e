"""Data for which everything about diffusion is known in closed form."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from tubelet.diffusion.paths import Path
from tubelet.diffusion.process import spread
from tubelet.diffusion.targets import convert
from tubelet.gaussians import Gaussian

Denoise = Callable[[Tensor, Tensor], Tensor]


def _denoise(x0: Callable[[Path, Tensor, Tensor], Tensor], path: Path, target: str) -> Denoise:
    return lambda xt, t: convert(x0(path, xt, t), "x0", target, path, xt, t)


@dataclass(frozen=True)
class Gaussian1D:
    """Every element of the data is N(mean, std^2), independently."""

    mean: float = 0.7
    std: float = 0.6

    @property
    def entropy(self) -> float:
        """Nats per element."""
        return 0.5 * math.log(2 * math.pi * math.e * self.std**2)

    def marginal(self, path: Path, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of x_t, in the shape of t."""
        return path.alpha(t) * self.mean, (path.alpha(t) * self.std).square() + path.sigma(t).square()

    def x0(self, path: Path, xt: Tensor, t: Tensor) -> Tensor:
        """E[x0 | x_t], by conditioning the joint Gaussian of x0 and x_t."""
        mean, var = self.marginal(path, t)
        slope = path.alpha(t) * self.std**2 / var
        return self.mean + spread(slope, xt) * (xt - spread(mean, xt))

    def denoise(self, path: Path, target: str) -> Denoise:
        """The perfect network."""
        return _denoise(self.x0, path, target)

    def exact_reverse(self, path: Path, xt: Tensor, s: Tensor, t: Tensor) -> Gaussian:
        """q(x_s | x_t), by conditioning the joint Gaussian of x_s and x_t."""
        mean_s, var_s = self.marginal(path, s)
        mean_t, var_t = self.marginal(path, t)
        covariance = path.alpha(t) / path.alpha(s) * var_s
        mean = spread(mean_s, xt) + spread(covariance / var_t, xt) * (xt - spread(mean_t, xt))
        return Gaussian(mean, spread((var_s - covariance.square() / var_t).log(), xt))

    def flow(self, path: Path, x1: Tensor) -> Tensor:
        """Where the probability flow carries x1 by t = 0: it keeps the distance in standard deviations."""
        mean, var = self.marginal(path, x1.new_ones(1).double())
        return self.mean + self.std * (x1 - mean.item()) / math.sqrt(var.item())


@dataclass(frozen=True)
class TwoPoints:
    """Every element of the data is -1 or 1, each half of the time."""

    def x0(self, path: Path, xt: Tensor, t: Tensor) -> Tensor:
        """E[x0 | x_t] = tanh(alpha x_t / sigma^2)."""
        return (spread(path.alpha(t) / path.sigma(t).square(), xt) * xt).tanh()

    def denoise(self, path: Path, target: str) -> Denoise:
        """The perfect network."""
        return _denoise(self.x0, path, target)
