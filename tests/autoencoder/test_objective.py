"""The codec's loss, term by term."""

import torch
from torch.testing import assert_close

from tubelet.autoencoder.objective import CodecObjective, codec_loss, psnr
from tubelet.gaussians import Gaussian


def test_a_constant_error_has_the_loss_written_down():
    video = torch.zeros(2, 3, 5, 8, 8)
    posterior = Gaussian(torch.zeros(2, 4, 2, 1, 1), torch.zeros(2, 4, 2, 1, 1))
    loss, terms = codec_loss(
        CodecObjective(absolute=1, squared=2, gradient=3, kl=4), video, video + 0.1, posterior
    )
    assert_close(terms["absolute"], torch.tensor(0.1))
    assert_close(terms["squared"], torch.tensor(0.01))
    assert terms["gradient"].abs() < 1e-6
    assert terms["kl"] == 0
    assert_close(loss, torch.tensor(0.12), atol=1e-6, rtol=0)


def test_kl_counts_nats_per_pixel_value():
    video = torch.zeros(1, 3, 1, 8, 8)
    posterior = Gaussian(torch.full((1, 4, 1, 1, 1), 2.0), torch.zeros(1, 4, 1, 1, 1))
    _, terms = codec_loss(CodecObjective(), video, video, posterior)
    assert_close(terms["kl"], torch.tensor(4 * 2.0 / 192))  # each latent: 2^2 / 2 nats


def test_the_gradient_term_sees_space_and_time():
    video = torch.zeros(1, 3, 5, 8, 8)
    posterior = Gaussian(torch.zeros(1), torch.zeros(1))
    for axis in (2, 3, 4):
        ramp = torch.arange(video.shape[axis]).view([-1 if a == axis else 1 for a in range(5)]) * 0.1
        _, terms = codec_loss(CodecObjective(), video, video + ramp, posterior)
        assert_close(terms["gradient"], torch.tensor(0.1))


def test_psnr_of_a_tenth_of_the_range_is_20_db():
    assert_close(psnr(torch.tensor(0.2**2)), torch.tensor(20.0))
