from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.diffusion.paths import PATHS, make_path
from tubelet.diffusion.process import add_noise, q_xt
from tubelet.diffusion.targets import TARGETS, convert, target_of, to_noise, to_x0
from tubelet.errors import InputError

EXACT = {"rtol": 1e-10, "atol": 1e-10}


def instance(path, t):
    x0, noise = torch.randn(2, 2, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.full((2,), t, dtype=torch.float64)
    return x0, noise, t, add_noise(path, x0, noise, t)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize(("frm", "to"), [*permutations(TARGETS, 2), *zip(TARGETS, TARGETS, strict=True)])
@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 0.95))
def test_every_target_converts_to_every_other(name, frm, to, t):
    path = make_path(name)
    x0, noise, t, xt = instance(path, t)
    converted = convert(target_of(frm, path, x0, noise, t), frm, to, path, xt, t)
    torch.testing.assert_close(converted, target_of(to, path, x0, noise, t), **EXACT)


@pytest.mark.parametrize("name", PATHS)
def test_velocity_is_the_time_derivative_of_x_t(name):
    path, h = make_path(name), 1e-6
    x0, noise, t, _ = instance(path, 0.4237)
    expected = (add_noise(path, x0, noise, t + h) - add_noise(path, x0, noise, t - h)) / (2 * h)
    torch.testing.assert_close(target_of("velocity", path, x0, noise, t), expected, rtol=1e-7, atol=1e-7)


def test_the_velocity_of_rectified_flow_is_noise_minus_x0():
    x0, noise = torch.randn(2, 3, 4)
    t = torch.tensor([0.0, 0.4, 1.0])
    assert torch.equal(target_of("velocity", make_path("rectified_flow"), x0, noise, t), noise - x0)


def test_where_alpha_is_0_all_but_noise_and_score_tell_x0():
    path = make_path("rectified_flow")
    x0, noise, t, xt = instance(path, 1.0)
    for frm in ("x0", "v", "velocity"):
        prediction = target_of(frm, path, x0, noise, t)
        for to in TARGETS:
            expected = target_of(to, path, x0, noise, t)
            torch.testing.assert_close(convert(prediction, frm, to, path, xt, t), expected, **EXACT)
    for frm in ("noise", "score"):
        for to in ("x0", "v", "velocity"):
            with pytest.raises(InputError, match=f"target {frm}: alpha is 0 at t = 1"):
                convert(noise, frm, to, path, xt, t)


def test_the_score_is_the_gradient_of_the_log_density_of_x_t_given_x0():
    path = make_path("ddpm_cosine")
    x0, noise, t, xt = instance(path, 0.4)
    xt.requires_grad_()
    q_xt(path, x0, t).log_prob(xt).sum().backward()
    torch.testing.assert_close(target_of("score", path, x0, noise, t), xt.grad)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("frm", ["noise", "v", "velocity", "score"])
def test_at_time_0_x_t_is_x0_whatever_was_predicted(name, frm):
    path = make_path(name)
    x0, noise, t, xt = instance(path, 0.0)
    assert torch.equal(xt, x0) and torch.equal(to_x0(frm, path, noise, xt, t), x0)


@pytest.mark.parametrize("name", PATHS)
def test_at_time_0_a_predicted_x0_says_nothing_about_noise(name):
    path = make_path(name)
    x0, _, t, xt = instance(path, 0.0)
    with pytest.raises(InputError, match="holds no noise"):
        to_noise("x0", path, x0, xt, t)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("target", TARGETS)
def test_known_latents_at_time_0_disturb_nothing(name, target):
    path = make_path(name)
    x0, noise = torch.randn(2, 2, 4, 3, 2, 2, dtype=torch.float64)
    t = torch.full((2, 1, 3, 2, 2), 0.6, dtype=torch.float64)
    t[:, :, 0] = 0
    prediction = target_of(target, path, x0, noise, t)
    prediction[:, :, 0] = x0[:, :, 0]  # whatever a network says there
    torch.testing.assert_close(to_x0(target, path, prediction, add_noise(path, x0, noise, t), t), x0, **EXACT)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision_is_computed_in_float32(name, dtype):
    path = make_path(name)
    x0, noise, t, xt = instance(path, 0.5)
    v = target_of("v", path, x0, noise, t)
    measured = to_x0("v", path, v.to(dtype), xt.to(dtype), t)
    assert measured.dtype == torch.float32
    expected = to_x0("v", path, v.to(dtype).double(), xt.to(dtype).double(), t)
    torch.testing.assert_close(measured.double(), expected, rtol=1e-5, atol=1e-5)


def test_an_unknown_target_is_refused_with_the_near_miss():
    path, x, t = make_path("rectified_flow"), torch.zeros(1, 1), torch.tensor([0.5])
    for call in (
        lambda: target_of("nois", path, x, x, t),
        lambda: to_x0("nois", path, x, x, t),
        lambda: to_noise("nois", path, x, x, t),
        lambda: convert(x, "nois", "x0", path, x, t),
        lambda: convert(x, "x0", "nois", path, x, t),
    ):
        with pytest.raises(InputError, match="did you mean 'noise'"):
            call()
