"""What a denoiser of some shape costs, before it is made: parameters and floating-point operations."""

import torch

from tubelet.model.conditioning import TIME_FEATURES
from tubelet.model.feed_forward import FEED_FORWARDS
from tubelet.model.references import Outline, Place, tokens_of
from tubelet.model.transformer import TransformerConfig, VideoTransformer, plan_of
from tubelet.model.tubelets import grid_of, volume


def num_parameters(config: TransformerConfig) -> int:
    """Parameters of the model of this shape, counted without allocating it."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in VideoTransformer(config).parameters())


def flops(
    config: TransformerConfig,
    latent_shape: tuple[int, int, int, int],
    text_tokens: int,
    references: tuple[Place, ...] = (),
    levels: int = 1,
) -> int:
    """Floating-point operations of one forward of one clip, two for each multiply-add of a matrix product.

    `latent_shape` is (C, f, h, w), `levels` how many different times its tokens have (see `times_of`), to which
    references add one; `text_tokens` counts padding too. Training costs three times as much.
    """
    grid = grid_of(latent_shape[1:], config.tubelet)
    outline = Outline(grid, references)
    plan = plan_of(config, (outline,), torch.device("cpu"))
    width, text_width = config.width, config.text_width
    patch, (tokens,) = config.latent_channels * volume(config.tubelet), plan.layout.tokens
    embedded = tokens_of(outline)
    one_each = levels == grid.tokens > 1
    levels = tokens if one_each else levels + bool(references)
    modulations = config.depth if config.modulation == "block" else 1
    signal = levels * (TIME_FEATURES * width + (3 + 6 * modulations) * width**2) + text_width * width
    spread = 0 if levels == 1 or one_each else levels * width  # for each number that a token is given
    steering = spread * (2 * grid.tokens + 6 * config.depth * tokens)
    ends = embedded * width * (patch + volume(config.tubelet))
    ends += tokens * width * config.head_dim if config.positions in ("rotary", "periodic") else 0
    ends += grid.tokens * width * config.predictions * patch
    ends += 0 if config.prompt == "none" else text_tokens * text_width * width
    # Each view has its share of the heads; a pair costs two products, query by key and weight by value.
    seeing = sum(2 * view.pairs * width // len(views) for views in plan.views for view in views)
    attending = 4 * tokens * width**2
    reading = prompt_products(config, tokens, text_tokens + 1)
    thinking = tokens * FEED_FORWARDS[config.feed_forward].weights(width, config.mlp_ratio)
    return 2 * (signal + steering + ends + seeing + reading + config.depth * (attending + thinking))


def prompt_products(config: TransformerConfig, tokens: int, states: int) -> int:
    """Multiply-adds by which all blocks of one sample of so many tokens read so many states of its prompt."""
    width, depth = config.width, config.depth
    if config.prompt == "none":
        return 0
    if config.prompt == "cross":
        return depth * (2 * (tokens + states) * width**2 + 2 * tokens * states * width)
    steering = 6 * (depth - 1) + 2 if config.modulation == "block" else 6
    thinking = states * FEED_FORWARDS[config.feed_forward].weights(width, config.mlp_ratio)
    through = 4 * states * width**2 + thinking + 2 * states * (tokens + states) * width
    last = 2 * states * width**2
    return steering * width**2 + (depth - 1) * through + last + depth * 2 * tokens * states * width
