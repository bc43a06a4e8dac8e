"""The reverse process p(x_s | x_t) from a network's prediction."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from tubelet.diffusion.paths import Path
from tubelet.diffusion.process import fresh_share, posterior_coefficients, spread
from tubelet.diffusion.targets import check_target, convert, x0_coefficients
from tubelet.errors import InputError, near_miss
from tubelet.gaussians import Gaussian

VARIANCES = ("small", "large", "learned")


@dataclass(frozen=True)
class Reverse:
    """How a prediction of `target` on `path` becomes p(x_s | x_t).

    variance: "small" is that of q(x_s | x_t, x0), right for data at one point; "large" is right for standard
    normal data; "learned" lies between their logarithms where the network says. [DDPM sec. 3.2] [IDDPM 15]
    A network that learns variances predicts twice the channels: the target, then the place between the two, 0 at small,
    where a fresh network begins, and 1 at large; it may pass them. (IDDPM's place is -1 to 1.)
    clip: the predicted x0 is brought into [-clip, clip], for data that lie there, such as pixels: a small error of
    predicted noise is a large one of x0 where alpha is small. Unknown names, and a clip that is not positive, raise
    InputError.
    """

    path: Path
    target: str
    variance: str = "small"
    clip: float | None = None

    def __post_init__(self) -> None:
        check_target(self.target)
        if self.variance not in VARIANCES:
            raise InputError(f"unknown variance {self.variance!r}: {near_miss(self.variance, VARIANCES)}")
        if self.clip is not None and not self.clip > 0:
            raise InputError(f"clip must be positive, got {self.clip:g}; pixels lie within 1")

    def split(self, prediction: Tensor, xt: Tensor) -> tuple[Tensor, Tensor | None]:
        """A prediction as that of the target, [B, C, ...], and that of the variance, the same or None.

        prediction: [B, C, ...], or [B, 2 C, ...] where the variance is learned; xt: [B, C, ...]. Other channels
        raise InputError.
        """
        channels = xt.shape[1] * (2 if self.variance == "learned" else 1)
        if prediction.shape[1] != channels or prediction.shape[2:] != xt.shape[2:]:
            raise InputError(
                f"a prediction of shape {list(prediction.shape)} for data of shape {list(xt.shape)} with "
                f"{self.variance} variance; expected {channels} channels"
            )
        if self.variance != "learned":
            return prediction, None
        target, place = prediction.chunk(2, 1)
        return target, place

    def to(self, target: str, prediction: Tensor, xt: Tensor, t: Tensor) -> Tensor:
        """What the prediction says of another target, [B, C, ...], nothing clipped: see targets.convert.

        prediction: [B, C or 2 C, ...]; xt: [B, C, ...]; t: [B] or broadcastable to xt.
        """
        return convert(self.split(prediction, xt)[0], self.target, target, self.path, xt, t)

    def x0(self, prediction: Tensor, xt: Tensor, t: Tensor) -> Tensor:
        """The predicted x0, [B, C, ...], clipped where that is wanted; arguments as in `to`."""
        return clipped(self.to("x0", prediction, xt, t), self.clip)

    def log_vars(self, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of the small and of the large variance, in the shape of t (float64).   [IDDPM 15]

        small = var_ts sigma_s^2 / sigma_t^2, large = var_ts V_s / V_t with V = alpha^2 + sigma^2: beta_t for one step
        of a chain, and on any path the variance of x_s given x_t for standard normal data. At s = 0 the small one is 0,
        which is no decoder: there it is a quarter of the large one, as in a step that halves the variance of the noise.
        """
        fresh, sigma_s, sigma_t = fresh_share(self.path, s, t), self.path.sigma(s), self.path.sigma(t)
        v_s, v_t = (self.path.alpha(s).square() + sigma_s.square(), self.path.alpha(t).square() + sigma_t**2)
        large = fresh.log() + 2 * sigma_t.log() + v_s.log() - v_t.log()
        # Selected before the logarithm: that of 0 would be infinite, and its gradient NaN behind any mask.
        last = sigma_s == 0
        small = fresh.log() + 2 * torch.where(last, 1.0, sigma_s).log()
        return torch.where(last, large - math.log(4), small), large

    def step(self, s: Tensor, t: Tensor, like: Tensor) -> "Step":
        """The step from t to s < t as coefficients that broadcast over `like`, [B, C, ...]; s, t as in p_xs."""
        of_xt, of_x0, _ = posterior_coefficients(self.path, s, t)
        x0_of = x0_coefficients(self.target, self.path, t)
        small, large = self.log_vars(s, t)
        if self.variance != "learned":
            small = large = small if self.variance == "small" else large
        last = (s == 0).double()
        return Step(*(spread(each, like) for each in (of_xt, of_x0, *x0_of, small, large, last)))

    def p_xs(self, prediction: Tensor, xt: Tensor, s: Tensor, t: Tensor) -> Gaussian:
        """p(x_s | x_t) = q(x_s | x_t, predicted x0), s < t, with the chosen variance.   [DDPM 11]

        At s = 0 it is the decoder p(x_0 | x_t): its mean is the predicted x0, its variance see log_vars.
        prediction: [B, C or 2 C, ...]; xt: [B, C, ...]; s, t: [B] or broadcastable to xt. s >= t raises InputError.
        """
        predicted, place = self.split(prediction, xt)
        return self.step(s, t, xt).p_xs(predicted, place, xt, self.clip)


class Step(NamedTuple):
    """A step of the reverse process, its schedule already read: tensors that broadcast over the data.

    x0 = x0_of_xt x_t + x0_of_prediction prediction; the mean is of_xt x_t + of_x0 x0; small and large are the
    logarithms between which the variance lies; last is 1 where s = 0, else 0.
    """

    of_xt: Tensor
    of_x0: Tensor
    x0_of_xt: Tensor
    x0_of_prediction: Tensor
    small: Tensor
    large: Tensor
    last: Tensor

    def p_xs(
        self, predicted: Tensor, place: Tensor | None, xt: Tensor, clip: float | None = None
    ) -> Gaussian:
        """p(x_s | x_t) from the two parts of Reverse.split; differentiable, and without any check."""
        x0 = clipped(self.x0_of_xt * xt + self.x0_of_prediction * predicted, clip)
        mean = self.of_xt * xt + self.of_x0 * x0
        if place is None:
            return Gaussian(mean, self.small)
        return Gaussian(mean, torch.lerp(self.small, self.large, place.to(self.small.dtype)))


def clipped(x0: Tensor, clip: float | None) -> Tensor:
    """x0 in [-clip, clip]; x0 itself for None."""
    return x0 if clip is None else x0.clamp(-clip, clip)
