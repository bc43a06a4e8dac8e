"""What training the codec minimises."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from tubelet.autoencoder.regularisers import local_correlation
from tubelet.errors import InputError
from tubelet.gaussians import STANDARD, Gaussian

SHARES = ("masking", "masked_samples", "equivariance")


@dataclass(frozen=True, kw_only=True)
class CodecObjective:
    """Weights of the codec's loss: absolute and squared error, error of the gradients, and the KL to N(0, I).

    All terms are per pixel value; pixels lie in [-1, 1]; KL is in nats. `noise` is the most noise that the decoder
    learns to see through, in standard deviations of each channel of the latents; a clip's own is uniform from 0. It
    stands for the error of a denoiser, which is alike in all standardised channels.
    What shapes the latents for a denoiser (0 leaves it out): local_correlation, weight of max(0, correlation_hinge -
    the mean correlation of neighbouring latents); masking, the largest share of a sample's latents that the decoder
    does not get, in a share masked_samples of the samples (a sample's own is uniform from 0); equivariance, share of
    micro-batches whose latents are resized or turned and decoded to the video resized or turned.   [SSVAE; EQ-VAE]
    """

    absolute: float = 0.5
    squared: float = 4.0
    gradient: float = 0.25
    kl: float = 1e-3
    noise: float = 0.0
    local_correlation: float = 0.0
    correlation_hinge: float = 0.75
    masking: float = 0.0
    masked_samples: float = 0.3
    equivariance: float = 0.0

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            value, most = getattr(self, name), 1.0 if name in SHARES else float("inf")
            if not 0 <= value <= most:
                bounds = "0 to 1" if name in SHARES else "0 or more"
                raise InputError(f"objective.{name} is {value:g}; give {bounds}")


def codec_loss(
    objective: CodecObjective,
    video: Tensor,
    reconstruction: Tensor,
    posterior: Gaussian,
    values: int | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum, a scalar, and its unweighted terms.

    Shapes: video and reconstruction [B, D, F, H, W], posterior [B, C, f, h, w]. values: how many pixel values the
    posterior encodes, where the video to reconstruct was transformed and has another number.
    """
    error = reconstruction - video
    along = [error.diff(dim=axis).abs().mean() for axis in (2, 3, 4) if error.shape[axis] > 1]
    terms = {
        "absolute": error.abs().mean(),
        "squared": error.square().mean(),
        "gradient": torch.stack(along).sum(),
        "kl": posterior.kl(STANDARD).sum() / (values or video.numel()),
    }
    if objective.local_correlation:
        correlation = local_correlation(posterior.mean)
        terms["local_correlation"] = (objective.correlation_hinge - correlation).clamp(min=0)
    loss = sum((getattr(objective, name) * term for name, term in terms.items()), error.new_zeros(()))
    return loss, terms


def psnr(squared_error: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of a mean squared error of pixels in [-1, 1] (peak to peak 2)."""
    return 10 * torch.log10(4 / squared_error)
