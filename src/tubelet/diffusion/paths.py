"""alpha_t and sigma_t of a Gaussian path x_t = alpha_t x0 + sigma_t noise, for t in [0, 1].

t = 0 is clean data; the signal-to-noise ratio falls strictly in t. Everything is float64 and is cast where it
is read.
"""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tubelet.errors import InputError, near_miss


class Path(ABC):
    """alpha_t, sigma_t and their derivatives in t: float64 tensors of t's shape.

    t: any shape, in [0, 1]; anything else (NaN too) raises InputError. Results lie on t's device, or on the
    CPU where that device has no float64.
    """

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """The factor of x0; 1 at t = 0."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """The factor of the noise; 0 at t = 0."""

    @abstractmethod
    def log_snr(self, t: Tensor) -> Tensor:
        """log(alpha^2 / sigma^2); +inf at t = 0, -inf where alpha is 0."""

    @abstractmethod
    def d_alpha(self, t: Tensor) -> Tensor:
        """d alpha / dt."""

    @abstractmethod
    def d_sigma(self, t: Tensor) -> Tensor:
        """d sigma / dt."""


@dataclass(frozen=True)
class RectifiedFlow(Path):
    """alpha = 1 - t, sigma = t: straight lines from data to noise.   [RF 1]"""

    def alpha(self, t: Tensor) -> Tensor:
        """1 - t; 0 at t = 1, where x_t holds nothing of x0."""
        return 1 - _checked(t)

    def sigma(self, t: Tensor) -> Tensor:
        """The time itself."""
        return _checked(t)

    def log_snr(self, t: Tensor) -> Tensor:
        """2 log((1 - t) / t)."""
        t = _checked(t)
        return 2 * ((-t).log1p() - t.log())

    def d_alpha(self, t: Tensor) -> Tensor:
        """-1 everywhere."""
        return torch.full_like(_checked(t), -1.0)

    def d_sigma(self, t: Tensor) -> Tensor:
        """1 everywhere."""
        return torch.ones_like(_checked(t))


class Chain(Path):
    """A chain of T steps with alpha_t = sqrt(alpha_bar_t), sigma_t^2 = 1 - alpha_bar_t.   [DDPM 4]

    Tables have T + 1 entries and index n is the paper's t: beta[0] = 0 and alpha_bar[0] = 1 are clean data. A
    time t in [0, 1] stands for the paper's T t; between two entries log alpha is interpolated linearly.
    """

    def __init__(self, beta: Tensor):
        """From the paper's beta_1 .. beta_T, [T], each in (0, 1)."""
        beta = beta.double()
        self.beta = torch.cat([beta.new_zeros(1), beta])  # [T + 1]
        self.log_alpha_bar = (-self.beta).log1p().cumsum(0)  # [T + 1]
        self.alpha_bar = self.log_alpha_bar.exp()  # [T + 1]

    @property
    def T(self) -> int:
        """The number of steps."""
        return len(self.beta) - 1

    def alpha(self, t: Tensor) -> Tensor:
        """sqrt(alpha_bar)."""
        return self._log_alpha(t).exp()

    def sigma(self, t: Tensor) -> Tensor:
        """sqrt(1 - alpha_bar), with all its digits near t = 0."""
        return self._var(t).sqrt()

    def log_snr(self, t: Tensor) -> Tensor:
        """log(alpha_bar / (1 - alpha_bar))."""
        return 2 * self._log_alpha(t) - self._var(t).log()

    def d_alpha(self, t: Tensor) -> Tensor:
        """The derivative of the interpolation; at a table entry that to its right, at t = 1 to its left."""
        # A float32 time that means a table entry may fall short of it by 6e-5 of a step at T = 1000.
        now = (self.T * _checked(t) + 1e-4).long().clamp(max=self.T - 1)
        log_alpha_bar = self.log_alpha_bar.to(now.device)
        slope = 0.5 * self.T * (log_alpha_bar[now + 1] - log_alpha_bar[now])  # of log alpha, in t
        return self.alpha(t) * slope

    def d_sigma(self, t: Tensor) -> Tensor:
        """-alpha d_alpha / sigma, as alpha^2 + sigma^2 = 1; +inf at t = 0, where sigma rises like sqrt(t)."""
        return -self.alpha(t) * self.d_alpha(t) / self.sigma(t)

    def _place(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The table entry at or below T t (below T), and how far T t lies beyond it, in [0, 1]."""
        steps = self.T * _checked(t)
        now = steps.long().clamp(max=self.T - 1)
        return now, steps - now

    def _log_alpha(self, t: Tensor) -> Tensor:
        now, beyond = self._place(t)
        log_alpha_bar = self.log_alpha_bar.to(now.device)
        return 0.5 * torch.lerp(log_alpha_bar[now], log_alpha_bar[now + 1], beyond)

    def _var(self, t: Tensor) -> Tensor:
        return (2 * self._log_alpha(t)).expm1().abs()  # abs, for a minus would make it -0.0 at t = 0


def ddpm_linear(T: int = 1000) -> Chain:
    """beta rises linearly from 1e-4 to 0.02 at T = 1000; other T scale both by 1000 / T.   [DDPM sec. 4]

    The scaling lets every T end in the same noise. T below 21 would need beta >= 1: InputError.
    """
    if T < 21:
        raise InputError(f"ddpm_linear with T = {T} needs beta >= 1; pass T >= 21, or path ddpm_cosine")
    return Chain(torch.linspace(0.1 / T, 20 / T, T, dtype=torch.float64))


def ddpm_cosine(T: int = 1000) -> Chain:
    """alpha_bar falls like cos^2((t + 0.008) / 1.008 pi / 2), each beta clipped at 0.999.   [IDDPM 17]"""
    if T < 1:
        raise InputError(f"ddpm_cosine with T = {T} has no step; pass T >= 1")
    t = torch.linspace(0, 1, T + 1, dtype=torch.float64)
    alpha_bar = ((t + 0.008) / 1.008 * math.pi / 2).cos().square()
    return Chain((1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999))


PATHS: dict[str, Callable[..., Path]] = {
    "ddpm_linear": ddpm_linear,
    "ddpm_cosine": ddpm_cosine,
    "rectified_flow": RectifiedFlow,
}


def make_path(name: str, **options: int) -> Path:
    """The path of that name. Options: T, the number of steps, for the ddpm paths.

    An unknown name, or an option the path does not have, raises InputError.
    """
    if name not in PATHS:
        raise InputError(f"unknown path {name!r}: {near_miss(name, list(PATHS))}")
    known = inspect.signature(PATHS[name]).parameters
    for option in options:
        if option not in known:
            raise InputError(f"path {name} has no option {option!r}: it has {', '.join(known) or 'none'}")
    return PATHS[name](**options)


def _checked(t: Tensor) -> Tensor:
    """`t` in float64, refused outside [0, 1]."""
    if t.device.type == "mps":  # it has no float64
        t = t.cpu()
    t = t.double()
    if not bool(((t >= 0) & (t <= 1)).all()):
        low, high = t.min().item(), t.max().item()
        raise InputError(f"t must lie in [0, 1], got {low:g} to {high:g}; divide a step number by T")
    return t
