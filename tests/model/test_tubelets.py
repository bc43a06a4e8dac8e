"""Door 3: latents <-> tokens."""

import pytest
import torch

from tubelet.errors import InputError
from tubelet.model.tubelets import Embed, Grid, cut, grid_of, join, marked


@pytest.mark.parametrize("tubelet", [(1, 2, 2), (2, 1, 4), (1, 1, 1), (5, 3, 2)])
def test_joining_what_was_cut_gives_the_latents_back(tubelet):
    latents = torch.randn(2, 3, *(2 * part for part in tubelet))
    pieces = cut(latents, tubelet)
    grid = grid_of(tuple(latents.shape[2:]), tubelet)
    assert grid == Grid(2, 2, 2)
    assert pieces.shape == (2, grid.tokens, 3 * tubelet[0] * tubelet[1] * tubelet[2])
    assert torch.equal(join(pieces, grid, tubelet), latents)


def test_tokens_are_numbered_frame_by_frame_and_row_by_row():
    frame, row, column = torch.meshgrid(torch.arange(2), torch.arange(3), torch.arange(4), indexing="ij")
    number = (frame * 100 + row * 10 + column)[None, None]
    assert cut(number, (1, 1, 1))[0, :6, 0].tolist() == [0, 1, 2, 3, 10, 11]
    assert cut(number, (1, 3, 2))[0, 2].tolist() == [100, 101, 110, 111, 120, 121]


def test_sizes_that_do_not_fill_tubelets_name_the_nearest_that_do():
    with pytest.raises(InputError, match="5 x 6 x 8 or 5 x 8 x 8"):
        grid_of((5, 7, 8), (1, 2, 2))
    with pytest.raises(InputError, match="use 2 x 2 x 2$"):
        grid_of((1, 2, 2), (2, 2, 2))


def test_the_embedding_tells_known_latents_from_noisy_ones():
    embed, latents = Embed(3, 8, (1, 2, 2)), torch.randn(1, 3, 2, 2, 2)
    t = torch.tensor([0.0, 0.5]).view(1, 1, 2, 1, 1)
    known = embed(marked(latents, t, (1, 2, 2)))
    unknown = embed(marked(latents, torch.full_like(t, 0.5), (1, 2, 2)))
    assert not torch.allclose(known[:, 0], unknown[:, 0])
    assert torch.equal(known[:, 1], unknown[:, 1])
