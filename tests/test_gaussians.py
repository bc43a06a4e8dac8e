import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.gaussians import STANDARD, Gaussian, Laplace

MEANS = st.floats(-2, 2)
LOG_VARS = st.floats(-4, 2)


def gaussian(mean: float, log_var: float) -> Gaussian:
    return Gaussian(torch.tensor(mean, dtype=torch.float64), torch.tensor(log_var, dtype=torch.float64))


def integral(values, x):
    return torch.trapezoid(values, x).item()


POINT = gaussian(0.3, -math.inf)
BINS = 2 * torch.arange(256, dtype=torch.float64) / 255 - 1


def test_log_prob_is_the_normal_density():
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    expected = torch.distributions.Normal(0.3, math.exp(-0.4)).log_prob(x)
    torch.testing.assert_close(gaussian(0.3, -0.8).log_prob(x), expected)


@settings(deadline=None)
@given(MEANS, LOG_VARS, MEANS, LOG_VARS)
def test_kl_is_the_integral_of_the_log_ratio(mean, log_var, other_mean, other_log_var):
    p, q = gaussian(mean, log_var), gaussian(other_mean, other_log_var)
    x = torch.linspace(-12, 12, 20_001, dtype=torch.float64) * p.std + p.mean
    expected = integral(p.log_prob(x).exp() * (p.log_prob(x) - q.log_prob(x)), x)
    assert p.kl(q).item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(deadline=None)
@given(MEANS, LOG_VARS)
def test_entropy_is_the_mean_of_minus_log_prob(mean, log_var):
    p = gaussian(mean, log_var)
    x = torch.linspace(-12, 12, 20_001, dtype=torch.float64) * p.std + p.mean
    assert p.entropy().item() == pytest.approx(-integral(p.log_prob(x).exp() * p.log_prob(x), x), abs=1e-9)


def test_a_small_divergence_keeps_its_digits():
    assert gaussian(0.0, 1e-6).kl(STANDARD).item() == pytest.approx(0.25e-12, rel=1e-6, abs=0)


def test_a_gaussian_does_not_diverge_from_itself_even_as_a_point():
    assert gaussian(0.3, -1.0).kl(gaussian(0.3, -1.0)).item() == 0
    assert POINT.kl(POINT).item() == 0


def test_divergence_is_infinite_where_a_point_is_involved():
    assert POINT.kl(STANDARD).item() == math.inf
    assert STANDARD.kl(POINT).item() == math.inf
    assert POINT.kl(gaussian(0.4, -math.inf)).item() == math.inf


def test_a_point_mass_is_where_it_is():
    assert POINT.sample(torch.tensor(5.0)).item() == POINT.mean.item()
    assert POINT.var.item() == POINT.std.item() == 0
    assert POINT.log_prob(torch.tensor([0.3, 0.4], dtype=torch.float64)).tolist() == [math.inf, -math.inf]
    assert POINT.entropy().item() == -math.inf


def test_a_sample_is_mean_plus_std_noise():
    p = Gaussian(torch.tensor([1.0, 2.0]), torch.tensor(4.0).log())
    assert p.sample(torch.tensor([0.5, -1.0])).tolist() == pytest.approx([2.0, 0.0])


def test_the_standard_normal_meets_tensors_of_any_device():
    elsewhere = Gaussian(torch.zeros(2, 3, device="meta"), torch.zeros(2, 1, device="meta"))
    for value in (elsewhere.kl(STANDARD), STANDARD.kl(elsewhere), STANDARD.log_prob(elsewhere.mean)):
        assert value.device.type == "meta" and value.shape == (2, 3)


def test_entropy_has_the_shape_of_the_mean():
    assert Gaussian(torch.zeros(2, 3), torch.zeros(2, 1)).entropy().shape == (2, 3)


@settings(deadline=None)
@given(st.floats(-3, 3), st.floats(-16, 4))
def test_the_256_bins_sum_to_one(mean, log_var):
    total = gaussian(mean, log_var).log_prob_discretised(BINS).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-9)


def test_a_bin_holds_the_difference_of_two_cumulative_probabilities():
    normal = torch.distributions.Normal(torch.tensor(0.1, dtype=torch.float64), 0.2)
    inner = BINS[1:-1]
    expected = (normal.cdf(inner + 1 / 255) - normal.cdf(inner - 1 / 255)).log()
    measured = gaussian(0.1, 2 * math.log(0.2)).log_prob_discretised(inner)
    torch.testing.assert_close(measured, expected, rtol=1e-9, atol=1e-9)


def test_a_bin_far_in_the_tail_stays_finite_and_so_does_its_gradient():
    mean = torch.tensor(-1.0, requires_grad=True)
    log_var = torch.tensor(-10.0, requires_grad=True)
    log_prob = Gaussian(mean, log_var).log_prob_discretised(BINS.float())
    log_prob.sum().backward()
    assert log_prob.isfinite().all() and log_prob.min() < -10_000
    assert mean.grad.isfinite() and log_var.grad.isfinite()


def test_float32_bins_agree_with_float64():
    single = Gaussian(torch.tensor(0.2), torch.tensor(-2.0)).log_prob_discretised(BINS.float())
    torch.testing.assert_close(
        single.double(), gaussian(0.2, -2.0).log_prob_discretised(BINS), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("mean", [-1.0, -0.42, 0.0, 0.9999])
@pytest.mark.parametrize("scale", [1e-3, 0.02, 3.0])
def test_the_bins_of_a_laplace_have_its_mass_and_sum_to_1(mean, scale):
    log_prob = Laplace(torch.tensor(mean).double(), torch.tensor(scale).double()).log_prob_discretised(BINS)
    assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-12) and log_prob.isfinite().all()
    reference = torch.distributions.Laplace(torch.tensor(mean).double(), torch.tensor(scale).double())
    edges = torch.cat([torch.tensor([-math.inf]), BINS[:-1] + 1 / 255, torch.tensor([math.inf])]).double()
    torch.testing.assert_close(log_prob.exp(), reference.cdf(edges).diff(), atol=1e-12, rtol=1e-6)
