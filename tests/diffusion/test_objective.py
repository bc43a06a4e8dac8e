import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.diffusion.objective import TimeSampling, mean_squared, shift_times, simple_loss
from tubelet.diffusion.paths import PATHS, make_path
from tubelet.diffusion.targets import TARGETS, target_of
from tubelet.errors import InputError

DRAWS = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000


def test_without_known_latents_it_is_the_mean_square_of_each_sample():
    prediction, target = torch.randn(2, 3, 4, 2, 5, 5)
    expected = torch.stack([(p - t).square().mean() for p, t in zip(prediction, target, strict=True)])
    torch.testing.assert_close(mean_squared(prediction, target), expected)


def test_the_mean_is_over_the_unknown_latents_of_each_sample():
    prediction, target = torch.randn(2, 3, 4, 3, 2, 2)
    unknown = torch.ones(3, 1, 3, 2, 2, dtype=torch.bool)
    unknown[0, :, 0] = False  # sample 0 knows its first frame
    unknown[2] = False  # sample 2 knows everything
    loss = mean_squared(prediction, target, unknown)
    square = (prediction - target).square()
    assert loss.tolist() == pytest.approx([square[0, :, 1:].mean().item(), square[1].mean().item(), 0.0])


def test_an_infinite_target_at_a_known_latent_reaches_neither_loss_nor_gradient():
    prediction = torch.zeros(1, 2, requires_grad=True)
    loss = mean_squared(prediction, torch.tensor([[math.inf, 3.0]]), torch.tensor([[False, True]]))
    loss.sum().backward()
    assert loss.tolist() == [9.0] and prediction.grad.tolist() == [[0.0, -6.0]]


def test_bfloat16_predictions_are_compared_in_float32():
    loss = mean_squared(torch.ones(1, 1000, dtype=torch.bfloat16), torch.full((1, 1000), 1.001))
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(1e-6, rel=1e-3)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("target", TARGETS)
def test_the_simple_loss_is_0_for_the_true_target_and_1_beside_it(name, target):
    path, t = make_path(name), torch.tensor([0.3, 1.0])
    x0, noise = torch.randn(2, 2, 3, 4)
    true = target_of(target, path, x0, noise, t)
    assert simple_loss(path, target, true, x0, noise, t).tolist() == [0, 0]
    beside = simple_loss(path, target, true + 1, x0, noise, t)
    assert beside.tolist() == pytest.approx([1, 1], rel=1e-4)


@pytest.mark.parametrize("name", PATHS)
def test_training_with_a_clean_frame_is_finite_for_every_target(name):
    x0, noise = torch.randn(2, 1, 2, 3, 1, 1)
    t = torch.full((1, 1, 3, 1, 1), 0.5)
    t[:, :, 0] = 0
    for target in TARGETS:
        prediction = torch.zeros_like(x0, requires_grad=True)
        simple_loss(make_path(name), target, prediction, x0, noise, t, unknown=t > 0).sum().backward()
        assert prediction.grad.isfinite().all() and (prediction.grad[:, :, 0] == 0).all()


@pytest.mark.parametrize("sampling", [TimeSampling(), TimeSampling("logit_normal", 0.4, 2.0)])
@settings(deadline=None)
@given(st.floats(0, 1, exclude_max=True, width=32))
def test_a_drawn_time_is_above_0_and_at_most_1(sampling, uniform):
    t = sampling.times(torch.tensor([uniform]))
    assert t.dtype == torch.float32 and 0 < t.item() <= 1


def test_uniform_times_are_uniform():
    t = TimeSampling("uniform").times(DRAWS)
    assert t.mean().item() == pytest.approx(1 / 2, abs=1e-6)
    assert t.var().item() == pytest.approx(1 / 12, abs=1e-4)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (-0.5, 1.4)])
def test_the_logit_of_logit_normal_times_is_normal(mean, std):
    logit = TimeSampling("logit_normal", mean, std).times(DRAWS).logit()
    assert logit.mean().item() == pytest.approx(mean, abs=1e-3)
    assert logit.std().item() == pytest.approx(std, abs=1e-3)


@settings(deadline=None)
@given(st.floats(0.05, 20), st.floats(0, 1))
def test_a_shift_and_its_inverse_change_nothing(shift, t):
    t = torch.tensor([0.0, t, 1.0], dtype=torch.float64)
    shifted = shift_times(t, shift)
    assert shifted[0] == 0 and shifted[2] == 1
    torch.testing.assert_close(shift_times(shifted, 1 / shift), t)


def test_a_shift_is_the_one_of_the_paper():
    t = torch.tensor([0.25, 0.5], dtype=torch.float64)
    torch.testing.assert_close(shift_times(t, 3.0), 3 * t / (1 + 2 * t))


@pytest.mark.parametrize("shift", [0.0, -1.0, math.inf, math.nan])
def test_a_shift_that_is_not_positive_is_refused(shift):
    with pytest.raises(InputError, match="shift"):
        shift_times(torch.zeros(1), shift)


def test_nonsense_time_sampling_is_refused():
    with pytest.raises(InputError, match="did you mean 'logit_normal'"):
        TimeSampling("logitnormal")
    for mean, std in [(0.0, 0.0), (0.0, -1.0), (math.nan, 1.0), (0.0, math.inf)]:
        with pytest.raises(InputError, match="positive std"):
            TimeSampling("logit_normal", mean, std)
