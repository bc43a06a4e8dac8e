"""Runs that begin with the weights of a checkpoint: fine-tuning, and a decoder trained against a fixed encoder."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from training.runs import DATA, codec_run, denoiser_run, go
from tubelet import checkpoint
from tubelet.autoencoder.codec import codec_of, encoder_hash
from tubelet.autoencoder.objective import CodecObjective
from tubelet.errors import InputError
from tubelet.model.transformer import TransformerConfig, VideoTransformer
from tubelet.sampling.pipeline import DEFAULT
from tubelet.training.codec_task import CodecTask
from tubelet.training.config import CodecRun, LoopConfig
from tubelet.training.denoiser_task import DenoiserTask
from tubelet.training.log import Log
from tubelet.training.optim import Schedule
from tubelet.training.start import part_of, take_weights


@pytest.fixture(scope="module")
def codec(tmp_path_factory) -> Path:
    return go(codec_run(tmp_path_factory.mktemp("start") / "codec", 4))


def decoder_run(out: Path, codec: Path, steps: int = 4) -> CodecRun:
    run = codec_run(out, steps, start_from=str(codec))
    return dataclasses.replace(run, decoder_only=True, objective=CodecObjective(noise=0.3))


def test_a_run_begins_with_the_weights_of_another(tmp_path, codec):
    final = go(denoiser_run(tmp_path / "one", 4, codec, tmp_path / "cache"))
    run = denoiser_run(tmp_path / "two", 4, codec, tmp_path / "cache", start_from=str(final))
    begun = DenoiserTask(run, Log(tmp_path / "two")).model.state_dict()
    for name, value in part_of(str(final), "transformer").tensors.items():
        assert torch.equal(begun[name], value.float())


def test_a_run_begins_with_the_weights_that_ship():
    """They are older than some fields of the config and than the names of their attentions."""
    model = VideoTransformer(TransformerConfig())
    take_weights(model, model.config, "default", "transformer")
    shipped = load_file(DEFAULT / "transformer" / "model.safetensors")
    assert "blocks.7.attentions.all.qkv.weight" in shipped
    own = model.state_dict()
    assert len(own) == len(shipped)
    for name, value in shipped.items():
        assert torch.equal(own[name.replace("attentions.all", "attention")], value.float())


def test_another_model_s_weights_are_refused_by_the_field_that_differs(tmp_path, codec):
    final = go(denoiser_run(tmp_path / "one", 1, codec, tmp_path / "cache"))
    run = denoiser_run(tmp_path / "two", 1, codec, tmp_path / "cache", start_from=str(final))
    wider = dataclasses.replace(run, model=dataclasses.replace(run.model, width=64))
    with pytest.raises(InputError, match="width 32, this run 64"):
        DenoiserTask(wider, Log(tmp_path / "two"))
    with pytest.raises(InputError, match="holds no transformer"):
        take_weights(torch.nn.Identity(), run.model, str(codec), "transformer")


def test_a_decoder_alone_learns_against_the_same_latents(tmp_path, codec):
    before, after = (
        checkpoint.load(folder).parts["autoencoder"] for folder in (codec, go(decoder_run(tmp_path, codec)))
    )
    changed = {
        name.split(".")[0] for name, value in before.tensors.items() if not value.equal(after.tensors[name])
    }
    assert changed == {"decoder", "from_latent"}
    assert encoder_hash(before) == encoder_hash(after)
    video = torch.rand(1, 3, 5, 32, 32) * 2 - 1
    assert torch.equal(codec_of(before).encode(video).mean, codec_of(after).encode(video).mean)


def test_an_encoder_s_hash_tells_encoders_apart(tmp_path, codec):
    other = go(codec_run(tmp_path, 2, start_from=str(codec)))
    one, two = (part_of(str(folder), "autoencoder") for folder in (codec, other))
    assert encoder_hash(one) != encoder_hash(two)


def test_a_decoder_alone_needs_an_encoder(tmp_path):
    with pytest.raises(InputError, match=r"--loop\.start-from"):
        CodecRun(loop=LoopConfig(out=str(tmp_path)), decoder_only=True)


def test_the_decoder_s_noise_is_uniform_up_to_what_the_objective_says(tmp_path, codec):
    task = CodecTask(decoder_run(tmp_path, codec), Log(tmp_path))
    levels = torch.tensor([float(task.fetch(n)["error"].std()) for n in range(100)])
    assert levels.max() < 0.36  # 0.3 and the spread of a deviation of 96 draws
    assert 0.11 < levels.mean() < 0.19
    quiet = CodecTask(codec_run(tmp_path, 1, start_from=str(codec)), Log(tmp_path))
    assert not quiet.fetch(0)["error"].any()


@torch.no_grad()
def test_noise_on_the_latents_raises_the_loss_until_the_decoder_sees_through_it(tmp_path, codec):
    noisy = CodecTask(decoder_run(tmp_path, codec), Log(tmp_path))
    quiet = CodecTask(codec_run(tmp_path, 1, start_from=str(codec)), Log(tmp_path))
    losses = [float(task.loss(task.collate([task.fetch(n) for n in range(4)]))[0]) for task in (noisy, quiet)]
    assert losses[0] > losses[1]


def test_a_run_goes_on_with_another_decoder_and_not_with_other_latents(tmp_path, codec):
    one = denoiser_run(tmp_path / "run", 2, codec, tmp_path / "cache")
    go(one)
    moved = dataclasses.replace(one, codec=str(go(decoder_run(tmp_path / "decoder", codec))))
    go(
        dataclasses.replace(
            moved, loop=dataclasses.replace(moved.loop, schedule=Schedule(steps=3, warm_up=1))
        )
    )
    other = dataclasses.replace(one, codec=str(go(codec_run(tmp_path / "codec", 2, start_from=str(codec)))))
    with pytest.raises(InputError, match="another latents"):
        go(other)
    fewer = dataclasses.replace(one, data=dataclasses.replace(one.data, clips=8))
    with pytest.raises(InputError, match="another clips"):
        go(fewer)


@pytest.mark.parametrize("inflation", ["central", "average"])
def test_a_run_of_videos_starts_from_one_of_images(tmp_path, codec, inflation):
    images = dataclasses.replace(DATA, world=dataclasses.replace(DATA.world, num_frames=1))
    run = dataclasses.replace(denoiser_run(tmp_path / "images", 2, codec, tmp_path / "cache"), data=images)
    start = str(go(run))
    video = denoiser_run(tmp_path / "video", 2, codec, tmp_path / "cache", start_from=start)
    model = dataclasses.replace(run.model, tubelet=(2, *run.model.tubelet[1:]), attention=("split_heads",))
    video = dataclasses.replace(video, model=model, inflation=inflation)
    go(video)
    task = DenoiserTask(video, Log(tmp_path))
    born = part_of(start, "transformer").tensors["embed.project.weight"]
    assert task.model.embed.project.weight.shape[1] == 2 * born.shape[1]
    with pytest.raises(InputError, match="central"):
        dataclasses.replace(video, inflation="middle")
