"""What all samplers share: the points of their grid, and checks of whatever passes through their hands."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from tubelet.diffusion.paths import Path
from tubelet.diffusion.reverse import Reverse
from tubelet.errors import InputError

Denoise = Callable[[Tensor, Tensor], Tensor]
Noise = Callable[[], Tensor]


@dataclass(frozen=True)
class Point:
    """A time of a grid, as numbers and as tensors: [1] for coefficients, [B] for the network.

    Coefficients stay on the CPU, for reading one from an accelerator would make it wait.
    """

    t: float
    time: Tensor  # [1], float64, on the CPU
    times: Tensor  # [B], with x
    alpha: float
    sigma: float
    half_log_snr: float  # log(alpha / sigma): +inf at t = 0, -inf where alpha is 0


def points(times: Sequence[float], x: Tensor, path: Path, rising: bool = False) -> list[Point]:
    """The points of a grid that falls strictly from at most 1 to 0, or rises from 0; anything else: InputError.

    x: [B, ...]. Times are rounded to the precision of x, at least float32, before anything is computed from
    them, so that the coefficients of a step belong to the very times which the network is told.
    """
    wanted = "rise strictly from 0 to at most 1" if rising else "fall strictly from at most 1 to 0"
    refusal = InputError(f"times must {wanted}, got {list(times)}; see time_grid")
    grid = torch.tensor(times, dtype=torch.promote_types(x.dtype, torch.float32))  # [steps + 1]
    falling = grid.flip(0) if rising else grid
    if len(grid) < 2 or falling[0] > 1 or falling[-1] != 0 or not bool((falling.diff() < 0).all()):
        raise refusal
    numbers = [each.tolist() for each in (path.alpha(grid), path.sigma(grid), path.log_snr(grid) / 2)]
    if not all(a < b for a, b in pairwise(sorted(numbers[-1]))):  # times too close for their noise to differ
        raise refusal
    for_network = grid.to(x.device)[:, None].expand(-1, len(x))  # [steps + 1, B]
    columns = (grid.tolist(), grid.double()[:, None], for_network, *numbers)
    return [Point(*row) for row in zip(*columns, strict=True)]


def start(x: Tensor) -> Tensor:
    """x in the precision in which it is sampled: its own, at least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def predict(denoise: Denoise, x: Tensor, at: Point, step: int) -> Tensor:
    """The network's prediction at x; FloatingPointError with step and t where it is not finite."""
    prediction = denoise(x, at.times)
    if not bool(torch.isfinite(prediction).all()):
        raise FloatingPointError(f"the denoiser returned NaN or infinity at step {step}, t = {at.t:g}")
    return prediction


def predict_x0(denoise: Denoise, x: Tensor, reverse: Reverse, at: Point, step: int) -> Tensor:
    """The x0 that the network predicts, [B, C, ...] in x's precision."""
    return reverse.x0(predict(denoise, x, at, step), x, at.time).to(x.dtype)


def predict_both(
    denoise: Denoise, x: Tensor, reverse: Reverse, at: Point, step: int
) -> tuple[Tensor, Tensor]:
    """The x0 and the noise that the network predicts, both [B, C, ...] in x's precision.

    Both are read from the prediction, so that nothing is divided by an alpha or a sigma which may be 0.
    """
    prediction = predict(denoise, x, at, step)
    x0, noise = (reverse.to(target, prediction, x, at.time) for target in ("x0", "noise"))
    return x0.to(x.dtype), noise.to(x.dtype)


def checked(x: Tensor, at: Point, step: int) -> Tensor:
    """x where a step has led; FloatingPointError with step and t where it is not finite."""
    if not bool(torch.isfinite(x).all()):
        raise FloatingPointError(f"x became NaN or infinite in step {step}, which leads to t = {at.t:g}")
    return x


def check_eta(eta: float) -> None:
    """Raises InputError unless eta, the share of fresh noise, lies in [0, 1]."""
    if not 0 <= eta <= 1:
        raise InputError(f"eta must lie in [0, 1], got {eta:g}; 0 is deterministic")
