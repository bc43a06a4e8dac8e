"""Draws keyed by numbers."""

import math

import torch

from tubelet.draws import normal, seeded, stratum, stream


def test_a_key_says_everything():
    assert torch.equal(normal(stream(3, 4), (5,)), normal(stream(3, 4), (5,)))
    assert not torch.equal(normal(stream(3, 4), (5,)), normal(stream(4, 3), (5,)))
    assert not torch.equal(normal(stream(3), (5,)), normal(stream(3, 1), (5,)))


def test_normals_are_standard():
    x = normal(stream(0), (100_000,))
    assert x.dtype == torch.float32
    assert abs(x.mean()) < 0.02
    assert abs(x.std() - 1) < 0.02


def test_strata_are_taken_once_each_and_by_a_permutation_of_the_key():
    parts, uniform = 8, [0.0, 0.25, 0.5, 0.75, 0.999, 0.1, 0.2, 0.3]
    drawn = [[stratum(u, place, parts, 3, batch) for place, u in enumerate(uniform)] for batch in range(200)]
    assert all(sorted(int(x * parts) for x in row) == list(range(parts)) for row in drawn)
    assert all(0 <= stratum(math.nextafter(1, 0), 0, parts, batch) < 1 for batch in range(50))
    assert {int(row[0] * parts) for row in drawn} == set(range(parts))  # no place always has the same
    assert drawn[0] != drawn[1] and drawn[0] == [stratum(u, i, parts, 3, 0) for i, u in enumerate(uniform)]


def test_seeding_weights_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    wanted = torch.rand(2)
    torch.manual_seed(1)
    with seeded(5):
        one = torch.rand(2)
    assert torch.equal(torch.rand(2), wanted)
    with seeded(5):
        assert torch.equal(torch.rand(2), one)
