"""Rows of samples: where each token lies."""

import torch

from tubelet.model.layout import layout_of
from tubelet.model.positions import positions
from tubelet.model.references import Place
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


def test_registers_follow_the_video_below_its_grid_and_at_the_middle_of_the_picture():
    row = layout_of((SMALL, LARGE), (1, 2, 2), 4, 8, [(), (Place(Grid(1, 1, 3), 1),)], registers=2)
    assert row.tokens == [6, 13]
    small, large = row.coordinates.split(row.tokens)
    assert small[4:].tolist() == [[0, 2, 0], [0, 2, 1]]
    assert large[6:10].tolist() == [[0, 1, 0], [0, 1, 1], [1, 1, 0], [1, 1, 1]]
    assert row.positions[4:6].tolist() == [[0, 16, 16]] * 2
    assert row.positions[12:16].tolist() == [[0, 8, 24]] * 2 + [[2.5, 8, 24]] * 2
    assert row.inside.split(row.tokens)[1][6:10].tolist() == [[0, 0, 1], [0, 0, 1], [1, 0, 1], [1, 0, 1]]
    assert row.video.tolist() == [True] * 4 + [False] * 2 + [True] * 6 + [False] * 7


def test_registers_go_in_behind_each_video_and_come_out_again():
    row = layout_of((SMALL, LARGE), (1, 2, 2), 4, 8, [(), (Place(Grid(1, 1, 3), 1),)], registers=2)
    tokens, registers = torch.randn(1, 4 + 6 + 3, 5), torch.randn(2, 5)
    long = row.with_registers(tokens, registers)
    assert torch.equal(row.videos(long), tokens[:, :10])
    assert torch.equal(long[0, 12:16], registers.repeat(2, 1))
    assert torch.equal(long[:, 16:], tokens[:, 10:])


def test_a_row_is_split_into_its_samples():
    samples = [torch.randn(1, grid.tokens, 5) for grid in (SMALL, LARGE)]
    parts = PACKED.split(torch.cat(samples, dim=1))
    assert all(torch.equal(a, b) for a, b in zip(parts, samples, strict=True))
