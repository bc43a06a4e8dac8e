"""Blocks compiled and checkpointed one by one: what is computed stays, how often and what is kept changes."""

import dataclasses
from functools import partial
from pathlib import Path

import pytest
import torch
from torch._dynamo import config as dynamo
from torch._dynamo.testing import CompileCounter
from torch.utils.flop_counter import FlopCounterMode

from model.models import FEW, SMALL, awake, random_text
from training.runs import DATA, codec_run, denoiser_run, events, go, same_bits
from tubelet.data.source import SizeConfig
from tubelet.errors import InputError
from tubelet.model.references import Reference
from tubelet.training import loop
from tubelet.training.blocks import CHECKPOINTING, checkpointed, compiled, failed_to_compile, released

SIZE = (3, 4, 6)


@pytest.fixture(scope="module")
def codec(tmp_path_factory) -> Path:
    return go(codec_run(tmp_path_factory.mktemp("codec") / "run", 2))


def counting(monkeypatch) -> CompileCounter:
    """The compiler replaced by one that counts what it is given, and leaves it as it is."""
    counter = CompileCounter()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    torch.compiler.reset()
    return counter


def gradients(model, latents, t, text, references=()) -> list[torch.Tensor]:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = (model(latents, t, text, references) - latents).square().mean()
    loss.backward()
    found = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    return found


def saved_bytes(model, *given) -> int:
    """Bytes that a forward keeps for its backward."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(*given).sum()
    return sum(kept.values())


@pytest.mark.parametrize("kind", ["plain", "joint"])
def test_checkpointing_changes_no_bit_of_the_gradient_and_keeps_less(kind):
    model = awake(dataclasses.replace(SMALL, **FEW[kind]))
    given = (torch.randn(2, 3, *SIZE), torch.rand(2, 1, 1, 1, 1), random_text(2))
    exact, kept = gradients(model, *given), {}
    for which in CHECKPOINTING:
        checkpointed(model.blocks, which)
        for one, two in zip(gradients(model, *given), exact, strict=True):
            assert torch.equal(one, two)
        if which != "selective":  # which keeps what it keeps in a place of its own
            kept[which] = saved_bytes(model, *given)
        released(model.blocks)
    assert kept["full"] < 0.4 * kept["none"]


def test_selective_checkpointing_repeats_no_product_and_full_repeats_all_of_a_forward():
    model, given = awake(), (torch.randn(2, 3, *SIZE), torch.rand(2, 1, 1, 1, 1), random_text(2))
    counted = {}
    for which in CHECKPOINTING:
        checkpointed(model.blocks, which)
        with FlopCounterMode(display=False) as counter:
            gradients(model, *given)
        counted[which] = counter.get_total_flops()
        released(model.blocks)
    assert counted["none"] == counted["selective"]
    assert 1.2 < counted["full"] / counted["none"] <= 4 / 3


@pytest.mark.parametrize("which", ["selective", "full"])
def test_a_codec_trains_alike_with_checkpointing(tmp_path, which):
    go(codec_run(tmp_path / "plain", 2))
    go(codec_run(tmp_path / which, 2, activation_checkpointing=which))
    assert same_bits(tmp_path / "plain/final", tmp_path / which / "final")
    counted = [events(tmp_path / name, "begin")[0]["flops_per_sample"] for name in ("plain", which)]
    assert counted[0] == counted[1]  # of the model, not of what is computed twice


@pytest.mark.parametrize(
    ("which", "kind", "programs"),
    # With value residual and joint streams the first block differs from those between, and the last too.
    [*((which, "plain", 1) for which in CHECKPOINTING), ("selective", "joint", 3)],
)
def test_blocks_that_are_alike_compile_once_and_other_frames_compile_nothing(
    monkeypatch, which, kind, programs
):
    model = awake(dataclasses.replace(SMALL, depth=5, **FEW[kind]))
    counter = counting(monkeypatch)
    latents, t, text = torch.randn(2, 3, *SIZE), torch.rand(2, 1, 1, 1, 1), random_text(2)
    beside = [[Reference(torch.randn(2, 3, 1, 4, 6), frame)] for frame in (0, 4, 7)]
    exact = [gradients(model, latents, t, text, references) for references in beside]
    checkpointed(model.blocks, which)
    compiled(model.blocks)
    for references, expected in zip(beside, exact, strict=True):
        found = gradients(model, latents, t, text, references)
        mine, theirs = (torch.cat([each.flatten() for each in some]) for some in (found, expected))
        assert (mine - theirs).norm() < 0.02 * theirs.norm()  # bfloat16
    assert counter.frame_count == programs


def test_each_size_of_a_run_compiles_once(tmp_path, codec, monkeypatch):
    counter = counting(monkeypatch)
    run = denoiser_run(tmp_path / "run", 8, codec, tmp_path / "cache", compile=True, micro_batches=2)
    data = dataclasses.replace(
        DATA, other=(SizeConfig(frames=1, height=32, width=32, clips=6),), other_share=0.5
    )
    go(dataclasses.replace(run, data=data))
    assert counter.frame_count == 2  # and held-out clips and previews compile nothing


def test_many_shapes_are_all_compiled_and_too_many_are_an_error(monkeypatch):
    model, text = awake(), random_text(2)
    counter = counting(monkeypatch)
    compiled(model.blocks)
    for frames in range(1, 11):  # torch alone would stop at eight
        model(torch.randn(2, 3, frames, 4, 6), torch.rand(2, 1, 1, 1, 1), text)
    assert counter.frame_count == 10
    with dynamo.patch(recompile_limit=10), pytest.raises(Exception, match="recompile_limit") as problem:
        model(torch.randn(2, 3, 11, 4, 6), torch.rand(2, 1, 1, 1, 1), text)
    assert failed_to_compile(problem.value)


def test_where_the_compiler_fails_training_goes_on_without_it(tmp_path, codec, monkeypatch, capsys):
    def broken(graph, inputs):
        raise RuntimeError("this compiler is broken")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=broken))
    torch.compiler.reset()
    go(denoiser_run(tmp_path / "broken", 4, codec, tmp_path / "cache", compile=True))
    assert "torch.compile failed" in capsys.readouterr().err
    (event,) = events(tmp_path / "broken", "compile_failed")
    assert event["step"] == 0 and "this compiler is broken" in event["error"]
    go(denoiser_run(tmp_path / "plain", 4, codec, tmp_path / "cache"))
    assert same_bits(tmp_path / "broken/final", tmp_path / "plain/final")


def test_an_error_that_is_not_the_compilers_is_not_hidden(tmp_path, codec, monkeypatch):
    counting(monkeypatch)
    run = denoiser_run(tmp_path / "run", 4, codec, tmp_path / "cache", compile=True)

    def accumulate(*given):
        raise FloatingPointError("the loss is nan")

    monkeypatch.setattr(loop, "accumulate", accumulate)
    with pytest.raises(FloatingPointError, match="the loss is nan"):
        go(run)


def test_an_unknown_checkpointing_is_refused_with_the_near_miss(tmp_path):
    with pytest.raises(InputError, match="selective"):
        codec_run(tmp_path, 2, activation_checkpointing="selectiv")
