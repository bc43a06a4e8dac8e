"""Rows of samples: where each token lies."""

import torch

from tubelet.model.layout import layout_of
from tubelet.model.positions import positions
from tubelet.model.references import Outline, Place
from tubelet.model.tubelets import Grid

SMALL, LARGE = Grid(1, 2, 2), Grid(2, 1, 3)
BESIDE = Outline(SMALL), Outline(LARGE, (Place(Grid(1, 1, 3), 1),), stride=0.5)
PACKED = layout_of((Outline(SMALL), Outline(LARGE)), (1, 2, 2), 4, 8)


def test_a_token_knows_its_sample_its_coordinates_and_its_grid():
    assert PACKED.sample.tolist() == [0] * 4 + [1] * 6
    assert PACKED.coordinates[:4].tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]
    assert PACKED.coordinates[7:9].tolist() == [[1, 0, 0], [1, 0, 1]]
    assert PACKED.sizes[3].tolist() == [1, 2, 2] and PACKED.sizes[4].tolist() == [2, 1, 3]


def test_positions_begin_anew_in_every_sample():
    for grid, where in zip((SMALL, LARGE), PACKED.positions.split([4, 6]), strict=True):
        assert torch.equal(where, positions(grid, (1, 2, 2), 4, 8))


def test_a_stride_stretches_time_and_nothing_else():
    row = layout_of(BESIDE, (1, 2, 2), 4, 8, registers=2)
    as_trained = layout_of([outline._replace(stride=1.0) for outline in BESIDE], (1, 2, 2), 4, 8, registers=2)
    one, other = row.positions.split(row.tokens)
    assert torch.equal(one, as_trained.positions[: len(one)])
    assert torch.equal(other, as_trained.positions[len(one) :] * torch.tensor([0.5, 1, 1]))
    assert torch.equal(row.lengths, torch.tensor([1.0] * 6 + [2.5] * 13))  # 1 frame, and 5 of half a frame
    assert as_trained.lengths[-1] == 5


def test_registers_follow_the_video_below_its_grid_and_at_the_middle_of_the_picture():
    row = layout_of(BESIDE, (1, 2, 2), 4, 8, registers=2)
    assert row.tokens == [6, 13]
    small, large = row.coordinates.split(row.tokens)
    assert small[4:].tolist() == [[0, 2, 0], [0, 2, 1]]
    assert large[6:10].tolist() == [[0, 1, 0], [0, 1, 1], [1, 1, 0], [1, 1, 1]]
    assert row.positions[4:6].tolist() == [[0, 16, 16]] * 2
    assert row.positions[12:16].tolist() == [[0, 8, 24]] * 2 + [[1.25, 8, 24]] * 2
    assert row.inside.split(row.tokens)[1][6:10].tolist() == [[0, 0, 1], [0, 0, 1], [1, 0, 1], [1, 0, 1]]
    assert row.video.tolist() == [True] * 4 + [False] * 2 + [True] * 6 + [False] * 7


def test_registers_go_in_behind_each_video_and_come_out_again():
    row = layout_of(BESIDE, (1, 2, 2), 4, 8, registers=2)
    tokens, registers = torch.randn(1, 4 + 6 + 3, 5), torch.randn(2, 5)
    long = row.with_registers(tokens, registers)
    assert torch.equal(row.videos(long), tokens[:, :10])
    assert torch.equal(long[0, 12:16], registers.repeat(2, 1))
    assert torch.equal(long[:, 16:], tokens[:, 10:])


def test_a_row_is_split_into_its_samples():
    samples = [torch.randn(1, grid.tokens, 5) for grid in (SMALL, LARGE)]
    parts = PACKED.split(torch.cat(samples, dim=1))
    assert all(torch.equal(a, b) for a, b in zip(parts, samples, strict=True))
