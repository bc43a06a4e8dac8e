"""Attention, its kernels and its foldings."""

import pytest
import torch
from torch import nn

from tubelet.model.attention import FOLDINGS, KERNELS, CrossAttention, SelfAttention, plain
from tubelet.model.positions import positions, rotary
from tubelet.model.tubelets import Grid

GRID = Grid(3, 2, 4)
FRAME = torch.arange(GRID.tokens) // GRID.places
PLACE = torch.arange(GRID.tokens) % GRID.places
ALL = torch.zeros(GRID.tokens)


def may_see(group):
    return group[:, None] == group[None, :]


def joint_by_masks(attentions, tokens, turn):
    return attentions["all"](tokens, turn, may_see(ALL))


def space_then_time_by_masks(attentions, tokens, turn):
    seen = attentions["space"](tokens, turn, may_see(FRAME))
    return seen + attentions["time"](tokens + seen, turn, may_see(PLACE))


BY_MASKS = {"joint": joint_by_masks, "space_then_time": space_then_time_by_masks}


@pytest.mark.parametrize("name", sorted(FOLDINGS))
def test_every_folding_agrees_with_masks_over_all_tokens(name):
    torch.manual_seed(0)
    folding, tokens = FOLDINGS[name], torch.randn(2, GRID.tokens, 32)
    attentions = nn.ModuleDict({which: SelfAttention(32, 2) for which in folding.attentions})
    turn = rotary(positions(GRID, (1, 1, 1), 4, 8), 16, 100.0)
    folded = folding.apply(attentions, tokens, GRID, turn)
    torch.testing.assert_close(folded, BY_MASKS[name](attentions, tokens, turn), atol=1e-5, rtol=1e-4)


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
        low = attention(tokens, turn)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), attention(tokens, turn), atol=0.05, rtol=0)


def test_logits_stay_bounded_whatever_the_tokens_size():
    cross = CrossAttention(32, 2)
    nn.init.normal_(cross.out.weight)
    tokens, states = torch.randn(1, 4, 32), torch.randn(1, 3, 32)
    mask = torch.ones(1, 1, 1, 3, dtype=torch.bool)
    torch.testing.assert_close(
        cross(1000 * tokens, states, mask), cross(tokens, states, mask), atol=1e-3, rtol=1e-3
    )


def test_a_query_ignores_masked_keys():
    q, k, v = torch.randn(3, 1, 1, 4, 8)
    mask = torch.tensor([True, True, False, False])
    torch.testing.assert_close(plain(q, k, v, mask), plain(q, k[:, :, :2], v[:, :, :2]))
