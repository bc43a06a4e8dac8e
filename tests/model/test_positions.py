"""Where tokens sit, and the rotations that say so."""

import pytest
import torch

from tubelet.errors import InputError
from tubelet.model.positions import Rotary, axis_pairs, positions, rotary, rotate
from tubelet.model.tubelets import Grid


def test_latents_sit_in_the_middle_of_their_frames_and_pixels():
    where = positions(Grid(3, 2, 1), (1, 1, 1), 4, 8)
    assert where[:, 0].unique().tolist() == [0, 2.5, 6.5]
    assert where[:, 1].unique().tolist() == [4, 12]
    assert where[1].tolist() == [0, 12, 4]


def test_a_tubelet_sits_at_the_mean_of_its_latents():
    where = positions(Grid(2, 1, 1), (2, 2, 2), 4, 8)
    assert where.tolist() == [[1.25, 8, 8], [8.5, 8, 8]]


def test_pixels_themselves_sit_at_their_own_frame():
    assert positions(Grid(3, 1, 1), (1, 1, 1), 1, 1)[:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("head_dim", "pairs"), [(64, (8, 12, 12)), (24, (4, 4, 4)), (6, (1, 1, 1)), (8, (2, 1, 1))]
)
def test_a_head_is_split_among_the_axes(head_dim, pairs):
    assert axis_pairs(head_dim) == pairs
    assert sum(pairs) == head_dim // 2


@pytest.mark.parametrize("head_dim", [4, 7, 33])
def test_a_head_that_cannot_be_split_is_refused(head_dim):
    with pytest.raises(InputError, match="even and at least 6"):
        axis_pairs(head_dim)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_scores_depend_on_differences_of_position_only(axis):
    q, k = torch.randn(2, 1, 12, 3, 32, dtype=torch.float64)
    where = positions(Grid(3, 2, 2), (1, 1, 1), 4, 8)
    shift = torch.zeros(3)
    shift[axis] = 16

    def scores(where):
        turn = Rotary(*(table.double() for table in rotary(where, 32, 100.0)))
        return torch.einsum("bqhd,bkhd->bhqk", rotate(q, turn), rotate(k, turn))

    torch.testing.assert_close(scores(where + shift), scores(where), atol=1e-4, rtol=0)
    assert not torch.allclose(scores(where * (1 + shift)), scores(where), atol=1e-2)


def test_with_lengths_time_comes_round_and_every_frame_is_like_the_first():
    """An independent form: scores are a Fourier series in the share of the loop between query and key."""
    grid = positions(Grid(5, 1, 1), (1, 1, 1), 4, 8)
    lengths = torch.full((5,), 17.0)
    q, k = torch.randn(2, 1, 5, 3, 32, dtype=torch.float64)

    def scores(where, lengths):
        turn = Rotary(*(table.double() for table in rotary(where, 32, 100.0, lengths)))
        return torch.einsum("bqhd,bkhd->bhqk", rotate(q, turn), rotate(k, turn))

    found, late = scores(grid, lengths), grid.clone()
    late[:3, 0] += 17  # the same frames once around
    torch.testing.assert_close(scores(late, lengths), found, atol=1e-4, rtol=0)
    assert not torch.allclose(scores(late, torch.full((5,), 18.0)), found, atol=1e-2)
    torch.testing.assert_close(scores(2 * grid, 2 * lengths), scores(grid, lengths), atol=1e-4, rtol=0)
    waves, half = axis_pairs(32)[0], 16
    phase = 2 * torch.pi * (grid[:, None, 0] - grid[None, :, 0]).double() / 17  # of query less key
    expected = torch.zeros(1, 3, 5, 5, dtype=torch.float64)
    for i in range(half):
        a, b, c, d = q[..., i], q[..., i + half], k[..., i], k[..., i + half]
        even = torch.einsum("bqh,bkh->bhqk", a, c) + torch.einsum("bqh,bkh->bhqk", b, d)
        odd = torch.einsum("bqh,bkh->bhqk", b, c) - torch.einsum("bqh,bkh->bhqk", a, d)
        angle = (i + 1) * phase if i < waves else 0 * phase  # all at one row and column
        expected += even * angle.cos() - odd * angle.sin()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_a_rotation_keeps_lengths_and_the_origin_stays():
    x = torch.randn(1, 4, 2, 12)
    turned = rotate(x, rotary(positions(Grid(1, 2, 2), (1, 1, 1), 4, 8), 12, 100.0))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(rotate(x, rotary(torch.zeros(4, 3), 12, 100.0)), x)
