"""One block: norm, attend, read the prompt, feed forward."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.model.attention import CrossAttention, HeadNorm, SelfAttention
from tubelet.model.conditioning import Modulation, modulate
from tubelet.model.groups import Groups
from tubelet.model.linear import Linear
from tubelet.model.positions import Rotary
from tubelet.model.times import Times
from tubelet.shapes import Text


class Prompt(NamedTuple):
    """Text as the blocks read it: states [S, L + 1, D] and mask [S, 1, 1, L + 1] (True may be seen).

    Where its tokens are a stream of their own, see streams.py: what steers them, [S, 1, 6 D] or the signal [S, 1, D],
    and for each token of the video which prompt is its own, int64 [B, N].
    """

    states: Tensor
    mask: Tensor
    modulation: Tensor | None = None
    owner: Tensor | None = None


class ReadPrompt(nn.Module):
    """Text states at the model's width, after one learned state that stands for "nothing".

    It can always be seen, so that a prompt without any token is a valid one. Where the states go through layers of
    their own it is born as large as they are: the norms there would multiply its gradient at zero by 300.
    """

    def __init__(self, text_width: int, width: int, stream: bool = False) -> None:
        super().__init__()
        self.project = Linear(text_width, width)
        self.norm = HeadNorm(width)
        self.nothing = nn.Parameter(torch.randn(width) if stream else torch.zeros(width))

    def forward(self, text: Text) -> Prompt:
        """Text of tokens [B, L, E] -> states [B, L + 1, D] and their mask."""
        states = self.norm(self.project(text.tokens))
        nothing = self.nothing.to(states.dtype).expand(len(states), 1, -1)
        mask = F.pad(text.mask, (1, 0), value=True)
        return Prompt(torch.cat((nothing, states), dim=1), mask[:, None, None])


class FeedForward(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.inner = Linear(width, ratio * width)
        self.outer = Linear(ratio * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, N, D] -> [B, N, D]."""
        return self.outer(F.gelu(self.inner(tokens), approximate="tanh"))


class Block(nn.Module):
    """Tokens that attend, read the prompt and think; a fresh block changes nothing.

    It is the same for every folding: what its tokens see is an argument. `reads`: by cross-attention, or not at all.
    """

    def __init__(
        self, width: int, heads: int, mlp_ratio: int, *, own_modulation: bool = False, reads: bool = True
    ) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(6 * width))
        self.modulation = Modulation(width) if own_modulation else nn.Identity()
        self.attention = SelfAttention(width, heads)
        self.read = CrossAttention(width, heads) if reads else None
        self.feed_forward = FeedForward(width, mlp_ratio)

    def forward(
        self,
        tokens: Tensor,
        turn: Rotary,
        modulation: Tensor,
        times: Times,
        prompt: Prompt | None,
        samples: Groups,
        views: Sequence[Groups | Tensor],
    ) -> tuple[Tensor, Prompt | None]:
        """Tokens [B, N, D], the modulation of each level of their times [B, K, 6 D] -> [B, N, D] and the prompt.

        With a modulation of its own it takes the signal of each level, [B, K, D]. samples: the tokens that read the
        same prompt; views: those that see each other, see SelfAttention.
        """
        steer = (self.modulation(modulation) + self.table).to(tokens.dtype)  # [B, K, 6 D]
        steer = [times.spread(part) for part in steer.chunk(6, dim=-1)]  # six of [B, 1 or N, D]
        seen = self.attention(modulate(tokens, *steer[:2]), turn, views)
        tokens = torch.addcmul(tokens, steer[2], seen)
        if self.read is not None and prompt is not None:
            tokens = tokens + self.read(tokens, prompt.states, prompt.mask, samples)
        thought = self.feed_forward(modulate(tokens, *steer[3:5]))
        return torch.addcmul(tokens, steer[5], thought), prompt
