"""BERT's encoder in plain torch: token numbers to token states."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from tubelet.errors import InputError


@dataclass(frozen=True, kw_only=True)
class BertConfig:
    """The sizes of a BERT, under the names of its config.json."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    layer_norm_eps: float

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """Read from a config.json. Raises InputError for a variant whose forward differs."""
        for key, only in (("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
            if config.get(key, only) != only:
                raise InputError(f"config.json: {key} {config[key]!r} is not supported; it must be {only!r}")
        return cls(**{key: config[key] for key in cls.__dataclass_fields__})


class Bert:
    """Token states of a BERT, layer norm after each sum, exact GELU, no dropout.   [BERT 3]

    `weights` has the names of the published files; only those read here are needed (no pooler). They may be
    mapped from a file: a row of the word table is read when its word is.
    """

    def __init__(self, config: BertConfig, weights: Mapping[str, Tensor]) -> None:
        self.config = config
        self._weights = weights

    def __call__(self, ids: Tensor, mask: Tensor) -> Tensor:
        """States [B, L, E] of tokens `ids` [B, L] integer, of which `mask` [B, L] bool are real."""
        x = self._embed(ids)  # [B, L, E]
        seen = mask[:, None, None, :]  # [B, 1, 1, L]
        for number in range(self.config.num_hidden_layers):
            layer = f"encoder.layer.{number}"
            x = self._norm(x + self._attend(x, seen, f"{layer}.attention"), f"{layer}.attention.output")
            hidden = F.gelu(self._linear(x, f"{layer}.intermediate.dense"))  # [B, L, 4 E]
            x = self._norm(x + self._linear(hidden, f"{layer}.output.dense"), f"{layer}.output")
        return x

    def _embed(self, ids: Tensor) -> Tensor:
        word, position, kind = (
            self._weights[f"embeddings.{table}_embeddings.weight"]
            for table in ("word", "position", "token_type")
        )
        return self._norm(word[ids] + position[: ids.shape[1]] + kind[0], "embeddings")

    def _attend(self, x: Tensor, seen: Tensor, name: str) -> Tensor:
        heads = self.config.num_attention_heads
        q, k, v = (
            rearrange(self._linear(x, f"{name}.self.{role}"), "b l (head d) -> b head l d", head=heads)
            for role in ("query", "key", "value")
        )
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self._linear(rearrange(x, "b head l d -> b l (head d)"), f"{name}.output.dense")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = (self._weights[f"{name}.LayerNorm.{kind}"] for kind in ("weight", "bias"))
        return F.layer_norm(x, (self.config.hidden_size,), weight, bias, self.config.layer_norm_eps)


def is_read(name: str) -> bool:
    """Whether the forward reads the tensor of this name."""
    return name.startswith(("embeddings.", "encoder.")) and not name.endswith("position_ids")
