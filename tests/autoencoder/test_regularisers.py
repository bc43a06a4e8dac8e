"""Terms that shape latents for a denoiser, on latents whose value is known."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tubelet.autoencoder.objective import CodecObjective, codec_loss
from tubelet.autoencoder.regularisers import (
    Transform,
    draw_hidden,
    draw_transform,
    local_correlation,
    masked,
)
from tubelet.draws import stream
from tubelet.errors import InputError
from tubelet.gaussians import Gaussian

SHAPE = (4, 3, 4, 6)  # C, f, h, w


def latents(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_latents_that_are_alike_everywhere_correlate_fully():
    one = latents(2, 8, 1, 1, 1)
    assert_close(local_correlation(one.expand(2, 8, 5, 4, 4)), torch.tensor(1.0))
    assert_close(local_correlation(one.expand(2, 8, 1, 4, 4) * 3 + 7), torch.tensor(1.0))


def test_a_chessboard_of_opposite_latents_correlates_by_minus_a_third_in_space_and_a_seventh_with_time():
    """Of the 6 pairs of 2 x 2 places 2 are alike and 4 opposite; of the 28 of 2 x 2 x 2, 12 alike and 16 opposite."""
    f, h, w = torch.meshgrid(torch.arange(5), torch.arange(4), torch.arange(4), indexing="ij")
    sign = 1.0 - 2 * ((f + h + w) % 2)
    board = latents(1, 8, 1, 1, 1) * sign
    first, later = -2 / 6, -4 / 28
    assert_close(local_correlation(board[:, :, :1]), torch.tensor(first))
    assert_close(local_correlation(board), torch.tensor((first + later) / 2))


def test_local_correlation_agrees_with_every_pair_written_out():
    x = latents(2, 6, 5, 4, 6)

    def of(frames: range, span: int) -> float:
        found = []
        for clip in x:
            for f in frames:
                for h in range(0, 4, 2):
                    for w in range(0, 6, 2):
                        window = clip[:, f : f + span, h : h + 2, w : w + 2].reshape(6, -1).T  # [places, C]
                        pairs = torch.corrcoef(window)[tuple(torch.triu_indices(len(window), len(window), 1))]
                        found.append(float(pairs.mean()))
        return sum(found) / len(found)

    expected = (of(range(0, 1), 1) + of(range(1, 5, 2), 2)) / 2
    assert float(local_correlation(x)) == pytest.approx(expected, abs=1e-6)


def test_what_does_not_fill_windows_is_left_out_and_one_latent_is_no_neighbour():
    x = latents(1, 6, 4, 5, 4)
    assert_close(local_correlation(x), local_correlation(x[:, :, :3, :4]))
    assert local_correlation(latents(1, 6, 1, 1, 1)) == 1


def test_the_loss_is_the_hinge_minus_the_correlation_and_nothing_beyond():
    video = torch.zeros(2, 3, 5, 8, 8)
    objective = CodecObjective(kl=0, local_correlation=0.02)
    low = Gaussian(latents(2, 16, 2, 4, 4), torch.zeros(()))
    loss, terms = codec_loss(objective, video, video, low)
    assert_close(terms["local_correlation"], 0.75 - local_correlation(low.mean))
    assert_close(loss, 0.02 * terms["local_correlation"])
    high = Gaussian(torch.ones(2, 16, 2, 4, 4) * torch.arange(16.0).view(-1, 1, 1, 1), torch.zeros(()))
    assert codec_loss(objective, video, video, high)[1]["local_correlation"] == 0
    assert "local_correlation" not in codec_loss(CodecObjective(), video, video, low)[1]


def test_masked_samples_and_shares_are_as_often_and_as_large_as_said():
    hidden = [draw_hidden(stream(1, n), 0.6, 0.25, (4, 5, 8, 8)) for n in range(800)]
    shares = torch.stack([each.float().mean() for each in hidden])
    seen = shares > 0
    assert seen.float().mean() == pytest.approx(0.25, abs=0.05)
    assert shares[seen].mean() == pytest.approx(0.3, abs=0.03)
    assert 0.55 < shares.max() < 0.68
    assert hidden[0].shape == (1, 5, 8, 8)
    assert all(torch.equal(hidden[n], draw_hidden(stream(1, n), 0.6, 0.25, (4, 5, 8, 8))) for n in range(9))
    assert not any(draw_hidden(stream(1, n), 0.0, 1.0, SHAPE).any() for n in range(9))


def test_a_masked_latent_tells_nothing_and_the_others_stay():
    x, hidden = latents(2, *SHAPE), torch.rand(2, 1, *SHAPE[1:]) < 0.5
    found = masked(x, hidden)
    assert not found[hidden.expand_as(x)].any()
    assert torch.equal(found[~hidden.expand_as(x)], x[~hidden.expand_as(x)])


def test_transforms_are_drawn_as_often_as_said_in_quarters_and_turns():
    drawn = [draw_transform(stream(2, n), 0.4, (16, 5, 6, 9)) for n in range(600)]
    found = [each for each in drawn if each is not None]
    assert len(found) / len(drawn) == pytest.approx(0.4, abs=0.06)
    assert {(each.height, each.width) for each in found} == {(2, 3), (3, 5), (5, 7), (6, 9)}
    assert len({(each.height, each.turns) for each in found}) == 16


def blocks(x: Tensor, pixels: int) -> Tensor:
    """A codec whose decoder paints a block of `pixels` x `pixels` with each latent: exactly equivariant to turns."""
    return x.repeat_interleave(pixels, 3).repeat_interleave(pixels, 4)


@pytest.mark.parametrize("turns", range(4))
def test_an_equivariant_codec_has_no_equivariance_loss_under_turns(turns):
    x = latents(2, 3, 2, 4, 6)
    change = Transform(4, 6, turns)
    assert torch.equal(blocks(change.apply(x), 8), change.apply(blocks(x, 8), 8))


def test_an_equivariant_codec_has_no_equivariance_loss_under_scaling():
    """A horizontal edge at the same place of every frame: a picture that scaling in the other direction keeps."""
    x = latents(2, 3, 2, 4, 1).expand(2, 3, 2, 4, 6)
    change = Transform(4, 2, 1)
    assert_close(blocks(change.apply(x), 8), change.apply(blocks(x, 8), 8))
    other = Transform(2, 2, 0).apply(x)
    assert other.shape == (2, 3, 2, 2, 2)
    assert_close(Transform(1, 1, 0).apply(x).flatten(), x.mean((3, 4)).flatten(), atol=0.35, rtol=0)


def test_a_codec_that_is_not_equivariant_has_a_loss():
    x = latents(1, 3, 1, 4, 4)
    tilted = torch.linspace(0, 1, 32) * blocks(x, 8)  # what it paints depends on the column
    change = Transform(4, 4, 1)
    assert not torch.allclose(torch.linspace(0, 1, 32) * blocks(change.apply(x), 8), change.apply(tilted, 8))


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"masking": 1.5}, "0 to 1"),
        ({"equivariance": -0.1}, "0 to 1"),
        ({"local_correlation": -1.0}, "0 or more"),
    ],
)
def test_terms_out_of_range_are_refused(changes, remedy):
    with pytest.raises(InputError, match=remedy):
        CodecObjective(**changes)
