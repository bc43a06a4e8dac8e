"""Guidance in one convention: scale 1 is the model as trained, more moves further from what is not wanted.

Plain guidance and composition are sums of predictions whose weights sum to 1, so they mean the same on any target.
What is not linear acts on x0.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tubelet.diffusion.process import spread
from tubelet.diffusion.reverse import Reverse
from tubelet.diffusion.targets import convert
from tubelet.errors import InputError

RANGES = {
    "scale": (-1000.0, 1000.0),
    "rescale": (0.0, 1.0),
    "parallel": (0.0, 1.0),
    "threshold": (0.0, 1000.0),
    "momentum": (-1.0, 1.0),
}
MAX_WEIGHT = 1.0  # of a further prompt
MAX_FURTHER = 4  # prompts beside the prompt

Branches = Callable[[Tensor, Tensor, bool], tuple[Tensor, Tensor | None, Tensor | None]]


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """How far, when and in which form predictions are guided. Values out of range raise InputError.

    scale: see `guide`. interval: it acts at times low < t <= high, and elsewhere the scale is 1 [Interval sec. 3].
    rescale: see `rescaled`. parallel and threshold: see `projected`. momentum: the update is d_n + momentum times the
    update before, of the differences d_n of x0 along a run; negative ones push away from where earlier steps went
    [APG sec. 4]. As they stand by default the last four change nothing.
    """

    scale: float = 4.0
    interval: tuple[float, float] = (0.0, 1.0)
    rescale: float = 0.0
    parallel: float = 1.0
    threshold: float = 0.0
    momentum: float = 0.0

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            if not low <= getattr(self, name) <= high:  # false for NaN
                raise InputError(
                    f"--guidance-{name} must be a number from {low:g} to {high:g}, got {getattr(self, name)}; "
                    f"leave it out for {getattr(type(self), name):g}"
                )
        if len(self.interval) != 2 or not 0 <= self.interval[0] < self.interval[1] <= 1:
            raise InputError(
                f"--guidance-interval must be two times, 0 <= low < high <= 1, got {self.interval}; 0 1 is always"
            )

    def acts(self, t: Tensor) -> bool:
        """Whether it changes anything at these times: [B], all the same."""
        low, high = self.interval
        return self.scale != 1 and bool(((t > low) & (t <= high)).all())

    @property
    def linear(self) -> bool:
        """Whether it is plain guidance."""
        plain = dataclasses.replace(self, rescale=0.0, parallel=1.0, threshold=0.0, momentum=0.0)
        return self == plain


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """0 ignores the prompt, 1 follows it as trained, more exaggerates it. scale = 1 + w of [CFG 6].

    conditional, unconditional: predictions of the same shape, of any target: guiding and converting commute.
    At 0 and 1 the result has the very bits of one of them. The unconditional one may be that of a negative prompt, or
    the conditional one of a weaker network [Autoguidance].
    """
    return torch.lerp(unconditional, conditional, scale)


def compose(conditional: Tensor, unconditional: Tensor, others: Tensor, weights: Tensor) -> Tensor:
    """c + sum_k w_k (c_k - u): the score of p(x | c) prod_k (p(x | c_k) / p(x))^w_k.   [Composable]

    conditional, unconditional: [B, ...]; others: [K, ...], the further prompts of the whole batch; weights: [B, K], 0
    for another video's. A positive weight is AND, a negative one NOT. Predictions of any target, since composing and
    converting commute. Where K is 0 the result is the conditional one, and the unconditional one is not read.
    """
    if not weights.shape[1]:
        return conditional
    further = torch.tensordot(weights, others, dims=1)  # [B, ...]
    return conditional + further - spread(weights.sum(1), conditional) * unconditional


def check_weights(weights: Sequence[float]) -> None:
    """Raises InputError for weights of further prompts that are out of bounds, together with the prompt's own 1.

    None weighs more than the prompt, which the scale exaggerates; and all together, the prompt included, weigh 0 or
    more. Where every p(x | c) is a Gaussian of one precision l_c, and p(x) of l_u < l_c, the guided composition has
    precision l_u + scale (1 + sum w) (l_c - l_u): below 0 in the bracket it is wider than what no prompt was asked
    for, and at last no distribution: steps run away.
    """
    if len(weights) > MAX_FURTHER:
        raise InputError(f"--compose: {len(weights)} further prompts; a video takes at most {MAX_FURTHER}")
    for weight in weights:
        if not abs(weight) <= MAX_WEIGHT:
            raise InputError(
                f"--compose: weight {weight} is outside -1 to 1, where the prompt has 1; "
                "raise --guidance-scale to follow all of them more strictly"
            )
    if sum(weights) < -1:
        raise InputError(
            f"--compose: the weights sum to {sum(weights):g}, below -1: more is pushed away than asked for; "
            "weaken those below 0"
        )


def projected(update: Tensor, x0: Tensor, parallel: float, threshold: float) -> Tensor:
    """The update, cut to a length, with its part along x0 scaled by `parallel`.   [APG sec. 4]

    update, x0: [B, ...]. parallel: eta of the paper; below 1 colours saturate less. threshold: the largest root mean
    square of an update, 0 for any: r of the paper over the square root of the number of elements, so that it means the
    same for clips of any size.
    """
    update_rows = update.flatten(1)  # [B, N]
    if threshold:
        size = update_rows.square().mean(1, keepdim=True).sqrt()  # [B, 1]
        update_rows = update_rows * (threshold / size).clamp(max=1)
    along = torch.nn.functional.normalize(x0.flatten(1), dim=1)  # [B, N]
    part = (update_rows * along).sum(1, keepdim=True) * along
    return (update_rows + (parallel - 1) * part).view_as(update)


def rescaled(guided: Tensor, conditional: Tensor, share: float) -> Tensor:
    """Guided x0 times 1 + share (std(conditional) / std(guided) - 1), std of each sample.   [Rescale sec. 3.4]

    guided, conditional: [B, ...]. share: phi of the paper; 1 gives the spread of the conditional x0, 0 changes nothing.
    """
    if not share:
        return guided
    std_guided, std = (each.flatten(1).std(1) for each in (guided, conditional))  # [B]
    return guided * spread(1 + share * (std / std_guided - 1), guided)


def guided(branches: Branches, reverse: Reverse, guidance: Guidance) -> Callable[[Tensor, Tensor], Tensor]:
    """denoise(xt [B, C, ...], t [B]) -> guided prediction of `reverse`, for one run of a sampler.

    branches (xt, t, both) -> the conditional prediction of the target, its learned variance or None, and the
    prediction to move away from, each [B, C, ...]. Where guidance does not act `both` is False and the last is None: it
    need not be computed, and the conditional one comes out as it is. All channels of the target are guided; the
    variance is the conditional one's. Momentum lives as long as `denoise`.
    """
    update: Tensor | float = 0.0

    def denoise(xt: Tensor, t: Tensor) -> Tensor:
        nonlocal update
        target, variance, away = branches(xt, t, guidance.acts(t))
        if away is not None and guidance.linear:
            target = guide(target, away, guidance.scale)
        elif away is not None:
            x0, x0_away = (convert(p, reverse.target, "x0", reverse.path, xt, t) for p in (target, away))
            update = x0 - x0_away + guidance.momentum * update
            step = projected(update, x0, guidance.parallel, guidance.threshold)
            moved = rescaled(x0 + (guidance.scale - 1) * step, x0, guidance.rescale)
            target = convert(moved, "x0", reverse.target, reverse.path, xt, t)
        return target if variance is None else torch.cat([target, variance], 1)

    return denoise
