"""The method alone: a chain of 100 steps and a network of 4,546 weights learn data that are -1 or 1, half and half.

python examples/ddpm_on_two_points.py [-o docs/two_points.png] [--steps 4000]

Prints the variational bound beside the entropy of the data, 1 bit, and draws both chains. Half a minute on one core.
What is imported here stands in docs/MATH.md.
"""

import argparse

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from tubelet.diffusion.bound import bits_per_dim, bound_rows, strata
from tubelet.diffusion.grids import time_grid
from tubelet.diffusion.objective import Objective, bound_step, loss_terms
from tubelet.diffusion.paths import ddpm_linear
from tubelet.diffusion.process import add_noise
from tubelet.diffusion.reverse import Reverse
from tubelet.diffusion.samplers import ancestral
from tubelet.diffusion.times import TimeSampling

PATH = ddpm_linear(T=100)
REVERSE = Reverse(PATH, target="x0", variance="learned")
TIMES = TimeSampling(steps=PATH.T)
COUNT = 20_000  # samples of the bound and of the picture


class Network(nn.Sequential):
    """(x_t [B, 1], t [B]) -> the predicted x0, and where the variance lies between small and large: [B, 2]."""

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        t = t.float()[:, None]
        x0, place = super().forward(torch.cat([xt, t, t.log()], 1)).chunk(2, 1)
        return torch.cat([x0.tanh(), place], 1)  # data lie in [-1, 1]


def data(count: int) -> Tensor:
    return torch.randn(count, 1).sign()


def train(network: Network, steps: int) -> None:
    """Each sample meets one random term of the bound, which stands for all of them."""
    optimizer = torch.optim.Adam(network.parameters())
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        x0, t = data(512), TIMES.times(torch.rand(512, dtype=torch.float64))
        xt = add_noise(PATH, x0, torch.randn_like(x0), t)  # ~ q(x_t | x_0)
        step = bound_step(REVERSE, x0, xt, TIMES.before(t), t, TIMES.share(t))
        predicted, place = REVERSE.split(network(xt, t), xt)
        terms = loss_terms(Objective(name="vlb"), "discretised", predicted, place, x0, step)
        optimizer.zero_grad()
        terms["loss"].mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)  # the first L_0 are thousands of bits
        optimizer.step()
        rate.step()


@torch.no_grad()
def bound(network: Network) -> Tensor:
    """L_T, then the terms of the steps to t - 1 from t = 1 (L_0) to T, in bits: [T + 1, COUNT]."""
    x0, times, rows = data(COUNT), time_grid(PATH.T)[::-1], strata(PATH.T, PATH.T)
    uniform, noise = (lambda: torch.rand(COUNT)), (lambda: torch.randn_like(x0))
    terms = bound_rows(network, x0, REVERSE, times, rows, uniform=uniform, noise=noise, decoder="discretised")
    return bits_per_dim(torch.stack(list(terms)), 1)


def forward() -> list[Tensor]:
    """x_0 .. x_T of the chain q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t): T + 1 of [COUNT, 1]."""
    chain = [data(COUNT)]
    for beta in PATH.beta[1:].float():
        chain.append((1 - beta).sqrt() * chain[-1] + beta.sqrt() * torch.randn(COUNT, 1))
    return chain


@torch.no_grad()
def backward(network: Network) -> list[Tensor]:
    """x_0 .. x_T of the learned chain p(x_{t-1} | x_t), which starts from standard noise x_T."""
    x = torch.randn(COUNT, 1)
    return [x, *ancestral(network, x, REVERSE, time_grid(PATH.T), noise=lambda: torch.randn_like(x))][::-1]


def draw(q: list[Tensor], p: list[Tensor], bits: Tensor, out: str) -> None:
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    t, place = (
        torch.arange(PATH.T + 1) / PATH.T,
        {"origin": "lower", "aspect": "auto", "extent": (0, 1, -3, 3)},
    )
    for axes, chain, title in ((left, q, "forward: q, as it is"), (middle, p, "backward: p, as learned")):
        density = torch.stack([x.histc(100, -3, 3) for x in chain], 1)
        axes.imshow((density / COUNT).sqrt(), cmap="Greys", vmax=0.4, **place)
        for sign, colour in ((-1, "tab:blue"), (1, "tab:red")):
            some = chain[0][:, 0].sign() == sign
            axes.plot(t, torch.stack([x[some][:7, 0] for x in chain]), color=colour, linewidth=0.8)
        axes.set(title=title, xlabel="t", ylabel="$x_t$")
    right.bar(
        t[1:], bits[1:] * PATH.T, -1 / PATH.T, align="edge", color="0.8", label="terms, in bits per unit of t"
    )
    right.plot(
        t.flip(0), bits.roll(-1).flip(0).cumsum(0), color="black", label="their sum so far, from t = 1 on"
    )
    right.axhline(1, color="tab:red", linestyle=":", label="entropy of the data, 1 bit")
    right.set(title=f"the bound: {bits.sum():.3f} bits", xlabel="t", xlim=(0, 1))
    right.legend(frameon=False)
    for axes in (middle, right):
        axes.invert_xaxis()
    figure.savefig(out, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-o", "--out", default="docs/two_points.png")
    parser.add_argument("--steps", type=int, default=4000)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    network = Network(nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))
    train(network, arguments.steps)
    terms, p = bound(network), backward(network)
    bits, error = terms.mean(1), terms.sum(0).std() / COUNT**0.5
    print(
        f"L_T {bits[0]:.4f} + L_{{t-1}} {bits[2:].sum():.4f} + L_0 {bits[1]:.4f} = {bits.sum():.4f} ± {error:.4f} bits"
    )
    for point in (-1, 1):
        print(f"samples at {point}: {((p[0] - point).abs() < 0.1).float().mean():.4f}")
    draw(forward(), p, bits, arguments.out)


if __name__ == "__main__":
    main()
