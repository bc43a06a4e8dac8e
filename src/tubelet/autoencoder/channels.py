"""How the channels of latents are standardised: each alike, or as axes by how much of the picture they make."""

import dataclasses
from collections.abc import Iterable

import torch
from torch import Tensor

from tubelet.autoencoder.codec import CausalCodec

# An axis that makes the share v of the picture's variance gets a deviation in proportion to v to this power.
POWERS = {"white": 0.0, "half": 0.25, "one": 0.5}


@torch.no_grad()
def fit_channels(codec: CausalCodec, chunks: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Standardise latents as config.channel_scale says; returns the variances that their axes make, [C].

    chunks: video [B, D, F, H, W] and sampled latents of it, before standardisation, [B, C, f, h, w].
    "unit": each channel has mean 0 and deviation 1. The others turn such channels into axes that are not correlated.
    Axis k makes the variance v_k of the blocks of pixels that latents stand for, as the best linear map from latents to
    blocks has it, in falling order; what it makes is orthogonal to what the others make. For a codec that is PCA these
    are the principal components and v their variances. The deviation of axis k is then in proportion to 1 ("white"),
    v_k^(1/4) ("half") or v_k^(1/2) ("one"), with mean square 1 over all axes. Latents alone would not do: training
    keeps their channels near deviation 1 whatever they stand for.
    """
    mean, covariance, cross = moments(codec, chunks)
    std = covariance.diagonal().sqrt()
    correlation, cross = covariance / std / std[:, None], cross / std
    values, vectors = torch.linalg.eigh(correlation)
    root = vectors / values.clamp(min=1e-6).sqrt() @ vectors.T  # whitens: correlation^(-1/2)
    # Singular values of the map from whitened latents to blocks are the deviations that its axes make.
    made, turn = torch.linalg.eigh(root @ cross.T @ cross @ root)
    made, turn = made.flip(0).clamp(min=0), turn.flip(1)  # [C], [C, C]
    if not codec.config.turned:
        codec.standardise(mean, std)
        return made
    deviation = made.clamp(min=1e-9 * made[0]) ** POWERS[codec.config.channel_scale]
    deviation = deviation / deviation.square().mean().sqrt()
    codec.standardise(mean, std, deviation[:, None] * (turn.T @ root))
    return made


def moments(codec: CausalCodec, chunks: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [C] and covariance [C, C] of latents, and their covariance with blocks [block, C]; float64."""
    pieces, sums, products = [], [], []
    for video, latents in chunks:
        rows = latents.movedim(1, -1).flatten(0, -2).double()  # [B*f*h*w, C]
        blocks = codec.blocks_of(video).double()  # [B*f*h*w, block]
        pieces.append(rows)
        sums.append(blocks.sum(0))
        products.append(blocks.T @ rows)
    rows = torch.cat(pieces)
    block_mean, product = torch.stack(sums).sum(0) / len(rows), torch.stack(products).sum(0) / len(rows)
    mean = rows.mean(0)
    return mean, torch.cov(rows.T, correction=0), product - torch.outer(block_mean, mean)


def rescaled(codec: CausalCodec, kind: str, chunks: Iterable[tuple[Tensor, Tensor]]) -> CausalCodec:
    """The same codec with its latents standardised another way; see fit_channels. Its encoder's hash is another."""
    other = CausalCodec(dataclasses.replace(codec.config, channel_scale=kind)).to(codec.mean.device)
    other.load_state_dict(codec.state_dict(), strict=False)
    fit_channels(other, chunks)
    return other.eval()
