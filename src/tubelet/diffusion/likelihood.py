"""log p(x) by the probability-flow ODE, and what 8-bit data add to it.

The flow is that of `velocity`, dx_t/dt = d_alpha x0 + d_sigma noise, in coordinates that make it smooth on every
path. With r = sqrt(alpha^2 + sigma^2), tan(angle) = sigma / alpha and z = x_t / r,

    dz / d(angle) = (alpha noise - sigma x0) / r = v / r                    [PD app. D]
    d log p(z) / d(angle) = -trace(dv / dx_t)

In t itself the flow starts infinitely fast on a ddpm path, has a corner at each entry of the chain's table, and
needs steps that shrink towards the data. Steps are therefore taken in the clarity asinh(alpha / sigma): it is
half the log SNR (and log 2) near the data, is regular where alpha is 0, and -d(clarity) = d(angle) / sin(angle).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from tubelet.diffusion.paths import Path
from tubelet.diffusion.steps import Denoise
from tubelet.diffusion.targets import check_target, convert
from tubelet.errors import InputError
from tubelet.gaussians import Gaussian


def flow_times(path: Path, num_steps: int = 64, smoothing: float = 1e-3) -> list[float]:
    """num_steps + 1 times that rise from sigma / alpha = smoothing to 1, evenly in asinh(alpha / sigma).

    smoothing: the std of the noise that is left on x, in units of x; see flow_log_prob. A network knows nothing
    below the smallest noise it was trained on. num_steps below 1, or smoothing outside (0, 1): InputError.
    """
    if num_steps < 1:
        raise InputError(f"the flow needs 1 step or more, got {num_steps}; try 64")
    if not 0 < smoothing < 1:
        raise InputError(f"smoothing must lie between 0 and 1, got {smoothing:g}; try 1e-3")
    end = _clarity(path, torch.ones(1, dtype=torch.float64)).item()
    clarity = torch.linspace(math.asinh(1 / smoothing), end, num_steps + 1, dtype=torch.float64)
    return [*_times_at(path, clarity[:-1]).tolist(), 1.0]


def rademacher_probes(uniform: Tensor) -> Tensor:
    """-1 or 1, each half of the time, from draws uniform in [0, 1): probes [K, B, ...] for a trace.   [FFJORD 7]

    One probe is already exact where the Jacobian is diagonal: its squares are 1.
    """
    return torch.where(uniform < 0.5, -1.0, 1.0).to(uniform)


def exact_probes(x: Tensor) -> Tensor:
    """The unit vectors of a sample times sqrt(d), [d, B, ...]: with these the trace is no estimate.

    x: [B, ...] with d elements per sample; the probes are at least float32. It costs d backward passes where one
    probe costs one.
    """
    num_dims, dtype = x[0].numel(), torch.promote_types(x.dtype, torch.float32)
    unit = math.sqrt(num_dims) * torch.eye(num_dims, dtype=dtype, device=x.device)
    return unit.reshape(num_dims, 1, *x.shape[1:]).expand(num_dims, *x.shape)


def flow_log_prob(
    denoise: Denoise,
    x: Tensor,
    path: Path,
    target: str,
    *,
    probes: Tensor,
    times: Sequence[float] | None = None,
) -> Tensor:
    """An estimate of log p(x) = log p(x_1) + integral of the flow's divergence, in nats: [B].   [SDE 39]

    denoise  (xt [B, ...], t [B]) -> prediction of `target`, [B, ...], through which autograd can see xt
    x        data (not noise), [B, ...]
    probes   [K, B, ...], each held along the whole path: the divergence is the mean over K of probe . J probe,
             unbiased for rademacher_probes and exact for exact_probes   [SDE 40] [FFJORD 8]
    times    rising strictly from above 0 to 1, fourth-order Runge-Kutta steps; without it flow_times(path)

    p is a density whatever the network: that of x / alpha where the flow, started from N(0, I) at t = 1 as the
    samplers are, is stopped at times[0]. With the perfect network and no mismatch at t = 1 it is the data's
    density smoothed by noise of std s = sigma / alpha at times[0]; on data of std tau that moves log p by about
    (s / tau)^2 / 2 per element. Only the steps are approximate: with twice as many the error is 16 times smaller.

    The result is in x's dtype but at least float32. No global randomness and no parameter's gradient is touched,
    and calling it under no_grad is fine. Times, probes or predictions that do not fit, target "noise" where
    alpha is 0 at t = 1, and a prediction that autograd cannot follow back to xt raise InputError. NaN or
    infinity, in the prediction or its derivative, raises FloatingPointError with the step and t.
    """
    check_target(target)
    times = flow_times(path) if times is None else times
    _check(times, probes, x)
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    flow = _Flow(denoise, path, target, probes.to(x))
    grid = torch.tensor(times, dtype=torch.float64)
    clarity = _clarity(path, grid)
    middle = _times_at(path, (clarity[1:] + clarity[:-1]) / 2)

    shrink, _, _ = _place(path, grid[0])
    z, gained = shrink * x, x.new_zeros(len(x))  # [B, ...], [B]
    for step in range(1, len(grid)):
        length = (clarity[step - 1] - clarity[step]).item()
        z, gain = flow.step(z, (grid[step - 1], middle[step - 1], grid[step]), length, step)
        gained = gained + gain
    _, _, r = _place(path, grid[-1])
    # STANDARD itself is in float32, and so would be its log(2 pi).
    prior = Gaussian(x.new_zeros(()), x.new_zeros(())).log_prob(r * z).flatten(1).sum(1)  # [B]
    return prior + gained + x[0].numel() * math.log(shrink * r)


@dataclass(frozen=True)
class _Flow:
    """The probability flow of a network's predictions, in z = x_t / r and minus the clarity."""

    denoise: Denoise
    path: Path
    target: str
    probes: Tensor  # [K, B, ...]

    def step(
        self, z: Tensor, times: tuple[Tensor, Tensor, Tensor], length: float, step: int
    ) -> tuple[Tensor, Tensor]:
        """z [B, ...] after one classical Runge-Kutta step of that length, and the divergence [B] along it."""
        start, half, end = times
        slope_1, gain_1 = self.slope(z, start, step)
        slope_2, gain_2 = self.slope(z + length / 2 * slope_1, half, step)
        slope_3, gain_3 = self.slope(z + length / 2 * slope_2, half, step)
        slope_4, gain_4 = self.slope(z + length * slope_3, end, step)
        z = z + length / 6 * (slope_1 + 2 * slope_2 + 2 * slope_3 + slope_4)
        return z, length / 6 * (gain_1 + 2 * gain_2 + 2 * gain_3 + gain_4)

    def slope(self, z: Tensor, time: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """dz [B, ...] and the divergence [B], each for one unit of falling clarity at that time."""
        _, sine, r = _place(self.path, time)
        # The first of these two is for callers in inference mode, under which nothing can be differentiated.
        with torch.inference_mode(False), torch.enable_grad():
            t = time.to(z.dtype).to(z.device).expand(len(z))  # [B]
            xt = (r * z).detach().requires_grad_()
            seen = xt.view_as(xt)  # what the network sees, so that its own derivative can be told apart
            prediction = self._predict(seen, t, step)
            v = convert(prediction, self.target, "v", self.path, xt, t).to(z.dtype)
            trace = self._trace(v, xt, seen)
        if not bool(torch.isfinite(trace).all()):
            raise FloatingPointError(
                f"the denoiser's derivative is NaN or infinite at step {step}, t = {time.item():g}"
            )
        return sine / r * v.detach(), sine * trace

    def _predict(self, xt: Tensor, t: Tensor, step: int) -> Tensor:
        prediction = self.denoise(xt, t)
        if prediction.shape != xt.shape:
            raise InputError(
                f"the denoiser returned shape {list(prediction.shape)} for x of shape {list(xt.shape)}; "
                f"return the prediction of {self.target} alone"
            )
        if not bool(torch.isfinite(prediction).all()):
            raise FloatingPointError(
                f"the denoiser returned NaN or infinity at step {step}, t = {t.max().item():g}"
            )
        return prediction

    def _trace(self, v: Tensor, xt: Tensor, seen: Tensor) -> Tensor:
        """The mean over the probes of probe . (dv / dxt) probe: [B]."""
        trace = v.new_zeros(len(v))
        for left, probe in enumerate(self.probes, start=1 - len(self.probes)):
            whole = by_network = None
            if v.requires_grad:
                whole, by_network = torch.autograd.grad(
                    v, (xt, seen), probe, retain_graph=left < 0, allow_unused=True
                )  # [B, ...] each
            if whole is None or by_network is None:  # the rest would pass for a likelihood
                raise InputError(
                    "autograd cannot see how the prediction depends on xt; call the network without no_grad "
                    "or detach, and write a constant prediction as constant + 0 * xt"
                )
            trace = trace + (whole * probe).flatten(1).sum(1)
        return trace / len(self.probes)


def dequantise(x: Tensor, uniform: Tensor, bin_width: float = 2 / 255) -> Tensor:
    """x + (uniform - 1/2) bin_width: 8-bit data in [-1, 1] spread evenly over their bins.   [Theis sec. 3.1]

    x: [B, ...], values in the middle of their bins, as in Gaussian.log_prob_discretised; uniform: draws in
    [0, 1) of x's shape, else InputError. The mean log density of the result is a lower bound of the log
    probability of the bin, less log(bin_width) per element.
    """
    inside = bool(((uniform >= 0) & (uniform <= 1)).all())
    if uniform.shape != x.shape or not inside:
        raise InputError(f"dequantise needs one draw in [0, 1) for each of {list(x.shape)}; pass torch.rand")
    return x + (uniform - 0.5) * bin_width


def flow_bits_per_dim(log_prob: Tensor, num_dims: int, bin_width: float = 2 / 255) -> Tensor:
    """-(log_prob / num_dims + log(bin_width)) / log 2: bits per element of the 8-bit data.   [Theis sec. 3.1]

    log_prob: nats of dequantised data, any shape; num_dims: elements per sample, below 1 InputError. In the mean
    over draws it is an upper bound of the bits that the discrete data cost.
    """
    if num_dims < 1:
        raise InputError(f"num_dims must be 1 or more, got {num_dims}; pass the elements per sample")
    return -(log_prob / num_dims + math.log(bin_width)) / math.log(2)


def _check(times: Sequence[float], probes: Tensor, x: Tensor) -> None:
    rising = all(s < t for s, t in pairwise(times))
    if len(times) < 2 or not times[0] > 0 or times[-1] != 1 or not rising:
        raise InputError(f"times must rise strictly from above 0 to 1, got {list(times)}; see flow_times")
    if len(probes) < 1 or probes.shape[1:] != x.shape:
        raise InputError(
            f"probes of shape {list(probes.shape)} do not fit x of shape {list(x.shape)}; "
            "pass [K, *x.shape], for one probe probe[None]"
        )


def _place(path: Path, t: Tensor) -> tuple[float, float, float]:
    """cos(angle) = alpha / r, sin(angle) = sigma / r, and r, at one time."""
    alpha, sigma = path.alpha(t).item(), path.sigma(t).item()
    r = math.hypot(alpha, sigma)
    return alpha / r, sigma / r, r


def _clarity(path: Path, t: Tensor) -> Tensor:
    """asinh(alpha / sigma), which falls strictly in t, from infinity at t = 0 to 0 where alpha is 0."""
    return (path.alpha(t) / path.sigma(t)).asinh()


def _times_at(path: Path, clarity: Tensor) -> Tensor:
    """The times in [0, 1] at which the path has that clarity, by bisection: float64."""
    early, late = torch.zeros_like(clarity), torch.ones_like(clarity)
    for _ in range(100):  # times near 0 need more halvings than the 53 digits of float64
        middle = (early + late) / 2
        clearer = _clarity(path, middle) > clarity
        early, late = torch.where(clearer, middle, early), torch.where(clearer, late, middle)
    return late
