"""An image transformer that becomes a video transformer: on a still video it computes the same."""

from dataclasses import replace

import pytest
import torch

from model.models import OPTIONS, SMALL, awake, random_text
from tubelet.errors import InputError
from tubelet.model.inflation import INFLATIONS, inflated
from tubelet.model.transformer import VideoTransformer

IMAGE = replace(SMALL, tubelet=(1, 2, 2), heads=2, width=24, depth=2)
KINDS = {name: change for name, change in OPTIONS.items() if change.get("positions") != "sincos"}


def video_model(image: VideoTransformer, how: str, depth: int, **changes) -> VideoTransformer:
    config = replace(image.config, tubelet=(depth, *image.config.tubelet[1:]), **changes)
    model = VideoTransformer(config)
    model.load_state_dict(inflated(image.state_dict(), image.config, config, how))
    return model


def still(depth: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """An image's latents, a video that stands still, and times of both."""
    torch.manual_seed(3)
    image = torch.randn(2, 3, 1, 4, 6)
    return image, image.expand(-1, -1, depth, -1, -1).contiguous(), torch.rand(2, 1, 1, 1, 1)


@pytest.mark.parametrize("how", INFLATIONS)
@pytest.mark.parametrize("options", KINDS)
@torch.no_grad()
def test_of_one_tubelet_in_time_every_frame_is_predicted_as_the_image_was(how, options):
    model, text = awake(replace(IMAGE, **KINDS[options])), random_text(2)
    for depth in (2, 3):
        image, video, t = still(depth)
        predicted = video_model(model, how, depth)(video, t, text)
        torch.testing.assert_close(
            predicted, model(image, t, text).expand_as(predicted), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("how", INFLATIONS)
@torch.no_grad()
def test_a_longer_video_is_predicted_so_where_tokens_see_their_own_frame(how):
    model, text = awake(IMAGE), random_text(2)
    image, video, t = still(6)
    spatial = video_model(model, how, 2, attention=("factorised_encoder", "space_then_time"))
    assert spatial.config.views == (("space",), ("space",))
    predicted = spatial(video, t, text)
    torch.testing.assert_close(predicted, model(image, t, text).expand_as(predicted), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_central_frame_alone_is_seen_or_the_mean_of_all():
    model, text = awake(IMAGE), random_text(2)
    image, video, t = still(3)
    other = video.clone()
    other[:, :, (0, 2)] = torch.randn_like(other[:, :, (0, 2)])
    seen = {how: video_model(model, how, 3)(other, t, text) for how in INFLATIONS}
    expected = model(image, t, text).expand_as(other)
    torch.testing.assert_close(seen["central"], expected, atol=1e-5, rtol=1e-5)
    mean = model(other.mean(2, keepdim=True), t, text).expand_as(other)
    torch.testing.assert_close(seen["average"], mean, atol=1e-5, rtol=1e-5)


def test_what_is_inflated_learns_which_frame_is_which():
    model = video_model(awake(IMAGE), "central", 2)
    predicted = model(torch.randn(1, 3, 4, 4, 6), torch.rand(1, 1, 1, 1, 1), random_text(1))
    (predicted - torch.randn_like(predicted)).square().mean().backward()
    gradient = model.place.weight.grad
    assert gradient.abs().sum(0).gt(0).all()  # also of the waves of time, which begin at zero


@pytest.mark.parametrize(
    ("trained", "wanted", "how", "words"),
    [
        ({}, {"tubelet": (2, 2, 2)}, "centre", "central"),
        ({"tubelet": (2, 2, 2)}, {"tubelet": (4, 2, 2)}, "central", r"set tubelet to \(2, 2, 2\)"),
        ({}, {"tubelet": (2, 2, 1)}, "central", r"set tubelet to \(2, 2, 2\)"),
        (
            {"positions": "sincos"},
            {"positions": "sincos", "tubelet": (2, 2, 2)},
            "average",
            "rotary or learned",
        ),
    ],
)
def test_what_cannot_be_inflated_is_refused_with_the_remedy(trained, wanted, how, words):
    image, video = replace(IMAGE, **trained), replace(IMAGE, **wanted)
    with pytest.raises(InputError, match=words):
        inflated(VideoTransformer(image).state_dict(), image, video, how)
