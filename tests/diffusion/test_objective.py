import math

import pytest
import torch

from tubelet.diffusion.bound import DECODERS, bits_per_dim, bound_rows
from tubelet.diffusion.objective import (
    OBJECTIVES,
    WEIGHTS,
    Objective,
    bound_step,
    loss_terms,
    mean_squared,
    weight_of,
)
from tubelet.diffusion.paths import PATHS, make_path
from tubelet.diffusion.process import add_noise
from tubelet.diffusion.reverse import Reverse
from tubelet.diffusion.targets import TARGETS, target_of, to_noise, to_x0
from tubelet.diffusion.times import TimeSampling
from tubelet.errors import InputError


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
def test_training_with_a_clean_frame_is_finite_for_every_target(name):
    x0, noise = torch.randn(2, 1, 2, 3, 1, 1)
    t = torch.full((1, 1, 3, 1, 1), 0.5)
    t[:, :, 0] = 0
    for target in TARGETS:
        prediction = torch.zeros_like(x0, requires_grad=True)
        true = target_of(target, make_path(name), x0, noise, t)
        loss_terms(Objective(), "gaussian", prediction, None, true, unknown=t > 0)["loss"].sum().backward()
        assert prediction.grad.isfinite().all() and (prediction.grad[:, :, 0] == 0).all()


def drawn_step(name="ddpm_cosine", target="noise", n=1000, count=6):
    """A batch of steps of the bound, the decoder's among them, and what a network says there."""
    reverse, times = Reverse(make_path(name), target, "learned"), TimeSampling(steps=n)
    x0, noise, place = torch.randn(3, count, 2, 4).double()
    t = torch.linspace(1 / n, 0.9, count, dtype=torch.float64)
    t = (t * n).ceil() / n
    xt = add_noise(reverse.path, x0, noise, t)
    step = bound_step(reverse, x0, xt, times.before(t), t, times.share(t))
    return reverse, step, target_of(target, reverse.path, x0, noise, t), t, place


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("decoder", DECODERS)
def test_the_vlb_is_the_mean_term_of_the_bound_over_its_probability(name, decoder):
    reverse, step, target, t, place = drawn_step(name, "v")
    predicted = target + 0.01
    vlb = loss_terms(Objective(name="vlb"), decoder, predicted, place, target, step)["vlb"]
    for row in range(len(t)):
        some, draws = slice(row, row + 1), iter([torch.cat([predicted, place], 1)[row : row + 1]])
        n = round(1000 * t[row].item())
        times = [k / 1000 for k in range(n + 1)]
        noise = to_noise("x0", reverse.path, step.x0[some], step.xt[some], t[some])
        rows = bound_rows(
            lambda xt, t, draws=draws: next(draws), step.x0[some], reverse, times, [range(n, n + 1)],
            uniform=lambda: torch.zeros(1), noise=lambda noise=noise: noise, decoder=decoder,
        )  # fmt: skip
        expected = bits_per_dim(list(rows)[1], 8) * 1000
        assert vlb[row].item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-4)


def test_hybrid_teaches_the_mean_by_the_simple_loss_and_the_variance_by_the_bound():
    _, step, target, _, place = drawn_step()
    gradients = {}
    for name in OBJECTIVES:
        predicted, where = (target + 0.1).requires_grad_(), place.clone().requires_grad_()
        terms = loss_terms(
            Objective(name=name, vlb_weight=0.5), "discretised", predicted, where, target, step
        )
        terms["loss"].sum().backward()
        gradients[name] = predicted.grad, where.grad
    assert gradients["simple"][1] is None
    torch.testing.assert_close(gradients["hybrid"][0], gradients["simple"][0])
    torch.testing.assert_close(gradients["hybrid"][1], 0.5 * gradients["vlb"][1])
    assert (gradients["vlb"][0] != gradients["simple"][0]).any()


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("weight", WEIGHTS[1:])
def test_a_weight_is_one_objective_whatever_the_target(name, weight):
    path, objective = make_path(name), Objective(weight=weight, most=3.0)
    t = torch.tensor([1e-3, 0.1, 0.5, 0.9, 0.99], dtype=torch.float64)
    x0, noise, x0_hat = torch.randn(3, 5, 2, 4, dtype=torch.float64)
    xt, snr = add_noise(path, x0, noise, t), path.log_snr(t).exp()
    w = {"min_snr": snr.clamp(max=3), "sigmoid": snr * (math.log(3) - snr.log()).sigmoid()}[weight]
    expected = w * (x0 - x0_hat).square().flatten(1).mean(1)
    for target in TARGETS:
        true = target_of(target, path, x0, noise, t)
        noise_hat = (xt - path.alpha(t).view(-1, 1, 1) * x0_hat) / path.sigma(t).view(-1, 1, 1)
        predicted = target_of(target, path, x0_hat, noise_hat, t)
        torch.testing.assert_close(to_x0(target, path, predicted, xt, t), x0_hat)
        count = weight_of(objective, target, path, t)
        loss = loss_terms(objective, "gaussian", predicted, None, true, weight=count.double())["loss"]
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)


def test_a_weight_is_finite_where_x_holds_nothing_of_x0():
    t = torch.ones(1)
    for target in ("velocity", "v", "x0"):
        for weight in WEIGHTS[1:]:
            assert weight_of(Objective(weight=weight), target, make_path("rectified_flow"), t).item() == 0


def test_the_weight_of_a_target_is_one():
    assert weight_of(Objective(), "noise", make_path("rectified_flow"), torch.ones(3)).tolist() == [1, 1, 1]


def test_nonsense_objectives_are_refused():
    with pytest.raises(InputError, match="did you mean 'min_snr'"):
        Objective(weight="min_snrr")
    with pytest.raises(InputError, match="leave out weight"):
        Objective(name="vlb", weight="sigmoid")
    with pytest.raises(InputError, match=r"objective\.most"):
        Objective(most=0)
    with pytest.raises(InputError, match="did you mean 'hybrid'"):
        Objective(name="hybird")
    with pytest.raises(InputError, match="vlb_weight"):
        Objective(vlb_weight=-1.0)
