"""A model and prompts of a size for tests."""

import torch

from tubelet.model.transformer import TransformerConfig, VideoTransformer
from tubelet.shapes import Text

SMALL = TransformerConfig(latent_channels=3, width=24, depth=2, heads=2, text_width=10)

# Fields of the config that differ from the plain transformer, by a name for the test's id.
OPTIONS = {
    "no qk norm": {"qk_norm": False},
    "swiglu": {"feed_forward": "swiglu"},
    "rms": {"norm": "rms"},
    "instance": {"norm": "instance"},
    "a register": {"registers": 1},
    "registers": {"registers": 4},
    "value residual": {"value_residual": True},
    "sincos": {"positions": "sincos"},
    "periodic": {"positions": "periodic"},
    "learned positions": {"positions": "learned"},
    "all but one": {
        "qk_norm": False,
        "feed_forward": "swiglu",
        "norm": "instance",
        "registers": 2,
        "value_residual": True,
        "positions": "learned",
    },
}

# The plain one, and those that differ most from it in what happens to a prompt; test_pairs.py has the rest.
FEW = {
    "plain": {},
    "joint": OPTIONS["all but one"] | {"prompt": "joint", "modulation": "block"},
    "none": {"prompt": "none", "modulation": "block"},
}


def random_text(batch, tokens=5, width=10):
    mask = torch.arange(tokens) < torch.randint(1, tokens + 1, (batch, 1))
    return Text(torch.randn(batch, tokens, width), mask, torch.randn(batch, width))


def awake(config=SMALL):
    """A model in which no layer is silent any more."""
    torch.manual_seed(0)
    model = VideoTransformer(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return model
