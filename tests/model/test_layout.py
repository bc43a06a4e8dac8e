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


def test_samples_are_joined_to_a_row_and_split_again():
    samples = [torch.randn(1, grid.tokens, 5) for grid in (SMALL, LARGE)]
    row = PACKED.join(samples)
    assert row.shape == (1, 10, 5)
    assert all(torch.equal(a, b) for a, b in zip(PACKED.split(row), samples, strict=True))


def test_samples_of_one_grid_are_the_rows_of_a_batch():
    layout, samples = layout_of((SMALL,), (1, 2, 2), 4, 8), [torch.randn(1, 4, 5) for _ in range(3)]
    rows = layout.join(samples)
    assert rows.shape == (3, 4, 5)
    assert all(torch.equal(a, b) for a, b in zip(layout.split(rows), samples, strict=True))


def test_what_a_sample_has_is_spread_over_its_tokens():
    values = torch.randn(2, 1, 5)
    spread = PACKED.spread(values)
    assert spread.shape == (1, 10, 5)
    assert torch.equal(spread[0], values[:, 0][PACKED.sample])
    assert PACKED.spread(spread) is spread
    assert layout_of((SMALL,), (1, 2, 2), 4, 8).spread(values) is values
