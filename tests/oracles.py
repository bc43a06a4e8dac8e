"""Data for which everything about diffusion is known in closed form."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
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

    def flow_log_prob(self, path: Path, start: float, x: Tensor) -> Tensor:
        """Log density of each element where the flow from N(0, 1) at t = 1 stops at `start`, over alpha there."""
        mean, var = self.marginal(path, x.new_tensor([start, 1.0]).double())
        alpha = path.alpha(x.new_tensor(start).double())
        slope = (var[1] / var[0]).sqrt()
        x1 = mean[1] + slope * (alpha * x - mean[0])
        return (slope * alpha).log() - 0.5 * (math.log(2 * math.pi) + x1.square())


@dataclass(frozen=True)
class TwoPoints:
    """Every element of the data is -1 or 1, each half of the time."""

    def x0(self, path: Path, xt: Tensor, t: Tensor) -> Tensor:
        """E[x0 | x_t] = tanh(alpha x_t / sigma^2)."""
        return (spread(path.alpha(t) / path.sigma(t).square(), xt) * xt).tanh()

    def denoise(self, path: Path, target: str) -> Denoise:
        """The perfect network."""
        return _denoise(self.x0, path, target)


@dataclass(frozen=True)
class Mixture1D:
    """Every element of the data is drawn from a mixture of Gaussians, independently."""

    weights: tuple[float, ...] = (0.3, 0.7)
    means: tuple[float, ...] = (-1.0, 0.6)
    stds: tuple[float, ...] = (0.2, 0.4)

    @property
    def parts(self) -> list[tuple[float, Gaussian1D]]:
        """Each Gaussian with its weight."""
        gaussians = map(Gaussian1D, self.means, self.stds)
        return list(zip(self.weights, gaussians, strict=True))

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density of each element."""
        x = x.double()
        log_parts = []
        for weight, part in self.parts:
            gaussian = Gaussian(x.new_tensor(part.mean), 2 * x.new_tensor(part.std).log())
            log_parts.append(math.log(weight) + gaussian.log_prob(x))
        return torch.stack(log_parts).logsumexp(0)

    def x0(self, path: Path, xt: Tensor, t: Tensor) -> Tensor:
        """E[x0 | x_t]: that of each Gaussian, weighed by how likely x_t is to be its."""
        log_parts, x0 = [], []
        for weight, part in self.parts:
            mean, var = part.marginal(path, t)
            marginal = Gaussian(spread(mean, xt), spread(var.log(), xt))
            log_parts.append(math.log(weight) + marginal.log_prob(xt))
            x0.append(part.x0(path, xt, t))
        return (torch.stack(log_parts).softmax(0) * torch.stack(x0)).sum(0)

    def denoise(self, path: Path, target: str) -> Denoise:
        """The perfect network."""
        return _denoise(self.x0, path, target)

    def grid(self, points: int) -> tuple[Tensor, float]:
        """float64 [points] that reach eight standard deviations beyond every mean, and their distance."""
        low = min(part.mean - 8 * part.std for _, part in self.parts)
        high = max(part.mean + 8 * part.std for _, part in self.parts)
        return torch.linspace(low, high, points, dtype=torch.float64), (high - low) / (points - 1)

    @property
    def entropy(self) -> float:
        """Nats per element: a sum that is exact to rounding, since the summand and its slopes end at 0."""
        x, distance = self.grid(4001)
        log_prob = self.log_prob(x)
        return -distance * (log_prob.exp() * log_prob).sum().item()


class Correlated:
    """Samples [3] from one Gaussian whose elements depend on each other; float64."""

    def __init__(self) -> None:
        self.mean = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
        self.factor = torch.tensor([[0.8, 0, 0], [0.5, 0.3, 0], [-0.4, 0.2, 0.6]], dtype=torch.float64)
        self.covariance = self.factor @ self.factor.T

    def sample(self, noise: Tensor) -> Tensor:
        """Data from standard normal draws, [B, 3]."""
        return self.mean + noise @ self.factor.T

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density of each sample: [B]."""
        return torch.distributions.MultivariateNormal(self.mean, self.covariance).log_prob(x)

    def x0(self, path: Path, xt: Tensor, t: Tensor) -> Tensor:
        """E[x0 | x_t], by conditioning the joint Gaussian of x0 and x_t; t: [B]."""
        alpha, sigma = path.alpha(t)[:, None, None], path.sigma(t)[:, None, None]
        marginal = alpha.square() * self.covariance + sigma.square() * torch.eye(3, dtype=torch.float64)
        centred = (xt - alpha[:, 0] * self.mean)[..., None]  # [B, 3, 1]
        return self.mean + (alpha * self.covariance @ torch.linalg.solve(marginal, centred))[..., 0]

    def denoise(self, path: Path, target: str) -> Denoise:
        """The perfect network."""
        return _denoise(self.x0, path, target)
