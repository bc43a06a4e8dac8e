"""What a network may predict, and every conversion between the predictions.

Each target is a mixture p x0 + q noise. Together with x_t = alpha x0 + sigma noise it gives both back:

    x0    = (q x_t - sigma target) / (alpha q - sigma p)
    noise = (alpha target - p x_t) / (alpha q - sigma p)

    noise      p = 0          q = 1
    x0         p = 1          q = 0
    v          p = -sigma     q = alpha          [PD app. D]
    velocity   p = d_alpha    q = d_sigma        dx_t/dt   [RF 1]
    score      p = 0          q = -1 / sigma     d log q(x_t | x0) / dx_t   [SDE 9]

At the ends: x0 from noise or score needs alpha > 0, and a score sigma > 0; v gives x0 as
(alpha x_t - sigma v) / (alpha^2 + sigma^2), which is regular everywhere.
"""

import torch
from torch import Tensor

from tubelet.diffusion.paths import Path
from tubelet.diffusion.process import spread
from tubelet.errors import InputError, near_miss

TARGETS = ("noise", "x0", "v", "velocity", "score")


def check_target(name: str) -> None:
    """Raises InputError, with the near miss, for a name that is not in TARGETS."""
    if name not in TARGETS:
        raise InputError(f"unknown target {name!r}: {near_miss(name, TARGETS)}")


def target_of(name: str, path: Path, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """What the network should predict at x_t = alpha x0 + sigma noise.

    x0, noise: [B, ...]; t: [B] or broadcastable to x0. The velocity of the ddpm paths and every
    score are infinite at t = 0; losses leave known latents (t = 0) out. An unknown name raises InputError.
    """
    check_target(name)
    if name == "noise":
        return noise
    if name == "x0":
        return x0
    p, q = _mixture(name, path, t)
    return spread(p, x0) * x0 + spread(q, x0) * noise


def x0_coefficients(name: str, path: Path, t: Tensor) -> tuple[Tensor, Tensor]:
    """a and b of x0 = a x_t + b prediction, float64 in the shape of t; b is dx0 / dprediction.

    Predicted noise, or a score, says nothing about x0 where alpha is 0: InputError. The other targets are regular
    there.
    """
    check_target(name)
    alpha, sigma = path.alpha(t), path.sigma(t)
    if name in ("noise", "score") and bool((alpha == 0).any()):
        raise InputError(
            f"target {name}: alpha is 0 at t = 1 of this path, so x_t is all noise and says nothing about x0; "
            "use target velocity, v or x0, or a ddpm path without zero_terminal"
        )
    p, q = _mixture(name, path, t)
    determinant = alpha * q - sigma * p
    of_xt = torch.where(q.isinf(), 1 / alpha, q / determinant)  # t = 0: x_t is x0
    return of_xt, -sigma / determinant if name != "x0" else torch.ones_like(alpha)  # 0 / 0 at t = 0


def to_x0(name: str, path: Path, prediction: Tensor, xt: Tensor, t: Tensor) -> Tensor:
    """The x0 that a prediction stands for: see x0_coefficients.

    prediction, xt: [B, ...]; t: [B] or broadcastable to xt.
    """
    if name == "x0":
        return prediction
    of_xt, of_prediction = x0_coefficients(name, path, t)
    return spread(of_xt, xt) * xt + spread(of_prediction, xt) * prediction


def to_noise(name: str, path: Path, prediction: Tensor, xt: Tensor, t: Tensor) -> Tensor:
    """The noise that a prediction stands for.

    prediction, xt: [B, ...]; t: [B] or broadcastable to xt. A predicted x0 says nothing about noise at t = 0:
    InputError.
    """
    check_target(name)
    if name == "noise":
        return prediction
    alpha, sigma = path.alpha(t), path.sigma(t)
    if name == "x0" and bool((sigma == 0).any()):
        raise InputError("target x0: at t = 0 x_t is x0 and holds no noise; convert at t > 0 only")
    p, q = _mixture(name, path, t)
    determinant = alpha * q - sigma * p
    return spread(alpha / determinant, xt) * prediction - spread(p / determinant, xt) * xt


def convert(prediction: Tensor, frm: str, to: str, path: Path, xt: Tensor, t: Tensor) -> Tensor:
    """A prediction of target `frm` as a prediction of target `to`; the identity where they are the same.

    prediction, xt: [B, ...]; t: [B] or broadcastable to xt. InputError where `frm` does not determine `to`:
    see x0_coefficients and to_noise.
    """
    check_target(frm)
    check_target(to)
    if frm == to:
        return prediction
    if to == "x0":
        return to_x0(frm, path, prediction, xt, t)
    if to == "noise":
        return to_noise(frm, path, prediction, xt, t)
    x0 = to_x0(frm, path, prediction, xt, t)
    return target_of(to, path, x0, to_noise(frm, path, prediction, xt, t), t)


def _mixture(name: str, path: Path, t: Tensor) -> tuple[Tensor, Tensor]:
    """p and q of the target, float64 in the shape of t."""
    alpha, sigma = path.alpha(t), path.sigma(t)
    if name == "noise":
        return torch.zeros_like(alpha), torch.ones_like(alpha)
    if name == "x0":
        return torch.ones_like(alpha), torch.zeros_like(alpha)
    if name == "score":
        return torch.zeros_like(alpha), -1 / sigma
    if name == "v":
        return -sigma, alpha
    return path.d_alpha(t), path.d_sigma(t)
