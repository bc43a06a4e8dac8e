"""Attention and its kernels."""

import pytest
import torch
from torch import nn

from tubelet.model.attention import KERNELS, CrossAttention, SelfAttention, plain
from tubelet.model.groups import groups
from tubelet.model.positions import positions, rotary
from tubelet.model.tubelets import Grid

GRID = Grid(3, 2, 4)
ALL = groups(torch.zeros(GRID.tokens))


@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize("masked", [False, True])
def test_every_kernel_agrees_with_the_formula(kernel, masked):
    q, k, v = torch.randn(3, 2, 3, 5, 8, dtype=torch.float64)
    mask = torch.rand(2, 1, 5, 5) < 0.7 if masked else torch.ones(1, 1, 5, 5, dtype=torch.bool)
    mask = mask | torch.eye(5, dtype=torch.bool)
    weight = (q @ k.transpose(-1, -2)).exp() * mask
    expected = weight / weight.sum(-1, keepdim=True) @ v
    torch.testing.assert_close(KERNELS[kernel](q, k, v, mask if masked else None), expected)


def test_bfloat16_takes_the_short_kernel_and_stays_close_to_float32():
    torch.manual_seed(0)
    attention, tokens = SelfAttention(64, 2), torch.randn(2, GRID.tokens, 64)
    turn = rotary(positions(GRID, (1, 1, 1), 4, 8), 32, 100.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low, _ = attention(tokens, turn, (ALL,))
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), attention(tokens, turn, (ALL,))[0], atol=0.05, rtol=0)


def test_logits_stay_bounded_whatever_the_tokens_size():
    cross = CrossAttention(32, 2)
    nn.init.normal_(cross.out.weight)
    tokens, states = torch.randn(1, 4, 32), torch.randn(1, 3, 32)
    mask = torch.ones(1, 1, 1, 3, dtype=torch.bool)
    large, small = (cross(size * tokens, states, mask, groups(torch.zeros(4))) for size in (1000, 1))
    torch.testing.assert_close(large, small, atol=1e-3, rtol=1e-3)


def test_a_query_ignores_masked_keys():
    q, k, v = torch.randn(3, 1, 1, 4, 8)
    mask = torch.tensor([True, True, False, False])
    torch.testing.assert_close(plain(q, k, v, mask), plain(q, k[:, :, :2], v[:, :, :2]))
