"""The codec: shapes, causality, the PCA start, and standardisation."""

import pytest
import torch
from torch.testing import assert_close

from tubelet.autoencoder.codec import (
    CausalCodec,
    CodecConfig,
    blocks_of_frames,
    codec_of,
    codec_part,
    frames_of_blocks,
    make_codec,
)
from tubelet.autoencoder.layers import channel_norm, fold, previous, unfold
from tubelet.errors import InputError

SMALL = CodecConfig(latent_channels=6, widths=(16, 24), encoder_depths=(1, 1), decoder_depths=(1, 1))


def video_of(frames: int, height: int = 16, width: int = 24, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 3, frames, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def codec() -> CausalCodec:
    """A small codec whose residual branches all do something, standardised by arbitrary numbers."""
    torch.manual_seed(0)
    codec = CausalCodec(SMALL)
    for parameter in codec.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    codec.standardise(torch.linspace(-1, 1, 6), torch.linspace(0.5, 2, 6))
    return codec.eval()


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 8, 8), (5, 16, 8), (17, 24, 16), (9, 8, 40)])
def test_every_admissible_size_round_trips_in_shape(codec, frames, height, width):
    video = video_of(frames, height, width)
    latents = codec.encode(video).mean
    assert tuple(latents.shape[1:]) == codec.latent_shape(frames, height, width)
    assert codec.decode(latents).shape == video.shape


@pytest.mark.parametrize(
    ("size", "remedy"),
    [
        ((16, 64, 64), "--num-frames 17"),
        ((17, 60, 64), "--height 64"),
        ((17, 64, 3), "--width 8"),
        ((0, 8, 8), "1"),
    ],
)
def test_a_wrong_size_names_the_nearest_that_works(codec, size, remedy):
    with pytest.raises(InputError, match=remedy):
        codec.latent_shape(*size)


def test_one_frame_encodes_to_the_first_latent_of_the_clip(codec):
    video = video_of(9)
    alone, whole = codec.encode(video[:, :, :1]), codec.encode(video)
    assert_close(alone.mean, whole.mean[:, :, :1])
    assert_close(alone.log_var, whole.log_var[:, :, :1])


def test_a_longer_clip_starts_with_the_latents_of_its_beginning(codec):
    video = video_of(13)
    assert_close(codec.encode(video[:, :, :5]).mean, codec.encode(video).mean[:, :, :2])


def test_a_longer_latent_decodes_to_a_video_that_starts_the_same(codec):
    latents = codec.encode(video_of(13)).mean
    assert_close(codec.decode(latents[:, :, :2]), codec.decode(latents)[:, :, :5])


def test_later_latents_do_see_the_past(codec):
    video = video_of(9)
    changed = video.clone()
    changed[:, :, 0] = 0
    assert not torch.allclose(codec.encode(video).mean[:, :, 2], codec.encode(changed).mean[:, :, 2])


def test_gradients_never_reach_the_future(codec):
    video = video_of(9).requires_grad_()
    codec.encode(video).mean[:, :, 1].sum().backward()
    assert video.grad is not None
    assert video.grad[:, :, :5].abs().sum() > 0
    assert torch.equal(video.grad[:, :, 5:], torch.zeros_like(video.grad[:, :, 5:]))


def test_a_fresh_codec_is_exactly_pca():
    torch.manual_seed(0)
    codec, video = CausalCodec(SMALL), video_of(9, 32, 32, batch=8)
    codec.fit_pca(video)
    rows = fold(fold(blocks_of_frames(video), 4), 2).permute(0, 2, 3, 1).reshape(-1, 768).double()
    _, _, vectors = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    kept = (rows - rows.mean(0)) @ vectors[:6].T @ vectors[:6] + rows.mean(0)
    expected = unfold(unfold(kept.reshape(-1, 4, 4, 768).permute(0, 3, 1, 2), 2), 4)
    decoded = codec.reconstruct(codec.posterior(video).mean)
    assert_close(decoded, frames_of_blocks(expected, 3).float(), atol=1e-4, rtol=1e-4)


def test_pca_latents_are_white():
    codec, video = CausalCodec(SMALL), video_of(5, 64, 64, batch=8)
    codec.fit_pca(video)
    latents = codec.posterior(video).mean.transpose(0, 1).flatten(1)
    assert_close(torch.cov(latents, correction=0), torch.eye(6), atol=1e-3, rtol=0)


def test_a_square_image_is_coded_like_its_transpose_in_shape_only():
    codec = CausalCodec(SMALL)
    assert codec.latent_shape(5, 16, 24) == (6, 2, 2, 3)
    assert codec.latent_shape(5, 24, 16) == (6, 2, 3, 2)


def test_standardised_latents_have_the_moments_given(codec):
    video = video_of(9)
    raw, standard = codec.posterior(video), codec.encode(video)
    mean, std = codec.mean.view(-1, 1, 1, 1), codec.std.view(-1, 1, 1, 1)
    assert_close(standard.mean * std + mean, raw.mean)
    assert_close(standard.std * std, raw.std)
    assert_close(codec.decode(standard.mean), codec.reconstruct(raw.mean))


def test_the_identity_codec_changes_nothing():
    codec, video = make_codec(CodecConfig(kind="identity")), video_of(7, 5, 9)
    posterior = codec.encode(video)
    assert torch.equal(posterior.sample(torch.randn_like(video)), video)
    assert torch.equal(codec.decode(posterior.mean), video)
    assert codec.latent_shape(7, 5, 9) == tuple(video.shape[1:])


def test_a_codec_survives_its_checkpoint_part(codec):
    again = codec_of(codec_part(codec))
    video = video_of(5)
    assert torch.equal(again.encode(video).mean, codec.encode(video).mean)


def test_an_unknown_codec_names_the_near_miss():
    with pytest.raises(InputError, match="did you mean 'causal'"):
        CodecConfig(kind="casual")


def test_folding_is_undone_by_unfolding():
    x = torch.randn(2, 3, 8, 12)
    assert torch.equal(unfold(fold(x, 4), 4), x)
    video = video_of(9)
    assert torch.equal(frames_of_blocks(blocks_of_frames(video), 3), video)


def test_the_previous_latent_frame_of_the_first_is_zero():
    x = torch.arange(6.0).view(6, 1, 1, 1)
    assert previous(x, 3).flatten().tolist() == [0, 0, 1, 0, 3, 4]


def test_the_norm_mixes_no_two_places():
    x = torch.randn(4, 8, 3, 3)
    changed = x.clone()
    changed[0, :, 0, 0] += 5
    same = torch.ones(4, 3, 3, dtype=torch.bool)
    same[0, 0, 0] = False
    before, after = (channel_norm(y).permute(0, 2, 3, 1) for y in (x, changed))
    assert torch.equal(before[same], after[same])
    assert_close(before.square().mean(-1), torch.ones(4, 3, 3), atol=1e-4, rtol=0)
