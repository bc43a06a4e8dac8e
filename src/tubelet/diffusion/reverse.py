"""The reverse process p(x_s | x_t) from a network's prediction."""

from dataclasses import dataclass

from torch import Tensor

from tubelet.diffusion.paths import Path
from tubelet.diffusion.process import fresh_share, q_xs, spread
from tubelet.diffusion.targets import check_target, to_x0
from tubelet.errors import InputError, near_miss
from tubelet.gaussians import Gaussian

VARIANCES = ("small", "large")


@dataclass(frozen=True)
class Reverse:
    """How a prediction of `target` on `path` becomes p(x_s | x_t).

    variance: "small" is that of q(x_s | x_t, x0), right for data at one point; "large" is var_ts, right for
    standard normal data on a ddpm path. [DDPM sec. 3.2] Unknown names raise InputError.
    """

    path: Path
    target: str
    variance: str = "small"

    def __post_init__(self) -> None:
        check_target(self.target)
        if self.variance not in VARIANCES:
            raise InputError(f"unknown variance {self.variance!r}: {near_miss(self.variance, VARIANCES)}")

    def x0(self, prediction: Tensor, xt: Tensor, t: Tensor) -> Tensor:
        """The predicted x0. prediction, xt: [B, ...]; t: [B] or broadcastable to xt. See targets.to_x0."""
        return to_x0(self.target, self.path, prediction, xt, t)

    def p_xs(self, prediction: Tensor, xt: Tensor, s: Tensor, t: Tensor) -> Gaussian:
        """p(x_s | x_t) = q(x_s | x_t, predicted x0), s < t, with the chosen variance.   [DDPM 11]

        At s = 0 it is a point mass on the predicted x0, whatever the variance: that step is the decoder's.
        prediction, xt: [B, ...]; s, t: [B] or broadcastable to xt. s >= t raises InputError.
        """
        posterior = q_xs(self.path, self.x0(prediction, xt, t), xt, s, t)
        if self.variance == "small":
            return posterior
        var_ts = self.path.sigma(t).square() * fresh_share(self.path, s, t)
        log_var = var_ts.log().masked_fill(s.to(var_ts.device) == 0, -float("inf"))
        return Gaussian(posterior.mean, spread(log_var, xt))
