"""The one linear layer of the denoiser, which decides how a weight is born."""

import torch
from torch import nn


class Linear(nn.Linear):
    """y = x W^T + b, with W from a normal of deviation 1 / sqrt(fan_in) cut at two deviations, and b = 0.

    That keeps the scale of what passes through at any width. `zero` gives W = 0 instead: such a layer is
    silent until it has learnt something. Nothing initialises it a second time.
    """

    def __init__(self, fan_in: int, fan_out: int, *, bias: bool = True, zero: bool = False) -> None:
        self.zero = zero
        super().__init__(fan_in, fan_out, bias=bias)

    def reset_parameters(self) -> None:
        """Draw the weight (called once, by the constructor of torch's layer)."""
        std = self.in_features**-0.5
        with torch.no_grad():
            if self.zero:
                self.weight.zero_()
            else:
                nn.init.trunc_normal_(self.weight, std=std, a=-2 * std, b=2 * std)
            if self.bias is not None:
                self.bias.zero_()
