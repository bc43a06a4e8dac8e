import math
from itertools import pairwise

import pytest
import torch

from oracles import Gaussian1D
from tubelet.diffusion.paths import PATHS, make_path
from tubelet.diffusion.process import add_noise, q_xs, q_xt
from tubelet.diffusion.reverse import Reverse
from tubelet.diffusion.targets import TARGETS, target_of
from tubelet.errors import InputError
from tubelet.gaussians import STANDARD, Gaussian

# Gauss-Hermite nodes: exact for the mean of any polynomial of degree 5 in a standard normal.
NODES = torch.tensor([-math.sqrt(3), 0.0, math.sqrt(3)], dtype=torch.float64)
WEIGHTS = torch.tensor([1 / 6, 2 / 3, 1 / 6], dtype=torch.float64)


def setting(t=0.7):
    x0, noise = torch.randn(2, 2, 3, dtype=torch.float64)
    return x0, noise, torch.full((2,), t, dtype=torch.float64)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("target", TARGETS)
def test_with_the_true_prediction_p_is_the_posterior(name, target):
    path = make_path(name)
    x0, noise, t = setting()
    xt = add_noise(path, x0, noise, t)
    reverse, prediction = Reverse(path, target), target_of(target, path, x0, noise, t)
    torch.testing.assert_close(reverse.x0(prediction, xt, t), x0)
    p, q = reverse.p_xs(prediction, xt, t - 0.2, t), q_xs(path, x0, xt, t - 0.2, t)
    torch.testing.assert_close(p.mean, q.mean)
    assert torch.equal(p.log_var, q.log_var)


@pytest.mark.parametrize("name", ["ddpm_linear", "ddpm_cosine"])
def test_the_large_variance_of_one_step_is_beta(name):
    path, x = make_path(name), torch.zeros(999, 1, dtype=torch.float64)
    t = torch.arange(2, 1001, dtype=torch.float64)
    p = Reverse(path, "x0", "large").p_xs(x, x, (t - 1) / 1000, t / 1000)
    torch.testing.assert_close(p.var[:, 0], path.beta[2:], rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize(("std", "variance"), [(1.0, "large"), (1e-9, "small")])
def test_each_variance_is_exact_for_the_data_it_is_made_for(name, std, variance):
    path, data = make_path(name), Gaussian1D(0.7, std)
    _, xt, t = setting()
    exact = data.exact_reverse(path, xt, t - 0.3, t)
    p = Reverse(path, "v", variance).p_xs(data.denoise(path, "v")(xt, t), xt, t - 0.3, t)
    torch.testing.assert_close(p.mean, exact.mean)
    torch.testing.assert_close(p.log_var, exact.log_var)


@pytest.mark.parametrize("name", PATHS)
def test_the_last_step_is_a_decoder_around_the_predicted_x0(name):
    x, _, t = setting()
    small, large = (
        Reverse(make_path(name), "x0", variance).p_xs(x, x + 1, torch.zeros_like(t), t)
        for variance in ("small", "large")
    )
    assert torch.equal(small.mean, x) and torch.equal(large.mean, x)
    alpha, sigma = make_path(name).alpha(t), make_path(name).sigma(t)
    standard = sigma.square() / (alpha.square() + sigma.square())  # Var(x0 | x_t) of standard normal data
    torch.testing.assert_close(large.var[:, 0], standard)
    torch.testing.assert_close(small.var[:, 0], standard / 4)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("s", [0.0, 0.2])
def test_a_learned_variance_lies_where_the_network_says(name, s):
    x, _, t = setting()
    s = torch.full_like(t, s)
    small, large = (
        Reverse(make_path(name), "v", variance).p_xs(x, x, s, t) for variance in ("small", "large")
    )
    for place, expected in (
        (0, small.log_var),
        (1, large.log_var),
        (0.5, (small.log_var + large.log_var) / 2),
    ):
        prediction = torch.cat([x, torch.full_like(x, place)], 1)
        learned = Reverse(make_path(name), "v", "learned").p_xs(prediction, x, s, t)
        assert torch.equal(learned.mean, small.mean)
        torch.testing.assert_close(learned.log_var, expected.expand_as(x))


@pytest.mark.parametrize("name", PATHS)
def test_a_clipped_x0_is_where_x0_can_be(name):
    x, _, t = setting()
    plain, clipped = Reverse(make_path(name), "x0"), Reverse(make_path(name), "x0", clip=0.5)
    torch.testing.assert_close(clipped.x0(x, x, t), x.clamp(-0.5, 0.5))
    one, other = clipped.p_xs(x, x, t - 0.2, t), plain.p_xs(x.clamp(-0.5, 0.5), x, t - 0.2, t)
    assert torch.equal(one.mean, other.mean) and torch.equal(one.log_var, other.log_var)
    with pytest.raises(InputError, match="clip"):
        Reverse(make_path(name), "x0", clip=0.0)


@pytest.mark.parametrize(("variance", "channels"), [("learned", 3), ("small", 6), ("learned", 5)])
def test_wrong_channels_are_refused(variance, channels):
    x, _, t = setting()
    with pytest.raises(InputError, match="expected [36] channels"):
        Reverse(make_path("ddpm_linear"), "noise", variance).x0(torch.zeros(2, channels), x, t)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("steps", [1, 2, 40])
def test_with_the_exact_reverse_the_bound_exceeds_the_entropy_by_the_prior_term(name, steps):
    path, data = make_path(name), Gaussian1D(mean=0.7, std=0.6)
    first, second = (node.flatten() for node in torch.meshgrid(NODES, NODES, indexing="ij"))
    weight = torch.outer(WEIGHTS, WEIGHTS).flatten()
    x0, noise = (data.mean + data.std * first)[:, None], second[:, None]  # [9, 1]
    times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)[:, None].expand(-1, len(x0))

    bound = weight @ q_xt(path, x0, times[0]).kl(STANDARD)  # L_T
    for t, s in pairwise(times[:-1]):
        xt = add_noise(path, x0, noise, t)
        bound += weight @ q_xs(path, x0, xt, s, t).kl(data.exact_reverse(path, xt, s, t))  # L_{t-1}
    x1 = add_noise(path, x0, noise, times[-2])
    bound -= weight @ data.exact_reverse(path, x1, times[-1], times[-2]).log_prob(x0)  # L_0

    mean, var = data.marginal(path, times[0, :1])
    prior = Gaussian(mean, var.log()).kl(STANDARD)
    assert bound.item() - data.entropy == pytest.approx(prior.item(), abs=1e-9)


def test_unknown_names_are_refused_with_the_near_miss():
    path = make_path("rectified_flow")
    with pytest.raises(InputError, match="did you mean 'velocity'"):
        Reverse(path, "velocty")
    with pytest.raises(InputError, match="did you mean 'large'"):
        Reverse(path, "v", "larg")
