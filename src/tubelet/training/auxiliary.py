"""What training may ask of a network's layers besides its prediction. None of it ships; what is off costs nothing."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.errors import InputError
from tubelet.model.blocks import State


@dataclass(frozen=True, kw_only=True)
class LayerSyncConfig:
    """An early layer's tokens are drawn towards a later one's, see `layer_sync`; weight 0 is off.

    early, late: numbers of layers, from 0.
    """

    weight: float = 0.0
    early: int = 2
    late: int = 5


@dataclass(frozen=True, kw_only=True)
class TruthHeadConfig:
    """A layer's tokens foretell what a renderer knows of their pixels, see `truth_loss`; weight 0 is off.

    layer: its number, from 0.
    """

    weight: float = 0.0
    layer: int = 4


@dataclass(frozen=True, kw_only=True)
class AuxiliaryConfig:
    """What layers learn besides the prediction; the loss of each is added with its weight."""

    layer_sync: LayerSyncConfig = LayerSyncConfig()
    truth_head: TruthHeadConfig = TruthHeadConfig()

    def check(self, depth: int, packed: bool) -> None:
        """InputError where a network of so many layers has not what is asked for."""
        sync, head = self.layer_sync, self.truth_head
        layers = {"layer_sync.early": sync.early, "layer_sync.late": sync.late} if sync.weight else {}
        layers |= {"truth_head.layer": head.layer} if head.weight else {}
        for name, layer in layers.items():
            if not 0 <= layer < depth:
                raise InputError(
                    f"auxiliary.{name} is {layer}, but the layers are 0 to {depth - 1}; give one of them"
                )
        if sync.weight and sync.early >= sync.late:
            raise InputError(
                f"auxiliary.layer_sync draws layer {sync.early} towards layer {sync.late}; give a later one than early"
            )
        if head.weight and packed:
            raise InputError(
                "auxiliary.truth_head reads batches of one size; use batching buckets, or weight 0"
            )
        for name, weight in (("layer_sync", sync.weight), ("truth_head", head.weight)):
            if weight < 0:
                raise InputError(f"auxiliary.{name}.weight is {weight:g}; give 0 for none, or more")


class Taps:
    """The tokens [B, N, D] of chosen layers, as the last forward of the blocks left them.

    A hook stands outside of a block's `forward`, so compiling and checkpointing that do not change.
    """

    def __init__(self, blocks: nn.ModuleList, layers: Iterable[int]) -> None:
        self.tokens: dict[int, Tensor] = {}
        for layer in sorted(set(layers)):
            blocks[layer].register_forward_hook(partial(self._note, layer))

    def _note(self, layer: int, block: nn.Module, given: tuple, state: State) -> None:
        self.tokens[layer] = state.tokens

    def __getitem__(self, layer: int) -> Tensor:
        """The tokens of a layer, in float32."""
        return self.tokens[layer].float()


class TruthHead(nn.Module):
    """A linear map from normed tokens to what a renderer knows of their pixels.

    It is born as zeros and draws nothing, so the network's own weights are the same with it and without.
    """

    def __init__(self, width: int, fields: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(fields, width))
        self.bias = nn.Parameter(torch.zeros(fields))

    def loss(self, tokens: Tensor, truth: Tensor) -> Tensor:
        """Mean square error over the first M tokens [B, N, D], of which truth [B, M, X] is known.

        Behind a video's own tokens stand those of its registers and references, of which nothing is asked.
        """
        tokens = tokens[:, : truth.shape[1]]
        with torch.autocast(tokens.device.type, enabled=False):
            return F.mse_loss(
                F.linear(F.layer_norm(tokens, tokens.shape[-1:]), self.weight, self.bias), truth
            )


class Auxiliary(nn.Module):
    """The terms that a run adds to its loss, and the parameters they need.

    fields: how many numbers a renderer knows of each token.
    """

    def __init__(self, config: AuxiliaryConfig, blocks: nn.ModuleList, width: int, fields: int) -> None:
        super().__init__()
        self.sync, self.truth = config.layer_sync, config.truth_head
        layers = [self.sync.early, self.sync.late] if self.sync.weight else []
        self.taps = Taps(blocks, layers + ([self.truth.layer] if self.truth.weight else []))
        self.head = TruthHead(width, fields) if self.truth.weight else None

    def terms(self, truth: Tensor | None) -> dict[str, Tensor]:
        """The weighted terms of the last forward, scalars; truth [B, M, X] is of its videos' tokens, if known."""
        taps, terms = self.taps, {}
        if self.sync.weight:
            terms["layer_sync"] = self.sync.weight * layer_sync(taps[self.sync.early], taps[self.sync.late])
        if self.head is not None and truth is not None:
            terms["truth"] = self.truth.weight * self.head.loss(taps[self.truth.layer], truth)
        taps.tokens.clear()  # they hold the whole graph
        return terms


class Beside(nn.Module):
    """A network and what is trained beside it, for optimizers, averages and checkpoints of training."""

    def __init__(self, network: nn.Module, auxiliary: Auxiliary) -> None:
        super().__init__()
        self.network, self.auxiliary = network, auxiliary


def layer_sync(early: Tensor, late: Tensor) -> Tensor:
    """Mean over tokens of 1 - cos(early, late), both [B, N, D], with no gradient to the later ones.   [LayerSync]"""
    return 1 - F.cosine_similarity(early, late.detach(), dim=-1).mean()
