"""Statistics of clips against what they are by hand, and a band that noise leaves."""

import pytest
import torch

from tubelet.evaluation.plausible import STATISTICS, Band, clip_statistics


def still(*colours: int) -> torch.Tensor:
    """Two frames of 2 x 2 pixels, grey of these levels row by row."""
    return torch.tensor(colours, dtype=torch.uint8).view(1, 2, 2, 1).expand(2, 2, 2, 3)


def test_the_statistics_of_small_clips_are_those_by_hand():
    found = dict(zip(STATISTICS, clip_statistics(still(0, 0, 255, 255)).tolist(), strict=True))
    assert found["mean"] == pytest.approx(0.5, abs=1e-5) and found["saturation"] == 0 and found["change"] == 0
    assert found["gradient"] == pytest.approx(0.5, abs=1e-5) and found["clipped"] == 1  # down 1, across 0
    assert found["contrast"] == pytest.approx((8 * 0.25 / 7) ** 0.5, abs=1e-5)
    moving = torch.stack([still(0, 0, 0, 0)[0], still(51, 51, 51, 51)[0]])
    assert clip_statistics(moving)[STATISTICS.index("change")] == pytest.approx(0.2, abs=1e-5)
    red = torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
    red[..., 0] = 255
    assert clip_statistics(red).tolist() == pytest.approx([0.299, 0, 1, 0, 0, 1], abs=1e-6)


def test_clips_lie_in_the_band_of_their_like_and_noise_does_not():
    source = torch.Generator().manual_seed(0)
    light = [torch.rand(2, generator=source) * 60 + 60 for _ in range(80)]
    steps = torch.linspace(0, 1, 16)
    clips = [(a + b * steps).view(1, 1, 16, 1).expand(4, 16, 16, 3).byte() for a, b in light]
    band = Band.of(clips[:60])
    assert sum(not band.outside(frames) for frames in clips[60:]) >= 19
    noise = torch.randint(256, (4, 16, 16, 3), generator=source, dtype=torch.uint8)
    assert {"saturation", "gradient", "change", "contrast"} <= set(band.outside(noise))
