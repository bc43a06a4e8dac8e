"""Layers of the causal codec: everything works on latent frames folded into the batch, [B*f, C, rows, columns]."""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F


class Convolution(nn.Module):
    """A same-size convolution over rows and columns of every latent frame; kernel 1 or 3.

    The kernel is kept as a matrix [out, kernel * kernel * in], so that an optimizer for matrices (Muon) takes it,
    with the input channel fastest, which is the memory order channels-last kernels want.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, *, zero: bool = False):
        super().__init__()
        self.inputs, self.kernel = inputs, kernel
        std = 0.0 if zero else (kernel * kernel * inputs) ** -0.5
        self.weight = nn.Parameter(torch.randn(outputs, kernel * kernel * inputs) * std)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """[M, inputs, rows, columns] -> [M, outputs, rows, columns]."""
        size = self.kernel
        kernel = self.weight.view(-1, size, size, self.inputs).permute(0, 3, 1, 2)
        return F.conv2d(x, kernel, self.bias, padding=size // 2)


def channel_norm(x: Tensor) -> Tensor:
    """x / rms(x) over channels at every position: it mixes neither places nor frames, so it is causal at any size."""
    last = x.permute(0, 2, 3, 1)
    return F.rms_norm(last, last.shape[-1:], eps=1e-6).to(x.dtype).permute(0, 3, 1, 2)


def previous(x: Tensor, frames: int) -> Tensor:
    """The latent frame before each one, zeros before the first: [B*f, C, rows, columns] -> the same."""
    clips = x.unflatten(0, (-1, frames))
    return torch.cat([torch.zeros_like(clips[:, :1]), clips[:, :-1]], 1).flatten(0, 1)


class CausalBlock(nn.Module):
    """x + out(silu(space(norm x) + past(norm of the previous latent frame))): sees the past, never the future.

    kernel: side of `space`; 1 keeps every place to itself.
    """

    def __init__(self, width: int, kernel: int = 3):
        super().__init__()
        self.space = Convolution(width, width, kernel)
        self.past = Convolution(width, width, 1)
        self.out = Convolution(width, width, 1, zero=True)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """[B*f, width, rows, columns] -> the same, with f = frames."""
        h = channel_norm(x)
        h = F.silu(self.space(h) + previous(self.past(h), frames))
        return x + self.out(h)


class Stage(nn.Module):
    """Causal blocks at one resolution; none where depth is 0."""

    def __init__(self, width: int, depth: int, kernel: int = 3):
        super().__init__()
        self.blocks = nn.ModuleList(CausalBlock(width, kernel) for _ in range(depth))

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """[B*f, width, rows, columns] -> the same."""
        for block in self.blocks:
            x = block(x, frames)
        return x


def fold(x: Tensor, size: int) -> Tensor:
    """Squares of size x size places into channels: [M, C, r*size, c*size] -> [M, C*size*size, r, c]."""
    return rearrange(x, "m d (r a) (c b) -> m (a b d) r c", a=size, b=size)


def unfold(x: Tensor, size: int) -> Tensor:
    """The inverse of `fold`."""
    return rearrange(x, "m (a b d) r c -> m d (r a) (c b)", a=size, b=size)


def mixed(matrix: Tensor, x: Tensor) -> Tensor:
    """A matrix [K, C] applied to the channels of x [B, C, f, h, w], in float32 also under autocast."""
    with torch.autocast(x.device.type, enabled=False):
        return torch.einsum("kc,bcfhw->bkfhw", matrix, x.float())
