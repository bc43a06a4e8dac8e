"""Attention and its kernels."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from tubelet.model import kernels
from tubelet.model.attention import CrossAttention, SelfAttention
from tubelet.model.groups import groups
from tubelet.model.kernels import KERNELS, attend, plain
from tubelet.model.norms import rms_norm
from tubelet.model.positions import positions, rotary, rotate
from tubelet.model.tubelets import Grid
from tubelet.training.blocks import KEPT

GRID = Grid(3, 2, 4)
ALL = groups(torch.zeros(GRID.tokens))


@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize("masked", ["no", "by key", "by query and key"])
@pytest.mark.parametrize(
    "scores", [10, 50]
)  # where chunked: two queries of a head at a time, or two heads of three
def test_every_kernel_agrees_with_the_formula_and_so_do_its_gradients(kernel, masked, scores, monkeypatch):
    monkeypatch.setattr(kernels, "SCORES", scores)
    monkeypatch.setattr(kernels, "LEAST", 1)
    q, k, v = torch.randn(3, 2, 3, 5, 8, dtype=torch.float64).requires_grad_()
    mask = torch.ones(1, 1, 5, 5, dtype=torch.bool)
    if masked == "by query and key":
        mask = (torch.rand(2, 1, 5, 5) < 0.7) | torch.eye(5, dtype=torch.bool)
    elif masked == "by key":
        mask = torch.tensor([[True, False, True, True, False]])
    weight = (q @ k.transpose(-1, -2)).exp() * mask
    expected = weight / weight.sum(-1, keepdim=True) @ v
    found = KERNELS[kernel](q, k, v, mask if masked != "no" else None)
    torch.testing.assert_close(found, expected)
    out = torch.randn_like(found)
    pairs = zip(*(torch.autograd.grad(each, (q, k, v), out) for each in (found, expected)), strict=True)
    for one, two in pairs:
        torch.testing.assert_close(one, two)


def test_many_keys_are_seen_by_some_queries_at_a_time_and_their_scores_are_forgotten(monkeypatch):
    def kept(keys):
        q, k, v = torch.randn(3, 1, keys, 2, 8).bfloat16().requires_grad_()
        bytes_of = {}

        def note(tensor):
            storage = tensor.untyped_storage()
            bytes_of[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            seen = attend(q, k, v)
        exact = kernels.fused(*(x.float().transpose(1, 2) for x in (q, k, v))).transpose(1, 2).flatten(2)
        torch.testing.assert_close(seen.float(), exact, atol=0.05, rtol=0)
        return sum(bytes_of.values())

    monkeypatch.setattr(kernels, "SHORT", 64)
    assert kept(64) > 2 * 64 * 64 * 2  # every score
    assert kept(128) < 128 * 16 * 2 * 8


@pytest.mark.parametrize("masked", [False, True])
def test_the_chunked_kernel_is_an_operator_with_shapes_strides_and_a_gradient_as_torch_wants_them(masked):
    q, k, v = (torch.randn(2, 5, 3, 8).transpose(1, 2).requires_grad_() for _ in range(3))
    mask = torch.eye(5, dtype=torch.bool) if masked else None
    torch.library.opcheck(kernels.chunked, (q, k, v, mask))


def test_the_chunked_kernels_products_are_counted():
    q, k, v = torch.randn(3, 2, 3, 5, 8).requires_grad_()
    counts = []
    for kernel in (plain, kernels.chunked):
        with FlopCounterMode(display=False, custom_mapping=kernels.FLOPS) as counter:
            kernel(q, k, v).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[1] * 6 == counts[0] * 7  # the scores a second time


def test_selective_checkpointing_does_not_see_the_scores_of_many_keys(monkeypatch):
    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(func)
            return func(*args, **(kwargs or {}))

    q, k, v = torch.randn(3, 1, 128, 2, 8).bfloat16().requires_grad_()
    monkeypatch.setattr(kernels, "SHORT", 64)
    with Watch():
        attend(q, k, v)
    assert KEPT & set(seen) == {torch.ops.tubelet.chunked.default}


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


def test_rms_norm_and_its_gradient_are_torchs():
    x = torch.randn(3, 5, 2, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, weight: rms_norm(x, weight, 1e-6), (x, weight))
    expected = torch.nn.functional.rms_norm(x, (8,), weight, 1e-6)
    torch.testing.assert_close(rms_norm(x, weight, 1e-6), expected)


def test_in_bfloat16_rms_norm_remembers_x_alone_and_is_as_exact_as_torchs():
    x, weight, out = torch.randn(64, 8, 32), torch.rand(32) + 0.5, torch.randn(64, 8, 32)

    def error(norm):
        mine, exact = [], []
        for dtype, found in ((torch.bfloat16, mine), (torch.float64, exact)):
            given = x.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_()
            found += torch.autograd.grad(norm(*given), given, out.to(dtype))
        return max(((a - b).norm() / b.norm()).item() for a, b in zip(mine, exact, strict=True))  # as float64

    def torchs(x, weight):
        return torch.nn.functional.rms_norm(x, (32,), weight, 1e-6)

    assert error(lambda x, weight: rms_norm(x, weight, 1e-6)) < 2 * error(torchs)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        rms_norm(x.bfloat16().requires_grad_(), weight.bfloat16(), 1e-6)
    assert sum(t.nbytes for t in kept) < 1.1 * x.bfloat16().nbytes


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_compiled_or_not_heads_are_normalised_and_turned_alike(dtype):
    places = positions(Grid(2, 2, 3), (1, 1, 1), 4, 8)
    q = torch.randn(2, 12, 2, 12, dtype=dtype, requires_grad=True)
    weight = torch.rand(12, dtype=dtype, requires_grad=True)

    def heads(q, weight):
        return rotate(rms_norm(q, weight, 1e-6), rotary(places, 12, 100.0))

    torch.compiler.reset()
    compiled, out = (
        torch.compile(heads, backend="aot_eager", fullgraph=True),
        torch.randn(2, 12, 2, 12).to(dtype),
    )
    torch.testing.assert_close(compiled(q, weight), heads(q, weight))
    found = [torch.autograd.grad(each(q, weight), (q, weight), out) for each in (compiled, heads)]
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two)
