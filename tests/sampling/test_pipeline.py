"""VideoPipeline: shapes, seeds, guidance, and what it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from sampling.pipes import like
from tubelet.checkpoint import load
from tubelet.diffusion.grids import GRIDS
from tubelet.diffusion.samplers import SAMPLERS
from tubelet.errors import InputError
from tubelet.sampling.command import generate_files, prompts_of
from tubelet.sampling.pipeline import VideoPipeline
from tubelet.video import read_metadata, read_video

PROMPT = "a red circle moves left"


def made(pipe: VideoPipeline, prompt=PROMPT, **settings) -> np.ndarray:
    return pipe(prompt, **{"num_inference_steps": 3, **settings}).frames


def test_frames_come_in_every_promised_form(pipe):
    settings = {"seed": 0, "num_inference_steps": 2}
    frames = pipe(PROMPT, **settings).frames
    assert frames.shape == (1, 5, 32, 48, 3)
    assert frames.dtype == np.float32
    assert 0 <= frames.min() <= frames.max() <= 1
    tensor = pipe(PROMPT, output_type="pt", **settings).frames
    assert np.array_equal(tensor.permute(0, 1, 3, 4, 2).numpy(), frames)
    images = pipe(PROMPT, output_type="pil", **settings).frames
    assert (len(images), len(images[0]), images[0][0].size) == (1, 5, (48, 32))
    latents = pipe(PROMPT, output_type="latent", **settings).frames
    assert latents.shape == (1, 4, 2, 4, 6)


def test_sizes_can_be_asked_for(pipe):
    assert made(pipe, num_frames=9, height=64, width=16).shape == (1, 9, 64, 16, 3)


def test_the_times_are_shifted_by_the_size_and_at_the_trained_one_not_at_all(pipe):
    wanted = {"num_inference_steps": 3, "seed": 0, "output_type": "latent"}
    own = pipe("x", **wanted)
    assert own.recipe.shift == pipe.scheduler.shift
    assert pipe("x", num_frames=5, height=32, width=48, **wanted).recipe == own.recipe
    shifted = replace(pipe.scheduler, shift=2.0)
    other = VideoPipeline(pipe.codec, pipe.transformer, pipe.text_encoder, shifted)
    image = other("x", num_frames=1, **wanted)
    assert image.recipe.shift == 2.0 * 0.5**0.5  # one latent frame instead of two
    assert torch.equal(other.make(image.recipe, "latent").frames, image.frames)
    assert torch.equal(pipe.make(image.recipe, "latent").frames, image.frames)
    assert not torch.equal(pipe.make(replace(image.recipe, shift=1.0), "latent").frames, image.frames)


def test_videos_come_in_the_prompts_order(pipe):
    both = made(pipe, ["a", "b"], num_videos_per_prompt=2, seed=1)
    assert len(both) == 4
    alone = made(pipe, "a", num_videos_per_prompt=2, seed=1)
    np.testing.assert_allclose(both[:2], alone, atol=1e-5)


def test_a_seed_means_the_same_video(pipe):
    assert np.array_equal(made(pipe, seed=3), made(pipe, seed=3))
    assert not np.array_equal(made(pipe, seed=3), made(pipe, seed=4))


def test_fresh_noise_differs(pipe):
    assert not np.array_equal(made(pipe), made(pipe))


def test_generators_as_diffusers_users_know_them(pipe):
    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(7)

    one = made(pipe, [PROMPT] * 2, generator=seeded())
    assert np.array_equal(one, made(pipe, [PROMPT] * 2, generator=seeded()))
    assert not np.array_equal(one[0], one[1])
    each = made(pipe, [PROMPT] * 2, generator=[seeded(), seeded()])
    np.testing.assert_allclose(each[0], each[1], atol=1e-5)
    np.testing.assert_allclose(each[0], one[0], atol=1e-5)


def test_guidance_scale_1_ignores_the_negative_prompt(pipe):
    plain = made(pipe, seed=0, guidance_scale=1)
    assert np.array_equal(plain, made(pipe, seed=0, guidance_scale=1, negative_prompt="blue"))
    assert not np.array_equal(plain, made(pipe, seed=0, guidance_scale=3))
    assert not np.array_equal(
        made(pipe, seed=0, guidance_scale=3), made(pipe, seed=0, guidance_scale=3, negative_prompt="blue")
    )


def test_a_negative_prompt_equal_to_the_prompt_is_no_guidance(pipe):
    same = made(pipe, seed=0, guidance_scale=5, negative_prompt=PROMPT)
    np.testing.assert_allclose(same, made(pipe, seed=0, guidance_scale=1), atol=1e-4)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("grid", GRIDS)
def test_every_sampler_makes_a_video_on_every_grid(pipe, sampler, grid):
    assert np.isfinite(made(pipe, seed=0, sampler=sampler, grid=grid)).all()


def test_the_callback_sees_and_replaces_the_latents(pipe):
    steps = []

    def zero(pipeline, step, t, values):
        steps.append((step, round(t, 3)))
        return {"latents": torch.zeros_like(values["latents"])}

    latents = pipe(PROMPT, num_inference_steps=4, callback_on_step_end=zero, output_type="latent").frames
    assert steps == [(0, 1.0), (1, 0.75), (2, 0.5), (3, 0.25)]
    assert not latents.any()


def test_a_saved_pipeline_makes_the_same_video(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "saved")
    again = VideoPipeline.from_pretrained(tmp_path / "saved")
    assert again.hash == load(tmp_path / "saved").hash
    assert again.scheduler == pipe.scheduler
    assert np.array_equal(made(again, seed=0), made(pipe, seed=0))


def test_a_flipped_byte_is_refused_by_name(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "saved")
    file = tmp_path / "saved" / "transformer" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(InputError, match=r"transformer.*model\.safetensors"):
        VideoPipeline.from_pretrained(tmp_path / "saved")


def test_a_checkpoint_of_another_text_encoder_is_refused(pipe, tmp_path):
    parts = pipe.parts()
    parts["text_encoder"].config["fingerprint"] = "other"
    from tubelet.checkpoint import save

    save(tmp_path / "saved", parts, {})
    with pytest.raises(InputError, match="text encoder"):
        VideoPipeline.from_pretrained(tmp_path / "saved")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_frames": 16}, "--num-frames 17"),
        ({"height": 30}, "--height 32"),
        ({"width": 0}, "--width 8"),
        ({"num_frames": 0}, "0 frames"),
        ({"height": 40}, "try 32 or 48"),
        ({"num_inference_steps": 0}, "--num-inference-steps"),
        ({"num_videos_per_prompt": 0}, "--num-videos-per-prompt"),
        ({"sampler": "eular"}, "did you mean 'euler'"),
        ({"grid": "karas"}, "did you mean 'karras'"),
        ({"output_type": "numpy"}, "output_type"),
        ({"seed": -1}, "--seed -1"),
        ({"negative_prompt": ["a", "b"]}, "2 negative prompts"),
        ({"generator": [torch.Generator()] * 2}, "2 generators"),
        ({"prompt": []}, "at least one prompt"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_remedy(pipe, settings, words):
    with pytest.raises(InputError, match=words):
        pipe(**{"prompt": PROMPT, **settings})


def test_files_carry_their_recipe(pipe, tmp_path):
    out = pipe([PROMPT, ""], seed=0, num_inference_steps=1)
    files = out.save(tmp_path / "out.mp4")
    assert [f.name for f in files] == ["out-0.mp4", "out-1.mp4"]
    recipe = json.loads(read_metadata(files[1])["tubelet"])
    assert (recipe["video"], recipe["keys"][1], recipe["prompts"][0]) == (1, [0, 1], PROMPT)
    assert read_video(files[0]).frames.shape == (5, 128, 192, 3)
    with pytest.raises(InputError, match="latents"):
        pipe(PROMPT, num_inference_steps=1, output_type="latent").save(tmp_path / "x.mp4")


def test_a_rate_is_told_where_it_was_trained_and_only_played_elsewhere(pipe):
    several, one = like(pipe, 5), like(pipe, 5)
    several.scheduler = replace(several.scheduler, rates=(4.0, 8.0))
    usual = made(several, seed=0)
    for other, fps in ((several, 8), (one, 4)):
        assert np.array_equal(made(other, seed=0, fps=fps), usual)
    asked = several(PROMPT, fps=4, seed=0, num_inference_steps=3)
    assert asked.fps == 4 and asked.recipe.stride == 2
    slow = made(several, seed=0, fps=4)
    assert np.abs(slow - usual).max() > 1e-3
    told = several.transformer.forward
    several.transformer.forward = lambda *given, stride: told(*given, stride=2.0)
    assert np.array_equal(made(several, seed=0), slow)
    for fps in (0, -8, 1001, float("nan")):
        with pytest.raises(InputError, match="--fps"):
            made(pipe, fps=fps)


def test_prompts_come_from_files(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\n two \n")
    (tmp_path / "a.csv").write_text('id,prompt\n1,"x, y"\n2,z\n')
    assert prompts_of(str(tmp_path / "a.txt")) == ["one", "two"]
    assert prompts_of(str(tmp_path / "a.csv")) == ["x, y", "z"]
    assert prompts_of("a cat") == ["a cat"]
    (tmp_path / "b.csv").write_text("text\nx\n")
    for file, words in (("b.csv", "column"), ("none.txt", "not there")):
        with pytest.raises(InputError, match=words):
            prompts_of(str(tmp_path / file))


def test_generating_files_from_a_checkpoint(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "saved")
    files = generate_files(
        PROMPT, tmp_path / "a.gif", checkpoint=tmp_path / "saved", fps=4.0, seed=0, num_inference_steps=2
    )
    assert files == [tmp_path / "a.gif"]
    assert files[0].stat().st_size > 0
