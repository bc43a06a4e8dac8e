"""What layers learn besides the prediction: known values, who gets a gradient, exact resuming, what ships."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from training.runs import codec_run, denoiser_run, events, go, same_bits, state
from tubelet import checkpoint
from tubelet.errors import InputError
from tubelet.model.blocks import State
from tubelet.training.auxiliary import (
    Auxiliary,
    AuxiliaryConfig,
    LayerSyncConfig,
    Taps,
    TruthHead,
    TruthHeadConfig,
    layer_sync,
)
from tubelet.training.blocks import can_compile, compiled
from tubelet.training.denoiser_task import DenoiserTask
from tubelet.training.log import Log
from tubelet.worlds.shapes.clips import ShapesClips

SYNC = LayerSyncConfig(weight=0.2, early=0, late=1)
HEAD = TruthHeadConfig(weight=0.5, layer=0)
BOTH = AuxiliaryConfig(layer_sync=SYNC, truth_head=HEAD)


@pytest.fixture(scope="module")
def codec(tmp_path_factory) -> Path:
    return go(codec_run(tmp_path_factory.mktemp("codec") / "run", 2))


@pytest.fixture
def known(monkeypatch) -> None:
    """The flat world tells what it knows: where a clip is red."""

    def fields(clips: ShapesClips, index: int, height: int, width: int) -> Tensor:
        seen = nn.functional.interpolate(clips.frames(index).permute(0, 3, 1, 2) / 255, (height, width))
        return torch.cat([seen, seen.square()], 1).permute(0, 2, 3, 1)

    monkeypatch.setattr(ShapesClips, "fields", fields, raising=False)


def run_of(out: Path, codec: Path, steps: int = 4, auxiliary: AuxiliaryConfig = BOTH, **changes):
    run = denoiser_run(out, steps, codec, codec.parent / "cache", **changes)
    return dataclasses.replace(run, auxiliary=auxiliary)


def task_of(out: Path, codec: Path, auxiliary: AuxiliaryConfig = BOTH) -> DenoiserTask:
    return DenoiserTask(run_of(out, codec, auxiliary=auxiliary, precision="float32"), Log(out))


# The terms


def test_layer_sync_is_0_for_equal_1_for_orthogonal_and_2_for_opposite_tokens():
    tokens = torch.randn(2, 3, 4)
    assert layer_sync(tokens, 5 * tokens).item() == pytest.approx(0, abs=1e-6)
    assert layer_sync(tokens, -tokens).item() == pytest.approx(2)
    early = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]])
    late = torch.tensor([[[0.0, 7.0], [1.0, 1.0], [5.0, 0.0], [-1.0, 0.0]]])
    assert layer_sync(early, late).item() == pytest.approx((1 + (1 - math.sqrt(0.5)) + 0 + 2) / 4)


def test_layer_sync_moves_the_early_tokens_alone():
    early, late = torch.randn(2, 3, 4, requires_grad=True), torch.randn(2, 3, 4, requires_grad=True)
    layer_sync(early, late).backward()
    assert late.grad is None and early.grad is not None
    assert early.grad.norm() > 0
    across = (early.grad * early).sum(-1)  # a cosine does not depend on length
    torch.testing.assert_close(across, torch.zeros_like(across), atol=1e-6, rtol=0)


def test_a_fresh_truth_head_says_zero_and_asks_nothing_of_tokens_behind_the_videos():
    head, tokens, truth = TruthHead(8, 3), torch.randn(2, 5, 8), torch.randn(2, 4, 3)
    assert head.loss(tokens, truth).item() == pytest.approx(truth.square().mean().item())
    with torch.no_grad():
        head.weight.normal_()
        head.bias.normal_()
    other = torch.cat([tokens[:, :4], torch.randn(2, 1, 8)], 1)
    assert head.loss(tokens, truth) == head.loss(other, truth)
    normed = (tokens - tokens.mean(-1, keepdim=True)) / (
        tokens.var(-1, unbiased=False, keepdim=True) + 1e-5
    ).sqrt()
    wanted = (normed[:, :4] @ head.weight.T + head.bias - truth).square().mean()
    torch.testing.assert_close(head.loss(tokens, truth), wanted)


def test_taps_hold_what_the_last_forward_left():
    class Adds(nn.Module):
        def forward(self, state: State) -> State:
            return State(state.tokens + 1)

    blocks = nn.ModuleList(Adds() for _ in range(3))
    taps, x = Taps(blocks, [2, 0, 0]), State(torch.zeros(1, 2, 3, dtype=torch.bfloat16))
    for block in blocks:
        x = block(x)
    assert sorted(taps.tokens) == [0, 2] and taps[2].dtype == torch.float32
    assert taps[0].eq(1).all() and taps[2].eq(3).all()


# In training


def test_off_there_are_no_hooks_no_parameters_and_no_terms(tmp_path, codec):
    task = task_of(tmp_path, codec, AuxiliaryConfig())
    assert task.model is task.network
    assert not any(block._forward_hooks for block in task.blocks)
    _, terms = task.loss(task.collate([task.fetch(n) for n in range(4)]))
    assert terms == {}


@pytest.mark.usefixtures("known")
def test_the_network_is_born_and_fed_the_same_with_and_without(tmp_path, codec):
    off, on = task_of(tmp_path / "off", codec, AuxiliaryConfig()), task_of(tmp_path / "on", codec)
    ours = on.network.state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in off.network.state_dict().items())
    batches = [task.collate([task.fetch(n) for n in range(4)]) for task in (off, on)]
    assert torch.equal(batches[0].xt, batches[1].xt) and batches[0].truth is None
    (plain, _), (whole, terms) = (task.loss(batch) for task, batch in zip((off, on), batches, strict=True))
    assert sorted(terms) == ["layer_sync", "truth"]
    torch.testing.assert_close(whole, plain + terms["layer_sync"] + terms["truth"])
    assert terms["truth"].item() == pytest.approx(0.5 * batches[1].truth.square().mean().item())


@pytest.mark.usefixtures("known")
def test_held_out_losses_are_of_the_prediction_alone(tmp_path, codec):
    off, on = task_of(tmp_path / "off", codec, AuxiliaryConfig()), task_of(tmp_path / "on", codec)
    for task in (off, on):
        task.model.eval()
    with torch.no_grad():
        assert off.held_out() == on.held_out()


@pytest.mark.usefixtures("known")
def test_layers_behind_the_heads_learn_nothing_from_it(tmp_path, codec):
    task = task_of(tmp_path, codec, AuxiliaryConfig(truth_head=HEAD))
    with torch.no_grad():
        task.auxiliary.head.weight.normal_(generator=torch.Generator().manual_seed(0))
    _, terms = task.loss(task.collate([task.fetch(n) for n in range(4)]))
    terms["truth"].backward()
    seen = [any(p.grad is not None and p.grad.any() for p in block.parameters()) for block in task.blocks]
    assert seen == [True, False] and task.auxiliary.head.weight.grad.any()


@pytest.mark.usefixtures("known")
def test_four_steps_and_four_more_are_eight_and_no_head_ships(tmp_path, codec):
    go(run_of(tmp_path / "whole", codec, 8))
    go(run_of(tmp_path / "halves", codec, 4))
    halves = go(run_of(tmp_path / "halves", codec, 8))
    assert same_bits(tmp_path / "whole" / "step-0000008", tmp_path / "halves" / "step-0000008")
    held = state(tmp_path / "halves" / "step-0000008")
    for kind in ("weights", "average"):
        assert held[f"{kind}.auxiliary.head.weight"].any()
    shipped = checkpoint.load(halves)
    network = task_of(tmp_path / "task", codec).network.state_dict()
    assert shipped.parts["transformer"].tensors.keys() == network.keys()
    assert {"layer_sync", "truth"} <= set(events(tmp_path / "halves", "step")[0])


def test_clips_whose_renderer_tells_nothing_have_no_truth_term(tmp_path, codec):
    task = task_of(tmp_path, codec)
    _, terms = task.loss(task.collate([task.fetch(n) for n in range(4)]))
    assert sorted(terms) == ["layer_sync"]


@pytest.mark.slow
@pytest.mark.skipif(not can_compile(), reason="no g++")
@pytest.mark.usefixtures("known")
def test_compiled_blocks_are_tapped_alike_and_compiled_once(tmp_path, codec):
    task = task_of(tmp_path, codec)
    batch = task.collate([task.fetch(n) for n in range(4)])
    plain, terms = task.loss(batch)
    compiled(task.blocks)
    torch._dynamo.utils.counters.clear()
    for _ in range(3):
        loss, again = task.loss(batch)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(again, terms)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2  # one a block at most
    assert not torch._dynamo.utils.counters["graph_break"]


# What is refused


@pytest.mark.parametrize(
    ("auxiliary", "says"),
    [
        (AuxiliaryConfig(layer_sync=LayerSyncConfig(weight=0.2, early=1, late=2)), "late is 2, but the layers"),
        (AuxiliaryConfig(layer_sync=LayerSyncConfig(weight=0.2, early=1, late=1)), "give a later one"),
        (AuxiliaryConfig(truth_head=TruthHeadConfig(weight=1.0, layer=-1)), "layer is -1"),
        (AuxiliaryConfig(truth_head=TruthHeadConfig(weight=-1.0, layer=0)), "weight is -1"),
    ],
)  # fmt: skip
def test_layers_and_weights_that_are_not_there_are_refused(tmp_path, codec, auxiliary, says):
    with pytest.raises(InputError, match=says):
        run_of(tmp_path, codec, auxiliary=auxiliary)


def test_packed_batches_have_no_truth_head(tmp_path, codec):
    with pytest.raises(InputError, match="use batching buckets"):
        dataclasses.replace(run_of(tmp_path, codec), batching="packed")
    sync = AuxiliaryConfig(layer_sync=SYNC)
    dataclasses.replace(run_of(tmp_path, codec, auxiliary=sync), batching="packed")


def test_a_module_of_terms_without_a_head_has_no_parameters():
    blocks = nn.ModuleList(nn.Identity() for _ in range(2))
    assert not list(Auxiliary(AuxiliaryConfig(layer_sync=SYNC), blocks, 8, 3).parameters())
