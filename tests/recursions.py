"""The samplers once more, on Gaussian data and in plain floats, each as its own paper writes it.

There the best denoiser is affine, so x is at any time offset + slope x_1 + a weight for every noise drawn on the way:
one row of numbers, on which a sampler acts as a recursion.
"""

import math
from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np

from oracles import Gaussian1D

Row = np.ndarray  # offset, slope, weight of the first noise, of the second, ...
NODES, WEIGHTS = np.polynomial.legendre.leggauss(40)


@cache
def log_rates(path: str, T: int = 1000) -> list[float]:
    """log(1 - beta_n), the first that of the paper's beta_1."""
    beta = [1e-4 + (0.02 - 1e-4) * step / (T - 1) for step in range(T)]
    if path == "ddpm_cosine":
        f = [math.cos((step / T + 0.008) / 1.008 * math.pi / 2) ** 2 for step in range(T + 1)]
        beta = [min(1 - later / now, 0.999) for now, later in pairwise(f)]
    if path == "ddpm_sigmoid":
        f = [1 / (1 + math.exp(6 * step / T - 3)) - 1 / (1 + math.exp(3)) for step in range(T + 1)]
        beta = [min(1 - later / now, 0.999) for now, later in pairwise(f)]
    return [math.log1p(-each) for each in beta]


class At:
    """A path at one time, from its definition, and the best denoiser there."""

    def __init__(self, path: str, t: float, data: Gaussian1D):
        self.t, self.data = t, data
        if path == "rectified_flow":
            self.alpha, self.sigma = 1 - t, t
            self.drift = None
        else:
            T, rates = 1000, log_rates(path)
            n = min(int(T * t + 1e-9), T - 1)
            log_alpha_bar = math.fsum([*rates[:n], (T * t - n) * rates[n]])
            self.alpha, self.sigma = math.exp(log_alpha_bar / 2), math.sqrt(-math.expm1(log_alpha_bar))
            self.drift = 0.5 * T * rates[n]  # d log alpha / dt to the right of t
        self.var = self.alpha**2 * data.std**2 + self.sigma**2
        self.shrink = self.alpha * data.std**2 / self.var  # E[x0 | x] = mean + shrink (x - alpha mean)
        ends = -math.inf if self.sigma else math.inf
        self.half_log_snr = math.log(self.alpha / self.sigma) if self.alpha * self.sigma else ends

    def x0(self, x: Row) -> Row:
        """The prediction."""
        x0 = self.shrink * x
        x0[0] += self.data.mean * (1 - self.shrink * self.alpha)
        return x0

    def noise(self, x: Row) -> Row:
        """The prediction, as noise."""
        return (x - self.alpha * self.x0(x)) / self.sigma

    def velocity(self, x: Row) -> Row:
        """dx/dt: on rectified flow (x - x0) / t, else f x - g^2 score / 2 with f = d log alpha / dt, g^2 = -2 f."""
        if self.drift is None:
            return (x - self.x0(x)) / self.t
        score = -self.noise(x) / self.sigma
        return self.drift * (x + score)


def gap(now: At, after: At) -> tuple[float, float]:
    """e^-h by ratios, and h."""
    decay = now.alpha * after.sigma / (after.alpha * now.sigma)
    return decay, -math.log(decay) if decay else math.inf


def ddim(at: list[At], x: Row, noise: Callable[[], Row], eta: float = 0.0) -> Row:
    """[DDIM 12, 16]"""
    for now, after in pairwise(at):
        fresh = now.sigma**2 - (now.alpha / after.alpha * after.sigma) ** 2
        std = eta * after.sigma / now.sigma * math.sqrt(fresh)
        direction = math.sqrt(after.sigma**2 - std**2) * now.noise(x)
        x = after.alpha * now.x0(x) + direction + (std * noise() if std else 0)
    return x


def ancestral(at: list[At], x: Row, noise: Callable[[], Row], variance: str = "small") -> Row:
    """[DDPM 7, 11]"""
    for now, after in pairwise(at):
        ratio = now.alpha / after.alpha
        fresh = now.sigma**2 - ratio**2 * after.sigma**2
        x = (ratio * after.sigma**2 * x + after.alpha * fresh * now.x0(x)) / now.sigma**2
        if after.sigma:
            norm, norm_after = (each.alpha**2 + each.sigma**2 for each in (now, after))  # 1 on a chain
            var = fresh * (norm_after / norm if variance == "large" else after.sigma**2 / now.sigma**2)
            x = x + math.sqrt(var) * noise()
    return x


def euler(at: list[At], x: Row, noise: Callable[[], Row]) -> Row:
    """[RF alg. 1], and x0 last."""
    for now, after in pairwise(at):
        x = x + (after.t - now.t) * now.velocity(x) if after.t else now.x0(x)
    return x


def heun(at: list[At], x: Row, noise: Callable[[], Row]) -> Row:
    """[EDM alg. 1], in t on rectified flow, in alpha and sigma on a chain."""
    for now, after in pairwise(at):
        if not after.t:
            x = now.x0(x)
        elif now.drift is None:
            slope = now.velocity(x)
            ahead = x + (after.t - now.t) * slope
            x = x + (after.t - now.t) * (slope + after.velocity(ahead)) / 2
        else:
            ahead = after.alpha * now.x0(x) + after.sigma * now.noise(x)
            x = (
                x
                + (after.alpha - now.alpha) * (now.x0(x) + after.x0(ahead)) / 2
                + (after.sigma - now.sigma) * (now.noise(x) + after.noise(ahead)) / 2
            )
    return x


def dpmpp_2m(at: list[At], x: Row, noise: Callable[[], Row], sde: bool = False) -> Row:
    """[DPM++ alg. 2], and its SDE."""
    last, last_h = None, math.inf
    for now, after in pairwise(at):
        decay, h = gap(now, after)
        x0, ratio = now.x0(x), after.sigma / now.sigma
        D = x0
        if math.isfinite(h) and math.isfinite(last_h):
            r = last_h / h
            D = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * last
        if sde:
            x = ratio * decay * x + after.alpha * (1 - decay**2) * D
            x = x + (after.sigma * math.sqrt(1 - decay**2) * noise() if after.sigma else 0)
        else:
            x = ratio * x - after.alpha * (decay - 1) * D
        last, last_h = x0, h
    return x


def dpmpp_3m(at: list[At], x: Row, noise: Callable[[], Row], sde: bool = False) -> Row:
    """The integral of the parabola through three predictions by quadrature; before that, dpmpp_2m."""
    past: list[tuple[float, Row]] = []
    for now, after in pairwise(at):
        decay, h = gap(now, after)
        H = 2 * h if sde else h
        past = [(now.half_log_snr, now.x0(x)), *past][:3]
        known = [each for each in past if math.isfinite(each[0])]
        if math.isinf(h) or len(known) == 1:
            total = -math.expm1(-H) * past[0][1]
        elif len(known) == 2:
            (here, x0), (before, x0_before) = known
            total = -math.expm1(-H) * (x0 + (x0 - x0_before) * h / (here - before) / 2)
        else:
            total = 0
            for w, weight in zip((NODES + 1) / 2, WEIGHTS / 2, strict=True):
                where, (a, m_a), (b, m_b), (c, m_c) = now.half_log_snr + w * h, *known
                parabola = (
                    (where - b) * (where - c) / ((a - b) * (a - c)) * m_a
                    + (where - a) * (where - c) / ((b - a) * (b - c)) * m_b
                    + (where - a) * (where - b) / ((c - a) * (c - b)) * m_c
                )
                total = total + weight * H * math.exp(-H * (1 - w)) * parabola
        x = after.sigma / now.sigma * (decay if sde else 1) * x + after.alpha * total
        if sde and after.sigma:
            x = x + after.sigma * math.sqrt(1 - decay**2) * noise()
    return x


def unipc(at: list[At], x: Row, noise: Callable[[], Row], b_h: str) -> Row:
    """[UniPC sec. 3] of order 2 for predicted x0, as its authors' code solves for the weights."""
    outcomes: list[tuple[At, Row]] = []  # where a prediction was made, and the prediction
    origin = x  # the corrected x of the step before
    for place, (now, after) in enumerate(pairwise(at)):
        x0 = now.x0(x)
        if place:
            x = _unified(at[place - 1], now, origin, outcomes, b_h, x0)
        outcomes, origin = [*outcomes[-1:], (now, x0)], x
        x = _unified(now, after, x, outcomes, b_h, None)
    return x


def _unified(now: At, after: At, x: Row, outcomes: list[tuple[At, Row]], b_h: str, ahead: Row | None) -> Row:
    """One predictor (`ahead` None) or corrector step of order 2, or of order 1 where there is no history."""
    decay, h = gap(now, after)
    *before, (_, m0) = outcomes
    plain = after.sigma / now.sigma * x - after.alpha * (decay - 1) * m0
    if math.isinf(h):
        return plain  # and the corrector finds what the predictor found
    b = -h if b_h == "bh1" else math.expm1(-h)
    history = [
        ((each.half_log_snr - now.half_log_snr) / h, m - m0)
        for each, m in before
        if math.isfinite(each.half_log_snr)
    ]
    if ahead is None:
        bent = sum(0.5 * (m / r) for r, m in history)
    elif not history:
        bent = 0.5 * (ahead - m0)
    else:
        ((r, m),) = history
        phi = math.expm1(-h) / -h - 1  # h phi_2(-h), and h^2 phi_3(-h) twice
        rhs = np.array([phi, 2 * (phi / -h - 0.5)]) / b
        rho = np.linalg.solve(np.array([[1, 1], [r, 1]]), rhs)
        bent = rho[0] * m / r + rho[1] * (ahead - m0)
    return plain - after.alpha * b * bent
