"""Samplers: generators with one signature. The caller owns progress, previews, cancelling and all randomness.

    sampler(denoise, x, reverse, times, *, noise) -> x after each step; the last one is x0

denoise  (xt [B, C, ...], t [B]) -> prediction of reverse.target, [B, C, ...], or [B, 2 C, ...] with a learned variance
x        where to start, [B, C, ...]: standard normal at times[0] = 1
times    falling strictly to 0: see time_grid
noise    () -> standard normal like x, called once for each step that draws

Results are at least float32. Times that do not fall to 0 raise InputError; a prediction that is not finite
raises FloatingPointError with its step and t.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from tubelet.diffusion.objective import shift_times
from tubelet.diffusion.process import fresh_share, spread
from tubelet.diffusion.reverse import Reverse
from tubelet.errors import InputError

Denoise = Callable[[Tensor, Tensor], Tensor]
Noise = Callable[[], Tensor]


def time_grid(num_steps: int, shift: float = 1.0) -> list[float]:
    """num_steps + 1 times that fall from 1 to 0, evenly spaced and then shifted (see shift_times).

    num_steps below 1 raises InputError.
    """
    if num_steps < 1:
        raise InputError(f"--num-inference-steps must be 1 or more, got {num_steps}; try 30")
    even = torch.arange(num_steps, -1, -1, dtype=torch.float64) / num_steps
    return shift_times(even, shift).tolist()


def ancestral(
    denoise: Denoise, x: Tensor, reverse: Reverse, times: Sequence[float], *, noise: Noise
) -> Iterator[Tensor]:
    """Draws x_s ~ p(x_s | x_t) until x0; the last step is the mean.   [DDPM alg. 2]"""
    for step, (t, s) in _steps(times, x):
        p_xs = reverse.p_xs(_predict(denoise, x, t, step), x, s, t)
        x = p_xs.sample(noise()) if bool(s.any()) else p_xs.mean
        yield x


def ddim(
    denoise: Denoise, x: Tensor, reverse: Reverse, times: Sequence[float], *, noise: Noise, eta: float = 0.0
) -> Iterator[Tensor]:
    """x_s = alpha_s x0 + sqrt(sigma_s^2 - std^2) noise_hat + std noise().   [DDIM 12]

    std is eta times that of the posterior. [DDIM 16] x0 and noise_hat are both read from the prediction, so
    nothing is divided by alpha_t. eta 0 is deterministic and never calls `noise`; eta 1 is ancestral with
    small variance. eta outside [0, 1] raises InputError.
    """
    if not 0 <= eta <= 1:
        raise InputError(f"eta must lie in [0, 1], got {eta:g}; 0 is deterministic")
    for step, (t, s) in _steps(times, x):
        prediction = _predict(denoise, x, t, step)
        x0 = reverse.x0(prediction, x, t)
        noise_hat = reverse.to("noise", prediction, x, t)
        sigma, renewed = reverse.path.sigma(s), eta**2 * fresh_share(reverse.path, s, t)
        x = spread(reverse.path.alpha(s), x) * x0 + spread(sigma * (1 - renewed).sqrt(), x) * noise_hat
        if eta and bool(s.any()):
            x = x + spread(sigma * renewed.sqrt(), x) * noise()
        yield x


def euler(
    denoise: Denoise, x: Tensor, reverse: Reverse, times: Sequence[float], *, noise: Noise
) -> Iterator[Tensor]:
    """x_s = x_t + (s - t) dx_t/dt along the probability flow; the last step is x0.   [RF alg. 1]

    On rectified flow x0 is exactly where the last Euler step leads; on a ddpm path, whose velocity is
    infinite at t = 0, it is better than where that would lead. Deterministic: `noise` is never called.
    """
    for step, (t, s) in _steps(times, x):
        prediction = _predict(denoise, x, t, step)
        if bool(s.any()):
            x = x + spread(s - t, x) * reverse.to("velocity", prediction, x, t)
        else:
            x = reverse.x0(prediction, x, t)
        yield x


SAMPLERS: dict[str, Callable[..., Iterator[Tensor]]] = {"euler": euler, "ddim": ddim, "ancestral": ancestral}


def _steps(times: Sequence[float], x: Tensor) -> Iterator[tuple[int, tuple[Tensor, Tensor]]]:
    """Each step's number, t and s, [B]. Times that do not fall strictly from at most 1 to 0: InputError."""
    falling = all(t > s for t, s in pairwise(times))
    if len(times) < 2 or times[0] > 1 or times[-1] != 0 or not falling:
        raise InputError(f"times must fall strictly from at most 1 to 0, got {list(times)}; see time_grid")
    dtype = torch.promote_types(x.dtype, torch.float32)
    grid = torch.tensor(times, dtype=dtype, device=x.device)[:, None].expand(-1, len(x))  # [steps + 1, B]
    yield from enumerate(pairwise(grid), start=1)


def _predict(denoise: Denoise, x: Tensor, t: Tensor, step: int) -> Tensor:
    prediction = denoise(x, t)
    if not bool(torch.isfinite(prediction).all()):
        raise FloatingPointError(
            f"the denoiser returned NaN or infinity at step {step}, t = {t.max().item():g}"
        )
    return prediction
