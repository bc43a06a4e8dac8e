"""The method alone: a chain of 100 steps and a small network learn data that are -1 or 1, which is one bit.

python examples/ddpm_on_two_points.py [-o docs/two_points.png] [--steps 4000]

Prints the variational bound in bits beside the entropy of the data, and draws both chains: forward as it is, backward as
it was learned. Half a minute on one core. docs/MATH.md explains what is used here.
"""

import argparse

import matplotlib
import torch
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
COUNT = 20_000  # samples in the picture and in the bound


class Network(nn.Module):
    """(x_t [B, 1], t [B]) -> the predicted x0, and where the variance lies between small and large: [B, 2]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        t = t.float()[:, None]
        x0, place = self.layers(torch.cat([xt, t, t.log()], 1)).chunk(2, 1)
        return torch.cat([x0.tanh(), place], 1)  # data lie in [-1, 1]


def data(count: int) -> Tensor:
    return 2.0 * torch.randint(2, (count, 1)) - 1


def train(network: Network, steps: int, batch: int = 512) -> None:
    """Each sample meets one random term of the bound, which stands for all of them."""
    optimizer = torch.optim.Adam(network.parameters())
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        x0, t = data(batch), TIMES.times(torch.rand(batch, dtype=torch.float64))
        xt = add_noise(PATH, x0, torch.randn_like(x0), t)  # ~ q(x_t | x_0)
        step = bound_step(REVERSE, x0, xt, TIMES.before(t), t, TIMES.share(t))
        predicted, place = REVERSE.split(network(xt, t), xt)
        loss = loss_terms(Objective(name="vlb"), "discretised", predicted, place, x0, step)["loss"].mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)  # the first L_0 are thousands of bits
        optimizer.step()
        rate.step()


def bound(network: Network) -> Tensor:
    """L_T, L_0, then L_{t-1} for t = 2 .. T, in bits: [T + 1, COUNT]."""
    x0, times, rows = data(COUNT), [n / PATH.T for n in range(PATH.T + 1)], strata(PATH.T, PATH.T)
    uniform, noise = (lambda: torch.rand(COUNT)), (lambda: torch.randn_like(x0))
    terms = bound_rows(network, x0, REVERSE, times, rows, uniform=uniform, noise=noise, decoder="discretised")
    return bits_per_dim(torch.stack(list(terms)), 1)


def forward() -> Tensor:
    """The chain q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t): [T + 1, COUNT], x_0 first."""
    chain = [data(COUNT)]
    for beta in PATH.beta[1:].float():
        chain.append((1 - beta).sqrt() * chain[-1] + beta.sqrt() * torch.randn_like(chain[-1]))
    return torch.cat(chain, 1).T


def backward(network: Network) -> Tensor:
    """The learned chain p(x_{t-1} | x_t) from standard noise: [T + 1, COUNT], x_0 first."""
    x = torch.randn(COUNT, 1)
    steps = ancestral(network, x, REVERSE, time_grid(PATH.T), noise=lambda: torch.randn_like(x))
    return torch.cat([x, *steps], 1).T.flip(0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-o", "--out", default="docs/two_points.png")
    parser.add_argument("--steps", type=int, default=4000)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    network = Network()
    train(network, arguments.steps)
    with torch.no_grad():
        terms, q, p = bound(network), forward(), backward(network)
    return terms, q,p, network


if __name__ == "__main__":
    import time
    t0=time.process_time()
    terms, q,p, network = main()
    print(terms.mean(1)[:2], terms[2:].sum(0).mean(), terms.sum(0).mean(), terms.sum(0).std()/20000**.5, time.process_time()-t0)
    torch.save((terms,q,p,network.state_dict()),"/tmp/tp/state.pt")
