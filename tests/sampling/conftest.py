"""A small pipeline that the tests of sampling share."""

import pytest
import torch

from tubelet.autoencoder.codec import CausalCodec, CodecConfig
from tubelet.model.transformer import TransformerConfig, VideoTransformer
from tubelet.sampling.pipeline import Scheduler, VideoPipeline
from tubelet.text.encoder import make_encoder


@pytest.fixture(scope="session")
def pipe() -> VideoPipeline:
    """A small untrained pipeline in which every part does something."""
    torch.manual_seed(0)
    codec = CausalCodec(
        CodecConfig(latent_channels=4, widths=(8, 16), encoder_depths=(1, 1), decoder_depths=(1, 1))
    )
    encoder = make_encoder("bytes")
    transformer = VideoTransformer(
        TransformerConfig(latent_channels=4, width=32, depth=2, heads=2, text_width=encoder.width)
    )
    for parameter in [*codec.parameters(), *transformer.parameters()]:
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return VideoPipeline(codec, transformer, encoder, Scheduler(num_frames=5, height=32, width=48))
