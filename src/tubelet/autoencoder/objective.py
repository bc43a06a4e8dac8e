"""What training the codec minimises."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tubelet.gaussians import STANDARD, Gaussian


@dataclass(frozen=True, kw_only=True)
class CodecObjective:
    """Weights of the codec's loss: absolute and squared error, error of the gradients, and the KL to N(0, I).

    All terms are per pixel value; pixels lie in [-1, 1]; KL is in nats. `noise` is the most noise that the decoder
    learns to see through, in standard deviations of each channel of the latents; a clip's own is uniform from 0. It
    stands for the error of a denoiser, which is alike in all standardised channels.
    """

    absolute: float = 0.5
    squared: float = 4.0
    gradient: float = 0.25
    kl: float = 1e-3
    noise: float = 0.0


def codec_loss(
    objective: CodecObjective, video: Tensor, reconstruction: Tensor, posterior: Gaussian
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum, a scalar, and its unweighted terms.

    Shapes: video and reconstruction [B, 3, F, H, W], posterior [B, C, f, h, w].
    """
    error = reconstruction - video
    along = [error.diff(dim=axis).abs().mean() for axis in (2, 3, 4) if error.shape[axis] > 1]
    terms = {
        "absolute": error.abs().mean(),
        "squared": error.square().mean(),
        "gradient": torch.stack(along).sum(),
        "kl": posterior.kl(STANDARD).sum() / video.numel(),
    }
    loss = sum((getattr(objective, name) * term for name, term in terms.items()), error.new_zeros(()))
    return loss, terms


def psnr(squared_error: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of a mean squared error of pixels in [-1, 1] (peak to peak 2)."""
    return 10 * torch.log10(4 / squared_error)
