"""Guidance by a weaker checkpoint: what each network is asked, what is refused, and that files replay it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sampling.pipes import OTHER, PROMPT, guided_by, made, predictions
from tubelet.diffusion.guidance import compose, guide
from tubelet.errors import InputError
from tubelet.sampling.pipeline import VideoPipeline
from tubelet.sampling.replay import replay
from tubelet.text.encoder import make_encoder


@pytest.fixture(scope="module")
def autoguided(pipe, weaker) -> VideoPipeline:
    return guided_by(pipe, weaker, "a" * 64)


@torch.no_grad()
def test_a_weaker_model_stands_where_the_empty_prompt_would(autoguided, pipe, weaker, rows):
    strong, weak = rows(pipe.transformer), rows(weaker.transformer)
    recipe = autoguided([PROMPT], seed=0, num_inference_steps=5, guidance_interval=(0.4, 0.8)).recipe
    assert (strong, weak) == ([1] * 5, [1] * 2)
    assert recipe.weaker == weaker.hash
    xt, t = torch.randn(1, 4, 2, 4, 6), torch.tensor([0.6])
    both = [predictions(each, xt, t, [PROMPT]) for each in (pipe, weaker)]
    torch.testing.assert_close(autoguided.guided(recipe)(xt, t), guide(*both, 4.0), atol=1e-4, rtol=1e-4)


def test_a_model_guided_by_itself_is_not_guided(pipe):
    same = guided_by(pipe, pipe)
    np.testing.assert_allclose(made(same), made(pipe, guidance_scale=1), atol=1e-5)


@torch.no_grad()
def test_both_models_are_asked_for_the_same_composition(autoguided, pipe, weaker, rows):
    strong, weak = rows(pipe.transformer), rows(weaker.transformer)
    recipe = autoguided([PROMPT], seed=0, num_inference_steps=2, compose=[(OTHER, 0.5)]).recipe
    assert (strong, weak) == ([3] * 2, [3] * 2)
    xt, t = torch.randn(1, 4, 2, 4, 6), torch.tensor([0.6])
    composed = []
    for each in (pipe, weaker):
        c, u, other = (predictions(each, xt, t, [words]) for words in (PROMPT, "", OTHER))
        composed.append(compose(c, u, other, torch.tensor([[0.5]])))
    torch.testing.assert_close(autoguided.guided(recipe)(xt, t), guide(*composed, 4.0), atol=1e-4, rtol=1e-4)


def test_a_weaker_model_may_learn_its_variance_or_not(pipe, learned, weaker):
    for strong, weak in ((learned, weaker), (pipe, learned)):
        both = VideoPipeline(
            strong.codec, strong.transformer, strong.text_encoder, strong.scheduler, "", weak
        )
        assert np.isfinite(made(both, sampler="ancestral")).all()


def test_a_weaker_model_of_something_else_is_refused_with_the_reason(pipe, weaker):
    def other(**parts) -> VideoPipeline:
        of = {name: getattr(weaker, name) for name in ("codec", "transformer", "text_encoder", "scheduler")}
        return VideoPipeline(**{**of, **parts})

    codec = type(pipe.codec)(pipe.codec.config)
    encoder = make_encoder("bytes")
    encoder.fingerprint = "other"
    for parts, words in (
        ({"codec": codec}, "another encoder of latents"),
        ({"text_encoder": encoder}, "another text encoder"),
        ({"scheduler": replace(pipe.scheduler, path="ddpm_cosine")}, "another path"),
        (
            {"scheduler": replace(pipe.scheduler, path="ddpm_cosine", target="v")},
            "another path, another target",
        ),
    ):
        with pytest.raises(InputError, match=f"--weaker: .*{words}, so the two cannot be compared"):
            VideoPipeline(pipe.codec, pipe.transformer, pipe.text_encoder, pipe.scheduler, "", other(**parts))


def test_another_decoder_is_no_other_latents(pipe, weaker):
    codec = type(pipe.codec)(pipe.codec.config)
    codec.load_state_dict(pipe.codec.state_dict())
    with torch.no_grad():
        codec.from_latent.bias.add_(1)
    other = VideoPipeline(codec, weaker.transformer, weaker.text_encoder, weaker.scheduler)
    guided_by(pipe, other)


def test_a_negative_prompt_and_a_weaker_model_are_two_things_for_one_place(autoguided):
    with pytest.raises(InputError, match="--negative-prompt and --weaker: .* leave one out"):
        autoguided(PROMPT, negative_prompt="stars")
    assert np.isfinite(made(autoguided, negative_prompt="")).all()


def test_a_replay_needs_the_weaker_checkpoint_and_names_it(folders, tmp_path):
    strong, weak = folders
    pipe = VideoPipeline.from_pretrained(strong, weaker=weak)
    [file] = pipe(PROMPT, seed=0, num_inference_steps=2).save(tmp_path / "a.png")
    assert replay(file, checkpoint=strong, weaker=weak).same
    hash = pipe.weaker.hash[:12]
    with pytest.raises(InputError, match=f"weaker checkpoint {hash}, and none is given; .* --weaker"):
        replay(file, checkpoint=strong)
    with pytest.raises(InputError, match=f"weaker checkpoint {hash}, and this one is {pipe.hash[:12]}; "):
        replay(file, checkpoint=strong, weaker=strong)
    # A file that was not guided by one is made without it, whatever is given.
    [plain] = VideoPipeline.from_pretrained(strong)(PROMPT, seed=0, num_inference_steps=2).save(
        tmp_path / "b.png"
    )
    assert replay(plain, checkpoint=strong, weaker=weak).same
