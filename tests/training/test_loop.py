"""Training from end to end at a tiny size: it learns, saves, resumes bit for bit, and refuses another run's state."""

import dataclasses
import math
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from training.runs import CODEC, DATA, codec_run, denoiser_run, events, go, loop_of, same_bits, state
from tubelet import checkpoint
from tubelet.data import latents
from tubelet.diffusion.objective import Objective
from tubelet.diffusion.paths import PathConfig, path_config
from tubelet.diffusion.times import TimeSampling
from tubelet.errors import InputError
from tubelet.model.transformer import TransformerConfig
from tubelet.sampling.pipeline import VideoPipeline
from tubelet.training.codec_task import CodecTask
from tubelet.training.config import DenoiserRun
from tubelet.training.denoiser_task import DenoiserTask
from tubelet.training.ema import Average
from tubelet.training.log import Log
from tubelet.training.loop import train
from tubelet.training.optim import OptimizerConfig, Optimizers, Schedule
from tubelet.training.saving import in_bf16
from tubelet.worlds.shapes.render import SHAPES


@pytest.fixture(scope="module")
def codec(tmp_path_factory) -> Path:
    return go(codec_run(tmp_path_factory.mktemp("codec") / "run", 4))


def test_a_codec_run_leaves_what_it_promises(codec):
    out = codec.parent
    assert [p.name for p in sorted(out.glob("step-*"))] == ["step-0000002", "step-0000004"]
    assert (out / "preview-0000004.png").exists()
    assert [e["step"] for e in events(out, "step")] == [1, 2, 3, 4]
    assert events(out, "begin")[0]["flops_per_sample"] > 0
    assert set(events(out, "end")[0]["held_out"]) == {"psnr", "psnr_first"}


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_four_steps_of_a_codec_and_four_more_are_eight(tmp_path, micro_batches):
    go(codec_run(tmp_path / "whole", 8, micro_batches=micro_batches))
    go(codec_run(tmp_path / "halves", 4, micro_batches=micro_batches))
    go(codec_run(tmp_path / "halves", 8, micro_batches=micro_batches))
    assert same_bits(tmp_path / "whole/step-0000008", tmp_path / "halves/step-0000008")


def test_four_steps_of_a_denoiser_and_four_more_are_eight(tmp_path, codec):
    final = go(denoiser_run(tmp_path / "whole", 8, codec, tmp_path / "cache", workers=1))
    go(denoiser_run(tmp_path / "halves", 4, codec, tmp_path / "cache"))
    go(denoiser_run(tmp_path / "halves", 8, codec, tmp_path / "cache"))
    assert same_bits(tmp_path / "whole/step-0000008", tmp_path / "halves/step-0000008")
    assert VideoPipeline.from_pretrained(final)("x", num_inference_steps=1).frames.shape == (1, 5, 32, 32, 3)


@pytest.mark.parametrize(
    ("path", "target", "sampler"),
    [
        ("ddpm_linear", "noise", "ancestral"),
        ("ddpm_cosine", "v", "ddim"),
        ("ddpm_linear", "velocity", "euler"),
        ("rectified_flow", "x0", "euler"),
        (PathConfig(name="ddpm_sigmoid", T=50, zero_terminal=True), "v", "dpmpp_2m"),
        (PathConfig(name="betas", betas=(1e-4, 0.1, 0.9)), "v", "heun"),
    ],
)
def test_every_path_trains_and_samples(tmp_path, codec, path, target, sampler):
    run = dataclasses.replace(denoiser_run(tmp_path, 2, codec, tmp_path / "cache"), path=path, target=target)
    pipe = VideoPipeline.from_pretrained(go(run))
    assert (pipe.scheduler.path, pipe.scheduler.target) == (path_config(path), target)
    frames = pipe("x", num_inference_steps=3, sampler=sampler, seed=0).frames
    assert frames.shape == (1, 5, 32, 32, 3)
    assert frames.std() > 0


@pytest.mark.parametrize(
    ("prompt", "modulation"), [("none", "block"), ("cross", "shared"), ("joint", "shared")]
)
def test_a_model_of_labels_trains_and_samples(tmp_path, codec, prompt, modulation):
    run = denoiser_run(tmp_path / "run", 4, codec, tmp_path / "cache", preview_every=2)
    shapes = [*SHAPES]
    model = dataclasses.replace(run.model, prompt=prompt, modulation=modulation, text_width=len(shapes))
    data = dataclasses.replace(run.data, caption="shape")
    run = dataclasses.replace(run, data=data, text=f"labels:{','.join(shapes)}", model=model)
    pipe = VideoPipeline.from_pretrained(go(run))
    # Two prompts, one of them negative and one composed, in one batch.
    settings = {"num_inference_steps": 2, "seed": 0, "negative_prompt": "heart", "compose": [("star", 0.5)]}
    frames = pipe(["circle", ""], **settings).frames
    assert frames.shape == (2, 5, 32, 32, 3)
    with pytest.raises(InputError, match="did you mean 'circle'"):
        pipe("circl")


def test_a_model_of_pixels_trains_and_samples(tmp_path):
    pixels = TransformerConfig(
        latent_channels=3, frames_per_latent=1, pixels_per_latent=1, tubelet=(1, 8, 8), width=32, depth=1, heads=2,
        text_width=128,
    )  # fmt: skip
    run = DenoiserRun(
        loop=loop_of(tmp_path / "run", 2),
        data=DATA,
        codec="identity",
        text="bytes",
        cache=str(tmp_path),
        model=pixels,
    )
    frames = VideoPipeline.from_pretrained(go(run))("x", num_inference_steps=1).frames
    assert frames.shape == (1, 5, 32, 32, 3)


def test_a_target_that_cannot_be_sampled_is_refused_before_training(tmp_path):
    with pytest.raises(InputError, match="use target velocity"):
        DenoiserRun(loop=loop_of(tmp_path, 2), path="rectified_flow", target="noise")


@pytest.mark.parametrize("part", ["autoencoder", "transformer"])
def test_what_others_use_of_a_checkpoint_is_the_average(tmp_path, codec, part):
    if part == "autoencoder":
        folder = codec.parent / "step-0000004"
    else:
        go(denoiser_run(tmp_path, 4, codec, tmp_path / "cache"))
        folder = tmp_path / "step-0000004"
    saved = checkpoint.load(folder).parts
    tensors = saved["training"].tensors
    names = [name.removeprefix("average.") for name in tensors if name.startswith("average.")]
    assert all(torch.equal(saved[part].tensors[name], tensors[f"average.{name}"]) for name in names)
    assert any(not torch.equal(tensors[f"weights.{name}"], tensors[f"average.{name}"]) for name in names)


def test_a_branch_starts_from_another_runs_checkpoint(tmp_path, codec):
    out = tmp_path / "branch"
    go(codec_run(out, 5, resume_from=str(codec.parent / "step-0000002")))
    assert [e["step"] for e in events(out, "step")] == [3, 4, 5]


def test_another_run_is_not_continued(tmp_path, codec):
    run = codec_run(codec.parent, 6)
    changed = dataclasses.replace(run, codec=dataclasses.replace(CODEC, latent_channels=5))
    with pytest.raises(InputError, match=r"another codec\.latent_channels"):
        go(changed)


def test_only_the_last_k_checkpoints_are_kept(tmp_path):
    go(codec_run(tmp_path, 6, save_every=1, keep=3))
    assert [p.name[-1] for p in sorted(tmp_path.glob("step-*"))] == ["4", "5", "6"]


def test_some_checkpoints_are_saved_out_of_turn_and_kept_for_good(tmp_path):
    go(codec_run(tmp_path, 6, save_every=4, keep=1, keep_at=(1, 3)))
    assert [p.name[-1] for p in sorted(tmp_path.glob("step-*"))] == ["1", "3", "6"]
    go(codec_run(tmp_path, 9, save_every=4, keep=1, keep_at=(3, 7)))  # another wish is the same run
    assert [p.name[-1] for p in sorted(tmp_path.glob("step-*"))] == ["3", "7", "9"]


def test_a_checkpoint_of_a_certain_age_is_followed_by_another_and_nothing_else_changes(tmp_path):
    go(codec_run(tmp_path / "often", 5, save_every=100, save_minutes=1e-9, keep=9))
    assert len(list((tmp_path / "often").glob("step-*"))) == 5
    go(codec_run(tmp_path / "seldom", 5, save_every=100, save_minutes=1e9, keep=9))
    assert len(list((tmp_path / "seldom").glob("step-*"))) == 1
    assert same_bits(tmp_path / "often/step-0000005", tmp_path / "seldom/step-0000005")


@pytest.mark.parametrize("wrong", [{"save_minutes": 0.0}, {"save_minutes": math.nan}, {"keep_at": (0,)}])
def test_checkpoints_at_impossible_times_are_refused(tmp_path, wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        loop_of(tmp_path, 2, **wrong)


def test_a_line_of_the_log_holds_samples_and_learning_rate(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 3.0)  # a clock that stands still
    go(codec_run(tmp_path, 4, schedule=Schedule(steps=4, warm_up=1, cool_down=1)))
    rows = events(tmp_path, "step")
    assert [row["samples"] for row in rows] == [4, 8, 12, 16]
    assert [row["learning_rate"] for row in rows] == [5e-4, 1e-3, 1e-3, 5e-4]


def test_training_outside_of_the_main_thread_is_training(tmp_path):
    thread = threading.Thread(target=go, args=(codec_run(tmp_path, 2),))
    thread.start()
    thread.join()
    assert (tmp_path / "final").is_dir()


def test_training_learns(tmp_path, codec):
    optimizer = OptimizerConfig(rate=3e-3)
    go(
        denoiser_run(
            tmp_path, 60, codec, tmp_path / "cache", optimizer=optimizer, save_every=60, held_out_every=60
        )
    )
    losses = [e["loss"] for e in events(tmp_path, "step")]
    assert sum(losses[-20:]) < 0.8 * sum(losses[:20])


def test_a_loss_that_is_not_finite_stops_the_run_and_spares_the_checkpoint(tmp_path, codec, monkeypatch):
    go(denoiser_run(tmp_path, 2, codec, tmp_path / "cache"))
    monkeypatch.setattr(
        DenoiserTask, "loss", lambda self, batch: (next(self.model.parameters()).sum() * torch.nan, {})
    )
    with pytest.raises(InputError, match="the loss of step 2 is nan"):
        go(denoiser_run(tmp_path, 4, codec, tmp_path / "cache"))
    assert state(tmp_path / "step-0000002")


def test_a_gradient_that_is_not_finite_changes_nothing(tmp_path, codec, monkeypatch):
    run = denoiser_run(tmp_path, 8, codec, tmp_path / "cache", micro_batches=2)
    times = TimeSampling(name="importance", steps=20)
    model = dataclasses.replace(run.model, predictions=2)
    run = dataclasses.replace(
        run, model=model, path="ddpm_linear", target="noise", variance="learned", sampler="ancestral",
        objective=Objective(name="hybrid"), times=times,
    )  # fmt: skip
    task, held, steps, updates, loss = DenoiserTask(run, Log(tmp_path)), [], [], [], DenoiserTask.loss

    def spoilt(self, batch):
        found, terms = loss(self, batch)
        if torch.is_grad_enabled() and len(steps) == 3:  # both micro batches of step 3, which would be saved
            held.append(
                {name: t.clone() for name, t in [*task.model.state_dict().items(), *task.tensors().items()]}
            )
            found.register_hook(lambda gradient: gradient * torch.nan)
        return found, terms

    monkeypatch.setattr(DenoiserTask, "loss", spoilt)
    step, update = Optimizers.step, Average.update
    monkeypatch.setattr(Optimizers, "step", lambda self, rate: steps.append(rate) or step(self, rate))
    monkeypatch.setattr(Average, "update", lambda self, *a: updates.append(a) or update(self, *a))
    with pytest.raises(InputError, match="the norm of the gradient of step 3 is nan"):
        train(task, run, Log(tmp_path))
    assert (len(steps), len(updates), len(held)) == (3, 3, 2) and "moments" in held[0]
    after = task.model.state_dict() | task.tensors()
    assert all(torch.equal(after[name], t) for before in held for name, t in before.items())
    assert [p.name for p in tmp_path.glob("*step-*")] == ["step-0000002"]


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_weights_beyond_all_bounds_are_not_saved(tmp_path, name):
    optimizer = OptimizerConfig(name=name, rate=1e30, muon_rate=1e30)
    with pytest.raises(InputError, match=r"after step 1; nothing was saved.* lower --loop\.optimizer\.rate"):
        go(codec_run(tmp_path, 4, save_every=1, optimizer=optimizer))
    assert not [*tmp_path.glob("*step-*"), *tmp_path.glob("final")]


def test_captions_drop_sample_by_sample(tmp_path, codec):
    run = dataclasses.replace(denoiser_run(tmp_path, 2, codec, tmp_path / "cache"), caption_drop=0.5)
    task = DenoiserTask(run, Log(tmp_path))
    text = task.collate([task.fetch(n) for n in range(64)])[3]
    dropped = [
        torch.equal(t.trimmed().tokens[0], task.null.tokens[0]) for t in (text[i : i + 1] for i in range(64))
    ]
    assert 16 < sum(dropped) < 48


def test_an_interrupt_saves_the_step_it_is_in_and_the_run_goes_on_as_if_nothing_had_been(
    tmp_path, monkeypatch
):
    go(codec_run(tmp_path / "whole", 6))
    fetch = CodecTask.fetch

    def interrupting(self, number):
        if number == 4 * 2:  # a sample of step 3
            signal.raise_signal(signal.SIGINT)
        return fetch(self, number)

    monkeypatch.setattr(CodecTask, "fetch", interrupting)
    with pytest.raises(KeyboardInterrupt):
        go(codec_run(tmp_path / "cut", 6, save_every=6))
    assert [p.name for p in (tmp_path / "cut").glob("step-*")] == ["step-0000003"]
    monkeypatch.undo()
    go(codec_run(tmp_path / "cut", 6))
    assert same_bits(tmp_path / "whole/step-0000006", tmp_path / "cut/step-0000006")


def test_a_model_that_does_not_fit_its_codec_is_refused(tmp_path, codec):
    run = denoiser_run(tmp_path, 2, codec, tmp_path / "cache")
    wrong = dataclasses.replace(run, model=dataclasses.replace(run.model, latent_channels=16))
    with pytest.raises(InputError, match="set it to 4"):
        DenoiserTask(wrong, Log(tmp_path))


def test_a_full_disk_during_a_save_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    go(codec_run(tmp_path, 2))
    import os

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="free that much"):
        go(codec_run(tmp_path, 4))
    monkeypatch.undo()
    assert state(tmp_path / "step-0000002")


def test_bf16_touches_matrices_only():
    tensors = in_bf16(
        {"weight": torch.ones(2, 2), "bias": torch.ones(2), "count": torch.ones(2, 2, dtype=torch.long)}
    )
    assert [t.dtype for t in tensors.values()] == [torch.bfloat16, torch.float32, torch.int64]


def test_a_weight_changes_what_is_learnt_and_not_what_is_measured(tmp_path, codec):
    for weight in ("target", "min_snr"):
        run = denoiser_run(tmp_path / weight, 1, codec, tmp_path / "cache")
        go(dataclasses.replace(run, objective=Objective(weight=weight)))
    first, second = (events(tmp_path / weight, "step")[0]["loss"] for weight in ("target", "min_snr"))
    assert abs(first - second) > 0.1
    task = DenoiserTask(run, Log(tmp_path))  # a fresh model predicts 0, whose errors are the targets
    content, *_ = task.samples.held_out()
    loss, _ = task.loss(task.noised(content, torch.full((len(content.x0), 1), 0.3)))
    assert loss.item() == pytest.approx((content.noise - content.x0).square().mean().item(), rel=1e-5)


def test_a_run_begins_before_all_of_its_clips_are_encoded(tmp_path, codec, monkeypatch):
    monkeypatch.setattr(latents, "SHARD", 3)
    run = denoiser_run(tmp_path / "run", 4, codec, tmp_path / "cache")
    run = dataclasses.replace(run, available=((0, 0.25), (8, 1.0)))
    task, held = DenoiserTask(run, Log(tmp_path)), 1  # file of held-out clips
    encoded = lambda: len(list((tmp_path / "cache").glob("latents-*/*.safetensors"))) - held  # noqa: E731
    assert encoded() == 1
    for number in range(8):
        task.fetch(number)
    assert encoded() == 1
    go(run)
    assert encoded() > 1
    with pytest.raises(InputError, match="another available"):
        go(dataclasses.replace(run, available=((0, 1.0),)))
    for wrong in ((), ((1, 1.0),), ((0, 0.0),), ((0, 0.5), (0, 1.0))):
        with pytest.raises(InputError, match="available"):
            dataclasses.replace(run, available=wrong)
