"""The method alone: a chain of 100 steps and a network of 4,546 weights learn data that are -1 or 1, half and half.

python examples/ddpm_on_two_points.py [-o docs/two_points.png] [--steps 4000]

Prints the bound beside the entropy of the data and draws both chains, in half a minute. What is imported: docs/MATH.md.
"""

from typing import Annotated

import torch
import tyro
from matplotlib.figure import Figure
from torch import Tensor, nn

from tubelet.diffusion.bound import bits_per_dim, bound_rows, strata
from tubelet.diffusion.objective import Objective, bound_step, loss_terms
from tubelet.diffusion.paths import ddpm_linear
from tubelet.diffusion.process import add_noise
from tubelet.diffusion.reverse import Reverse
from tubelet.diffusion.samplers import ancestral
from tubelet.diffusion.times import TimeSampling

T, COUNT = 100, 20_000  # steps of the chain; samples of the bound and of the picture
PATH, GRID, TIMES = ddpm_linear(T), TimeSampling(steps=T), [t / T for t in range(T + 1)]
REVERSE = Reverse(PATH, target="x0", variance="learned")
Out = Annotated[str, tyro.conf.arg(aliases=["-o"])]


class Network(nn.Sequential):
    """(x_t [B, 1], t [B]) -> the predicted x0, and where the variance lies between small and large: [B, 2]."""

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:  # noqa: D102
        t = t.float()[:, None]
        x0, place = super().forward(torch.cat([xt, t, t.log()], 1)).chunk(2, 1)
        return torch.cat([x0.tanh(), place], 1)  # data lie in [-1, 1]


def train(network: Network, steps: int) -> None:
    """Each sample meets one random term of the bound, which stands for all of them."""
    optimizer = torch.optim.Adam(network.parameters())
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        x0, t = torch.randn(512, 1).sign(), GRID.times(torch.rand(512, dtype=torch.float64))
        xt = add_noise(PATH, x0, torch.randn_like(x0), t)  # ~ q(x_t | x_0)
        step = bound_step(REVERSE, x0, xt, GRID.before(t), t, GRID.share(t))
        predicted, place = REVERSE.split(network(xt, t), xt)
        terms = loss_terms(Objective(name="vlb"), "discretised", predicted, place, x0, step)
        optimizer.zero_grad()
        terms["loss"].mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)  # the first L_0 are thousands of bits
        optimizer.step()
        rate.step()


@torch.no_grad()
def chains(network: Network) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """x_0 .. x_T of q and of p, T + 1 of [COUNT, 1] each; L_T, L_0, .., L_{T-1} in bits, [T + 1, COUNT]."""
    q = [torch.randn(COUNT, 1).sign()]
    noise, uniform = lambda: torch.randn(COUNT, 1), lambda: torch.rand(COUNT)
    for beta in PATH.beta[1:].float():
        q.append((1 - beta).sqrt() * q[-1] + beta.sqrt() * noise())
    rows, draws = strata(T, T), {"noise": noise, "uniform": uniform}
    terms = bound_rows(network, q[0], REVERSE, TIMES, rows, decoder="discretised", **draws)
    p = [x := noise(), *ancestral(network, x, REVERSE, TIMES[::-1], noise=noise)]
    return q, p[::-1], bits_per_dim(torch.stack(list(terms)), 1)


def draw(q: list[Tensor], p: list[Tensor], bits: Tensor, out: str) -> None:
    left, middle, right = Figure(figsize=(13, 4), layout="constrained").subplots(1, 3)
    for axes, chain, title in (left, q, "forward: q, as it is"), (middle, p, "backward: p, as learned"):
        density = torch.stack([x.histc(100, -3, 3) for x in chain], 1) / COUNT
        axes.imshow(density.sqrt(), "Greys", aspect="auto", vmax=0.35, origin="lower", extent=(0, 1, -3, 3))
        for end, colour in (-1, "tab:blue"), (1, "tab:red"):
            paths = torch.cat(chain, 1)[chain[0][:, 0].sign() == end][:7]
            axes.plot(TIMES, paths.T, color=colour, linewidth=0.8)
        axes.set(title=title, xlabel="t", ylabel="$x_t$", ylim=(-3, 3))
    right.bar(TIMES[1:], bits[1:] * T, -1 / T, align="edge", color="0.8", label="terms, bits per unit of t")
    right.plot(TIMES[::-1], bits.roll(-1).flip(0).cumsum(0), "black", label="their sum from t = 1 to here")
    right.plot((1, 0), (1, 1), "r:", label="entropy of the data, 1 bit")
    right.set(title=f"the bound: {bits.sum():.3f} bits", xlabel="t", xlim=(1, 0))
    right.legend(frameon=False)
    middle.invert_xaxis()
    left.figure.savefig(out, dpi=110)


def main(out: Out = "docs/two_points.png", steps: int = 4000) -> None:
    torch.manual_seed(0)
    network = Network(nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))
    train(network, steps)
    q, p, terms = chains(network)
    bits, error = terms.mean(1), terms.sum(0).std() / COUNT**0.5
    print(f"L_T {bits[0]:.4f} + L_{{t-1}}, t > 1, {bits[2:].sum():.4f} + L_0 {bits[1]:.4f}, all in bits")
    print(f"bound {bits.sum():.4f} ± {error:.4f}, entropy of the data 1")
    print("samples at -1 and 1:", *(((p[0] - end).abs() < 0.1).double().mean().item() for end in (-1, 1)))
    draw(q, p, bits, out)


if __name__ == "__main__":
    tyro.cli(main)
