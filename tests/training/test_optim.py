"""Schedule, optimizers and EMA."""

import pytest
import torch
from torch import nn

from tubelet.errors import InputError
from tubelet.training.ema import Average
from tubelet.training.optim import OptimizerConfig, Optimizers, Schedule


def test_the_rate_warms_up_stays_and_cools_down():
    schedule = Schedule(steps=10, warm_up=3, cool_down=4)
    rates = [schedule.factor(step) for step in range(10)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])


def test_a_cool_down_branches_without_changing_what_came_before():
    long, short = Schedule(steps=100, warm_up=3), Schedule(steps=20, warm_up=3, cool_down=5)
    assert [long.factor(s) for s in range(15)] == [short.factor(s) for s in range(15)]


@pytest.mark.parametrize("bad", [{"steps": 0}, {"steps": 5, "cool_down": 6}, {"steps": 5, "warm_up": -1}])
def test_impossible_schedules_are_refused(bad):
    with pytest.raises(InputError):
        Schedule(**bad)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(8, 16)
        self.blocks = nn.ModuleList(nn.Linear(16, 16) for _ in range(2))

    def forward(self, x):
        x = self.embed(x)
        for block in self.blocks:
            x = x + block(x).tanh()
        return x


def step(model: Small, optimizers: Optimizers, seed: int) -> None:
    optimizers.clear()
    model(torch.randn(4, 8, generator=torch.Generator().manual_seed(seed))).square().mean().backward()
    optimizers.step(0.5)


def test_muon_moves_hidden_matrices_only():
    optimizers = Optimizers(Small(), OptimizerConfig())
    adamw, muon = ([p.shape for group in o.param_groups for p in group["params"]] for o in optimizers.all)
    assert muon == [(16, 16), (16, 16)]
    assert adamw == [(16, 8), (16,), (16,), (16,)]
    assert len(Optimizers(Small(), OptimizerConfig(name="adamw")).all) == 1


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_saved_optimizers_go_on_bit_for_bit(name):
    torch.manual_seed(0)
    one, other = Small(), Small()
    config = OptimizerConfig(name=name)
    first, second = Optimizers(one, config), Optimizers(other, config)
    for seed in range(3):
        step(one, first, seed)
    other.load_state_dict(one.state_dict())
    second.load_state_tensors({k: v.clone() for k, v in first.state_tensors().items()})
    for seed in range(3, 6):
        step(one, first, seed)
        step(other, second, seed)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_another_optimizers_state_is_refused():
    model = Small()
    first = Optimizers(model, OptimizerConfig())
    step(model, first, 0)
    with pytest.raises(InputError, match="another optimizer"):
        Optimizers(model, OptimizerConfig(name="adamw")).load_state_tensors(first.state_tensors())


def test_the_average_is_the_recursion_written_down():
    model = nn.Linear(1, 1, bias=False)
    average = Average(model, decay=0.9)
    expected = model.weight.item()
    for n in range(200):
        with torch.no_grad():
            model.weight.fill_(float(n))
        average.update(model, n)
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * n
    assert average.tensors()["weight"].item() == pytest.approx(expected)


def test_swapping_twice_changes_nothing():
    model = Small()
    average = Average(model, 0.9)
    with torch.no_grad():
        model.embed.weight.zero_()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    average.swap(model)
    assert model.embed.weight.any()
    average.swap(model)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
