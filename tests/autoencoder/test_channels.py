"""How channels are standardised: axes in the order of what they make of the picture, and their deviations."""

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tubelet.autoencoder.channels import POWERS, fit_channels, rescaled
from tubelet.autoencoder.codec import CHANNEL_SCALES, CausalCodec, CodecConfig, codec_part, encoder_hash

CONFIG = CodecConfig(
    latent_channels=6,
    widths=(8,),
    encoder_depths=(1,),
    decoder_depths=(1,),
    encoder_kernels=(1,),
    pixels_per_latent=4,
)


def coloured(count: int = 32) -> Tensor:
    """Video [B, 3, 5, 16, 16] whose neighbouring pixels are alike, so that its components differ in variance."""
    source = torch.Generator().manual_seed(1)
    noise = torch.randn(count, 3, 5, 20, 20, generator=source).cumsum(3).cumsum(4)
    return (noise - noise.mean((2, 3, 4), keepdim=True))[..., 2:18, 2:18] / 20


@pytest.fixture
def video() -> Tensor:
    return coloured()


def mixed_codec(kind: str, video: Tensor) -> tuple[CausalCodec, Tensor]:
    """PCA, its channels mixed by an orthogonal matrix, as training may leave them; and PCA's variances [C]."""
    torch.manual_seed(0)
    codec = CausalCodec(dataclasses.replace(CONFIG, channel_scale=kind))
    variances = codec.fit_pca(video)[:6]
    turn, _ = torch.linalg.qr(torch.randn(6, 6))
    with torch.no_grad():
        codec.to_latent.weight.copy_(turn @ codec.to_latent.weight)
        codec.to_latent.bias.copy_(turn @ codec.to_latent.bias + 0.5)
        codec.from_latent.weight.copy_(codec.from_latent.weight @ turn.T)
        codec.from_latent.bias.sub_(codec.from_latent.weight @ torch.full((6,), 0.5))
    return codec, variances.float()


def rows(latents: Tensor) -> Tensor:
    """[B, C, f, h, w] -> [C, everything]."""
    return latents.transpose(0, 1).flatten(1).double()


@torch.no_grad()
@pytest.mark.parametrize("kind", POWERS)
def test_axes_of_a_mixed_pca_are_pca_again_with_the_deviations_that_were_asked_for(kind, video):
    codec, variances = mixed_codec(kind, video)
    made = fit_channels(codec, [(some, codec.posterior(some).mean) for some in video.split(10)])
    assert_close(made.float(), variances, rtol=1e-3, atol=1e-5)
    latents = rows(codec.encode(video).mean)
    expected = variances.double() ** {"white": 0, "half": 0.5, "one": 1}[kind]  # variances of the axes
    assert_close(
        torch.cov(latents, correction=0), torch.diag(expected / expected.mean()), atol=2e-3, rtol=1e-3
    )
    assert_close(latents.mean(1), torch.zeros(6).double(), atol=1e-4, rtol=0)
    assert latents.square().mean() == pytest.approx(1, abs=1e-3)
    blocks = codec.blocks_of(video).double()
    cross = latents @ (blocks - blocks.mean(0)) / len(blocks) / latents.var(1, correction=0).sqrt()[:, None]
    assert_close(
        cross.square().sum(1).float(), variances, rtol=2e-3, atol=1e-5
    )  # what each axis makes of the blocks


@torch.no_grad()
def test_unit_channels_keep_their_order_and_have_deviation_1(video):
    codec, variances = mixed_codec("unit", video)
    made = fit_channels(codec, [(video, 3 * codec.posterior(video).mean)])
    assert_close(made.float(), variances, rtol=1e-3, atol=1e-5)
    raw, latents = rows(3 * codec.posterior(video).mean), rows(codec.encode(video).mean)
    assert_close(3 * latents.std(1), torch.ones(6).double(), atol=1e-3, rtol=1e-3)
    assert_close(codec.mean.double(), raw.mean(1), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_half_of_variances_1_and_16_are_deviations_in_the_ratio_1_to_2():
    """A closed form: two channels, of which the first makes sixteen times the variance of the second."""
    codec = CausalCodec(dataclasses.replace(CONFIG, latent_channels=2, channel_scale="half"))
    latents = torch.randn(64, 2, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    latents = (latents - latents.mean((0, 2, 3, 4), keepdim=True)).transpose(0, 1).flatten(1)  # [2, N]
    white = torch.linalg.inv(torch.linalg.cholesky(torch.cov(latents, correction=0))) @ latents
    codec.blocks_of = lambda video: (white * torch.tensor([[4.0], [1.0]])).T
    made = fit_channels(codec, [(torch.zeros(0), white.unflatten(1, (64, 2, 4, 4)).transpose(0, 1))])
    assert_close(made, torch.tensor([16.0, 1.0]).double(), atol=1e-3, rtol=1e-4)
    ratio = codec.to_axes.norm(dim=1)
    assert ratio[0] / ratio[1] == pytest.approx(2, rel=1e-4)
    assert ratio.square().mean() == pytest.approx(1, rel=1e-4)


@torch.no_grad()
def test_every_scale_decodes_to_the_same_video_and_has_a_hash_of_its_own(video):
    codec, _ = mixed_codec("unit", video)
    chunks = [(video, codec.posterior(video).mean)]
    kinds = {kind: rescaled(codec, kind, chunks) for kind in CHANNEL_SCALES}
    plain = kinds["unit"].decode(kinds["unit"].encode(video).mean)
    for other in kinds.values():
        assert_close(other.decode(other.encode(video).mean), plain, atol=1e-4, rtol=1e-4)
    assert len({encoder_hash(codec_part(other)) for other in kinds.values()}) == len(CHANNEL_SCALES)
    again = rescaled(kinds["one"], "unit", chunks)
    assert_close(again.encode(video).mean, kinds["unit"].encode(video).mean)


@torch.no_grad()
def test_the_posterior_of_axes_has_their_own_variances(video):
    """The variance of an axis is that of the samples of all channels, turned."""
    codec, _ = mixed_codec("half", video)
    codec.encoder["head"].bias[6:] = torch.linspace(-1, 1, 6)  # some channels are noisier than others
    fit_channels(codec, [(video, codec.posterior(video).mean)])
    raw, some = codec.posterior(video[:1, :, :1]), 4000
    noise = torch.randn(some, *raw.mean.shape[1:], generator=torch.Generator().manual_seed(0))
    standard = (raw.sample(noise) - raw.mean) / codec.std.view(-1, 1, 1, 1)
    turned = torch.einsum("kc,bcfhw->bkfhw", codec.to_axes, standard)
    assert_close(codec.encode(video[:1, :, :1]).std[0], turned.std(0), rtol=0.06, atol=1e-4)
