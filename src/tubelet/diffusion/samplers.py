"""Samplers: generators with one signature. The caller owns progress, previews, cancelling and all randomness.

    sampler(denoise, x, reverse, times, *, noise) -> x after each step; the last one is x0

denoise  (xt [B, C, ...], t [B]) -> prediction of reverse.target, [B, C, ...], or [B, 2 C, ...] with a learned variance
x        where to start, [B, C, ...]: standard normal at times[0] = 1
times    falling strictly from at most 1 to 0: see grids.time_grid
noise    () -> standard normal like x, called once for each step that draws

Results are at least float32. What is yielded may be changed in place, and the next step starts from there. Times that
do not fall to 0 raise InputError; a prediction, or an x, that is not finite raises FloatingPointError with step and t.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Protocol

from torch import Tensor

from tubelet.diffusion.multistep import dpmpp, unipc
from tubelet.diffusion.reverse import Reverse
from tubelet.diffusion.steps import (
    Denoise,
    Noise,
    check_eta,
    checked,
    points,
    predict,
    predict_both,
    predict_x0,
    start,
)
from tubelet.errors import InputError, near_miss


class Sampler(Protocol):
    """The one signature: see the head of this module."""

    def __call__(
        self, denoise: Denoise, x: Tensor, reverse: Reverse, times: Sequence[float], *, noise: Noise
    ) -> Iterator[Tensor]:
        """x after each step, [B, C, ...]."""
        ...


def ancestral(
    denoise: Denoise, x: Tensor, reverse: Reverse, times: Sequence[float], *, noise: Noise
) -> Iterator[Tensor]:
    """Draws x_s ~ p(x_s | x_t) until x0; the last step is the mean.   [DDPM alg. 2]"""
    x = start(x)
    for step, (t, s) in enumerate(pairwise(points(times, x, reverse.path)), start=1):
        p_xs = reverse.p_xs(predict(denoise, x, t, step), x, s.time, t.time)
        x = checked(p_xs.sample(noise()) if s.t else p_xs.mean.to(x.dtype), s, step)
        yield x


def ddim(
    denoise: Denoise, x: Tensor, reverse: Reverse, times: Sequence[float], *, noise: Noise, eta: float = 0.0
) -> Iterator[Tensor]:
    """x_s = alpha_s x0 + sqrt(sigma_s^2 - std^2) noise_hat + std noise().   [DDIM 12]

    std is eta times that of the posterior, sigma_s^2 (1 - snr_t / snr_s). [DDIM 16] eta 0 is deterministic and never
    calls `noise`; eta 1 is ancestral with small variance. eta outside [0, 1] raises InputError.
    """
    check_eta(eta)
    x = start(x)
    for step, (t, s) in enumerate(pairwise(points(times, x, reverse.path)), start=1):
        x0, noise_hat = predict_both(denoise, x, reverse, t, step)
        renewed = -(eta**2) * math.expm1(2 * (t.half_log_snr - s.half_log_snr))  # std^2 / sigma_s^2
        x = s.alpha * x0 + s.sigma * math.sqrt(1 - renewed) * noise_hat
        if eta and s.t:
            x = x + s.sigma * math.sqrt(renewed) * noise()
        x = checked(x, s, step)
        yield x


def euler(
    denoise: Denoise, x: Tensor, reverse: Reverse, times: Sequence[float], *, noise: Noise
) -> Iterator[Tensor]:
    """x_s = x_t + (s - t) dx_t/dt along the probability flow; the last step is x0.   [RF alg. 1]

    On rectified flow x0 is exactly where the last Euler step leads; on a ddpm path, whose velocity is
    infinite at t = 0, it is better than where that would lead. Deterministic: `noise` is never called.
    """
    x = start(x)
    for step, (t, s) in enumerate(pairwise(points(times, x, reverse.path)), start=1):
        if s.t:
            prediction = predict(denoise, x, t, step)
            x = x + (s.t - t.t) * reverse.to("velocity", prediction, x, t.time).to(x.dtype)
        else:
            x = predict_x0(denoise, x, reverse, t, step)
        x = checked(x, s, step)
        yield x


def heun(
    denoise: Denoise, x: Tensor, reverse: Reverse, times: Sequence[float], *, noise: Noise
) -> Iterator[Tensor]:
    """x_s = x_t + (alpha_s - alpha_t) mean x0 + (sigma_s - sigma_t) mean noise_hat.   [EDM alg. 1]

    The means are of the predictions at x_t and at the DDIM step from there, so each step but the last calls the network
    twice; the last, to x0, stays the DDIM step. On rectified flow this is Heun's method on dx_t/dt = noise - x0; on
    other paths it is the same rule for d alpha and d sigma, and needs no derivative in t. `noise` is never called.
    """
    x = start(x)
    for step, (t, s) in enumerate(pairwise(points(times, x, reverse.path)), start=1):
        x0, noise_hat = predict_both(denoise, x, reverse, t, step)
        x = s.alpha * x0 + s.sigma * noise_hat
        if s.t:
            x0_s, noise_s = predict_both(denoise, x, reverse, s, step)
            x = x + (s.alpha - t.alpha) / 2 * (x0_s - x0) + (s.sigma - t.sigma) / 2 * (noise_s - noise_hat)
        x = checked(x, s, step)
        yield x


SAMPLERS: dict[str, Sampler] = {
    "euler": euler,
    "heun": heun,
    "ddim": ddim,
    "ancestral": ancestral,
    "dpmpp_2m": partial(dpmpp, order=2),
    "dpmpp_2m_sde": partial(dpmpp, order=2, eta=1.0),
    "dpmpp_3m": partial(dpmpp, order=3),
    "dpmpp_3m_sde": partial(dpmpp, order=3, eta=1.0),
    "unipc_bh1": partial(unipc, b_h="bh1"),
    "unipc_bh2": partial(unipc, b_h="bh2"),
}


def sampler_named(name: str) -> Sampler:
    """The sampler of that name; InputError, with the near miss, for one that is not in SAMPLERS."""
    if name not in SAMPLERS:
        raise InputError(f"unknown sampler {name!r}: {near_miss(name, list(SAMPLERS))}")
    return SAMPLERS[name]


def invert(
    denoise: Denoise, x0: Tensor, reverse: Reverse, times: Sequence[float], *, iterations: int = 1
) -> Iterator[Tensor]:
    """From data to the noise that `ddim` makes it from: x_s solves the DDIM step from s down to t, for s > t.

    x_s = x_t + (alpha_s - alpha_t) x0(x_s) + (sigma_s - sigma_t) noise_hat(x_s), by fixed-point iteration from the
    predictions at t. The network is asked at s, never at t = 0, where it was not trained and some targets are
    infinite; there x0 itself and no noise are the first guess. Each iteration calls it once and adds one order to
    how well `ddim` on the reversed times leads back to x0: 2 for one iteration. The noise itself is DDIM's, of order 1.

    x0: data, [B, C, ...]; times: rising strictly from 0 to at most 1. Yields x after each step. Other times, or
    iterations below 1, raise InputError; what is not finite FloatingPointError.
    """
    if iterations < 1:
        raise InputError(f"iterations must be 1 or more, got {iterations}; try 1")
    x = start(x0)
    x0, noise_hat = x, x.new_zeros(())
    for step, (t, s) in enumerate(pairwise(points(times, x, reverse.path, rising=True)), start=1):
        d_alpha, d_sigma = s.alpha - t.alpha, s.sigma - t.sigma
        for _ in range(iterations):
            guess = x + d_alpha * x0 + d_sigma * noise_hat
            x0, noise_hat = predict_both(denoise, guess, reverse, s, step)
        x = checked(x + d_alpha * x0 + d_sigma * noise_hat, s, step)
        yield x
