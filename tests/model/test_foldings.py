"""Foldings: what each lets a token see, and that the fast path is the masked reference."""

from itertools import product

import pytest
import torch

from tubelet.model.attention import SelfAttention
from tubelet.model.cost import num_parameters
from tubelet.model.foldings import FOLDINGS, VIEWS, views_of
from tubelet.model.groups import groups
from tubelet.model.layout import layout_of
from tubelet.model.positions import rotary
from tubelet.model.references import Outline
from tubelet.model.transformer import TransformerConfig
from tubelet.model.tubelets import Grid

WINDOW = (2, 2, 3)
LAYOUTS = {
    "one grid": layout_of((Outline(Grid(3, 2, 4)),), (1, 1, 1), 4, 8),
    "windows that do not divide": layout_of((Outline(Grid(3, 3, 5)),), (1, 1, 1), 4, 8),
    "packed": layout_of(
        [*map(Outline, (Grid(1, 2, 2), Grid(2, 2, 2), Grid(1, 3, 4), Grid(3, 3, 5)))], (1, 1, 1), 4, 8
    ),
    "registers": layout_of((Outline(Grid(3, 3, 5)),), (1, 1, 1), 4, 8, registers=2),
    "packed with registers": layout_of(
        (Outline(Grid(1, 1, 2)), Outline(Grid(3, 3, 5))), (1, 1, 1), 4, 8, registers=3
    ),
    "packed alike": layout_of(
        [*map(Outline, (Grid(2, 2, 2), Grid(2, 2, 2), Grid(4, 1, 2)))], (1, 1, 1), 4, 8
    ),
}
# Every set of views that a layer of some folding has, by a name for the test's id.
LAYERS = {" and ".join(views): views for name in FOLDINGS for views in views_of((name,), 2)}


def sees(view, one, other):
    """Whether a token sees another of its sample, by their coordinates and the size of their grid, in words."""
    (one, size), (other, _) = one, other
    if view == "all":
        return True
    if view == "space":
        return one[0] == other[0]
    if view == "time":
        return one[1:] == other[1:]
    one, other = (
        (at[0], size[1] // 2, size[2] // 2) if at[1] == size[1] else at for at in (one, other)
    )  # registers
    for a, b, length, part in zip(one, other, size, WINDOW, strict=True):
        begin = -(part // 2) if view == "shifted_window" and length > part else 0
        edges = range(begin, length, part)
        if not any(edge <= a < edge + part and edge <= b < edge + part for edge in edges):
            return False
    return True


def expected(layout, views, token):
    """Who is seen by `token` through any of the views: bool [N]."""
    place = list(zip(layout.coordinates.tolist(), layout.sizes.tolist(), strict=True))
    return torch.tensor(
        [
            bool(layout.sample[token] == layout.sample[other])
            and any(sees(view, place[token], place[other]) for view in views)
            for other in range(len(place))
        ]
    )


def attention_on(layout, dtype, rows):
    torch.manual_seed(0)
    attention = SelfAttention(32, 2).to(dtype)
    tokens = torch.randn(rows, len(layout.sample), 32, dtype=dtype, requires_grad=True)
    return attention, tokens, rotary(layout.positions, 16, 100.0)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("which", LAYOUTS)
@pytest.mark.parametrize("layer", LAYERS)
def test_every_folding_agrees_with_masks_over_all_tokens(layer, which, dtype, close):
    layout = LAYOUTS[which]
    attention, tokens, turn = attention_on(layout, dtype, rows=2 if len(layout.grids) == 1 else 1)
    keys = [VIEWS[view](layout, WINDOW) for view in LAYERS[layer]]
    weight = torch.randn_like(tokens)
    found = []
    for views in ([groups(key) for key in keys], keys):
        seen, _ = attention(tokens, turn, views)
        gradients = torch.autograd.grad((seen * weight).mean(), [tokens, *attention.parameters()])
        found.append([seen, *gradients])
    for fast, plain in zip(*found, strict=True):
        torch.testing.assert_close(fast, plain, atol=close, rtol=0)


@pytest.mark.parametrize(
    "which", ["one grid", "windows that do not divide", "packed", "packed with registers"]
)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_token_sees_what_the_folding_says_and_nothing_else(layer, which):
    layout = LAYOUTS[which]
    attention, tokens, turn = attention_on(layout, torch.float64, rows=1)
    seen, _ = attention(tokens, turn, [groups(VIEWS[view](layout, WINDOW)) for view in LAYERS[layer]])
    weight = torch.randn(32, dtype=torch.float64)
    for token in range(0, len(layout.sample), 3):
        (gradient,) = torch.autograd.grad(seen[0, token] @ weight, tokens, retain_graph=True)
        assert torch.equal(gradient[0].ne(0).any(1), expected(layout, LAYERS[layer], token))


def test_split_heads_are_half_a_view_each():
    layout = LAYOUTS["one grid"]
    attention, tokens, turn = attention_on(layout, torch.float64, rows=1)
    torch.nn.init.eye_(attention.out.weight)
    space, time = (groups(VIEWS[view](layout, WINDOW)) for view in ("space", "time"))
    both, only_space, only_time = (
        attention(tokens, turn, views)[0] for views in ((space, time), (space,), (time,))
    )
    torch.testing.assert_close(both[..., :16], only_space[..., :16])
    torch.testing.assert_close(both[..., 16:], only_time[..., 16:])


def test_windows_shift_by_half_along_axes_that_have_more_than_one():
    layout = layout_of((Outline(Grid(1, 2, 5)),), (1, 1, 1), 4, 8)
    window = (1, 2, 2)
    plain, moved = (VIEWS[view](layout, window).tolist() for view in ("window", "shifted_window"))
    assert plain == [0, 0, 1, 1, 2] * 2
    assert moved == [0, 1, 1, 2, 2] * 2


def test_the_layers_of_a_folding():
    space, time = ("space",), ("time",)
    assert views_of(("joint",), 2) == (("all",), ("all",))
    assert views_of(("space_then_time",), 4) == (space, time, space, time)
    assert views_of(("split_heads",), 2) == (("space", "time"), ("space", "time"))
    assert views_of(("factorised_encoder",), 4) == (space, space, time, time)
    assert views_of(("factorised_encoder",), 3) == (space, space, time)
    assert views_of(("window",), 3) == (("window",), ("shifted_window",), ("window",))


def test_a_folding_counts_its_own_layers_where_several_take_turns():
    assert views_of(("joint", "window"), 5) == (
        ("all",),
        ("window",),
        ("all",),
        ("shifted_window",),
        ("all",),
    )
    assert views_of(("factorised_encoder", "joint"), 4)[::2] == (("space",), ("time",))


def test_all_foldings_have_equally_many_parameters():
    mixed = [*((name,) for name in FOLDINGS), *product(FOLDINGS, repeat=2)]
    assert (
        len({num_parameters(TransformerConfig(width=48, heads=2, attention=names)) for names in mixed}) == 1
    )
