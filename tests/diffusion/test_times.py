import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.diffusion.times import Moments, TimeSampling, shift_times, size_shift
from tubelet.errors import InputError

DRAWS = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000


@pytest.mark.parametrize(
    "sampling", [TimeSampling(steps=50), TimeSampling("logit_normal", 0.4, 1.2, steps=50)]
)
def test_times_of_a_grid_have_the_shares_they_are_drawn_with(sampling):
    t = sampling.times(DRAWS)
    grid = torch.arange(1, 51, dtype=torch.float64) / 50
    counts = torch.stack([(t - each).abs().lt(1e-9).double().mean() for each in grid])
    assert counts.sum().item() == pytest.approx(1)
    torch.testing.assert_close(counts, sampling.share(grid), atol=2e-5, rtol=1e-3)
    assert sampling.before(grid).tolist() == [k / 50 for k in range(50)]


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


@pytest.mark.parametrize("tokens", [16, 80, 144])
def test_at_every_size_the_mean_of_all_tokens_is_equally_uncertain(tokens):
    """Equal tokens c seen through x_t = (1 - t) c + t noise: c is known up to t / (1 - t) / sqrt(tokens)."""
    t = torch.linspace(0.05, 0.95, 10, dtype=torch.float64)
    shifted = shift_times(t, size_shift(tokens, 80))
    torch.testing.assert_close(shifted / (1 - shifted) / math.sqrt(tokens), t / (1 - t) / math.sqrt(80))
    assert size_shift(80, 80) == 1.0


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
    with pytest.raises(InputError, match="times.steps"):
        TimeSampling(steps=-1)
    with pytest.raises(InputError, match="T of a training grid"):
        TimeSampling("importance")


def observed(term, steps=1000, count=4000):
    moments, grid = Moments(TimeSampling("importance", steps=steps)), torch.arange(1, steps + 1) / steps
    for chunk in moments.times(torch.rand(count, dtype=torch.float64)).split(50):
        moments.observe(chunk, term(chunk))
    return moments, grid


@pytest.mark.parametrize("term", [lambda t: 1 / t, lambda t: torch.zeros_like(t)])
def test_important_times_have_the_shares_they_are_drawn_with(term):
    moments, grid = observed(term)
    share = moments.share(grid)
    assert share.sum().item() == pytest.approx(1) and (share > 0).all()
    t = moments.times(DRAWS)
    counts = torch.bincount((t * 1000).round().long(), minlength=1001)[1:] / len(DRAWS)
    torch.testing.assert_close(counts.double(), share, atol=2.5e-5, rtol=1e-3)


def test_important_times_go_where_the_terms_are_large_and_lower_the_variance():
    term = lambda t: 1 / (1000 * t) ** 2  # noqa: E731
    moments, grid = observed(term)
    share, values = moments.share(grid), term(grid).double()
    variance = {"important": (values**2 / share).sum(), "uniform": (values**2 * 1000).sum()}
    assert share[0] > 0.3 and variance["important"] < 0.02 * variance["uniform"]
    # Whatever the shares, dividing by them gives the sum.
    t = moments.times(DRAWS)
    assert (term(t) / moments.share(t)).mean().item() == pytest.approx(values.sum().item(), rel=1e-3)


def test_before_every_bin_has_been_seen_bins_are_drawn_evenly():
    moments = Moments(TimeSampling("importance", steps=1000))
    bins = len(moments.moments)
    assert moments.share(torch.tensor([0.001])).item() == pytest.approx(1 / bins)
    moments.observe(torch.tensor([0.5] * 20), torch.full((20,), 1e6))
    assert moments.share(torch.tensor([0.001])).item() == pytest.approx(1 / bins)
