"""Draws keyed by numbers."""

import torch

from tubelet.draws import normal, seeded, stream


def test_a_key_says_everything():
    assert torch.equal(normal(stream(3, 4), (5,)), normal(stream(3, 4), (5,)))
    assert not torch.equal(normal(stream(3, 4), (5,)), normal(stream(4, 3), (5,)))
    assert not torch.equal(normal(stream(3), (5,)), normal(stream(3, 1), (5,)))


def test_normals_are_standard():
    x = normal(stream(0), (100_000,))
    assert x.dtype == torch.float32
    assert abs(x.mean()) < 0.02
    assert abs(x.std() - 1) < 0.02


def test_seeding_weights_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    wanted = torch.rand(2)
    torch.manual_seed(1)
    with seeded(5):
        one = torch.rand(2)
    assert torch.equal(torch.rand(2), wanted)
    with seeded(5):
        assert torch.equal(torch.rand(2), one)
