"""One block: norm, attend, read the prompt, feed forward."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.model.attention import CrossAttention, HeadNorm, SelfAttention
from tubelet.model.conditioning import modulate
from tubelet.model.feed_forward import FEED_FORWARDS
from tubelet.model.groups import Groups
from tubelet.model.linear import Linear
from tubelet.model.norms import NORMS, Scope
from tubelet.model.options import PLAIN, Options
from tubelet.model.positions import Rotary
from tubelet.model.times import Times
from tubelet.shapes import Text


class Prompt(NamedTuple):
    """Text as the blocks read it: states [B, L + 1, D] and mask [B, 1, 1, L + 1] (True may be seen)."""

    states: Tensor
    mask: Tensor


class ReadPrompt(nn.Module):
    """Text states at the model's width, after one learned state that stands for "nothing".

    It can always be seen, so that a prompt without any token is a valid one.
    """

    def __init__(self, text_width: int, width: int) -> None:
        super().__init__()
        self.project = Linear(text_width, width)
        self.norm = HeadNorm(width)
        self.nothing = nn.Parameter(torch.zeros(width))

    def forward(self, text: Text) -> Prompt:
        """Text of tokens [B, L, E] -> states [B, L + 1, D] and their mask."""
        states = self.norm(self.project(text.tokens))
        nothing = self.nothing.to(states.dtype).expand(len(states), 1, -1)
        mask = F.pad(text.mask, (1, 0), value=True)
        return Prompt(torch.cat((nothing, states), dim=1), mask[:, None, None])


class Block(nn.Module):
    """Tokens that attend, read the prompt and think; a fresh block changes nothing.

    It is the same for every folding: what its tokens see is an argument. `layer` is its number, from 0.
    """

    def __init__(
        self, width: int, heads: int, mlp_ratio: int, options: Options = PLAIN, layer: int = 0
    ) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(6 * width))
        self.attention = SelfAttention(width, heads, options, layer)
        self.read = CrossAttention(width, heads, options)
        self.feed_forward = FEED_FORWARDS[options.feed_forward](width, mlp_ratio)
        self.norm = NORMS[options.norm]

    def forward(
        self,
        tokens: Tensor,
        turn: Rotary | None,
        modulation: Tensor,
        times: Times,
        prompt: Prompt,
        samples: Groups,
        views: Sequence[Groups | Tensor],
        scope: Scope | None = None,
        first: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens [B, N, D], the modulation of each level of their times [B, K, 6 D] -> [B, N, D].

        samples: the tokens that read the same prompt; views: those that see each other; scope: those a norm looks
        at together. `first` and the second result are the first layer's values, see SelfAttention.
        """
        steer = (modulation + self.table).to(tokens.dtype)  # [B, K, 6 D]
        steer = [times.spread(part) for part in steer.chunk(6, dim=-1)]  # six of [B, 1 or N, D]
        seen, first = self.attention(
            modulate(tokens, steer[0], steer[1], self.norm, scope), turn, views, first
        )
        tokens = torch.addcmul(tokens, steer[2], seen)
        tokens = tokens + self.read(tokens, *prompt, samples)
        thought = self.feed_forward(modulate(tokens, steer[3], steer[4], self.norm, scope))
        return torch.addcmul(tokens, steer[5], thought), first
