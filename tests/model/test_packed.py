"""Samples of unequal sizes in one forward, none of which notices the others."""

from dataclasses import replace

import pytest
import torch

from model.models import FEW, SMALL, awake, random_text
from tubelet.errors import InputError
from tubelet.model.attention import CrossAttention
from tubelet.model.foldings import FOLDINGS
from tubelet.model.groups import groups
from tubelet.model.places import PLACES
from tubelet.model.references import Outline
from tubelet.model.transformer import plan_of
from tubelet.model.tubelets import Grid
from tubelet.shapes import Text

# Not in the order of their numbers of tokens (24, 2, 12, 6, 12); two of one size; two images.
SIZES = [(4, 4, 6), (1, 2, 4), (3, 4, 4), (1, 4, 6), (2, 6, 4)]
DEVICE = torch.device("cpu")


def samples(dtype=torch.float32, sizes=SIZES):
    latents = [torch.randn(3, *size, dtype=dtype, requires_grad=True) for size in sizes]
    return latents, torch.rand(len(sizes), dtype=dtype), random_text(len(sizes))


def alone(model, latents, t, text):
    """Each sample in a batch of its own."""
    each = enumerate(zip(latents, t, strict=True))
    return [model(x[None], time[None] if time.dim() else time, text[[i]])[0] for i, (x, time) in each]


@pytest.mark.parametrize("attention", [*((name,) for name in sorted(FOLDINGS)), ("joint", "window")])
def test_a_sample_is_the_same_alone_and_packed_and_so_are_its_gradients(attention):
    model = awake(replace(SMALL, attention=attention, window=(2, 2, 2)))
    latents, t, text = samples()
    found = []
    for predictions in (model.packed(latents, t, text), alone(model, latents, t, text)):
        loss = torch.stack([each.square().mean() for each in predictions]).mean()
        found.append([*predictions, *torch.autograd.grad(loss, [*latents, *model.parameters()])])
    for packed, single in zip(*found, strict=True):
        torch.testing.assert_close(packed, single, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("positions", PLACES)
def test_a_stride_is_that_of_its_own_sample(positions):
    """Also among samples of one size, which otherwise go as a batch."""
    model = awake(replace(SMALL, positions=positions))
    for sizes in (SIZES, SIZES[:1] * 5):
        latents, t, text = samples(sizes=sizes)
        strides = [2.0, 1.0, 0.5, 2.0, 1.0]
        each = enumerate(zip(latents, t, strides, strict=True))
        single = [model(x[None], time, text[[i]], stride=stride)[0] for i, (x, time, stride) in each]
        plain = model.packed(latents, t, text)
        for stride, packed, one, other in zip(
            strides, model.packed(latents, t, text, strides=strides), single, plain, strict=True
        ):
            torch.testing.assert_close(packed, one, atol=1e-5, rtol=1e-5)
            told = (
                stride != 1 and packed.shape[1] > 1 and positions != "periodic"
            )  # a loop is a loop at any speed
            assert told == bool((packed - other).abs().max() > 1e-4)


@pytest.mark.parametrize("kind", FEW)
def test_no_gradient_crosses_from_sample_to_sample(kind):
    foldings = {"attention": ("joint", "split_heads", "window"), "window": (2, 2, 2)}
    model = awake(replace(SMALL, depth=3, **foldings, **FEW[kind]))
    latents, t, text = samples()
    predictions = model.packed(latents, t, text)
    for i, prediction in enumerate(predictions):
        gradients = torch.autograd.grad(prediction.sum(), latents, retain_graph=True)
        assert [bool(gradient.any()) for gradient in gradients] == [j == i for j in range(len(SIZES))]


def test_nothing_crosses_not_even_what_is_not_a_number():
    model, (latents, t, text) = awake(), samples()
    before = model.packed(latents, t, text)
    with torch.no_grad():
        latents[2].fill_(torch.nan)
    after = model.packed(latents, t, text)
    assert after[2].isnan().all()
    assert all(torch.equal(before[i], after[i]) for i in (0, 1, 3, 4))


def test_in_bfloat16_packed_differs_from_alone_by_what_bfloat16_differs_from_float32():
    model, (latents, t, text) = awake(), samples()
    exact = alone(model, latents, t, text)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        packed, single = model.packed(latents, t, text), alone(model, latents, t, text)
    for low, other, full in zip(packed, single, exact, strict=True):
        assert low.dtype == torch.float32
        scale = full.square().mean()
        assert (low - other).square().mean() < 1e-3 * scale
        assert (low - full).square().mean() < 1e-3 * scale


@pytest.mark.parametrize("kind", FEW)
def test_known_latents_and_one_time_a_sample_go_together(kind):
    model, (latents, t, text) = awake(replace(SMALL, **FEW[kind])), samples()
    first_known = torch.full((1, 4, 1, 1), 0.5)
    first_known[:, 0] = 0
    each_its_own = torch.rand(1, 3, 4, 4)
    times = [first_known, t[1], each_its_own, t[3], t[4]]
    for packed, single in zip(
        model.packed(latents, times, text), alone(model, latents, times, text), strict=True
    ):
        torch.testing.assert_close(packed, single, atol=1e-5, rtol=1e-5)


def test_samples_of_equal_size_are_a_batch():
    model, text = awake(), random_text(3)
    latents, t = torch.randn(3, 3, 3, 4, 6), torch.rand(3)
    packed = torch.stack(model.packed(list(latents), t, text))
    assert torch.equal(packed, model(latents, t.view(3, 1, 1, 1, 1), text))
    some_known = t.view(3, 1, 1, 1, 1) * (torch.arange(3) > 0).view(1, 1, 3, 1, 1)
    packed = model.packed(list(latents), [t[0], *some_known[1:]], text)
    torch.testing.assert_close(packed[1], model(latents, some_known, text)[1], atol=1e-5, rtol=1e-5)


def test_one_sample_is_a_pack():
    model, (latents, t, text) = awake(), samples()
    (packed,) = model.packed(latents[:1], t[:1], text[:1])
    torch.testing.assert_close(packed, alone(model, latents[:1], t[:1], text[:1])[0])


@pytest.mark.parametrize("kind", FEW)
def test_prompts_without_a_single_token_go_packed(kind):
    model, (latents, t, text) = awake(replace(SMALL, **FEW[kind])), samples()
    labels = Text(text.tokens[:, :0], text.mask[:, :0], text.whole)
    pairs = zip(model.packed(latents, t, labels), alone(model, latents, t, labels), strict=True)
    for packed, single in pairs:
        torch.testing.assert_close(packed, single, atol=1e-5, rtol=1e-5)


def test_a_packed_row_reads_its_prompts_as_a_mask_over_all_of_them_would():
    torch.manual_seed(0)
    read, sample = CrossAttention(32, 2).double(), torch.tensor([0, 0, 1, 1, 1, 1, 2, 2, 2, 2])
    torch.nn.init.normal_(read.out.weight)
    tokens, states = torch.randn(1, 10, 32).double(), torch.randn(3, 4, 32).double()
    mask = torch.tensor([[1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    packed = read(tokens, states, mask[:, None, None], groups(sample))
    own = sample[:, None] == torch.arange(3).repeat_interleave(4)  # [10, 12]
    everything = read(
        tokens, states.view(1, 12, 32), (own & mask.view(1, 12))[None, None], groups(torch.zeros(10))
    )
    torch.testing.assert_close(packed, everything, atol=1e-10, rtol=0)


def test_a_plan_is_made_once_for_a_layout_and_serves_training_after_inference():
    config = replace(SMALL, attention=("split_heads",), rope_base=99.0)  # a plan nobody has made before
    outlines = (Outline(Grid(1, 2, 2)), Outline(Grid(2, 2, 3), stride=2.0))
    with torch.inference_mode():
        plan = plan_of(config, outlines, DEVICE)
    assert plan_of(replace(config), outlines, DEVICE) is plan
    assert not plan.layout.positions.is_inference()
    assert not any(view.order.is_inference() for view in plan.views[0] if view.order is not None)


def test_a_plan_refuses_samples_that_are_not_in_the_order_of_their_sizes():
    with pytest.raises(ValueError, match="order of their numbers of tokens"):
        plan_of(SMALL, (Outline(Grid(2, 2, 2)), Outline(Grid(1, 2, 2))), DEVICE)


def test_a_model_compiles_whole_and_a_second_call_compiles_nothing():
    """The plain model does too, see test_references.py."""
    foldings = {"attention": ("split_heads", "window"), "window": (2, 2, 2)}
    model = awake(replace(SMALL, **foldings, **FEW["joint"]))
    latents, t, text = torch.randn(2, 3, 3, 4, 6), torch.rand(2, 1, 1, 1, 1), random_text(2)
    torch.compiler.reset()
    whole = torch.compile(model, dynamic=False, fullgraph=True, backend="eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for _ in range(2):
            torch.testing.assert_close(whole(latents, t, text), model(latents, t, text))


@pytest.mark.parametrize("kind", ["plain", "joint"])
def test_blocks_of_a_packed_row_compile_without_a_break(kind):
    foldings = {"attention": ("split_heads", "window"), "window": (2, 2, 2)}
    model, (latents, t, text) = awake(replace(SMALL, **foldings, **FEW[kind])), samples()
    exact = model.packed(latents, t, text)
    torch.compiler.reset()
    for block in model.blocks:
        block.compile(dynamic=False, fullgraph=True, backend="eager")
    first = model.packed(latents, t, text)
    with torch._dynamo.config.patch(error_on_recompile=True):
        again = model.packed(latents, t, text)
    for one, two, three in zip(exact, first, again, strict=True):
        torch.testing.assert_close(two, one)
        assert torch.equal(two, three)


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (lambda x, t, text: (x[:4], t, text), "5 prompts for 4 videos"),
        (lambda x, t, text: (x, t[:4], text), "4 times for 5 videos"),
        (lambda x, t, text: ([], t[:0], text[:0]), "at least one"),
        (lambda x, t, text: ([x[0][:2], *x[1:]], t, text), "codec it was trained with"),
        (lambda x, t, text: ([torch.zeros(3, 2, 5, 4), *x[1:]], t, text), "use 2 x 4 x 4 or 2 x 6 x 4"),
        (lambda x, t, text: (x, [torch.zeros(2, 2), *t[1:]], text), r"give \[B, 1, 1, 1, 1\]"),
    ],
)
def test_packs_that_do_not_fit_are_refused_with_the_remedy(change, remedy):
    with pytest.raises(InputError, match=remedy):
        awake().packed(*change(*samples()))
