"""Where the prompt is read and how it steers: each variant against a plain one, and what each leaves unchanged."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from model.models import SMALL, awake, random_text
from tubelet.model.conditioning import modulate
from tubelet.model.foldings import FOLDINGS, VIEWS
from tubelet.model.norms import NORMS
from tubelet.model.positions import Rotary
from tubelet.model.references import Outline, Reference
from tubelet.model.streams import JointBlock, LastWords, owners
from tubelet.model.transformer import VideoTransformer, plan_of
from tubelet.model.tubelets import Grid
from tubelet.shapes import Text

# Those of every checkpoint so far, which must go on loading.
PARAMETERS = """
embed.project.weight embed.project.bias place.weight
signal.time_in.weight signal.time_in.bias signal.time_out.weight signal.time_out.bias signal.whole.weight
modulation.project.weight read.nothing read.project.weight read.project.bias read.norm.weight
blocks.0.table blocks.0.attention.qkv.weight blocks.0.attention.qkv.bias
blocks.0.attention.q_norm.weight blocks.0.attention.k_norm.weight
blocks.0.attention.out.weight blocks.0.attention.out.bias
blocks.0.read.q.weight blocks.0.read.kv.weight blocks.0.read.kv.bias
blocks.0.read.q_norm.weight blocks.0.read.k_norm.weight blocks.0.read.out.weight blocks.0.read.out.bias
blocks.0.feed_forward.inner.weight blocks.0.feed_forward.inner.bias
blocks.0.feed_forward.outer.weight blocks.0.feed_forward.outer.bias
unembed.norm.project.weight unembed.norm.project.bias unembed.project.weight unembed.project.bias
"""


def inputs(rows=2):
    torch.manual_seed(1)
    return torch.randn(rows, 3, 3, 4, 6), torch.rand(rows, 1, 1, 1, 1), random_text(rows)


def rms(x, weight):
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def turned(x, turn: Rotary):
    pairs = torch.complex(*x.chunk(2, dim=-1)) * torch.complex(turn.cos, turn.sin)[:, None]
    return torch.cat((pairs.real, pairs.imag), dim=-1)


def plain_joint_block(block, tokens, turn, steer, words, told, may_see):
    """One sample: tokens [N, D], words [L, D]; may_see [heads, N + L, N + L]. Both streams in one row, one softmax."""
    streams = [(block.video, tokens, steer), (block.words, words, told)]
    heads = []
    for stream, x, by in streams:
        q, k, v = stream.attention.qkv(modulate(x, *by[:2])).unflatten(-1, (3, 2, -1)).unbind(1)
        q, k = rms(q, stream.attention.q_norm.weight), rms(k, stream.attention.k_norm.weight)
        heads.append((turned(q, turn), turned(k, turn), v) if stream is block.video else (q, k, v))
    q, k, v = (
        torch.cat(pair).transpose(0, 1) for pair in zip(*heads, strict=True)
    )  # [heads, N + L, head_dim]
    score = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~may_see, -torch.inf)
    seen = (score.softmax(-1) @ v).transpose(0, 1).flatten(1).split([len(tokens), len(words)])
    changed = []
    for (stream, x, by), what in zip(streams, seen, strict=True):
        x = x + by[2] * stream.attention.out(what)
        thought = F.gelu(stream.feed_forward.inner(modulate(x, *by[3:5])), approximate="tanh")
        changed.append(x + by[5] * stream.feed_forward.outer(thought))
    return changed


@pytest.mark.parametrize("modulation", ["shared", "block"])
@pytest.mark.parametrize("folding", sorted(FOLDINGS))
def test_a_joint_block_is_one_attention_over_both_streams_laid_end_to_end(folding, modulation):
    config = replace(
        SMALL, attention=(folding,), window=(2, 2, 2), prompt="joint", modulation=modulation, depth=3
    )
    model, (latents, t, text) = awake(config), inputs()
    plan = plan_of(config, (Outline(Grid(3, 2, 3)),), torch.device("cpu"))
    caught = []
    for block in model.blocks[:2]:
        block.register_forward_hook(lambda block, given, made: caught.append((block, given, made)))
    model(latents, t, text)
    for number, (block, (given, context, _), made) in enumerate(caught):
        tokens, prompt = given.tokens, context.prompt
        video = (block.video.modulation(context.modulation) + block.video.table).chunk(6, -1)
        told = (block.words.modulation(prompt.modulation) + block.words.table).chunk(6, -1)
        keys = [VIEWS[view](plan.layout, config.window) for view in config.views[number]]
        per_head = [keys[head * len(keys) // 2] for head in range(2)]
        for row in range(2):
            real = prompt.mask[row, 0, 0]
            see = torch.stack([key[:, None] == key for key in per_head])
            see = F.pad(see, (0, len(real), 0, len(real)), value=True)
            see[:, :, len(tokens[row]) :] &= real
            by = [part[row] for part in video], [part[row] for part in told]
            plain = plain_joint_block(block, tokens[row], context.turn, by[0], given.words[row], by[1], see)
            torch.testing.assert_close(made.tokens[row], plain[0], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(made.words[row], plain[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"norm": "rms", "value_residual": True}], ids=["plain", "options"])
def test_in_the_last_joint_block_words_are_keys_and_values_of_a_whole_stream(options):
    config = replace(SMALL, prompt="joint", **options)
    model, (latents, t, text) = awake(config), inputs()
    last, whole = model.blocks[1], JointBlock(24, 2, 4, config, layer=1)
    whole.video.load_state_dict(last.video.state_dict())
    attention, kept = whole.words.attention, slice(24, None)
    with torch.no_grad():
        whole.words.table[:48] = last.words.table
        attention.qkv.weight[kept], attention.qkv.bias[kept] = last.words.kv.weight, last.words.kv.bias
        attention.k_norm.weight.copy_(last.words.k_norm.weight)
    caught = {}
    last.register_forward_hook(lambda _, given, made: caught.update(given=given, made=made))
    model(latents, t, text)
    torch.testing.assert_close(caught["made"].tokens, whole(*caught["given"]).tokens)
    assert caught["made"].words is caught["given"][0].words


def test_each_stream_mixes_its_values_with_its_own_of_the_first_layer():
    model = awake(replace(SMALL, prompt="joint", value_residual=True, depth=3))
    plain = awake(replace(SMALL, prompt="joint", depth=3))
    plain.load_state_dict({name: x for name, x in model.state_dict().items() if "mix" not in name})
    shares = [
        mix.share for block in model.blocks[1:] for mix in (block.video.attention.mix, words_mix(block))
    ]
    assert [share.item() for share in shares] == [0.5] * 4
    asked, (latents, t, text) = [], inputs()
    qkv = model.blocks[0].words.attention.qkv
    qkv.register_forward_hook(lambda _, given, made: asked.append(made.unflatten(-1, (3, 2, -1))[:, :, 2]))
    caught = []
    for block in model.blocks[1:]:
        words_mix(block).register_forward_hook(lambda _, given, made: caught.append((given[0], made[0])))
    for share in (0.0, 0.25):
        with torch.no_grad():
            for parameter in shares:
                parameter.fill_(share)
        caught.clear()
        same = torch.allclose(model(latents, t, text), plain(latents, t, text), atol=1e-5, rtol=1e-5)
        assert same == (share == 0.0)
        for own, mixed in caught:
            torch.testing.assert_close(mixed, (1 - share) * own + share * asked[-1])


def words_mix(block):
    return block.words.mix if isinstance(block.words, LastWords) else block.words.attention.mix


@pytest.mark.parametrize("norm", NORMS)
def test_a_lone_word_is_heard_whatever_the_norm(norm):
    """Over one token, instance norm would leave nothing of it; words are normalised one by one."""
    model, (latents, t, text) = awake(replace(SMALL, prompt="joint", norm=norm, depth=3)), inputs()
    alone = Text(text.tokens[:, :0], text.mask[:, :0], text.whole)
    gradient = torch.autograd.grad(model(latents, t, alone).square().sum(), model.read.nothing)[0]
    assert gradient.abs().max() > 1e-3


def test_words_see_registers_and_registers_see_words():
    model = awake(replace(SMALL, prompt="joint", registers=2, depth=3))
    latents, t, text = inputs()
    words, made = text.tokens.requires_grad_(), []
    model.blocks[0].register_forward_hook(lambda block, given, out: made.append(out))
    model(latents, t, text)
    by_words = torch.autograd.grad(made[0].words.square().sum(), model.registers, retain_graph=True)[0]
    assert by_words.any(1).all()
    registers = made[0].tokens[:, 18:]
    assert registers.shape[1] == 3 * 2
    assert torch.autograd.grad(registers.square().sum(), words)[0].any(2)[text.mask].all()


def test_a_modulation_of_each_block_is_a_projection_and_a_table_of_its_own():
    config = replace(SMALL, modulation="block")
    model, shared, (latents, t, text) = awake(config), awake(), inputs()
    shared.load_state_dict(model.state_dict(), strict=False)
    steer = [block.modulation.project.weight for block in model.blocks]
    assert not torch.equal(*steer)
    # One projection for all is the case that all are one.
    with torch.no_grad():
        steer[1].copy_(steer[0])
        shared.modulation.project.weight.copy_(steer[0])
    torch.testing.assert_close(model(latents, t, text), shared(latents, t, text))
    # By hand: the second block's six parts of the signal's projection.
    with torch.no_grad():
        steer[1].normal_(std=0.2)
    caught = {}
    block = model.blocks[1]
    block.register_forward_hook(lambda _, given, made: caught.update(given=given, made=made.tokens))
    model(latents, t, text)
    (tokens, words, *_), context, views = caught["given"]
    six = (F.silu(context.modulation) @ steer[1].T + block.table).chunk(6, -1)
    normed = F.layer_norm(tokens, (24,)) * (1 + six[1]) + six[0]
    tokens = tokens + six[2] * block.attention(normed, context.turn, views)[0]
    tokens = tokens + block.read(tokens, words, context.prompt.mask, context.samples)
    normed = F.layer_norm(tokens, (24,)) * (1 + six[4]) + six[3]
    torch.testing.assert_close(caught["made"], tokens + six[5] * block.feed_forward(normed))


def test_a_model_that_reads_no_tokens_is_told_the_prompt_as_a_whole():
    model, (latents, t, text) = awake(replace(SMALL, prompt="none")), inputs()
    other = random_text(2)
    same = replace(other, whole=text.whole)
    assert torch.equal(model(latents, t, text), model(latents, t, same))
    assert (model(latents, t, text) - model(latents, t, other)).abs().max() > 1e-3
    assert not any("read" in name for name, _ in model.named_parameters())


def test_words_that_have_seen_the_video_tell_it_to_every_frame_from_the_second_block_on():
    model = awake(replace(SMALL, prompt="joint", attention=("factorised_encoder",), depth=4))
    latents, t, text = inputs(1)
    text.mask[:] = True
    x, words, made = latents.requires_grad_(), text.tokens.requires_grad_(), []
    for block in model.blocks[:2]:  # in these no frame sees another
        block.register_forward_hook(lambda block, given, out: made.append(out.tokens))
    model(x, t, text)
    for tokens, told in zip(made, (False, True), strict=True):
        in_x, in_words = torch.autograd.grad(tokens[:, :6].square().sum(), [x, words], retain_graph=True)
        assert in_words.any(2).all() and in_x[0, :, 0].any()
        assert bool(in_x[0, :, 1:].any()) == told


def test_references_are_part_of_what_a_joint_prompts_words_see():
    model, (latents, t, text) = awake(replace(SMALL, prompt="joint", depth=3)), inputs()
    shown = torch.randn(2, 3, 1, 4, 6)
    given = [Reference(shown, 4)]
    caught = []
    model.blocks[1].register_forward_hook(lambda block, given, made: caught.append(made.words))
    model(latents, t, text, given)
    model(latents, t, text, [Reference(shown.flip(4), 4)])
    assert (caught[0] - caught[1]).abs().max() > 1e-3


def test_each_token_knows_whose_prompt_it_reads():
    plan = plan_of(
        SMALL, (*map(Outline, (Grid(1, 1, 2), Grid(1, 1, 2), Grid(1, 1, 3))),), torch.device("cpu")
    )
    assert owners(plan.samples, 3, torch.device("cpu")).tolist() == [[0, 0, 1, 1, 2, 2, 2]]
    plan = plan_of(SMALL, (Outline(Grid(1, 1, 2)),), torch.device("cpu"))
    assert owners(plan.samples, 3, torch.device("cpu")).tolist() == [[0, 0], [1, 1], [2, 2]]


def test_the_default_has_the_parameters_it_always_had():
    assert list(VideoTransformer(replace(SMALL, depth=1)).state_dict()) == PARAMETERS.split()
