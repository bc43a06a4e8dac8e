import math

import pytest
import torch

from oracles import Gaussian1D, TwoPoints
from tubelet.diffusion import bound
from tubelet.diffusion.bound import bits_per_dim, bound_rows, prior_term, strata
from tubelet.diffusion.paths import PATHS, RectifiedFlow, make_path
from tubelet.diffusion.process import add_noise, q_xs, spread
from tubelet.diffusion.reverse import Reverse
from tubelet.diffusion.targets import TARGETS
from tubelet.errors import InputError
from tubelet.gaussians import STANDARD, Gaussian

DATA = Gaussian1D(mean=0.7, std=0.6)
# Gauss-Hermite nodes: exact for the mean of any polynomial of degree 5 in a standard normal.
NODES = torch.tensor([-math.sqrt(3), 0.0, math.sqrt(3)], dtype=torch.float64)
WEIGHTS = torch.tensor([1 / 6, 2 / 3, 1 / 6], dtype=torch.float64)
FIRST, SECOND = (node.flatten()[:, None] for node in torch.meshgrid(NODES, NODES, indexing="ij"))
WEIGHT = torch.outer(WEIGHTS, WEIGHTS).flatten()


def step_term(reverse, prediction, x0, xt, s, t, decoder):
    q, p = q_xs(reverse.path, x0, xt, s, t), reverse.p_xs(prediction, xt, s, t)
    return bound.step_term(q, p, x0, spread((s == 0).double(), x0), decoder)


def even(steps, end=1.0):
    return torch.linspace(0, end, steps + 1, dtype=torch.float64).tolist()


def each(steps):
    return [range(n, n + 1) for n in range(1, steps + 1)]


def rows_of(denoise, x0, reverse, times, rows, *, seed=0, decoder="gaussian", **options):
    source = torch.Generator().manual_seed(seed)
    return torch.stack(
        list(
            bound_rows(
                denoise,
                x0,
                reverse,
                times,
                rows,
                uniform=lambda: torch.rand(len(x0), generator=source, dtype=torch.float64),
                noise=lambda: torch.randn(x0.shape, generator=source, dtype=torch.float64),
                decoder=decoder,
                **options,
            )
        )
    )


def expected_rows(reverse, times, denoise):
    """E of every term on Gaussian data, exactly: the terms are quadratic in x0 and noise for an affine denoiser."""
    x0 = DATA.mean + DATA.std * FIRST
    rows = bound_rows(
        denoise,
        x0,
        reverse,
        times,
        each(len(times) - 1),
        uniform=lambda: torch.zeros(len(x0)),
        noise=lambda: SECOND,
        decoder="gaussian",
    )
    return [float(WEIGHT @ row) for row in rows]


class Exact(Reverse):
    """The reverse whose variance is that of q(x_s | x_t) on Gaussian data."""

    def log_vars(self, s, t):
        log_var = DATA.exact_reverse(self.path, torch.zeros(len(t), 1, dtype=torch.float64), s, t).log_var[
            :, 0
        ]
        return log_var, log_var


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("target", ["v", "x0"])
@pytest.mark.parametrize("steps", [1, 2, 40])
def test_with_the_exact_reverse_the_bound_exceeds_the_entropy_by_the_prior_term(name, target, steps):
    path = make_path(name)
    terms = expected_rows(Exact(path, target), even(steps), DATA.denoise(path, target))
    mean, var = DATA.marginal(path, torch.ones(1, dtype=torch.float64))
    prior = Gaussian(mean, var.log()).kl(STANDARD).item()
    assert sum(terms) - DATA.entropy == pytest.approx(prior, abs=1e-9)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("variance", ["small", "large"])
def test_no_term_but_the_decoder_is_negative_and_a_fixed_variance_costs(name, variance):
    path = make_path(name)
    terms = expected_rows(Reverse(path, "v", variance), even(20), DATA.denoise(path, "v"))
    assert min(terms[0], *terms[2:]) >= 0
    assert sum(terms) > DATA.entropy + 0.01


def test_more_steps_bring_the_bound_of_a_fixed_variance_to_the_entropy():
    path = make_path("rectified_flow")
    gaps = [
        sum(expected_rows(Reverse(path, "v", "large"), times, DATA.denoise(path, "v"))) - DATA.entropy
        for times in (even(10), even(40), even(160))
    ]
    assert gaps[0] > gaps[1] > gaps[2] > 0


def matched(path, log_snr):
    """The times at which a path has these log-SNRs, by bisection."""
    low, high = torch.zeros_like(log_snr), torch.ones_like(log_snr)
    for _ in range(200):
        middle = (low + high) / 2
        above = path.log_snr(middle) > log_snr
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return [0.0, *low.tolist()]


@pytest.mark.parametrize("variance", ["small", "large"])
def test_the_bound_knows_log_snr_alone(variance):
    log_snr = torch.linspace(9, -9, 12, dtype=torch.float64)
    totals = []
    for name in ("ddpm_cosine", "rectified_flow"):
        path = make_path(name)
        times = matched(path, log_snr)
        totals.append(expected_rows(Reverse(path, "v", variance), times, DATA.denoise(path, "v")))
    assert totals[0] == pytest.approx(totals[1], rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_has_the_same_bound(target):
    path = make_path("ddpm_cosine")
    measured = expected_rows(Reverse(path, target), even(12), DATA.denoise(path, target))
    assert measured == pytest.approx(
        expected_rows(Reverse(path, "x0"), even(12), DATA.denoise(path, "x0")), rel=1e-7
    )


def test_a_fixed_small_kl_is_half_the_fall_of_the_snr_times_the_squared_error():  # [VDM 13]
    path, (x0, noise, wrong) = make_path("ddpm_linear"), torch.randn(3, 4, 5, dtype=torch.float64)
    s, t = (torch.full((4,), time, dtype=torch.float64) for time in (0.4, 0.5))
    xt = add_noise(path, x0, noise, t)
    term = step_term(Reverse(path, "x0"), wrong, x0, xt, s, t, "gaussian")
    fall = path.log_snr(s).exp() - path.log_snr(t).exp()
    torch.testing.assert_close(term, 0.5 * fall[:, None] * (wrong - x0).square())


def test_random_terms_are_unbiased():
    path, steps = make_path("rectified_flow"), 24
    reverse, denoise = Reverse(path, "v"), TwoPoints().denoise(path, "v")
    x0 = torch.ones(4000, 1, dtype=torch.float64)
    whole = rows_of(denoise, x0, reverse, even(steps), each(steps)).sum(0)
    few = rows_of(denoise, x0, reverse, even(steps), strata(steps, 4), seed=1).sum(0)
    error = (whole.var() / len(whole) + few.var() / len(few)).sqrt()
    assert abs(whole.mean() - few.mean()) < 4 * error
    assert few.std() > whole.std()


def test_a_discretised_decoder_gives_probabilities():
    path = make_path("ddpm_linear")
    levels = (torch.arange(256, dtype=torch.float64) / 127.5 - 1)[:, None]
    s, t = (torch.full((256,), time, dtype=torch.float64) for time in (0.0, 0.001))
    xt = torch.full_like(levels, 0.1)
    nats = step_term(Reverse(path, "x0", "large"), torch.full_like(xt, 0.3), levels, xt, s, t, "discretised")
    assert (-nats).exp().sum().item() == pytest.approx(1, abs=1e-9)


def test_on_two_points_the_bound_of_8_bit_data_falls_to_one_bit_with_more_steps():
    path = make_path("rectified_flow")
    reverse, denoise, x0 = Reverse(path, "v", "small"), TwoPoints().denoise(path, "v"), torch.ones(300, 1)
    totals = [
        rows_of(denoise, x0.double(), reverse, even(n), each(n), decoder="discretised").sum(0)
        for n in (20, 100, 500)
    ]
    bits = [bits_per_dim(total.mean(), 1).item() for total in totals]
    assert bits[0] > bits[1] > bits[2] and bits[2] == pytest.approx(1, abs=0.03)


def test_only_unknown_elements_are_counted_and_the_known_stand_clean_at_time_0():
    path, seen = make_path("rectified_flow"), []
    x0 = torch.randn(2, 3, 4, 1, 1, dtype=torch.float64)
    unknown = torch.ones(2, 1, 4, 1, 1, dtype=torch.bool)
    unknown[:, :, 0] = False

    def denoise(xt, t):
        seen.append((xt, t))
        return torch.where(unknown, x0 + 0.1, 1e6)

    terms = rows_of(denoise, x0, Reverse(path, "x0"), even(3), each(3), unknown=unknown)
    for xt, t in seen:
        assert torch.equal(xt[:, :, 0], x0[:, :, 0]) and (t[:, :, 0] == 0).all() and (t[:, :, 1:] > 0).all()
        assert t.shape == unknown.shape
    alone = rows_of(lambda xt, t: x0[:, :, 1:] + 0.1, x0[:, :, 1:], Reverse(path, "x0"), even(3), each(3))
    torch.testing.assert_close(terms[0], alone[0])
    torch.testing.assert_close(terms[2:], alone[2:])  # L_0 depends on the noise too
    assert (terms < 1e6).all()


def test_a_learned_variance_reaches_the_analytic_optimum():
    """The place between small and large that minimises the expected KL makes the variance that of q(x_s | x_t)."""
    path = make_path("ddpm_linear")
    s, t = (torch.full((9,), time, dtype=torch.float64) for time in (0.3, 0.4))
    x0 = DATA.mean + DATA.std * FIRST
    xt = add_noise(path, x0, SECOND, t)
    reverse, place = Reverse(path, "x0", "learned"), torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([place], max_iter=50, line_search_fn="strong_wolfe")

    def kl():
        optimizer.zero_grad()
        prediction = torch.cat([DATA.x0(path, xt, t), place.expand_as(xt)], 1)
        loss = WEIGHT @ step_term(reverse, prediction, x0, xt, s, t, "gaussian")[:, 0]
        loss.backward()
        return loss

    optimizer.step(kl)
    small, large = reverse.log_vars(s[:1], t[:1])
    learned = torch.lerp(small, large, place.detach())
    exact = DATA.exact_reverse(path, xt[:1], s[:1], t[:1]).log_var
    assert learned.item() == pytest.approx(exact.item(), abs=1e-6)


@pytest.mark.parametrize("decoder", ["gaussian", "discretised"])
def test_the_gradient_is_finite_where_some_samples_are_at_the_decoder(decoder):
    path = make_path("ddpm_linear")
    x0, noise = torch.randn(2, 3, 2, 4)
    s, t = torch.tensor([0.0, 0.5, 0.999]), torch.tensor([0.001, 0.501, 1.0])
    prediction = torch.zeros(3, 4, 4, requires_grad=True)
    xt = add_noise(path, x0, noise, t)
    step_term(Reverse(path, "noise", "learned"), prediction, x0, xt, s, t, decoder).sum().backward()
    assert prediction.grad.isfinite().all() and (prediction.grad != 0).any()


def test_strata_hold_every_step_once():
    for steps in (1, 2, 7, 1000):
        for rows in (2, 3, 8, 2000):
            parts = strata(steps, rows)
            assert [n for part in parts for n in part] == list(range(1, steps + 1))
            assert parts[0] == range(1, 2) and len(parts) <= rows


def test_the_prior_term_of_rectified_flow_is_nothing():
    assert prior_term(RectifiedFlow(), torch.randn(3, 2), torch.ones(3)).abs().max() == 0


def test_bad_input_is_refused():
    path, x = make_path("rectified_flow"), torch.zeros(2, 1)
    reverse = Reverse(path, "v")
    with pytest.raises(InputError, match="did you mean 'gaussian'"):
        rows_of(lambda xt, t: xt, x, reverse, [0.0, 1.0], each(1), decoder="gausian")
    for times in ([0.0], [0.1, 1.0], [0.0, 0.5, 0.5], [0.0, 1.1]):
        with pytest.raises(InputError, match="rise strictly"):
            rows_of(lambda xt, t: xt, x, reverse, times, each(1))
    with pytest.raises(InputError, match="2 rows"):
        strata(10, 1)
    with pytest.raises(FloatingPointError, match="t = 0.5"):
        rows_of(lambda xt, t: xt / 0, x, reverse, [0.0, 0.5], each(1))
