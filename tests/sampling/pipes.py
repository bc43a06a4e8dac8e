"""Small untrained pipelines in which every part does something, and what tests ask of them."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from tubelet.model.transformer import VideoTransformer
from tubelet.sampling.pipeline import VideoPipeline

PROMPT, OTHER = "a red circle moves left", "a blue square moves up"


def waken(*modules: nn.Module) -> None:
    """Give numbers to the parameters that are born zero."""
    for parameter in (parameter for module in modules for parameter in module.parameters()):
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)


def like(pipe: VideoPipeline, seed: int, **config) -> VideoPipeline:
    """The pipeline with another denoiser."""
    torch.manual_seed(seed)
    transformer = VideoTransformer(replace(pipe.transformer.config, **config))
    waken(transformer)
    variance = "learned" if transformer.config.predictions == 2 else "small"
    scheduler = replace(pipe.scheduler, variance=variance)
    return VideoPipeline(pipe.codec, transformer, pipe.text_encoder, scheduler, f"{seed}" * 64)


def guided_by(pipe: VideoPipeline, weaker: VideoPipeline, hash: str = "") -> VideoPipeline:
    """The pipeline with a weaker one to guide by."""
    return VideoPipeline(pipe.codec, pipe.transformer, pipe.text_encoder, pipe.scheduler, hash, weaker)


def made(pipe: VideoPipeline, prompt=PROMPT, **settings) -> np.ndarray:
    """Latents of three steps from seed 0."""
    defaults = {"num_inference_steps": 3, "seed": 0, "output_type": "latent"}
    return pipe(prompt, **{**defaults, **settings}).frames.numpy()


def predictions(pipe, xt, t, prompts) -> Tensor:
    """What the denoiser says of each prompt, unguided."""
    text = pipe.text_encoder.encode(prompts)
    return pipe.transformer(xt, t.view(-1, 1, 1, 1, 1), text)
