"""Guidance of a pipeline: what the network is asked, what each setting does, and that files replay it."""

import dataclasses
import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch

from sampling.pipes import OTHER, PROMPT, like, made, predictions
from tubelet.cli import main
from tubelet.diffusion.guidance import Guidance, compose, guide
from tubelet.errors import InputError
from tubelet.sampling.flags import Generate
from tubelet.sampling.pipeline import BATCH, VideoPipeline
from tubelet.sampling.recipe import Recipe
from tubelet.sampling.record import FIELDS, read_record
from tubelet.sampling.replay import replay

SETTINGS = {
    "guidance_interval": (0.2, 0.8),
    "guidance_rescale": 0.7,
    "guidance_parallel": 0.0,
    "guidance_threshold": 0.05,
    "guidance_momentum": -0.5,
    "compose": [(OTHER, 0.5), ("stars", -0.5)],
}


# One name and one default for each setting, wherever it is said.


def test_python_the_flags_recipes_and_the_mathematics_have_the_same_defaults():
    python = {
        name: each.default for name, each in inspect.signature(VideoPipeline.__call__).parameters.items()
    }
    flags = {each.name: each.default for each in dataclasses.fields(Generate)}
    shared = python.keys() & flags.keys()
    assert flags.keys() - shared == {"out", "checkpoint", "weaker"}
    for name in shared - {"prompt", "seed"}:  # a seed of None is fresh noise
        assert flags[name] == python[name], name
    recipe = {each.name: each.default for each in dataclasses.fields(Recipe)}
    for each in dataclasses.fields(Guidance):
        name = f"guidance_{each.name}"
        assert python[name] == each.default
        assert each.name == "scale" or recipe[name] == each.default
        assert name in FIELDS


# What each setting does.


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_changes_the_video_and_not_its_noise(pipe, name):
    settings = {name: SETTINGS[name]}
    out = pipe(PROMPT, seed=0, num_inference_steps=3, output_type="latent", **settings)
    assert torch.isfinite(out.frames).all()
    assert not np.allclose(out.frames.numpy(), made(pipe), atol=1e-4)
    assert out.recipe.keys == [(0, 0)]


def test_outside_the_interval_the_network_sees_half_the_rows(pipe, rows):
    seen = rows(pipe.transformer)
    made(pipe, [PROMPT] * 3, num_inference_steps=5, guidance_interval=(0.4, 0.8))
    assert seen == [3, 6, 6, 3, 3]  # t = 1, 0.8, 0.6, 0.4, 0.2
    seen.clear()
    made(pipe, [PROMPT] * 3, num_inference_steps=2, guidance_scale=1)
    assert seen == [3, 3]


def test_an_interval_without_a_step_in_it_leaves_the_very_bits_of_scale_1(pipe):
    plain = made(pipe, [PROMPT, OTHER], guidance_scale=1)
    settings = {"guidance_rescale": 0.5, "guidance_momentum": -0.5, "negative_prompt": "a much longer prompt"}
    assert np.array_equal(made(pipe, [PROMPT, OTHER], guidance_interval=(0.7, 0.9), **settings), plain)


def test_momentum_begins_anew_with_every_batch(pipe):
    settings = {"guidance_momentum": -0.7, "guidance_parallel": 0.0}
    all_of_them = made(pipe, [PROMPT] * (BATCH + 2), **settings)
    assert np.array_equal(made(pipe, [PROMPT] * (BATCH + 2), **settings), all_of_them)
    np.testing.assert_allclose(made(pipe, [PROMPT] * 2, **settings), all_of_them[:2], atol=1e-4)


# Further prompts.


def test_a_prompt_composed_with_itself_doubles_the_scale(pipe, rows):
    seen = rows(pipe.transformer)
    twice = made(pipe, compose=[(PROMPT, 1)], guidance_scale=2)
    assert seen == [3] * 3
    np.testing.assert_allclose(twice, made(pipe, guidance_scale=4), atol=1e-4)
    np.testing.assert_allclose(made(pipe, compose=[(OTHER, 0)]), made(pipe), atol=1e-4)


def test_equal_further_prompts_add_their_weights(pipe):
    twice = made(pipe, compose=[(OTHER, 0.3), (OTHER, 0.5)])
    np.testing.assert_allclose(twice, made(pipe, compose=[(OTHER, 0.8)]), atol=1e-4)


def test_at_scale_1_a_composition_is_still_composed(pipe):
    assert not np.allclose(
        made(pipe, guidance_scale=1, compose=[(OTHER, 1)]), made(pipe, guidance_scale=1), atol=1e-4
    )


def test_every_prompt_can_have_its_own_further_prompts_in_any_batch(pipe):
    prompts = [PROMPT] * (BATCH + 1)
    own = [[(OTHER, 0.5)], [], [("stars", -1), (OTHER, 1)], *[[]] * (BATCH - 3), [("stars", 1)]]
    out = made(pipe, prompts, compose=own)
    for video in (0, 1, 2, BATCH):
        recipe = pipe(prompts, seed=0, num_inference_steps=3, compose=own, output_type="latent").recipe
        one = replace(
            recipe,
            batch=1,
            **{
                name: getattr(recipe, name)[video : video + 1]
                for name in ("prompts", "negative_prompts", "keys", "compositions")
            },
        )
        np.testing.assert_allclose(pipe.make(one, "latent").frames[0], out[video], atol=1e-4)
    twice = made(pipe, [PROMPT, PROMPT], compose=[[(OTHER, 0.5)], []], num_videos_per_prompt=2)
    alike = made(pipe, [PROMPT] * 4, compose=[[(OTHER, 0.5)]] * 2 + [[]] * 2)
    assert np.array_equal(twice, alike)


# Learned variances.


@torch.no_grad()
@pytest.mark.parametrize("further", [[], [(OTHER, 0.7)]])
def test_every_latent_channel_is_guided_and_the_variance_is_the_prompts_own(learned, further):
    recipe = learned([PROMPT], seed=0, num_inference_steps=1, compose=further, output_type="latent").recipe
    xt, t = torch.randn(1, 4, 2, 4, 6), torch.tensor([0.6])
    out = learned.guided(recipe)(xt, t)
    conditional, unconditional, other = (predictions(learned, xt, t, [p]) for p in (PROMPT, "", OTHER))
    weights = torch.tensor([[weight for _, weight in further]])
    composed = compose(conditional[:, :4], unconditional[:, :4], other[: len(further), :4], weights)
    torch.testing.assert_close(out[:, :4], guide(composed, unconditional[:, :4], 4.0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(out[:, 4:], conditional[:, 4:], atol=1e-5, rtol=1e-5)
    assert (conditional[:, 4:] - unconditional[:, 4:]).abs().max() > 1e-3
    assert ((out - conditional)[:, :4].abs().amax((0, 2, 3, 4)) > 1e-3).all()


@pytest.mark.parametrize("sampler", ["euler", "ddim", "ancestral"])
def test_a_learned_variance_is_sampled_and_saved(learned, sampler, tmp_path):
    out = made(learned, sampler=sampler, guidance_parallel=0.0)
    assert out.shape == (1, 4, 2, 4, 6) and np.isfinite(out).all()
    learned.save_pretrained(tmp_path / "saved")
    again = VideoPipeline.from_pretrained(tmp_path / "saved")
    assert again.reverse.variance == "learned"
    assert np.array_equal(made(again, sampler=sampler, guidance_parallel=0.0), out)


def test_only_the_ancestral_sampler_reads_the_variance(learned):
    """Doubling the variance channels' weights moves nothing else."""
    other = like(learned, 2)
    head = other.transformer.unembed
    with torch.no_grad():
        for parameter in head.parameters():
            rows = parameter.shape[0]
            if rows == 2 * 4 * 4:  # both predictions of 4 channels in tubelets of 1 x 2 x 2
                parameter.view(2, -1)[1] *= 2
    assert np.array_equal(made(other, sampler="euler"), made(learned, sampler="euler"))
    assert not np.array_equal(made(other, sampler="ancestral"), made(learned, sampler="ancestral"))


# Refused.


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"guidance_scale": float("nan")}, "--guidance-scale"),
        ({"guidance_interval": (0.8, 0.2)}, "--guidance-interval"),
        ({"guidance_rescale": 1.1}, "--guidance-rescale"),
        ({"guidance_parallel": -1}, "--guidance-parallel"),
        ({"guidance_threshold": -1}, "--guidance-threshold"),
        ({"guidance_momentum": 2}, "--guidance-momentum"),
        ({"compose": [(OTHER, 2)]}, "--compose: weight 2.0"),
        ({"compose": [(OTHER, -1), ("b", -1)]}, "--compose: the weights sum to -2"),
        ({"compose": [("b", 0.1)] * 5}, "--compose: 5 further"),
        ({"compose": [OTHER]}, "--compose takes pairs"),
        ({"compose": OTHER}, "--compose takes pairs"),
        ({"compose": [(OTHER, "1")]}, "--compose takes pairs"),
        ({"compose": [[(OTHER, 1)], []]}, "a list of pairs for each of 1 prompts"),
        ({"compose": [3]}, "--compose takes pairs"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_made(pipe, rows, settings, words):
    seen = rows(pipe.transformer)
    with pytest.raises(InputError, match=words):
        pipe(PROMPT, **settings)
    assert not seen


# Files.


@pytest.mark.parametrize("name", [*SETTINGS, "weaker"])
def test_a_file_of_every_setting_is_made_again_bit_for_bit(folders, tmp_path, name):
    strong, weak = folders
    pipe = VideoPipeline.from_pretrained(strong, weaker=weak if name == "weaker" else None)
    settings = {name: SETTINGS[name]} if name in SETTINGS else {}
    out = pipe([PROMPT] * (BATCH + 1), seed=0, num_inference_steps=2, **settings)
    file = out.save(tmp_path / "a.png")[-1]
    record = read_record(file)
    assert record.recipe == out.recipe.batch_of(BATCH)[0]
    result = replay(file, pipe)
    assert result.same and result.same_bits
    words = {"compose": "composed with 'a blue square moves up' 0.5", "weaker": "weaker checkpoint"}
    assert words.get(name, name.removeprefix("guidance_")) in result.report()


def test_the_flags_reach_the_file(folders, tmp_path, capsys):
    strong, weak = folders
    file = tmp_path / "a.png"
    flags = (
        "--guidance-interval 0.2 0.9 --guidance-rescale 0.7 --guidance-parallel 0 --guidance-threshold 0.3"
    )
    flags += f" --guidance-momentum -0.5 --num-inference-steps 2 --checkpoint {strong} --weaker {weak}"
    main(["generate", PROMPT, "-o", str(file), *flags.split(), "--compose", OTHER, "1", "stars", "-0.5"])
    recipe = read_record(file).recipe
    assert recipe.guidance == Guidance(
        interval=(0.2, 0.9), rescale=0.7, parallel=0.0, threshold=0.3, momentum=-0.5
    )
    assert recipe.compositions == [[(OTHER, 1.0), ("stars", -0.5)]]
    main(["replay", str(file), "--checkpoint", str(strong), "--weaker", str(weak)])
    out = capsys.readouterr().out
    assert "bit for bit" in out and "interval (0.2, 0.9), rescale 0.7" in out
