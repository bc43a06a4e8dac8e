"""Foldings by name: which tokens see each other, in which layer.

A view gives every token a key, and tokens of one key see each other. A folding names the views of each layer; the
heads are split evenly among them. So a folding changes what attention sees, and never a parameter.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from tubelet.model.layout import Layout

Window = tuple[int, int, int]  # frames, rows, columns of tokens


def key(*columns: Tensor) -> Tensor:
    """One number for each combination of the columns' numbers: int64 [N] each, from 0 -> int64 [N]."""
    keys = columns[0]
    for column in columns[1:]:
        keys = keys * (column.max() + 1) + column
    return keys


def whole(layout: Layout, window: Window) -> Tensor:
    """A token sees all tokens of its sample."""
    return layout.sample


def space(layout: Layout, window: Window) -> Tensor:
    """A token sees its own frame, with its registers."""
    return key(layout.sample, layout.coordinates[:, 0])


def time(layout: Layout, window: Window) -> Tensor:
    """A token sees its own place in every frame, and a register that of its number."""
    return key(layout.sample, *layout.coordinates[:, 1:].unbind(1))


def windowed(layout: Layout, window: Window) -> Tensor:
    """A token sees its own window, a block of the grid; at the grid's end there may be less than a whole one.

    A register is in the window that has its frame's middle, where it is for rotary positions too.
    """
    blocks = layout.inside // torch.tensor(window)
    return key(layout.sample, *blocks.unbind(1))


def shifted(layout: Layout, window: Window) -> Tensor:
    """The same, with windows shifted by half of one along each axis that has more than one.   [Swin 3.2]"""
    size = torch.tensor(window)
    shift = (size // 2) * (layout.sizes > size)
    blocks = (layout.inside + shift) // size
    return key(layout.sample, *blocks.unbind(1))


VIEWS = {
    "all": whole,
    "space": space,
    "time": time,
    "window": windowed,
    "shifted_window": shifted,
}


def joint(layer: int, depth: int) -> tuple[str, ...]:
    """Every token sees every token.   [ViViT model 1]"""
    return ("all",)


def space_then_time(layer: int, depth: int) -> tuple[str, ...]:
    """Its own frame in one layer, its own place in every frame in the next.   [ViViT model 3]

    Model 3 has both in one block, with two sets of weights; here they take turns, so that a layer is a layer.
    """
    return ("space",) if layer % 2 == 0 else ("time",)


def split_heads(layer: int, depth: int) -> tuple[str, ...]:
    """Half of the heads see the token's frame, half its place in every frame.   [ViViT model 4]"""
    return ("space", "time")


def factorised_encoder(layer: int, depth: int) -> tuple[str, ...]:
    """Frames on their own in the first half of the layers, then places across frames.   [ViViT model 2]

    Model 2 goes on with one token for a frame; here all go on, since each has something to predict.
    """
    return ("space",) if 2 * layer < depth else ("time",)


def window(layer: int, depth: int) -> tuple[str, ...]:
    """Its own window, shifted by half of one in every other layer.   [Video-Swin 3.2]"""
    return ("window",) if layer % 2 == 0 else ("shifted_window",)


# Functions of (layer, depth) that give the views of a layer: of the `depth` layers with this folding, number `layer`.
FOLDINGS = {
    "joint": joint,
    "space_then_time": space_then_time,
    "split_heads": split_heads,
    "factorised_encoder": factorised_encoder,
    "window": window,
}


def views_of(attention: Sequence[str], depth: int) -> tuple[tuple[str, ...], ...]:
    """The views of each of `depth` layers, whose foldings are the names of `attention` in turn.

    A folding counts only its own layers, so that joint and window in turn have every other window shifted.
    """
    names = [attention[layer % len(attention)] for layer in range(depth)]
    return tuple(
        FOLDINGS[name](names[:layer].count(name), names.count(name)) for layer, name in enumerate(names)
    )
