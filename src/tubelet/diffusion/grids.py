"""Grids of times for samplers: where on a path its steps begin and end."""

import math

import torch
from torch import Tensor

from tubelet.diffusion.paths import Path
from tubelet.diffusion.times import shift_times
from tubelet.errors import InputError, near_miss

GRIDS = ("uniform", "log_snr", "karras")
MOST, LEAST = 80.0, 0.002  # of sigma / alpha, where a path has no end of its own: sigma_max, sigma_min of EDM
RHO = 7.0


def time_grid(
    num_steps: int, shift: float = 1.0, name: str = "uniform", path: Path | None = None
) -> list[float]:
    """num_steps + 1 times that fall from 1 to 0, spaced as the name says and then shifted (see shift_times).

    uniform  evenly in t
    log_snr  evenly in the log-SNR of `path`
    karras   evenly in (sigma / alpha)^(1 / 7) of `path`   [EDM 5]

    log_snr and karras space num_steps values of sigma / alpha, from its value at t = 1 (from MOST where that is
    infinite) down to LEAST, and t = 0 follows as the last time. The first of them is always t = 1, for there x is
    standard normal. num_steps below 1, an unknown name, or a missing path raises InputError.
    """
    if num_steps < 1:
        raise InputError(f"--num-inference-steps must be 1 or more, got {num_steps}; try 30")
    if name not in GRIDS:
        raise InputError(f"unknown grid {name!r}: {near_miss(name, GRIDS)}")
    even = torch.arange(num_steps, -1, -1, dtype=torch.float64) / num_steps  # 1 to 0, [num_steps + 1]
    if name == "uniform":
        return shift_times(even, shift).tolist()
    if path is None:
        raise InputError(f"grid {name} follows the noise of a path; pass path, or take grid uniform")
    most = path.log_snr(even[:1]).div(-2).exp().item()
    most = MOST if math.isinf(most) else most
    share = torch.arange(1, num_steps, dtype=torch.float64) / max(num_steps - 1, 1)  # of the way to LEAST
    if name == "log_snr":
        levels = most * (LEAST / most) ** share
    else:
        levels = (most ** (1 / RHO) + share * (LEAST ** (1 / RHO) - most ** (1 / RHO))) ** RHO
    inner = time_at(path, -2 * levels.log())
    return shift_times(torch.cat([even[:1], inner, even[-1:]]), shift).tolist()


def time_at(path: Path, log_snr: Tensor) -> Tensor:
    """The times at which the path has these log-SNRs, by bisection: float64, in the shape of log_snr.

    A log-SNR below that of t = 1 has time 1.
    """
    log_snr = log_snr.double()
    early, late = torch.zeros_like(log_snr), torch.ones_like(log_snr)
    for _ in range(80):  # a time near 0 takes more halvings than float64 has digits
        middle = (early + late) / 2
        clearer = path.log_snr(middle) > log_snr
        early, late = torch.where(clearer, middle, early), torch.where(clearer, late, middle)
    return late
