"""A seed means the same noise for a video in any batch, bit for bit, at every draw of a sampler."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tubelet.diffusion import samplers
from tubelet.sampling.pipeline import BATCH

PROMPT = "a red circle moves left"
STEPS = 4


@pytest.fixture
def draws(pipe, monkeypatch):
    """(recipe) -> every noise that the ancestral sampler draws, the first included: [video, draw, C, f, h, w]."""

    def drawn(recipe) -> Tensor:
        batches: list[list[Tensor]] = []

        def spy(denoise, x, reverse, times, *, noise):
            batches.append([x.clone()])

            def noted() -> Tensor:
                batches[-1].append(noise())
                return batches[-1][-1]

            return samplers.ancestral(denoise, x, reverse, times, noise=noted)

        monkeypatch.setitem(samplers.SAMPLERS, "spy", spy)
        pipe.make(replace(recipe, sampler="spy"), "latent")
        return torch.cat([torch.stack(batch, 1) for batch in batches])

    return drawn


@pytest.fixture(scope="module")
def recipe(pipe):
    """Of enough videos for three batches."""
    settings = {"seed": 5, "num_inference_steps": STEPS, "output_type": "latent"}
    return pipe([PROMPT] * (2 * BATCH + 3), **settings).recipe


def first_videos(recipe, count: int):
    some = slice(count)
    return replace(
        recipe,
        prompts=recipe.prompts[some],
        negative_prompts=recipe.negative_prompts[some],
        keys=recipe.keys[some],
    )


def test_the_ancestral_sampler_draws_at_every_step_but_the_last(draws, recipe):
    noise = draws(first_videos(recipe, 1))
    assert noise.shape[:2] == (1, STEPS)
    assert len(noise[0].unique()) > 0.99 * noise.numel()


@pytest.mark.parametrize("count", [1, 3, BATCH, BATCH + 1, 2 * BATCH])
def test_every_draw_is_the_same_in_any_batch_and_across_batches(draws, recipe, count):
    assert torch.equal(draws(first_videos(recipe, count)), draws(recipe)[:count])


def test_batches_of_another_size_draw_the_same_noise(draws, recipe):
    assert torch.equal(draws(replace(recipe, batch=3)), draws(recipe))


@pytest.mark.parametrize("video", [0, 2, BATCH - 1, BATCH, 2 * BATCH + 2])
def test_one_video_of_a_seed_can_be_made_alone(pipe, draws, recipe, video):
    alone = replace(first_videos(recipe, 1), keys=[(5, video)])
    assert torch.equal(draws(alone), draws(recipe)[video : video + 1])
    latents = pipe.make(recipe, "latent").frames[video]
    torch.testing.assert_close(pipe.make(alone, "latent").frames[0], latents, rtol=0, atol=1e-4)


def test_the_recipe_of_a_batch_holds_that_batch_alone(recipe):
    batch, place = recipe.batch_of(BATCH + 2)
    assert (place, batch.keys) == (2, [(5, i) for i in range(BATCH, 2 * BATCH)])
    batch, place = recipe.batch_of(2 * BATCH + 1)
    assert (place, len(batch.prompts), len(batch.negative_prompts)) == (1, 3, 3)
    assert batch.batch_of(place) == (batch, place)
