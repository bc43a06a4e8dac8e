"""diffusers' schedulers, step for step. Their index k is the paper's t = k + 1, and they end beyond k = 0."""

import math
from functools import partial

import pytest
import torch

from oracles import Gaussian1D
from tubelet.diffusion.grids import time_grid
from tubelet.diffusion.multistep import dpmpp, unipc
from tubelet.diffusion.paths import make_path
from tubelet.diffusion.reverse import Reverse
from tubelet.diffusion.samplers import ancestral, ddim, euler

pytestmark = pytest.mark.slow  # for the import alone
diffusers = pytest.importorskip("diffusers")

SHAPE, DATA = (2, 3, 2, 4, 4), Gaussian1D()
PREDICTION_TYPES = {"noise": "epsilon", "x0": "sample", "v": "v_prediction"}
CHAINS = {"ddpm_linear": "linear", "ddpm_cosine": "squaredcos_cap_v2"}


def in_float64(scheduler, path):
    """Their tables are float32; ours replace them after a look, so that steps can be compared to rounding."""
    torch.testing.assert_close(scheduler.betas.double(), path.beta[1:], rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(scheduler.alphas_cumprod.double(), path.alpha_bar[1:], rtol=1e-3, atol=1e-7)
    scheduler.betas, scheduler.alphas = path.beta[1:], 1 - path.beta[1:]
    scheduler.alphas_cumprod, scheduler.one = path.alpha_bar[1:], torch.ones((), dtype=torch.float64)
    scheduler.final_alpha_cumprod = scheduler.one
    return scheduler


def stream(seed):
    return torch.Generator().manual_seed(seed)


def draw(generator):
    return torch.randn(SHAPE, generator=generator, dtype=torch.float64)


def times_of(scheduler):
    return [*((k + 1) / 1000 for k in scheduler.timesteps.tolist()), 0.0]


def compare(steps, scheduler, path, target, **options):
    """Each of our steps beside theirs, which starts anew from the same x."""
    denoise, x, generator = DATA.denoise(path, target), draw(stream(0)), stream(1)
    for k, ours in zip(scheduler.timesteps, steps, strict=True):
        t = torch.full((SHAPE[0],), (k.item() + 1) / 1000, dtype=torch.float64)
        theirs = scheduler.step(denoise(x, t), k, x, generator=generator, **options).prev_sample
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)
        x = ours


@pytest.mark.parametrize("target", PREDICTION_TYPES)
@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize(("variance", "num_steps"), [("small", 1000), ("small", 10), ("large", 25)])
@pytest.mark.parametrize("clip", [None, 0.8])
def test_ancestral_steps_are_those_of_ddpm(target, name, variance, num_steps, clip):
    path = make_path(name)
    scheduler = diffusers.DDPMScheduler(
        beta_schedule=CHAINS[name],
        variance_type=f"fixed_{variance}",
        prediction_type=PREDICTION_TYPES[target],
        clip_sample=clip is not None,
        clip_sample_range=clip,
    )
    in_float64(scheduler, path).set_timesteps(num_steps)
    generator = stream(1)
    steps = ancestral(
        DATA.denoise(path, target),
        draw(stream(0)),
        Reverse(path, target, variance, clip),
        times_of(scheduler),
        noise=lambda: draw(generator),
    )
    compare(steps, scheduler, path, target)


@pytest.mark.parametrize("target", PREDICTION_TYPES)
@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim_steps_are_those_of_ddim(target, name, eta):
    path = make_path(name)
    scheduler = diffusers.DDIMScheduler(
        beta_schedule=CHAINS[name], prediction_type=PREDICTION_TYPES[target], clip_sample=False
    )
    in_float64(scheduler, path).set_timesteps(20)
    generator = stream(1)
    steps = ddim(
        DATA.denoise(path, target),
        draw(stream(0)),
        Reverse(path, target),
        times_of(scheduler),
        noise=lambda: draw(generator),
        eta=eta,
    )
    compare(steps, scheduler, path, target, eta=eta)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_euler_steps_are_those_of_flow_matching(shift):
    path, x = make_path("rectified_flow"), draw(stream(0))
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=time_grid(12)[:-1])
    torch.testing.assert_close(scheduler.sigmas.double(), torch.tensor(time_grid(12, shift)).double())
    denoise = DATA.denoise(path, "velocity")
    ours = euler(denoise, x, Reverse(path, "velocity"), time_grid(12, shift), noise=lambda: x)
    for k, step in zip(scheduler.timesteps, ours, strict=True):
        t = torch.full((SHAPE[0],), k.item() / 1000, dtype=torch.float64)
        x = scheduler.step(denoise(x, t), k, x).prev_sample
        torch.testing.assert_close(step, x.double(), rtol=1e-5, atol=1e-5)


# The multistep schedulers. They compute in float32, so agreement is to 1e-5 and not to rounding.


def prepared(kind, name, num_steps, **options):
    """Their scheduler, on the path of that name, with its sigmas in float64."""
    if name == "rectified_flow":
        options |= {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"}
    else:
        options |= {"beta_schedule": CHAINS[name], "prediction_type": "v_prediction"}
    scheduler = kind(**options)
    scheduler.set_timesteps(num_steps)
    if name == "rectified_flow":
        scheduler.sigmas = scheduler.sigmas.double()
        return scheduler, scheduler.sigmas.tolist()
    path, times = make_path(name), times_of(scheduler)
    t = torch.tensor(times, dtype=torch.float64)
    ours = path.sigma(t) / path.alpha(t)
    torch.testing.assert_close(scheduler.sigmas.double(), ours, rtol=1e-3, atol=1e-7)
    scheduler.sigmas = ours
    return scheduler, times


def compare_multistep(sampler, name, scheduler, times, missing=None, to_0=True):
    """Each of our steps beside theirs, which is given the same x and the same noise; the one to t = 0 if wanted."""
    target = "velocity" if name == "rectified_flow" else "v"
    path, draws = make_path(name), stream(1)
    denoise, x, drawn = DATA.denoise(path, target), draw(stream(0)), []

    def noise():
        drawn.append(draw(draws))
        return drawn[-1]

    steps = sampler(denoise, x, Reverse(path, target), times, noise=noise)
    for step, (k, ours) in enumerate(zip(scheduler.timesteps, steps, strict=True)):
        if step == len(times) - 2 and not to_0:
            break
        t = torch.full((SHAPE[0],), times[step], dtype=torch.float64)
        prediction = denoise(x, t)
        given = {"variance_noise": drawn[-1]} if drawn else {}
        theirs = scheduler.step(prediction, k, x, **given).prev_sample
        if missing is not None and 2 <= step < len(times) - 2:
            theirs = theirs + missing(scheduler, path, times[: step + 2])
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
        x = ours


def missing_curvature(sde):
    """What their third order leaves out: see the test below."""

    def term(scheduler, path, times):
        t = torch.tensor(times[-4:], dtype=torch.float64)
        c, b, a, s = (path.log_snr(t) / 2).tolist()
        m0, m1, m2 = reversed(scheduler.model_outputs)
        h = s - a
        second = (
            ((m0 - m1) / (a - b) - (m1 - m2) / (b - c)) / (a - c) * h**2
        )  # half the second derivative in w
        H = 2 * h if sde else h
        moment = 1 - 2 / H * (1 - -math.expm1(-H) / H)  # integral of H e^(-H (1 - w)) w^2
        return path.alpha(t[-1]) * (moment - (moment / 2 - sde)) * second

    return term


@pytest.mark.parametrize("name", [*CHAINS, "rectified_flow"])
@pytest.mark.parametrize("num_steps", [6, 20])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_second_order_steps_are_those_of_dpm_solver(name, num_steps, eta):
    kind, algorithm = diffusers.DPMSolverMultistepScheduler, "sde-dpmsolver++" if eta else "dpmsolver++"
    scheduler, times = prepared(kind, name, num_steps, algorithm_type=algorithm, solver_order=2)
    compare_multistep(partial(dpmpp, order=2, eta=eta), name, scheduler, times)


@pytest.mark.parametrize("name", [*CHAINS, "rectified_flow"])
@pytest.mark.parametrize("num_steps", [6, 20])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_third_order_steps_are_those_of_dpm_solver_and_the_curvature_it_leaves_out(name, num_steps, eta):
    """With c the coefficient of w^2 in the parabola through three x0, and M its moment, the step is due alpha_s M c.

    Theirs takes M c / 2, as the authors' own code does: D2 there is c, not the second derivative 2 c that belongs to
    phi_3. For the SDE it takes (M / 2 - 1) c, from a wrong sign of the 1/2 in phi_3. test_sampler_accuracy shows which
    of them is of third order.
    """
    kind, algorithm = diffusers.DPMSolverMultistepScheduler, "sde-dpmsolver++" if eta else "dpmsolver++"
    options = {"algorithm_type": algorithm, "solver_order": 3, "lower_order_final": False}
    scheduler, times = prepared(kind, name, num_steps, **options)
    compare_multistep(partial(dpmpp, order=3, eta=eta), name, scheduler, times, missing_curvature(bool(eta)))


@pytest.mark.parametrize("name", [*CHAINS, "rectified_flow"])
@pytest.mark.parametrize("num_steps", [6, 20])
@pytest.mark.parametrize("b_h", ["bh1", "bh2"])
def test_unipc_steps_are_those_of_unipc(name, num_steps, b_h):
    kind = diffusers.UniPCMultistepScheduler
    scheduler, times = prepared(kind, name, num_steps, solver_type=b_h, solver_order=2)
    # Theirs takes 0 times the infinite b_h = h of bh1 in the step to t = 0, and returns NaN.
    compare_multistep(partial(unipc, b_h=b_h), name, scheduler, times, to_0=b_h != "bh1")


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("b_h", ["bh1", "bh2"])
def test_third_order_unipc_steps_are_those_of_unipc(name, b_h):
    kind = diffusers.UniPCMultistepScheduler
    options = {"solver_type": b_h, "solver_order": 3, "lower_order_final": False}
    scheduler, times = prepared(kind, name, 20, **options)
    compare_multistep(partial(unipc, b_h=b_h, order=3), name, scheduler, times, to_0=False)
