"""A model and prompts of a size for tests."""

import torch

from tubelet.model.transformer import MODULATIONS, PROMPTS, TransformerConfig, VideoTransformer
from tubelet.shapes import Text

SMALL = TransformerConfig(latent_channels=3, width=24, depth=2, heads=2, text_width=10)

# Every way to tell a model what to do, by the fields that differ from the default.
CONDITIONINGS = {
    f"{prompt} {modulation}": {"prompt": prompt, "modulation": modulation}
    for prompt in PROMPTS
    for modulation in MODULATIONS
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
