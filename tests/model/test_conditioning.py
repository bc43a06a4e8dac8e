"""Time and prompt as shift, scale and gate."""

import torch

from tubelet.model.conditioning import TIME_FEATURES, Modulation, Signal, time_features


def test_time_features_are_unit_pairs_that_tell_close_times_apart():
    t = torch.tensor([0.0, 0.001, 0.5, 1.0])
    features = time_features(t)
    assert features.shape == (4, TIME_FEATURES)
    torch.testing.assert_close(features.square().sum(1), torch.full((4,), TIME_FEATURES / 2))
    assert torch.pdist(features).min() > 0.5


def test_a_fresh_modulation_is_silent():
    signal = Signal(16, 8)(torch.rand(2, 5), torch.randn(2, 1, 8))
    assert signal.shape == (2, 5, 16)
    assert torch.equal(Modulation(16)(signal), torch.zeros(2, 5, 96))
