"""Every two choices of what a model is made of, together in one model somewhere."""

from dataclasses import replace
from itertools import combinations, product

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from model.models import SMALL, awake, random_text
from tubelet.model.cost import flops, num_parameters
from tubelet.model.foldings import FOLDINGS
from tubelet.model.options import NAMED
from tubelet.model.references import Place, Reference
from tubelet.model.transformer import VideoTransformer
from tubelet.model.tubelets import Grid

CHOICES = {
    **{field: tuple(names) for field, names in NAMED.items()},
    "attention": tuple((name,) for name in FOLDINGS),
    "qk_norm": (True, False),
    "registers": (0, 2),
    "value_residual": (False, True),
}


def pairs(row):
    """Every two choices of a row, each as (field, value)."""
    return {frozenset(two) for two in combinations(row.items(), 2)}


def pairwise():
    """Rows in which every two choices meet: each begins with two that had not, greedily."""
    fields, apart = combinations(CHOICES.items(), 2), set()
    for (one, values), (other, others) in fields:
        apart |= {frozenset({(one, value), (other, beside)}) for value, beside in product(values, others)}
    while apart:
        row = dict(min(apart, key=lambda two: sorted(map(str, two))))
        for field, values in CHOICES.items():
            row.setdefault(field, max(values, key=lambda value: len(pairs({**row, field: value}) & apart)))
        apart -= pairs(row)
        yield row


def config_of(row):
    return replace(SMALL, depth=3, window=(2, 2, 2), **row)


def named(row):
    default = vars(SMALL)
    return " ".join(f"{field}={row[field]}" for field in CHOICES if row[field] != default[field])


every_pair = pytest.mark.parametrize("row", list(pairwise()), ids=named)


def inputs():
    """Two videos, a time for each of their frames, prompts and an image beside each."""
    t = torch.rand(2, 1, 3, 1, 1)
    return torch.randn(2, 3, 3, 4, 6), t, random_text(2), [Reference(torch.randn(2, 3, 1, 4, 6), 4)]


@every_pair
def test_a_fresh_models_blocks_change_neither_tokens_nor_words(row):
    model, blocks = VideoTransformer(config_of(row)), []

    def unchanged(block, given, made):
        blocks.append(block)
        assert torch.equal(made.tokens, given[0].tokens)
        assert (made.words is None) == (row["prompt"] == "none")
        assert made.words is None or torch.equal(made.words, given[0].words)

    for block in model.blocks:
        block.register_forward_hook(unchanged)
    latents, t, text, references = inputs()
    assert not model(latents, t, text, references).any() and blocks == list(model.blocks)


@every_pair
def test_a_sample_is_the_same_alone_and_packed_and_so_are_its_gradients(row):
    model, text = awake(config_of(row)), random_text(4)
    # No video of two tokens: instance norm makes them 1 and -1, and a gradient of almost 0 that is rounding.
    sizes, shown = [(4, 4, 6), (3, 4, 4), (1, 8, 12), (2, 6, 4)], torch.randn(3, 1, 4, 6)
    latents = [torch.randn(3, *size, requires_grad=True) for size in sizes]
    references = [[Reference(shown, 4)], [], [Reference(shown, 0)], []]
    times = [torch.rand(1, 4, 1, 1), torch.tensor(0.3), torch.tensor(0.6), torch.rand(1, 2, 6, 4)]
    each = zip(latents, times, references, strict=True)
    single = [
        model(x[None], t[None] if t.dim() else t, text[[i]], [Reference(shown[None], at) for _, at in own])[0]
        for i, (x, t, own) in enumerate(each)
    ]
    found = []
    for predictions in (model.packed(latents, times, text, references), single):
        loss = torch.stack([each.square().mean() for each in predictions]).mean()
        found.append([*predictions, *torch.autograd.grad(loss, [*latents, *model.parameters()])])
    for packed, alone in zip(*found, strict=True):
        torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-5)


@every_pair
def test_flops_and_parameters_are_those_counted(row):
    config, (latents, t, text, references) = config_of(row), inputs()
    model = VideoTransformer(config)
    with FlopCounterMode(display=False) as counter, torch.autocast("cpu", dtype=torch.bfloat16):
        model(latents, t, text, references)
    predicted = 2 * flops(config, (3, 3, 4, 6), 5, (Place(Grid(1, 2, 3), 4),), levels=3)
    assert predicted == pytest.approx(counter.get_total_flops(), rel=0.01)
    assert num_parameters(config) == sum(parameter.numel() for parameter in model.parameters())


@every_pair
def test_within_a_few_steps_the_gradient_reaches_every_parameter(row):
    torch.manual_seed(0)
    model, (latents, t, text, references) = VideoTransformer(config_of(row)), inputs()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(
        4 if row["prompt"] == "joint" else 3
    ):  # output, the video's gates, the words', what lies behind
        optimizer.zero_grad()
        (model(latents, t, text, references) - latents).square().mean().backward()
        optimizer.step()
    asleep = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not asleep


@every_pair
def test_in_bfloat16_blocks_hand_on_bfloat16_and_the_prediction_stays_close(row):
    model, (latents, t, text, references) = awake(config_of(row)), inputs()
    exact, between = model(latents, t, text, references), set()
    for block in model.blocks:
        block.register_forward_hook(lambda *call: between.update(x.dtype for x in call[2] if x is not None))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model(latents, t, text, references)
    assert low.dtype == torch.float32 and between == {torch.bfloat16}
    assert (low - exact).square().mean() < 1e-3 * exact.square().mean()
