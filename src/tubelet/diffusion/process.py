"""The forward process q(x_t | x0), and the one posterior q(x_s | x_t, x0) that all samplers share."""

import torch
from torch import Tensor

from tubelet.diffusion.paths import Path
from tubelet.errors import InputError
from tubelet.gaussians import Gaussian


def spread(value: Tensor, like: Tensor) -> Tensor:
    """`value` shaped to broadcast over `like`, on its device, in its dtype but at least float32.

    value: a scalar, [B], or as many axes as `like` ([B, 1, f, h, w]); like: [B, ...]. A value that does not
    fit raises InputError. float32 is the least because bfloat16 would keep three digits of a coefficient.
    """
    fits = value.ndim == like.ndim or value.ndim <= 1
    shape = value.shape if value.ndim == like.ndim else (-1, *[1] * (like.ndim - 1))
    value = value.to(torch.promote_types(like.dtype, torch.float32)).to(like.device)
    if fits:
        value = value.reshape(shape)
        fits = all(mine in (1, theirs) for mine, theirs in zip(value.shape, like.shape, strict=True))
    if not fits:
        raise InputError(
            f"a time of shape {list(value.shape)} does not fit data of shape {list(like.shape)}; "
            "pass one time per sample, [B], or one per latent, [B, 1, f, h, w]"
        )
    return value


def q_xt(path: Path, x0: Tensor, t: Tensor) -> Gaussian:
    """q(x_t | x0) = N(alpha_t x0, sigma_t^2 I); a point mass at t = 0.   [DDPM 4]

    x0: [B, ...]; t: [B] or broadcastable to x0.
    """
    return Gaussian(spread(path.alpha(t), x0) * x0, spread(2 * path.sigma(t).log(), x0))


def add_noise(path: Path, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t = alpha_t x0 + sigma_t noise. x0, noise: [B, ...]; t: [B] or broadcastable to x0."""
    return spread(path.alpha(t), x0) * x0 + spread(path.sigma(t), x0) * noise


def fresh_share(path: Path, s: Tensor, t: Tensor) -> Tensor:
    """1 - snr_t / snr_s = var_ts / sigma_t^2: the share of the noise in x_t that came after s, in (0, 1].

    var_ts = sigma_t^2 - alpha_ts^2 sigma_s^2 is the variance of q(x_t | x_s), alpha_ts = alpha_t / alpha_s.
    In this form it is never negative, and regular at s = 0 and at alpha_t = 0. s >= t raises InputError.
    """
    if not bool((s < t).all()):
        raise InputError("a reverse step must go from t to an earlier s; pass times that fall strictly")
    return -(path.log_snr(t) - path.log_snr(s)).expm1()


def posterior_coefficients(path: Path, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """a, b and log v of q(x_s | x_t, x0) = N(a x_t + b x0, v I), float64 in the shape of t: see q_xs."""
    fresh = fresh_share(path, s, t)
    sigma_s = path.sigma(s)
    of_xt = path.alpha(t) / path.alpha(s) * (sigma_s / path.sigma(t)).square()
    return of_xt, path.alpha(s) * fresh, 2 * sigma_s.log() + fresh.log()


def q_xs(path: Path, x0: Tensor, xt: Tensor, s: Tensor, t: Tensor) -> Gaussian:
    """q(x_s | x_t, x0) for s < t, the one posterior.   [DDPM 7] [VDM app. A]

    N((alpha_ts sigma_s^2 x_t + alpha_s var_ts x0) / sigma_t^2, var_ts sigma_s^2 / sigma_t^2 I).
    At alpha_t = 0 it is N(alpha_s x0, sigma_s^2 I); at s = 0 a point mass on x0 (log_var -inf).
    x0, xt: [B, ...]; s, t: [B] or broadcastable to x0. s >= t raises InputError.
    """
    of_xt, of_x0, log_var = posterior_coefficients(path, s, t)
    return Gaussian(spread(of_xt, xt) * xt + spread(of_x0, x0) * x0, spread(log_var, xt))
