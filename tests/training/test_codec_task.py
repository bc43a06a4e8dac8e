"""The codec's samples: buckets of several sizes and sources, crops of one clip, terms drawn by sample."""

import dataclasses
from pathlib import Path

import pytest
import torch

from training.runs import DATA, codec_run, events, go, same_bits
from tubelet.autoencoder.codec import CausalCodec, CodecConfig, codec_of, encoder_hash
from tubelet.autoencoder.objective import CodecObjective
from tubelet.autoencoder.regularisers import Transform
from tubelet.data.source import SizeConfig
from tubelet.errors import InputError
from tubelet.training.codec_task import CodecTask
from tubelet.training.config import CodecRun
from tubelet.training.log import Log
from tubelet.training.optim import Schedule
from tubelet.training.start import part_of
from tubelet.video import to_video

IMAGE = SizeConfig(frames=1, height=32, width=32, clips=6)
WIDE = SizeConfig(frames=5, height=32, width=48, clips=8)
CODEC = CodecConfig(
    latent_channels=4, pixels_per_latent=4, widths=(8,), encoder_depths=(1,), decoder_depths=(1,), encoder_kernels=(3,),
    channel_scale="half",
)  # fmt: skip
TERMS = CodecObjective(noise=0.1, local_correlation=0.02, masking=0.75, masked_samples=0.5, equivariance=0.5)


def run_of(out: Path, steps: int = 4, **changes) -> CodecRun:
    run = codec_run(out, steps, micro_batches=2)
    data = dataclasses.replace(DATA, other=(IMAGE, WIDE), other_share=0.6)
    return dataclasses.replace(run, **{"data": data, "objective": TERMS, "codec": CODEC, **changes})


def task_of(tmp_path: Path, **changes) -> CodecTask:
    return CodecTask(run_of(tmp_path, **changes), Log(tmp_path))


def test_a_micro_batch_has_one_size_and_one_transform(tmp_path):
    task = task_of(tmp_path)
    seen = set()
    for first in range(0, 60, 2):  # micro-batches of two
        one, two = (task.fetch(number) for number in (first, first + 1))
        assert one["frames"].shape == two["frames"].shape
        assert one["transform"] == two["transform"]
        seen.add((one["frames"].shape, one["transform"] is None))
        assert task.collate([one, two]).video.shape[2:] == one["frames"].shape[:3]
    assert {shape for shape, _ in seen} == {(*bucket.size, 3) for bucket in task.buckets}
    assert {plain for _, plain in seen} == {True, False}


def test_buckets_of_one_size_mix_within_a_micro_batch(tmp_path):
    same = dataclasses.replace(WIDE, width=32, height=32, name="same")
    task = task_of(tmp_path, data=dataclasses.replace(DATA, other=(same,), other_share=0.5))
    which = [task.unit_of(number) for number in range(4)]
    assert which == [0, 1, 2, 3]


def test_samples_in_a_row_are_crops_of_one_clip_at_their_own_scale(tmp_path):
    data = dataclasses.replace(DATA, crop=(16, 16), crops=3)
    task = task_of(tmp_path, data=data)
    bucket = task.buckets[0]
    clip, rendered = bucket.clips.clips, []
    bucket.clips.clips = type(
        "Counted",
        (),
        {"frames": lambda _, i: rendered.append(i) or clip.frames(i), "__len__": lambda _: len(clip)},
    )()
    crops = [task.fetch(number)["frames"] for number in range(9)]
    assert len(rendered) == 3
    assert all(crop.shape == (5, 16, 16, 3) for crop in crops)
    for number, crop in enumerate(crops):
        windows = (
            clip.frames(rendered[number // 3]).unfold(1, 16, 1).unfold(2, 16, 1)
        )  # [F, 17, 17, 3, 16, 16]
        same = (windows.permute(1, 2, 0, 4, 5, 3) == crop).flatten(2).all(2)
        assert same.any()
    assert len({crop.numpy().tobytes() for crop in crops}) > 6


def test_crops_that_are_none_are_refused(tmp_path):
    with pytest.raises(InputError, match="crops is 0"):
        dataclasses.replace(DATA, crops=0)


def test_a_size_that_does_not_fill_latents_is_refused_with_its_bucket_and_the_nearest(tmp_path):
    odd = dataclasses.replace(WIDE, height=26, name="odd")
    with pytest.raises(InputError, match="odd: --height 26 is not a multiple of 4; try --height 24"):
        task_of(tmp_path, data=dataclasses.replace(DATA, other=(odd,)))


def test_every_draw_depends_on_the_sample_alone(tmp_path):
    one, two = task_of(tmp_path / "a"), task_of(tmp_path / "b")
    for number in (7, 3, 11):
        for name, value in one.fetch(number).items():
            other = two.fetch(number)[name]
            assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other


def test_terms_that_are_0_leave_the_loss_as_it_was(tmp_path):
    """The draws of masks and transforms are apart from those of noise."""
    plain = task_of(tmp_path / "a", objective=CodecObjective(noise=0.1))
    other = task_of(tmp_path / "b", objective=TERMS)
    for name in ("frames", "noise", "error"):
        assert torch.equal(plain.fetch(5)[name], other.fetch(5)[name])
    assert not plain.fetch(5)["hidden"].any()
    assert plain.fetch(5)["transform"] is None


def test_a_transformed_micro_batch_reconstructs_the_transformed_video(tmp_path):
    """A codec of blocks of one colour is equivariant to turns: its loss does not change."""
    task = task_of(tmp_path, objective=CodecObjective(gradient=0, kl=0))
    with torch.no_grad():
        task.model.from_latent.weight.fill_(0.1)  # each latent paints its block in one grey
        task.model.from_latent.bias.zero_()
    batch = task.collate([task.fetch(0)])
    h, w = batch.noise.shape[3:]
    losses = [
        float(task.loss(batch._replace(transform=change))[0].detach())
        for change in (None, Transform(h, w, 1), Transform(h, w, 2))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert losses[0] == pytest.approx(losses[2], rel=1e-3)


def test_fixed_linear_maps_stay_pca_and_the_rest_learns(tmp_path):
    before = task_of(tmp_path / "a").model.state_dict()
    after = part_of(str(go(run_of(tmp_path / "b", 2, fixed_linear=True))), "autoencoder").tensors
    same = {name.split(".")[0] for name, value in before.items() if value.equal(after[name])}
    assert {"to_latent", "from_latent"} <= same
    assert not after["encoder.head.weight"].equal(before["encoder.head.weight"])
    assert not after["decoder.head.weight"].equal(before["decoder.head.weight"])


def test_held_out_psnr_of_each_bucket_is_logged(tmp_path):
    go(run_of(tmp_path, 2))
    (end,) = events(tmp_path, "end")
    assert set(end["held_out"]) == {"psnr", "psnr_first", "psnr_1x32x32", "psnr_5x32x48"}


def test_a_run_on_buckets_resumes_bit_for_bit(tmp_path):
    whole = go(run_of(tmp_path / "whole", 4))
    halves = run_of(tmp_path / "halves", 2)
    go(halves)
    loop = dataclasses.replace(halves.loop, schedule=Schedule(steps=4, warm_up=1))
    assert same_bits(whole, go(dataclasses.replace(halves, loop=loop)))


def test_a_trained_codec_s_axes_have_the_deviations_of_its_scale(tmp_path):
    codec = codec_of(part_of(str(go(run_of(tmp_path, 2))), "autoencoder"))
    assert isinstance(codec, CausalCodec)
    task = task_of(tmp_path / "again", codec=dataclasses.replace(CODEC, channel_scale="half"))
    with torch.no_grad():
        latents = [codec.encode(video).mean.transpose(0, 1).flatten(1) for video in task.videos(128)]
    variances = torch.cat(latents, 1).var(1)
    assert variances.mean() == pytest.approx(1, abs=0.1)  # of means; the posterior's own noise is small
    assert torch.equal(variances.argsort(descending=True), torch.arange(4))


def test_a_codec_takes_the_weights_of_one_that_is_scaled_another_way(tmp_path):
    first = str(go(run_of(tmp_path / "a", 2)))
    run = run_of(tmp_path / "b", 1, codec=dataclasses.replace(CODEC, channel_scale="unit"))
    run = dataclasses.replace(run, loop=dataclasses.replace(run.loop, start_from=first))
    task = CodecTask(run, Log(tmp_path / "b"))
    for name, value in task.model.state_dict().items():
        assert torch.equal(value, part_of(first, "autoencoder").tensors[name].float())
    part = task.parts()["autoencoder"]
    assert "to_axes" not in part.tensors
    assert encoder_hash(part) != encoder_hash(part_of(first, "autoencoder"))
    back = dataclasses.replace(run, codec=CODEC, decoder_only=True)
    kept = CodecTask(back, Log(tmp_path / "c")).parts()["autoencoder"].tensors
    for name in ("mean", "std", "to_axes"):
        assert torch.equal(kept[name], part_of(first, "autoencoder").tensors[name].float())
    with pytest.raises(InputError, match="channel_scale half, this run unit"):
        CodecTask(dataclasses.replace(run, decoder_only=True), Log(tmp_path / "d"))


def test_videos_come_in_chunks_of_one_size_and_all_of_them(tmp_path):
    task = task_of(tmp_path)
    videos = list(task.videos(20))
    assert sum(len(video) for video in videos) == 20
    numbers = iter(range(20))
    for video in videos:
        for one in video:
            assert torch.equal(to_video(task.frames_of(next(numbers)))[0], one)
