"""Training by the bound: what is logged, what is refused, and that it goes on exactly."""

import dataclasses

import pytest

from training.runs import denoiser_run, events, go, same_bits, state
from tubelet import checkpoint
from tubelet.checkpoint import Part
from tubelet.diffusion.objective import Objective
from tubelet.diffusion.times import TimeSampling
from tubelet.errors import InputError
from tubelet.model.transformer import TransformerConfig
from tubelet.sampling.pipeline import VideoPipeline
from tubelet.training.config import DenoiserRun

PIXELS = TransformerConfig(
    latent_channels=3, predictions=2, width=32, depth=1, heads=2, text_width=128, tubelet=(1, 8, 8),
    frames_per_latent=1, pixels_per_latent=1,
)  # fmt: skip


def pixel_run(out, steps, cache, objective="vlb", times="importance", **changes) -> DenoiserRun:
    return dataclasses.replace(
        denoiser_run(out, steps, "identity", cache, **changes), model=PIXELS, path="ddpm_linear", target="noise",
        variance="learned", sampler="ancestral", objective=Objective(name=objective),
        times=TimeSampling(times, steps=100),
    )  # fmt: skip


@pytest.mark.parametrize("objective", ["hybrid", "vlb"])
def test_a_model_of_pixels_learns_its_variance_by_the_bound(tmp_path, objective):
    final = go(pixel_run(tmp_path / "run", 12, tmp_path / "cache", objective, "uniform"))
    steps = events(tmp_path / "run", "step")
    assert all(step["vlb"] > 0 and step["simple"] > 0 for step in steps)
    loss = {"vlb": lambda step: step["vlb"], "hybrid": lambda step: step["simple"] + 1e-3 * step["vlb"]}
    for step in steps:
        assert step["loss"] == pytest.approx(loss[objective](step), rel=1e-4)
    pipe = VideoPipeline.from_pretrained(final)
    assert pipe.reverse.variance == "learned" and pipe.scheduler.sampler == "ancestral"
    video = pipe("a red circle", num_inference_steps=4, seed=0, output_type="pt").frames
    assert video.shape == (1, 5, 3, 32, 32) and video.isfinite().all()


def test_important_times_go_on_exactly(tmp_path):
    cache = tmp_path / "cache"
    go(pixel_run(tmp_path / "whole", 8, cache))
    half = pixel_run(tmp_path / "halves", 8, cache, keep=9)
    go(half)
    for folder in (tmp_path / "halves").glob("step-*"):
        if folder.name > "step-0000004":
            for file in sorted(folder.rglob("*"), reverse=True):
                file.unlink() if file.is_file() else file.rmdir()
            folder.rmdir()
    go(half)
    last = "step-0000008"
    assert same_bits(tmp_path / "whole" / last, tmp_path / "halves" / last)
    seen = state(tmp_path / "whole" / last)["task.seen"]
    assert seen.sum() == 8 * 4 and (seen != state(tmp_path / "halves" / "step-0000004")["task.seen"]).any()


def test_a_checkpoint_from_before_a_field_existed_goes_on(tmp_path):
    run = dataclasses.replace(
        denoiser_run(tmp_path / "run", 4, "identity", tmp_path / "cache"),
        model=dataclasses.replace(PIXELS, predictions=1),
    )
    go(run)
    folder = tmp_path / "run" / "step-0000002"
    saved = checkpoint.load(folder)
    training = saved.parts["training"]
    old = {
        name: value for name, value in training.config["run"].items() if name not in ("objective", "variance")
    }
    parts = {**saved.parts, "training": Part({**training.config, "run": old}, training.tensors)}
    checkpoint.save(tmp_path / "old" / "step-0000002", parts, {"parts": sorted(parts)})
    loop = dataclasses.replace(run.loop, out=str(tmp_path / "old"))
    go(dataclasses.replace(run, loop=loop))
    assert same_bits(tmp_path / "run" / "step-0000004", tmp_path / "old" / "step-0000004")


def test_objectives_and_variances_that_do_not_fit_are_refused_with_the_remedy(tmp_path):
    run = pixel_run(tmp_path, 1, tmp_path)
    with pytest.raises(InputError, match="--variance learned"):
        dataclasses.replace(run, variance="small")
    with pytest.raises(InputError, match="--variance learned"):
        dataclasses.replace(run, objective=Objective())
    with pytest.raises(InputError, match=r"--times\.steps 1000"):
        dataclasses.replace(run, times=TimeSampling())
    with pytest.raises(InputError, match="did you mean 'ancestral'"):
        dataclasses.replace(run, sampler="ancestrl")
    with pytest.raises(InputError, match="alpha is 0"):
        dataclasses.replace(run, path="rectified_flow")
    with pytest.raises(InputError, match=r"model\.predictions is 1, this run needs 2"):
        go(dataclasses.replace(run, model=dataclasses.replace(PIXELS, predictions=1)))
