"""What a token thinks on its own, by name."""

import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.model.linear import Linear


class FeedForward(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.inner = Linear(width, ratio * width)
        self.outer = Linear(ratio * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, N, D] -> [B, N, D]."""
        return self.outer(F.gelu(self.inner(tokens), approximate="tanh"))

    @staticmethod
    def weights(width: int, ratio: int) -> int:
        """Numbers in the matrices, each of which is one multiply-add for a token."""
        return 2 * width * ratio * width


class SwiGLU(nn.Module):
    """W (silu(U x + b) * (V x + c)) + d, where U and V are the two halves of `inner`.   [GLU 6]

    Three matrices of two thirds of the width, ratio * width * 2 / 3 to the next multiple of 8, hold as many
    numbers as the two of FeedForward.
    """

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        within = self.within(width, ratio)
        self.inner = Linear(width, 2 * within)
        self.outer = Linear(within, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, N, D] -> [B, N, D]."""
        gate, value = self.inner(tokens).chunk(2, dim=-1)
        return self.outer(F.silu(gate) * value)

    @staticmethod
    def within(width: int, ratio: int) -> int:
        """Numbers between the matrices."""
        return max(1, round(ratio * width / 12)) * 8

    @staticmethod
    def weights(width: int, ratio: int) -> int:
        """Numbers in the matrices, each of which is one multiply-add for a token."""
        return 3 * width * SwiGLU.within(width, ratio)


FEED_FORWARDS = {"gelu": FeedForward, "swiglu": SwiGLU}
