"""Samplers that remember: DPM-Solver++ and UniPC, which draw a curve through the x0 predicted so far.

In lambda = log(alpha / sigma), half the log-SNR, with h = lambda_s - lambda_t and w in [0, 1] from t to s, the flow is

    x_s = (sigma_s / sigma_t) x_t + alpha_s integral of H e^(-H (1 - w)) x0(w) dw,  H = h   [DPM++ sec. 4]

With x0(w) = x0(0) the integral is (1 - e^-H) x0(0). This first-order step also has its limit where h is infinite, at
s = 0 or where alpha_t is 0: there e^-h = alpha_t sigma_s / (alpha_s sigma_t) is 0. Such a step bends no curve, and a
prediction made at an infinite lambda lies on no later one.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from tubelet.diffusion.reverse import Reverse
from tubelet.diffusion.steps import Denoise, Noise, check_eta, checked, points, predict_x0, start
from tubelet.errors import InputError, near_miss

Past = list[tuple[float, Tensor]]  # lambda, and the x0 predicted there; the latest first
B_H = ("bh1", "bh2")


def dpmpp(
    denoise: Denoise,
    x: Tensor,
    reverse: Reverse,
    times: Sequence[float],
    *,
    noise: Noise,
    order: int = 2,
    eta: float = 0.0,
) -> Iterator[Tensor]:
    """x_s = (sigma_s / sigma_t) e^(-eta h) x_t + alpha_s integral + sigma_s sqrt(1 - e^(-2 eta h)) noise().

    The integral is that above with H = (1 + eta) h, of the curve through the last `order` (1 to 3) predicted x0: for 2
    by the paper's midpoint rule, for 3 exactly. eta 0 is the flow, and never calls `noise` [DPM++ alg. 2]; eta 1 is the
    SDE. Order 1 is DDIM, or ancestral with small variance. The first steps have a lower order.

    The usual code for order 3 (the authors' own, diffusers) takes half the curvature of its parabola, and so is of
    order 2. An order, or an eta, out of range raises InputError.
    """
    if order not in (1, 2, 3):
        raise InputError(f"DPM-Solver++ has order 1, 2 or 3, got {order}; try 2")
    check_eta(eta)
    x, past = start(x), Past()
    for step, (t, s) in enumerate(pairwise(points(times, x, reverse.path)), start=1):
        x0 = predict_x0(denoise, x, reverse, t, step)
        past = [(t.half_log_snr, x0), *past][:order]
        h = s.half_log_snr - t.half_log_snr
        H = (1 + eta) * h
        gain = -math.expm1(-H)
        x = s.sigma / t.sigma * math.exp(-h) ** eta * x + s.alpha * (gain * x0 + bend(past, h, H, gain))
        if eta and s.sigma:
            x = x + s.sigma * math.sqrt(-math.expm1(-2 * eta * h)) * noise()
        x = checked(x, s, step)
        yield x


def unipc(
    denoise: Denoise,
    x: Tensor,
    reverse: Reverse,
    times: Sequence[float],
    *,
    noise: Noise,
    order: int = 2,
    b_h: str = "bh2",
) -> Iterator[Tensor]:
    """DPM-Solver++ of that order as predictor, and a corrector that costs no call of the network.   [UniPC sec. 3]

    The x0 predicted at x_s, which the next step needs anyway, is one more point of the curve of the step to x_s. What
    that changes is added to x_s; it raises the order to `order` + 1. b_h is the weight of the slope where the curve is
    a line: "bh1" h, "bh2" 1 - e^-h. Deterministic: `noise` is never called. An order out of 1 to 3, or an unknown b_h,
    raises InputError.
    """
    if order not in (1, 2, 3):
        raise InputError(f"UniPC has order 1, 2 or 3, got {order}; try 2")
    if b_h not in B_H:
        raise InputError(f"unknown b_h {b_h!r}: {near_miss(b_h, B_H)}")
    x, past = start(x), Past()
    h, b, bent = math.inf, 0.0, 0.0  # of the step that led to x; the first x comes from none
    for step, (t, s) in enumerate(pairwise(points(times, x, reverse.path)), start=1):
        x0 = predict_x0(denoise, x, reverse, t, step)
        # Added to x instead of taking the step again from its start, for the caller may have changed x.
        x = x + t.alpha * (bend([*past, (t.half_log_snr, x0)], h, h, b) - bent)
        past = [(t.half_log_snr, x0), *past][:order]
        h = s.half_log_snr - t.half_log_snr
        gain = -math.expm1(-h)
        b = h if b_h == "bh1" else gain
        bent = bend(past, h, h, b)
        x = checked(s.sigma / t.sigma * x + s.alpha * (gain * x0 + bent), s, step)
        yield x


def bend(past: Past, h: float, H: float, b: float) -> Tensor | float:
    """What the curve through `past` adds to the integral over x0(w) = x0(0), which is past[0].

    One further point bends the curve into a line, whose slope weighs b / 2: any b = H + O(H^2) is of second order.
    Two or more make a polynomial, which is integrated exactly. Points at an infinite lambda are left out, and over
    an infinite step nothing is bent.
    """
    if math.isinf(h):
        return 0.0
    (here, x0), *others = [(there, x0) for there, x0 in past if math.isfinite(there)]
    places = torch.tensor([(there - here) / h for there, _ in others], dtype=torch.float64)
    if len(places) > 1:
        powers = places ** torch.arange(1, len(places) + 1)[:, None]
        weights = torch.linalg.solve(powers, places.new_tensor(moments(H, len(places)))).tolist()
    else:
        weights = (b / 2 / places).tolist()
    return sum(weight * (other - x0) for weight, (_, other) in zip(weights, others, strict=True))


def moments(H: float, count: int) -> list[float]:
    """The integrals of H e^(-H (1 - w)) w^k over w in [0, 1], for k = 1 .. count: each is 1 - (k / H) the one before.

    Below H = 1 that loses digits, and the series k! (H / (k + 1)! - H^2 / (k + 2)! + ...) does not.
    """
    if H < 1:
        return [
            -math.fsum((-H) ** j * math.factorial(k) / math.factorial(k + j) for j in range(1, 20))
            for k in range(1, count + 1)
        ]
    found = [-math.expm1(-H)]
    for k in range(1, count + 1):
        found.append(1 - k / H * found[-1])
    return found[1:]
