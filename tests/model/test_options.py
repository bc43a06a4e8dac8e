"""What the layers may be made of: each choice against a plain computation of it."""

from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
import torch.nn.functional as F

import tubelet
from model.models import OPTIONS, SMALL, awake, random_text
from tubelet import checkpoint
from tubelet.errors import InputError
from tubelet.model import attention as attention_module
from tubelet.model.attention import CrossAttention, SelfAttention
from tubelet.model.feed_forward import FeedForward, SwiGLU
from tubelet.model.foldings import VIEWS, views_of
from tubelet.model.groups import groups
from tubelet.model.layout import layout_of
from tubelet.model.norms import NORMS, Scope
from tubelet.model.options import Options
from tubelet.model.places import ENTRIES, PLACES
from tubelet.model.positions import UNIT, positions
from tubelet.model.references import Outline, Reference
from tubelet.model.times import token_times
from tubelet.model.transformer import TransformerConfig, VideoTransformer
from tubelet.model.tubelets import Grid

SIZE = (3, 4, 6)
BARE = Options(qk_norm=False)


def inputs(batch=2, size=SIZE):
    torch.manual_seed(1)
    return torch.randn(batch, 3, *size), torch.rand(batch, 1, 1, 1, 1), random_text(batch)


def weight(config):
    return sum(parameter.numel() for parameter in VideoTransformer(config).parameters())


# The default, and what each option weighs


def test_the_shipped_checkpoint_which_knows_no_option_has_todays_names():
    part = checkpoint.load(Path(tubelet.__file__).parent / "checkpoints" / "default").parts["transformer"]
    assert "qk_norm" not in part.config and "norm" not in part.config
    model = VideoTransformer(TransformerConfig(**part.config))
    assert {name: value.shape for name, value in model.state_dict().items()} == {
        name: value.shape for name, value in part.tensors.items()
    }


@pytest.mark.parametrize(
    ("option", "more"),
    [
        ("no qk norm", -2 * 4 * 12),
        ("rms", 0),
        ("instance", 0),
        ("registers", 4 * 24),
        ("value residual", 1),  # of two layers, the second
        ("sincos", -12 * 24),
        ("learned positions", sum(ENTRIES) * 24 - 12 * 24),
    ],
)
def test_an_option_weighs_what_it_says(option, more):
    assert weight(replace(SMALL, **OPTIONS[option])) == weight(SMALL) + more


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_changes_what_a_model_predicts(option):
    latents, t, text = inputs()
    plain, other = awake(), awake(replace(SMALL, **OPTIONS[option]))
    other.load_state_dict(plain.state_dict() | other.state_dict(), strict=False)
    assert (plain(latents, t, text) - other(latents, t, text)).abs().max() > 1e-3


# Attention without a norm of queries and keys


def torchs(q, k, v, out, heads):
    """torch's own attention with these weights and biases."""
    whole = torch.nn.MultiheadAttention(q[0].shape[0], heads, batch_first=True).double()
    with torch.no_grad():
        whole.in_proj_weight.copy_(torch.cat((q[0], k[0], v[0])))
        whole.in_proj_bias.copy_(torch.cat((q[1], k[1], v[1])))
    whole.out_proj = out
    return whole


def test_self_attention_without_qk_norm_or_rotation_is_torchs():
    attention, tokens = SelfAttention(32, 4, BARE).double(), torch.randn(2, 9, 32).double()
    torch.nn.init.normal_(attention.qkv.bias)
    parts = zip(attention.qkv.weight.chunk(3), attention.qkv.bias.chunk(3), strict=True)
    expected, _ = torchs(*parts, attention.out, 4)(tokens, tokens, tokens)
    torch.testing.assert_close(attention(tokens, None, (groups(torch.zeros(9)),))[0], expected)


def test_cross_attention_without_qk_norm_is_torchs():
    read, tokens, states = (
        CrossAttention(32, 4, BARE).double(),
        torch.randn(2, 9, 32).double(),
        torch.randn(2, 5, 32).double(),
    )
    torch.nn.init.normal_(read.out.weight)
    torch.nn.init.normal_(read.kv.bias)
    mask = torch.arange(5) < torch.tensor([[3], [5]])
    keys = zip(read.kv.weight.chunk(2), read.kv.bias.chunk(2), strict=True)
    whole = torchs((read.q.weight, torch.zeros(32)), *keys, read.out, 4)
    expected, _ = whole(tokens, states, states, key_padding_mask=~mask)
    found = read(tokens, states, mask[:, None, None], groups(torch.zeros(9)))
    torch.testing.assert_close(found, expected)


# Feed forward


def test_swiglu_is_its_formula():
    think, tokens = SwiGLU(24, 4).double(), torch.randn(2, 5, 24).double()
    torch.nn.init.normal_(think.inner.bias)
    (u, v), (b, c) = think.inner.weight.chunk(2), think.inner.bias.chunk(2)
    gate = tokens @ u.T + b
    expected = (gate / (1 + (-gate).exp()) * (tokens @ v.T + c)) @ think.outer.weight.T + think.outer.bias
    torch.testing.assert_close(think(tokens), expected)


@pytest.mark.parametrize("ratio", [2, 4])
@pytest.mark.parametrize("width", [96, 256, 384])
def test_swiglu_weighs_what_gelu_weighs(width, ratio):
    gelu, swiglu = (sum(p.numel() for p in kind(width, ratio).parameters()) for kind in (FeedForward, SwiGLU))
    assert swiglu == pytest.approx(gelu, rel=0.02)
    assert SwiGLU.within(width, ratio) % 8 == 0
    assert SwiGLU.weights(width, ratio) == sum(
        p.numel() for p in SwiGLU(width, ratio).parameters() if p.ndim == 2
    )


# Norms


def test_rms_is_its_formula():
    tokens = torch.randn(2, 5, 24).double()
    expected = tokens / (tokens.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(NORMS["rms"](tokens), expected)


def test_instance_is_torchs_norm_of_each_channel_over_the_tokens():
    tokens = 3 * torch.randn(2, 7, 24).double() + 5
    expected = F.instance_norm(tokens.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(NORMS["instance"](tokens), expected)


def test_instance_looks_at_the_counted_tokens_of_each_sample():
    sample, counted = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2]), torch.tensor([1, 1, 0] * 3 + [1, 1.0])
    tokens = torch.randn(1, 11, 4).double()
    found = NORMS["instance"](tokens, Scope(groups(sample), counted[None, :, None]))
    for number in range(3):
        own = tokens[0, sample == number]
        seen = own[counted[sample == number] == 1]
        expected = (own - seen.mean(0)) / (seen.var(0, correction=0) + 1e-5).sqrt()
        torch.testing.assert_close(found[0, sample == number], expected)


def test_references_and_registers_do_not_move_the_statistics():
    model = awake(replace(SMALL, norm="instance", registers=2))
    with torch.no_grad():
        for block in model.blocks:
            block.attention.out.weight.zero_()
    latents, t, text = inputs()
    alone = model(latents, t, text)
    with torch.no_grad():
        model.registers.mul_(1000)
    both = model(latents, t, text, [Reference(100 * torch.randn(2, 3, 1, 4, 6), 4)])
    torch.testing.assert_close(both, alone, atol=1e-5, rtol=1e-5)


def test_a_video_of_one_token_is_left_with_the_shift():
    model = awake(replace(SMALL, norm="instance"))
    latents, t, text = inputs(size=(1, 2, 2))
    latents.requires_grad_()
    model(latents, t, text).sum().backward()
    assert latents.grad.isfinite().all()


# Registers


@pytest.mark.parametrize("folding", ["joint", "space_then_time", "window"])
def test_registers_reach_a_prediction_through_attention_only(folding):
    model = awake(replace(SMALL, registers=2, attention=(folding,), depth=3, window=(2, 2, 2)))
    latents, t, text = inputs()

    def gradient():
        return torch.autograd.grad(model(latents, t, text).sum(), model.registers)[0]

    assert gradient().any(1).all()
    with torch.no_grad():
        for block in model.blocks:
            block.attention.out.weight.zero_()
    assert not gradient().any()


@pytest.mark.parametrize("shape", [(2, 1, 1, 1, 1), (2, 1, 3, 1, 1), (2, 1, *SIZE)])
def test_a_frames_registers_have_the_time_of_its_last_token(shape):
    model, (latents, _, text) = awake(replace(SMALL, registers=2)), inputs()
    seen = []
    model.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[1].times))
    t = torch.rand(shape)
    model(latents, t, text, [Reference(torch.randn(2, 3, 1, 4, 6), 4)])
    spread = seen[0].spread(seen[0].levels[..., None])[..., 0]
    assert spread.shape[1] == 18 + 6 + 6
    assert torch.equal(spread[:, :18], token_times(t, SIZE, (1, 2, 2)))
    assert torch.equal(spread[:, 18:24], spread[:, [5, 5, 11, 11, 17, 17]])
    assert not spread[:, 24:].any()


def test_a_register_is_of_its_frame():
    """In a model whose tokens see their own frame, another frame's time changes nothing."""
    model = awake(replace(SMALL, registers=1, attention=("space_then_time",), depth=1))
    latents, _, text = inputs()
    t = torch.tensor([0.2, 0.5, 0.8]).view(1, 1, 3, 1, 1).expand(2, -1, -1, -1, -1)
    other = t.clone()
    other[:, :, 1] = 0.3
    before, after = model(latents, t, text), model(latents, other, text)
    torch.testing.assert_close(before[:, :, ::2], after[:, :, ::2], atol=1e-5, rtol=1e-5)
    assert (before[:, :, 1] - after[:, :, 1]).abs().max() > 1e-3


# Value residual


@pytest.mark.parametrize("attention", ["joint", "window"])
def test_values_are_a_mix_with_those_of_the_first_layer(attention):
    """What each layer's output projection reads is plain attention with the mixed values."""
    model = awake(replace(SMALL, value_residual=True, depth=3, attention=(attention,)))
    with torch.no_grad():
        for share, block in zip((0.25, 0.75), model.blocks[1:], strict=True):
            assert block.attention.mix.share.item() == 0.5
            block.attention.mix.share.fill_(share)
    latents, t, text = inputs()
    found, projected = [], []
    for block in model.blocks:
        block.attention.qkv.register_forward_hook(lambda *call: projected.append(call[2]))
        block.attention.out.register_forward_pre_hook(lambda _, given: found.append(given[0]))
    model(latents, t, text)
    first = projected[0].chunk(3, dim=-1)[2]
    layout = layout_of([Outline(Grid(3, 2, 3))], (1, 2, 2), 4, 8)
    turn = model.place(layout.positions, layout.lengths)[1]
    each = zip(model.blocks, (0, 0.25, 0.75), views_of((attention,), 3), projected, found, strict=True)
    for block, share, names, whole, seen in each:
        views = [VIEWS[name](layout, (4, 4, 4)) for name in names]
        q, k, v = whole.chunk(3, dim=-1)
        mixed = torch.cat((q, k, (1 - share) * v + share * first), dim=-1)
        plain = SelfAttention(24, 2)
        plain.load_state_dict(
            {name: x for name, x in block.attention.state_dict().items() if "mix" not in name}
        )
        plain.qkv, plain.out = torch.nn.Identity(), torch.nn.Identity()
        torch.testing.assert_close(plain(mixed, turn, views)[0], seen, atol=1e-5, rtol=1e-5)


# Positions


@pytest.mark.parametrize("kind", ["sincos", "learned"])
def test_where_nothing_is_turned_attention_does_not_pay_for_it(kind, monkeypatch):
    monkeypatch.setattr(attention_module, "rotate", None)
    latents, t, text = inputs()
    assert awake(replace(SMALL, positions=kind))(latents, t, text).isfinite().all()


def test_sincos_features_are_cos_and_sin_of_each_axis_in_its_units():
    where = positions(Grid(3, 2, 2), (1, 2, 2), 4, 8)
    found, turn = PLACES["sincos"](48, 12, 100.0)(where, torch.ones(12))
    assert turn is None
    pairs = (6, 9, 9)
    for number, place in enumerate(where.tolist()):
        angles = [
            place[axis] / UNIT[axis] * 100.0 ** (-i / pairs[axis])
            for axis in range(3)
            for i in range(pairs[axis])
        ]
        expected = numpy.concatenate((numpy.cos(angles), numpy.sin(angles)))
        torch.testing.assert_close(found[number], torch.tensor(expected).float(), atol=1e-5, rtol=0)


def test_learned_positions_are_read_between_the_entries_of_a_table_for_each_axis():
    place = PLACES["learned"](16, 8, 100.0)
    where = torch.tensor([[0, 4, 4], [2.5, 4, 12], [6.5, 20, 1023.5], [256, 1024, 0]])
    found, turn = place(where, torch.ones(4))
    assert turn is None
    tables = [table.detach().numpy() for table in place.axes]
    for number, at in enumerate((where / torch.tensor(UNIT)).numpy()):
        expected = [
            sum(
                numpy.interp(x, numpy.arange(len(table)), table[:, channel])
                for x, table in zip(at, tables, strict=True)
            )
            for channel in range(16)
        ]
        torch.testing.assert_close(found[number], torch.tensor(expected).float(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("size", "remedy"),
    [
        ((66, 2, 2), "a token at frame 258.5, but learned positions end at 256"),
        ((1, 130, 2), "row 1032"),
        ((1, 2, 130), "column 1032"),
    ],
)
def test_a_video_beyond_the_tables_is_refused(size, remedy):
    model = VideoTransformer(replace(SMALL, positions="learned"))
    with pytest.raises(InputError, match=remedy):
        model(*inputs(size=size))
    model(*inputs(size=tuple(n - 2 if n > 2 else n for n in size)))


@pytest.mark.parametrize("kind", PLACES)
def test_where_a_token_stands_matters(kind):
    model, (latents, t, text) = awake(replace(SMALL, positions=kind)), inputs()
    for axis in (2, 3, 4):
        moved = model(latents.roll(2, axis), t, text).roll(-2, axis)
        assert (moved - model(latents, t, text)).abs().max() > 1e-3
