"""diffusers' schedulers, step for step. Their index k is the paper's t = k + 1, and they end beyond k = 0."""

import pytest
import torch

from oracles import Gaussian1D
from tubelet.diffusion.paths import make_path
from tubelet.diffusion.reverse import Reverse
from tubelet.diffusion.samplers import ancestral, ddim, euler, time_grid

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
def test_ancestral_steps_are_those_of_ddpm(target, name, variance, num_steps):
    path = make_path(name)
    scheduler = diffusers.DDPMScheduler(
        beta_schedule=CHAINS[name],
        variance_type=f"fixed_{variance}",
        prediction_type=PREDICTION_TYPES[target],
        clip_sample=False,
    )
    in_float64(scheduler, path).set_timesteps(num_steps)
    generator = stream(1)
    steps = ancestral(
        DATA.denoise(path, target),
        draw(stream(0)),
        Reverse(path, target, variance),
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
