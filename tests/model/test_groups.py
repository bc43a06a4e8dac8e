"""Tokens of equal key side by side, and back."""

import pytest
import torch

from tubelet.model.groups import Reorder, groups

KEYS = torch.tensor([7, 3, 7, 7, 1, 3, 9])


def test_groups_are_sorted_by_size_then_key_and_keep_the_tokens_order():
    found = groups(KEYS)
    assert found.sizes == ((2, 1), (1, 2), (1, 3))
    assert found.order.tolist() == [4, 6, 1, 5, 0, 2, 3]
    assert found.pairs == 1 + 1 + 4 + 9


def test_a_piece_holds_the_groups_of_one_size_and_the_row_comes_back():
    found, tokens = groups(KEYS), torch.randn(2, 7, 3)
    pieces = found.pieces(tokens)
    assert [piece.shape for piece in pieces] == [(4, 1, 3), (2, 2, 3), (2, 3, 3)]
    assert torch.equal(pieces[1][1], tokens[1, [1, 5]])
    assert torch.equal(pieces[0][1], tokens[0, [6]])
    assert torch.equal(found.row(pieces), tokens)


@pytest.mark.parametrize("keys", [[0, 0, 0, 0], [5, 5, 8, 8], [2, 3, 4, 4]])
def test_tokens_that_lie_group_by_group_are_not_moved(keys):
    found, tokens = groups(torch.tensor(keys)), torch.randn(1, 4, 3)
    assert found.order is None and found.back is None
    assert all(piece.untyped_storage().data_ptr() == tokens.data_ptr() for piece in found.pieces(tokens))
    assert torch.equal(found.row(found.pieces(tokens)), tokens)


def test_one_size_goes_back_and_forth_without_a_copy_when_in_order():
    found, tokens = groups(torch.tensor([5, 5, 8, 8])), torch.randn(3, 4, 2)
    assert found.row(found.pieces(tokens)).data_ptr() == tokens.data_ptr()


def test_the_gradient_of_another_order_is_that_of_indexing():
    order = torch.randperm(6)
    tokens, weight = torch.randn(2, 6, 3, requires_grad=True), torch.randn(2, 6, 3)
    (mine,) = torch.autograd.grad((Reorder.apply(tokens, order, order.argsort()) * weight).sum(), tokens)
    (plain,) = torch.autograd.grad((tokens[:, order] * weight).sum(), tokens)
    assert torch.equal(mine, plain)
    double = tokens.detach().double().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: Reorder.apply(x, order, order.argsort()).square(), double)
