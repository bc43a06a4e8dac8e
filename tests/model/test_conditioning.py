"""Time and prompt as shift, scale and gate."""

import torch

from tubelet.model.conditioning import TIME_FEATURES, Modulation, Signal, time_features, token_times


def test_time_features_are_unit_pairs_that_tell_close_times_apart():
    t = torch.tensor([0.0, 0.001, 0.5, 1.0])
    features = time_features(t)
    assert features.shape == (4, TIME_FEATURES)
    torch.testing.assert_close(features.square().sum(1), torch.full((4,), TIME_FEATURES / 2))
    assert torch.pdist(features).min() > 0.5


def test_a_token_has_the_latest_time_of_its_latents():
    t = torch.zeros(1, 1, 2, 2, 4)
    t[0, 0, 1, 0, 3] = 0.7
    assert token_times(t, (2, 2, 4), (1, 2, 2)).tolist() == torch.tensor([[0, 0, 0, 0.7]]).tolist()
    assert token_times(t, (2, 2, 4), (2, 2, 2)).tolist() == torch.tensor([[0, 0.7]]).tolist()


def test_times_that_vary_along_one_axis_only_are_spread_over_the_others():
    t = torch.tensor([0.0, 0.3]).view(1, 1, 2, 1, 1)
    assert torch.equal(token_times(t, (2, 2, 4), (1, 2, 2))[0], torch.tensor([0, 0, 0.3, 0.3]))


def test_one_time_for_each_sample_stays_one():
    assert token_times(torch.rand(3, 1, 1, 1, 1), (2, 2, 4), (1, 2, 2)).shape == (3, 1)
    assert token_times(torch.tensor(0.5), (2, 2, 4), (1, 2, 2)).tolist() == [[0.5]]


def test_a_fresh_modulation_is_silent():
    signal = Signal(16, 8)(torch.rand(2, 5), torch.randn(2, 1, 8))
    assert signal.shape == (2, 5, 16)
    assert torch.equal(Modulation(16)(signal), torch.zeros(2, 5, 96))
