"""The variational bound on -log p(x0), term by term: L_T, each L_{t-1}, and L_0.   [DDPM 5]

    -log p(x0) <= KL(q(x_T | x0) || p(x_T)) + sum over t > 1 of KL(q(x_{t-1} | x_t, x0) || p(x_{t-1} | x_t))
                  - log p(x0 | x_1)

The chain may be any path on any grid of times 0 = times[0] < ... < times[N]; step n goes from times[n] to
times[n - 1], so step 1 is L_0. Training's own grid is one choice, a respaced one another.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from tubelet.diffusion.paths import Path
from tubelet.diffusion.process import add_noise, q_xs, q_xt, spread
from tubelet.diffusion.reverse import Reverse
from tubelet.diffusion.steps import Denoise, Noise
from tubelet.errors import InputError, near_miss
from tubelet.gaussians import Gaussian

DECODERS = ("discretised", "gaussian")


def prior_term(path: Path, x0: Tensor, t: Tensor) -> Tensor:
    """L_T = KL(q(x_T | x0) || N(0, V_T I)) of each element, in nats, V = alpha^2 + sigma^2.   [DDPM 5]

    V_T is 1 wherever sampling starts from standard noise; it makes the bound depend on log-SNR alone. x0: [B, ...];
    t: [B], the last time.
    """
    variance = path.alpha(t).square() + path.sigma(t).square()
    return q_xt(path, x0, t).kl(Gaussian(torch.zeros_like(x0), spread(variance.log(), x0)))


def step_term(q: Gaussian, p: Gaussian, x0: Tensor, last: Tensor, decoder: str) -> Tensor:
    """L_{t-1} = KL(q(x_s | x_t, x0) || p(x_s | x_t)), and where s = 0 L_0 = -log p(x0 | x_t), in nats.   [DDPM 5]

    x0: [B, C, ...]; q, p: Gaussians over it; last: broadcastable to it, 1 where s = 0, else 0. Each element's term,
    [B, C, ...]. decoder: "discretised" for 8-bit data scaled to [-1, 1], whose bins it gives probabilities [DDPM 13],
    or "gaussian", a density, for latents. Differentiable in p.
    """
    at_end = last > 0
    # Selected before they are used: at s = 0 q is a point mass and its KL infinite; elsewhere x0 may lie so far from
    # p's mean that log_prob has no finite gradient.
    kl = Gaussian(q.mean, torch.where(at_end, 0.0, q.log_var)).kl(p)
    near = Gaussian(torch.where(at_end, p.mean, x0), torch.where(at_end, p.log_var, 0.0))
    log_prob = near.log_prob_discretised(x0) if decoder == "discretised" else near.log_prob(x0)
    return torch.where(at_end, -log_prob, kl)


def strata(num_steps: int, num_rows: int) -> list[range]:
    """Steps 1 .. num_steps in at most `num_rows` rows: L_0 alone, then rows that grow geometrically.

    The terms fall steeply away from t = 0, so that even rows would hide most of the bound in one of them. No row is
    empty, and each has one step where there are enough. Fewer than 2 rows for more than 1 step raise InputError.
    """
    if num_rows < min(2, num_steps):
        raise InputError(f"the bound needs 2 rows or more, L_0 has its own; got {num_rows}")
    edges, rows = [0, 1], min(num_rows, num_steps)
    while (left := num_steps - edges[-1]) > 0:
        more = rows - len(edges) + 1  # rows that are still to be filled
        edges.append(
            edges[-1] + min(left, max(1, round(edges[-1] * ((num_steps / edges[-1]) ** (1 / more) - 1))))
        )
    return [range(low + 1, high + 1) for low, high in pairwise(edges)]


def bound_rows(
    denoise: Denoise,
    x0: Tensor,
    reverse: Reverse,
    times: Sequence[float],
    rows: Sequence[range],
    *,
    uniform: Callable[[], Tensor],
    noise: Noise,
    decoder: str,
    unknown: Tensor | None = None,
) -> Iterator[Tensor]:
    """L_T, then an estimate of the sum over each row's steps: [B] nats each. All together estimate the bound.

    Of each row one step is drawn for each sample and counts as many times as the row has steps: unbiased, and exact
    in its steps where rows hold one step each. denoise (xt, t) -> prediction, of the model as trained (guidance has no
    bound); x0: [B, C, ...]; times rise strictly from 0, N + 1 of them; once for each row uniform () -> [B] in [0, 1)
    and noise () -> like x0. unknown: bool, broadcastable to x0: only those elements are counted, and share one time;
    the others stand clean at time 0. (With unequal times there is no bound.) Times that do not rise strictly from 0 to
    at most 1 raise InputError, a prediction that is not finite FloatingPointError with its t.
    """
    if len(times) < 2 or times[0] != 0 or times[-1] > 1 or any(s >= t for s, t in pairwise(times)):
        raise InputError(f"times must rise strictly from 0 to at most 1, got {list(times)[:8]}")
    check_decoder(decoder)
    grid = torch.tensor(times, dtype=torch.float64)
    counts = torch.ones((), dtype=torch.bool) if unknown is None else unknown.to(x0.device)

    def total(term: Tensor) -> Tensor:
        return term.double().masked_fill(~counts.to(term.device), 0.0).flatten(1).sum(1)  # [B]

    yield total(prior_term(reverse.path, x0, grid[-1].expand(len(x0))))
    for row in rows:
        step = row.start + (uniform().double().cpu() * len(row)).long().clamp(max=len(row) - 1)  # [B]
        s, t = grid[step - 1], grid[step]
        xt, time = add_noise(reverse.path, x0, noise(), t), t.to(x0.device)
        if unknown is not None:
            xt = torch.where(counts, xt, x0)
            time = spread(t, x0) * counts  # 0 where known
        prediction = denoise(xt, time)
        if not bool(prediction.isfinite().all()):
            raise FloatingPointError(f"the denoiser returned NaN or infinity, t = {t.min():g} to {t.max():g}")
        q, p = q_xs(reverse.path, x0, xt, s, t), reverse.p_xs(prediction, xt, s, t)
        yield len(row) * total(step_term(q, p, x0, spread((s == 0).double(), x0), decoder))


def bits_per_dim(nats: Tensor, dims: int) -> Tensor:
    """nats / (dims ln 2), for `dims` values that each take one of 256 levels or are densities."""
    return nats / (dims * math.log(2))


def check_decoder(name: str) -> None:
    """Raises InputError, with the near miss, for a name that is not in DECODERS."""
    if name not in DECODERS:
        raise InputError(f"unknown decoder {name!r}: {near_miss(name, DECODERS)}")
