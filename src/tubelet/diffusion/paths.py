"""alpha_t and sigma_t of a Gaussian path x_t = alpha_t x0 + sigma_t noise, for t in [0, 1].

t = 0 is clean data; the signal-to-noise ratio falls strictly in t. Everything is float64 and is cast where it
is read.
"""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

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
    time t in [0, 1] stands for the paper's T t; between two entries log alpha is interpolated linearly, and alpha
    itself before an entry where it is 0.
    """

    def __init__(self, beta: Tensor):
        """From the paper's beta_1 .. beta_T, [T], each in (0, 1); the last may be 1, which leaves nothing of x0.

        Others raise InputError.
        """
        beta = beta.double()
        inside = (beta > 0) & (beta < 1)
        if beta.dim() != 1 or not len(beta) or not bool(inside[:-1].all() and 0 < beta[-1] <= 1):
            raise InputError(
                "betas must be a list of numbers above 0 and below 1, of which only the last may be 1; "
                f"got {beta.flatten()[:8].tolist()}"
            )
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
        here, there = self._log_alpha_bar(now), self._log_alpha_bar(now + 1)
        slope = 0.5 * self.T * (there - here)  # of log alpha, in t
        return torch.where(there.isinf(), -self.T * (0.5 * here).exp(), self.alpha(t) * slope)

    def d_sigma(self, t: Tensor) -> Tensor:
        """-alpha d_alpha / sigma, as alpha^2 + sigma^2 = 1; +inf at t = 0, where sigma rises like sqrt(t)."""
        return -self.alpha(t) * self.d_alpha(t) / self.sigma(t)

    def _place(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The table entry at or below T t (below T), and how far T t lies beyond it, in [0, 1]."""
        steps = self.T * _checked(t)
        now = steps.long().clamp(max=self.T - 1)
        return now, steps - now

    def _log_alpha_bar(self, number: Tensor) -> Tensor:
        return self.log_alpha_bar.to(number.device)[number]

    def _log_alpha(self, t: Tensor) -> Tensor:
        now, beyond = self._place(t)
        here, there = self._log_alpha_bar(now), self._log_alpha_bar(now + 1)
        ends = there.isinf()  # each branch is kept finite where the other is taken, for derivatives' sake
        line = torch.lerp(here, there.where(~ends, here), beyond)
        return 0.5 * line + (-beyond.where(ends, 0.0)).log1p()

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
    return _chain("ddpm_cosine", T, lambda t: ((t + 0.008) / 1.008 * math.pi / 2).cos().square())


def ddpm_sigmoid(T: int = 1000) -> Chain:
    """alpha_bar falls like sigmoid(3 - 6 t), less its value at t = 1; each beta clipped at 0.999.   [Sigmoid]"""
    end = 1 / (1 + math.exp(3.0))
    return _chain("ddpm_sigmoid", T, lambda t: (3 - 6 * t).sigmoid() - end)


def _chain(name: str, T: int, fall: Callable[[Tensor], Tensor]) -> Chain:
    """The chain whose alpha_bar falls in proportion to `fall` of t = 0, 1 / T .. 1; that cannot be told at 0."""
    if T < 1:
        raise InputError(f"{name} with T = {T} has no step; pass T >= 1")
    alpha_bar = fall(torch.linspace(0, 1, T + 1, dtype=torch.float64))
    return Chain((1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999))


def zero_terminal(chain: Chain) -> Chain:
    """alpha shifted to 0 at t = 1, and scaled to be what it was after the first step.   [Rescale sec. 3.1]

    x_T then holds nothing of x0, as sampling takes for granted; noise can no longer be the target.
    """
    alpha = chain.alpha_bar.sqrt()[1:]
    alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])  # [T]
    alpha_bar = torch.cat([alpha.new_ones(1), alpha.square()])
    return Chain(1 - alpha_bar[1:] / alpha_bar[:-1])


PATHS: dict[str, Callable[..., Path]] = {
    "ddpm_linear": ddpm_linear,
    "ddpm_cosine": ddpm_cosine,
    "ddpm_sigmoid": ddpm_sigmoid,
    "rectified_flow": RectifiedFlow,
}


@dataclass(frozen=True, kw_only=True)
class PathConfig:
    """A path by its name, and for the ddpm paths their number of steps T (1000 where it is not given).

    betas: a chain's own beta_1 .. beta_T instead of a name's. zero_terminal: see the function. An unknown name, or an
    option that the path does not have, raises InputError.
    """

    name: str = "rectified_flow"
    T: int | None = None
    betas: tuple[float, ...] = ()
    zero_terminal: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))  # JSON and TOML hand over a list
        self.make()

    def make(self) -> Path:
        """The path itself."""
        if self.name != "betas" and self.name not in PATHS:
            raise InputError(f"unknown path {self.name!r}: {near_miss(self.name, [*PATHS, 'betas'])}")
        if (self.name == "betas") != bool(self.betas):
            raise InputError('a path of your own has the name "betas" and its betas in a list: give both')
        chain = not self.betas and "T" in inspect.signature(PATHS[self.name]).parameters
        if self.T is not None and not chain:
            raise InputError(f"path {self.name} has no steps to count; leave out T")
        options = {} if self.T is None else {"T": self.T}
        path = (
            Chain(torch.tensor(self.betas, dtype=torch.float64))
            if self.betas
            else PATHS[self.name](**options)
        )
        if not self.zero_terminal:
            return path
        if not isinstance(path, Chain):
            raise InputError(f"path {self.name} ends in pure noise already; leave out zero_terminal")
        return zero_terminal(path)


def path_config(path: "PathConfig | str | dict[str, Any]") -> PathConfig:
    """The config that a lone name, or the values read from a file, stand for."""
    if isinstance(path, PathConfig):
        return path
    return PathConfig(name=path) if isinstance(path, str) else PathConfig(**path)


def make_path(path: PathConfig | str, **options: Any) -> Path:
    """The path of a config or of a name, with options as in PathConfig. Raises InputError as that does."""
    return (PathConfig(name=path, **options) if isinstance(path, str) else replace(path, **options)).make()


def _checked(t: Tensor) -> Tensor:
    """`t` in float64, refused outside [0, 1]."""
    if t.device.type == "mps":  # it has no float64
        t = t.cpu()
    t = t.double()
    if not bool(((t >= 0) & (t <= 1)).all()):
        low, high = t.min().item(), t.max().item()
        raise InputError(f"t must lie in [0, 1], got {low:g} to {high:g}; divide a step number by T")
    return t
