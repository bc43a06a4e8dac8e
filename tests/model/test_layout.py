"""Rows of samples: where each token lies."""

import torch

from tubelet.model.layout import layout_of
from tubelet.model.positions import positions
from tubelet.model.tubelets import Grid

SMALL, LARGE = Grid(1, 2, 2), Grid(2, 1, 3)
PACKED = layout_of((SMALL, LARGE), (1, 2, 2), 4, 8)


def test_a_token_knows_its_sample_its_coordinates_and_its_grid():
    assert PACKED.sample.tolist() == [0] * 4 + [1] * 6
    assert PACKED.coordinates[:4].tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]
    assert PACKED.coordinates[7:9].tolist() == [[1, 0, 0], [1, 0, 1]]
    assert PACKED.sizes[3].tolist() == [1, 2, 2] and PACKED.sizes[4].tolist() == [2, 1, 3]


def test_positions_begin_anew_in_every_sample():
    for grid, where in zip((SMALL, LARGE), PACKED.positions.split([4, 6]), strict=True):
        assert torch.equal(where, positions(grid, (1, 2, 2), 4, 8))


def test_a_row_is_split_into_its_samples():
    samples = [torch.randn(1, grid.tokens, 5) for grid in (SMALL, LARGE)]
    parts = PACKED.split(torch.cat(samples, dim=1))
    assert all(torch.equal(a, b) for a, b in zip(parts, samples, strict=True))
