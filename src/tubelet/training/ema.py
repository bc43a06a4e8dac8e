"""The exponential moving average of the weights."""

import torch
from torch import Tensor, nn


class Average:
    """EMA of a model's parameters: average += (1 - decay) (weights - average), with a short memory at the start.

    The decay of step n is min(decay, (1 + n) / (10 + n)), so that the average does not remember the initial weights.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.names = [name for name, _ in model.named_parameters()]
        self.weights = [p.detach().clone() for p in model.parameters()]

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """After optimizer step number `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        now = [p.detach() for p in model.parameters()]
        torch._foreach_lerp_(self.weights, now, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]

    def tensors(self) -> dict[str, Tensor]:
        """Averaged weights by parameter name."""
        return dict(zip(self.names, self.weights, strict=True))

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `tensors` gave."""
        for held, name in zip(self.weights, self.names, strict=True):
            held.copy_(tensors[name])

    @torch.no_grad()
    def swap(self, model: nn.Module) -> None:
        """Exchange the model's weights with the average; a second call undoes it."""
        for parameter, average in zip(model.parameters(), self.weights, strict=True):
            held = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(held)
