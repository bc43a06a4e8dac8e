"""The denoiser as a whole."""

import json
import pickle
import re
from dataclasses import asdict, replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from model.models import FEW, SMALL, awake, random_text
from tubelet.errors import InputError
from tubelet.model.blocks import Block, Context, Prompt, ReadPrompt, State
from tubelet.model.cost import flops, num_parameters
from tubelet.model.foldings import FOLDINGS
from tubelet.model.positions import rotary
from tubelet.model.presets import SIZES, preset
from tubelet.model.references import Outline
from tubelet.model.times import Part, Times
from tubelet.model.transformer import TransformerConfig, VideoTransformer, plan_of
from tubelet.model.tubelets import Grid
from tubelet.shapes import Text

SIZE = (3, 4, 6)


@pytest.mark.parametrize("folding", sorted(FOLDINGS))
def test_a_fresh_block_changes_nothing(folding):
    config = replace(SMALL, attention=(folding,))
    plan, tokens = plan_of(config, (Outline(Grid(3, 2, 2)),), torch.device("cpu")), torch.randn(2, 12, 24)
    turn, times = rotary(plan.layout.positions, 12, 100.0), Times(torch.rand(2, 1), (Part(1, 12),))
    words, mask = ReadPrompt(10, 24)(random_text(2))
    context = Context(turn, torch.zeros(2, 1, 144), times, plan.samples, prompt=Prompt(mask))
    for views in plan.views:
        assert torch.equal(Block(24, 2, 4)(State(tokens, words), context, views).tokens, tokens)


def test_a_fresh_model_predicts_zero():
    latents = torch.randn(2, 3, *SIZE)
    prediction = VideoTransformer(SMALL)(latents, torch.rand(2, 1, 1, 1, 1), random_text(2))
    assert torch.equal(prediction, torch.zeros_like(latents))


@pytest.mark.parametrize("folding", sorted(FOLDINGS))
@pytest.mark.parametrize("tubelet", [(1, 2, 2), (2, 1, 2), (1, 1, 1)])
@pytest.mark.parametrize("size", [(2, 4, 6), (4, 2, 2), (2, 8, 4)])
def test_the_prediction_has_the_shape_of_the_latents(folding, tubelet, size):
    model = awake(replace(SMALL, attention=(folding,), tubelet=tubelet))
    latents = torch.randn(2, 3, *size)
    prediction = model(latents, torch.rand(2, 1, *size), random_text(2))
    assert prediction.shape == latents.shape
    assert prediction.isfinite().all()


@pytest.mark.parametrize("kind", FEW)
def test_one_time_for_each_sample_agrees_with_the_same_time_for_each_latent(kind):
    model = awake(replace(SMALL, **FEW[kind]))
    latents, text = torch.randn(2, 3, *SIZE), random_text(2)
    t = torch.rand(2, 1, 1, 1, 1)
    short = model(latents, t, text)
    torch.testing.assert_close(model(latents, t.expand(2, 1, *SIZE), text), short, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model(latents, t.expand(2, 1, 3, 1, 1), text), short, atol=1e-5, rtol=1e-4)


def test_every_latents_time_matters():
    model, latents, text = awake(), torch.randn(1, 3, *SIZE), random_text(1)
    t = torch.full((1, 1, 3, 1, 1), 0.5)
    known = t.clone()
    known[:, :, 0] = 0
    assert (model(latents, known, text) - model(latents, t, text)).abs().amax((0, 1, 3, 4)).min() > 1e-4


@pytest.mark.parametrize("kind", FEW)
def test_padding_of_the_text_has_no_effect(kind):
    model = awake(replace(SMALL, **FEW[kind]))
    latents, t = torch.randn(2, 3, *SIZE), torch.rand(2, 1, 1, 1, 1)
    text = random_text(2)
    longer = Text(
        torch.cat([text.tokens, torch.full((2, 7, 10), 50.0)], 1),
        torch.cat([text.mask, torch.zeros(2, 7, dtype=torch.bool)], 1),
        text.whole,
    )
    torch.testing.assert_close(model(latents, t, longer), model(latents, t, text), atol=1e-5, rtol=1e-4)


def test_a_sample_alone_is_the_same_as_in_a_batch():
    model, latents, t, text = awake(), torch.randn(3, 3, *SIZE), torch.rand(3, 1, 1, 1, 1), random_text(3)
    alone = model(latents[1:2], t[1:2], text[1:2].trimmed())
    torch.testing.assert_close(alone, model(latents, t, text)[1:2], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", FEW)
def test_a_prompt_without_tokens_is_valid(kind):
    text, model = random_text(2), awake(replace(SMALL, **FEW[kind]))
    empty = Text(text.tokens, torch.zeros_like(text.mask), text.whole)
    latents, t = torch.randn(2, 3, *SIZE), torch.tensor(0.5)
    prediction = model(latents, t, empty)
    assert prediction.isfinite().all()
    torch.testing.assert_close(
        model(latents, t, Text(text.tokens[:, :0], text.mask[:, :0], text.whole)), prediction
    )


@pytest.mark.parametrize("folding", sorted(FOLDINGS))
def test_within_three_steps_the_gradient_reaches_every_parameter(folding):
    """Output, then gates and the prompt's way in, then what lies behind them: silent layers wake in turn."""
    torch.manual_seed(0)
    model = VideoTransformer(replace(SMALL, attention=(folding,)))
    latents, t, text = torch.randn(2, 3, *SIZE), torch.rand(2, 1, 1, 1, 1), random_text(2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (model(latents, t, text) - latents).square().mean().backward()
        optimizer.step()
    asleep = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not asleep


def test_in_bfloat16_the_prediction_stays_close_and_comes_back_in_the_latents_type():
    model, latents, text = awake(), torch.randn(2, 3, *SIZE), random_text(2)
    exact, between = model(latents, torch.tensor(0.5), text), set()
    for block in model.blocks:
        block.register_forward_hook(lambda *call: between.add(call[2].tokens.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model(latents, torch.tensor(0.5), text)
    assert low.dtype == torch.float32 and between == {torch.bfloat16}
    assert (low - exact).square().mean() < 1e-3 * exact.square().mean()


@pytest.mark.parametrize("folding", sorted(FOLDINGS))
def test_flops_by_formula_are_the_flops_counted(folding):
    shape = {"width": 48, "depth": 3, "heads": 2, "tubelet": (2, 2, 2), "text_width": 20}
    config = TransformerConfig(attention=(folding,), window=(2, 2, 3), **shape)
    model, shape = VideoTransformer(config), (16, 4, 6, 8)
    with FlopCounterMode(display=False) as counter, torch.autocast("cpu", dtype=torch.bfloat16):
        model(torch.randn(2, *shape), torch.rand(2, 1, 1, 1, 1), random_text(2, tokens=7, width=20))
    assert 2 * flops(config, shape, 7) == pytest.approx(counter.get_total_flops(), rel=0.01)


@pytest.mark.parametrize("name", SIZES)
def test_a_preset_weighs_what_it_says(name):
    with torch.device("meta"):  # the largest would take 5 GB
        model = VideoTransformer(preset(name))
    assert sum(parameter.numel() for parameter in model.parameters()) == SIZES[name][-1]
    assert num_parameters(preset(name)) == SIZES[name][-1]


def test_an_unknown_preset_names_the_near_miss():
    with pytest.raises(InputError, match="did you mean 'nano'"):
        preset("nanno")


@pytest.mark.parametrize(
    ("fields", "remedy"),
    [
        ({"width": 250}, "try width 248"),
        ({"width": 16}, "at least 6"),
        ({"attention": ("joint", "windw")}, "'windw': did you mean 'window'"),
        ({"attention": "space_than_time"}, "did you mean 'space_then_time'"),
        ({"attention": ()}, "names no folding; known: joint"),
        ({"attention": ("joint", "split_heads"), "heads": 1, "width": 48}, "try heads 2 of width 96"),
        (
            {"attention": ("split_heads",), "heads": 3, "width": 48},
            "try heads 2 of width 32 or 4 of width 64",
        ),
        ({"window": (2, 0, 4)}, "window is 0; it must be at least 1"),
        ({"window": (2, 4)}, "window (2, 4) needs three sizes"),
        ({"depth": 0}, "depth is 0"),
        ({"tubelet": (1, 0, 2)}, "tubelet is 0"),
        ({"tubelet": (2, 2)}, "three sizes"),
        ({"feed_forward": "swiglue"}, "feed_forward 'swiglue': did you mean 'swiglu'"),
        ({"norm": "group"}, "norm 'group': known: layer, rms, instance"),
        ({"positions": "sincose"}, "positions 'sincose': did you mean 'sincos'"),
        ({"registers": -1}, "registers is -1; it must be at least 0"),
        ({"positions": "sincos", "width": 25, "heads": 5}, "an even one from 6 on"),
        ({"modulation": "blocks"}, "modulation 'blocks': did you mean 'block'"),
        ({"prompt": "mmdit"}, "prompt 'mmdit': known: cross, joint, none"),
    ],
)
def test_a_config_that_does_not_fit_together_is_refused_with_the_remedy(fields, remedy):
    with pytest.raises(InputError, match=re.escape(remedy)):
        TransformerConfig(**{"width": 256, "heads": 4, **fields})


def test_a_config_read_from_json_equals_the_one_written():
    fields = json.loads(json.dumps(asdict(SMALL)))
    assert TransformerConfig(**fields) == SMALL
    assert hash(TransformerConfig(**fields)) == hash(SMALL)


def test_a_lone_folding_is_a_list_of_one():
    assert replace(SMALL, attention="window") == replace(SMALL, attention=("window",))


@pytest.mark.parametrize(
    ("latents", "t", "text", "remedy"),
    [
        ((2, 4, 3, 4, 6), (2, 1, 1, 1, 1), (2, 10), "codec it was trained with"),
        ((2, 3, 3, 4, 6), (2,), (2, 10), r"give \[B, 1, 1, 1, 1\]"),
        ((2, 3, 3, 4, 6), (2, 1, 1, 1, 1), (2, 11), "text_width"),
        ((2, 3, 3, 4, 6), (2, 1, 1, 1, 1), (1, 10), "1 prompts for 2 videos"),
        ((2, 3, 3, 5, 6), (2, 1, 1, 1, 1), (2, 10), "3 x 4 x 6 or 3 x 6 x 6"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_with_the_remedy(latents, t, text, remedy):
    with pytest.raises(InputError, match=remedy):
        VideoTransformer(SMALL)(torch.zeros(latents), torch.ones(t), random_text(text[0], width=text[1]))


@pytest.mark.parametrize("kind", FEW)
def test_a_model_goes_through_pickle(kind):
    model = VideoTransformer(replace(SMALL, **FEW[kind]))
    again = pickle.loads(pickle.dumps(model))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
