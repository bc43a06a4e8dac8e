"""Small pipelines that the tests of sampling share."""

import pytest
import torch

from sampling.pipes import like, waken
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
    waken(codec, transformer)
    return VideoPipeline(codec, transformer, encoder, Scheduler(num_frames=5, height=32, width=48))


@pytest.fixture(scope="session")
def weaker(pipe) -> VideoPipeline:
    """A smaller denoiser on the same latents."""
    return like(pipe, 1, width=16, depth=1, heads=1)


@pytest.fixture
def rows():
    """(network) -> a list that its calls fill with their rows."""
    hooks = []

    def watched(network) -> list[int]:
        seen: list[int] = []
        hooks.append(network.register_forward_pre_hook(lambda _, given: seen.append(len(given[0]))))
        return seen

    yield watched
    for hook in hooks:
        hook.remove()


@pytest.fixture(scope="session")
def learned(pipe) -> VideoPipeline:
    return like(pipe, 2, predictions=2)


@pytest.fixture(scope="session")
def folders(pipe, weaker, tmp_path_factory):
    """Where the small pipeline and the weaker one are saved."""
    root = tmp_path_factory.mktemp("checkpoints")
    pipe.save_pretrained(root / "strong")
    weaker.save_pretrained(root / "weaker")
    return root / "strong", root / "weaker"
