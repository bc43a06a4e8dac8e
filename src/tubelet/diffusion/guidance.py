"""Classifier-free guidance in one convention."""

import math

import torch
from torch import Tensor

from tubelet.errors import InputError


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """0 ignores the prompt, 1 follows it as trained, more exaggerates it. scale = 1 + w of [CFG 6].

    conditional, unconditional: predictions of the same shape, of any target: guiding and converting commute.
    At 0 and 1 the result has the very bits of one of them. A scale that is not finite raises InputError.
    """
    if not math.isfinite(scale):
        raise InputError(f"--guidance-scale must be a finite number, got {scale}; 1 is the model as trained")
    return torch.lerp(unconditional, conditional, scale)
