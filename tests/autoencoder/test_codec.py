"""The codec: shapes, causality, the PCA start, standardisation, and the codecs of other depths beside the first."""

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from tubelet import checkpoint
from tubelet.autoencoder.codec import (
    CausalCodec,
    CodecConfig,
    blocks_of_frames,
    by_clip,
    codec_of,
    codec_part,
    encoder_hash,
    frames_of_blocks,
    make_codec,
)
from tubelet.autoencoder.layers import channel_norm, fold, previous, unfold
from tubelet.checkpoint import Part
from tubelet.errors import InputError
from tubelet.sampling.pipeline import DEFAULT

SMALL = CodecConfig(latent_channels=6, widths=(16, 24), encoder_depths=(1, 1), decoder_depths=(1, 1))
DEEP = dataclasses.replace(
    SMALL, pixels_per_latent=16, widths=(8, 16, 24), encoder_depths=(1, 1, 1), decoder_depths=(1, 1, 1),
    encoder_kernels=(3, 3, 1), channel_scale="half",
)  # fmt: skip
CONFIGS = {
    "8": SMALL,
    "16": DEEP,
    "16, no block there": dataclasses.replace(DEEP, encoder_depths=(1, 1, 0)),
    "4, five channels": dataclasses.replace(
        SMALL, pixels_per_latent=4, pixel_channels=5, widths=(16,), encoder_depths=(1,), decoder_depths=(1,),
        encoder_kernels=(3,), channel_scale="one",
    ),
}  # fmt: skip


def video_of(frames: int, height: int = 16, width: int = 24, batch: int = 2, channels: int = 3) -> Tensor:
    source = torch.Generator().manual_seed(0)
    return torch.rand(batch, channels, frames, height, width, generator=source) * 2 - 1


def lively(config: CodecConfig) -> CausalCodec:
    """A codec whose residual branches all do something, standardised by arbitrary numbers."""
    torch.manual_seed(0)
    codec = CausalCodec(config)
    for parameter in codec.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    channels = config.latent_channels
    axes = torch.randn(channels, channels) + 3 * torch.eye(channels) if config.turned else None
    codec.standardise(torch.linspace(-1, 1, channels), torch.linspace(0.5, 2, channels), axes)
    return codec.eval()


@pytest.fixture
def codec() -> CausalCodec:
    """The usual one of these tests."""
    return lively(SMALL)


@pytest.fixture(params=CONFIGS)
def each(request) -> CausalCodec:
    """Codecs of every depth."""
    return lively(CONFIGS[request.param])


def fitting(codec: CausalCodec, frames: int, rows: int = 2, columns: int = 3) -> Tensor:
    """A video of so many rows and columns of latents."""
    side = codec.pixels_per_latent
    return video_of(frames, rows * side, columns * side, channels=codec.config.pixel_channels)


@pytest.mark.parametrize(("frames", "rows", "columns"), [(1, 1, 1), (5, 2, 1), (17, 3, 2), (9, 1, 5)])
def test_every_admissible_size_round_trips_in_shape(each, frames, rows, columns):
    video = fitting(each, frames, rows, columns)
    latents = each.encode(video).mean
    assert tuple(latents.shape[1:]) == each.latent_shape(*video.shape[2:])
    assert tuple(latents.shape[2:]) == (1 + frames // 4, rows, columns)
    assert each.decode(latents).shape == video.shape


@pytest.mark.parametrize(
    ("config", "size", "remedy"),
    [
        ("8", (16, 64, 64), "--num-frames 17"),
        ("8", (17, 60, 64), "--height 64"),
        ("8", (17, 64, 3), "--width 8"),
        ("8", (0, 8, 8), "1"),
        ("16", (17, 64, 72), "72 is not a multiple of 16; try --width 64"),
        ("16", (17, 8, 64), "--height 16"),
    ],
)
def test_a_wrong_size_names_the_nearest_that_works(config, size, remedy):
    with pytest.raises(InputError, match=remedy):
        CausalCodec(CONFIGS[config]).latent_shape(*size)


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"pixels_per_latent": 12}, "4, 8, 16"),
        ({"pixels_per_latent": 16}, "widths has 2 values.*1/4, 1/8, 1/16.*give 3"),
        ({"encoder_kernels": (3, 5)}, "1 or 3"),
        ({"pixel_channels": 0}, "3 for colour"),
        ({"latent_channels": 800}, r"1\.\.768"),
        ({"channel_scale": "hall"}, "did you mean 'half'"),
        ({"kind": "casual"}, "did you mean 'causal'"),
    ],
)
def test_a_config_that_is_no_codec_is_refused_with_the_remedy(changes, remedy):
    with pytest.raises(InputError, match=remedy):
        dataclasses.replace(SMALL, **changes)


def test_one_frame_encodes_to_the_first_latent_of_the_clip(each):
    video = fitting(each, 9)
    alone, whole = each.encode(video[:, :, :1]), each.encode(video)
    assert_close(alone.mean, whole.mean[:, :, :1])
    assert_close(alone.log_var, whole.log_var[:, :, :1])


def test_a_longer_clip_starts_with_the_latents_of_its_beginning(each):
    video = fitting(each, 13)
    assert_close(each.encode(video[:, :, :5]).mean, each.encode(video).mean[:, :, :2])


def test_a_longer_latent_decodes_to_a_video_that_starts_the_same(each):
    latents = each.encode(fitting(each, 13)).mean
    assert_close(each.decode(latents[:, :, :2]), each.decode(latents)[:, :, :5])


def test_later_latents_do_see_the_past(codec):
    video = video_of(9)
    changed = video.clone()
    changed[:, :, 0] = 0
    assert not torch.allclose(codec.encode(video).mean[:, :, 2], codec.encode(changed).mean[:, :, 2])


def test_gradients_never_reach_the_future(each):
    video = fitting(each, 9).requires_grad_()
    each.encode(video).mean[:, :, 1].sum().backward()
    assert video.grad is not None
    assert video.grad[:, :, :5].abs().sum() > 0
    assert torch.equal(video.grad[:, :, 5:], torch.zeros_like(video.grad[:, :, 5:]))


def reached(codec: CausalCodec) -> Tensor:
    """Which latents of 1 x 9 x 9 a change of the pixels of the middle one changes: bool [9, 9]."""
    side = codec.pixels_per_latent
    video = video_of(1, 9 * side, 9 * side, batch=1)
    changed = video.clone()
    changed[..., 4 * side : 5 * side, 4 * side : 5 * side] *= -1
    return (codec.posterior(video).mean != codec.posterior(changed).mean)[0].any(0)[0]


def test_a_stage_of_1x1_kernels_sees_no_further_than_none_and_less_far_than_3x3():
    kernels = {
        name: dataclasses.replace(DEEP, encoder_kernels=(3, 3, size)) for name, size in (("1", 1), ("3", 3))
    }
    small, large = (reached(lively(config)) for config in kernels.values())
    none = reached(lively(dataclasses.replace(DEEP, encoder_depths=(1, 1, 0))))
    assert torch.equal(small, none)
    assert small.sum() < large.sum()
    assert torch.equal(small | large, large)
    assert (
        large[2:7, 2:7].sum() == large.sum()
    )  # a 3x3 block at each resolution: two latents to each side at most


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


def test_decoding_undoes_encoding_s_map_to_axes(each):
    latents = each.posterior(fitting(each, 5)).mean
    standard = each.encode(fitting(each, 5)).mean
    assert_close(each.decode(standard), each.reconstruct(latents), atol=1e-4, rtol=1e-4)


def test_the_volume_of_standardised_latents_is_that_of_the_map(each):
    channels = each.latent_channels
    basis = torch.eye(channels)[:, :, None, None, None]  # one latent a row
    seen = []
    each.reconstruct = lambda raw: seen.append(raw) or raw
    each.decode(torch.cat([torch.zeros_like(basis[:1]), basis]))
    matrix = (seen[0][1:] - seen[0][:1]).reshape(channels, channels).double()
    assert_close(each.log_volume(), torch.linalg.slogdet(matrix)[1], atol=1e-5, rtol=1e-5)


def test_a_codec_survives_its_checkpoint_part(each):
    again, video = codec_of(codec_part(each)), fitting(each, 5)
    assert torch.equal(again.encode(video).mean, each.encode(video).mean)
    assert torch.equal(again.decode(again.encode(video).mean), each.decode(each.encode(video).mean))
    assert encoder_hash(codec_part(again)) == encoder_hash(codec_part(each))


def conv(part: Part, name: str, x: Tensor, kernel: int = 1) -> Tensor:
    weight = part.tensors[f"{name}.weight"].float()
    weight = weight.view(len(weight), kernel, kernel, -1).permute(0, 3, 1, 2)
    return F.conv2d(x, weight, part.tensors[f"{name}.bias"].float(), padding=kernel // 2)


def stage(part: Part, name: str, depth: int, x: Tensor, frames: int) -> Tensor:
    for block in (f"{name}.blocks.{number}" for number in range(depth)):
        h = channel_norm(x)
        h = conv(part, f"{block}.space", h, 3) + previous(conv(part, f"{block}.past", h), frames)
        x = x + conv(part, f"{block}.out", F.silu(h))
    return x


@torch.no_grad()
def test_the_codec_that_ships_gives_the_bits_that_it_gave_before_codecs_had_depths():
    """Its two resolutions written out, as they were when it was trained."""
    part, video = checkpoint.load(DEFAULT).parts["autoencoder"], video_of(9, 32, 32)
    assert set(part.config) == {
        "kind", "latent_channels", "widths", "encoder_depths", "decoder_depths"
    }  # fmt: skip
    codec = codec_of(part)
    patches = fold(blocks_of_frames(video), 4).contiguous(memory_format=torch.channels_last)
    x = stage(part, "encoder.fine", 1, conv(part, "encoder.stem", patches), 3)
    x = stage(part, "encoder.coarse", 2, conv(part, "encoder.down", fold(x, 2)), 3)
    shift = conv(part, "encoder.head", channel_norm(x))[:, :16]
    linear = codec.to_latent(fold(patches, 2).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    mean, std = (part.tensors[name].view(-1, 1, 1, 1) for name in ("mean", "std"))
    latents = (by_clip(linear + shift, 3) - mean) / std
    assert torch.equal(codec.encode(video).mean, latents)
    z = (latents * std + mean).transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
    x = conv(part, "decoder.up", stage(part, "decoder.coarse", 3, conv(part, "decoder.stem", z, 3), 3))
    x = stage(part, "decoder.fine", 3, unfold(x, 2), 3)
    linear = codec.from_latent(z.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    blocks = unfold(conv(part, "decoder.head", channel_norm(x), 3) + unfold(linear, 2), 4)
    assert torch.equal(codec.decode(latents), frames_of_blocks(blocks, 3))


@pytest.mark.parametrize("config", [DEEP, CONFIGS["4, five channels"]])
def test_axes_that_a_file_has_rounded_are_undone_all_the_same(config):
    part = codec_part(lively(config))
    rounded = Part(part.config, part.tensors | {"to_axes": part.tensors["to_axes"].bfloat16()})
    codec = codec_of(rounded)
    assert isinstance(codec, CausalCodec)
    video = fitting(codec, 5)
    latents = codec.posterior(video).mean
    assert_close(codec.decode(codec.encode(video).mean), codec.reconstruct(latents), atol=1e-4, rtol=1e-4)


def test_a_codec_that_is_loaded_and_saved_again_keeps_its_encoder_s_hash():
    """Caches of latents are named by it; the parts on disk have fewer fields than configs have now."""
    part = checkpoint.load(DEFAULT).parts["autoencoder"]
    part = Part(part.config, {name: value.float() for name, value in part.tensors.items()})
    assert encoder_hash(codec_part(codec_of(part))) == encoder_hash(part)
    deeper = Part(codec_part(codec_of(part)).config | {"encoder_kernels": [3, 1]}, part.tensors)
    assert encoder_hash(deeper) != encoder_hash(part)


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
