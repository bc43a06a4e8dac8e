"""How weights move: AdamW, Muon for hidden matrices, and the rate as a pure function of the step."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tubelet.errors import InputError

HIDDEN = "blocks."  # hidden matrices live in lists of blocks


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Linear warm-up, constant, cool-down to zero over the last steps. All lengths in optimizer steps.

    A run can branch into a cool-down from any checkpoint of its constant part: give a new `steps` and resume there.
    """

    steps: int
    warm_up: int = 100
    cool_down: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.warm_up < 0 or not 0 <= self.cool_down <= self.steps:
            raise InputError(
                f"schedule of {self.steps} steps with warm_up {self.warm_up} and cool_down {self.cool_down}: needs "
                "steps >= 1, warm_up >= 0 and 0 <= cool_down <= steps"
            )

    def factor(self, step: int) -> float:
        """The share of the full rate that step number `step` (from 0) uses, in (0, 1]."""
        warm = min(1.0, (step + 1) / (self.warm_up + 1))
        cool = min(1.0, (self.steps - step) / (self.cool_down + 1))
        return min(warm, cool)


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW for everything, or Muon for hidden matrices and AdamW for the rest.

    Muon's update is scaled to AdamW's RMS (`match_rms_adamw`), so its rate is of AdamW's kind.
    """

    name: str = "muon"
    rate: float = 1e-3
    muon_rate: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in ("muon", "adamw"):
            raise InputError(f"optimizer {self.name!r} is unknown; known: muon, adamw")


class Optimizers:
    """The optimizers of one model, stepped and saved together."""

    def __init__(self, model: nn.Module, config: OptimizerConfig):
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        hidden = [p for name, p in named if config.name == "muon" and is_hidden_matrix(name, p)]
        taken = {id(p) for p in hidden}
        rest = [p for _, p in named if id(p) not in taken]
        decay = config.weight_decay
        self.parameters = [p for _, p in named]
        self.all: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(rest, lr=config.rate, betas=config.betas, weight_decay=decay, fused=True)
        ]
        if hidden:
            self.all.append(
                torch.optim.Muon(
                    hidden, lr=config.muon_rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"
                )
            )
        self.rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.all]

    def step(self, factor: float) -> None:
        """One update at `factor` times the full rates."""
        for optimizer, rates in zip(self.all, self.rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            optimizer.step()

    def clear(self) -> None:
        """Forget all gradients."""
        for optimizer in self.all:
            optimizer.zero_grad(set_to_none=True)

    def clip(self, max_norm: float) -> Tensor:
        """Scale the gradients down to a total norm of max_norm; returns the norm before."""
        return nn.utils.clip_grad_norm_(self.parameters, max_norm)

    def state_tensors(self) -> dict[str, Tensor]:
        """Every tensor of the optimizers' state, flat: "optimizer.parameter.key"."""
        return {
            f"{i}.{j}.{key}": value
            for i, optimizer in enumerate(self.all)
            for j, state in optimizer.state_dict()["state"].items()
            for key, value in state.items()
        }

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `state_tensors` gave. InputError where the optimizers differ."""
        states: list[dict[int, dict[str, Any]]] = [{} for _ in self.all]
        for name, value in tensors.items():
            i, j, key = name.split(".", 2)
            if int(i) >= len(states):
                raise InputError(
                    "the checkpoint was made with another optimizer; start a new run with --loop.out"
                )
            states[int(i)].setdefault(int(j), {})[key] = value
        for optimizer, state in zip(self.all, states, strict=True):
            optimizer.load_state_dict(
                {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
            )


def is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    """Whether Muon should move it: a weight matrix inside a list of blocks (not an embedding, head, table or gain)."""
    return HIDDEN in name and name.endswith("weight") and parameter.ndim == 2 and min(parameter.shape) >= 8
