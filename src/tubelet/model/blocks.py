"""One block: norm, attend, read the prompt, feed forward."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.model.attention import CrossAttention, HeadNorm, SelfAttention
from tubelet.model.conditioning import Modulation, modulate
from tubelet.model.feed_forward import FEED_FORWARDS
from tubelet.model.groups import Groups
from tubelet.model.linear import Linear
from tubelet.model.norms import NORMS, Scope
from tubelet.model.options import PLAIN, Options
from tubelet.model.positions import Rotary
from tubelet.model.times import Times
from tubelet.shapes import Text


class State(NamedTuple):
    """What goes from block to block.

    tokens: those of the rows, [B, N, D]. words: the prompts' states [S, L + 1, D], where they are read.
    values, word_values: with value_residual those of the first layer, from there on: [B, N, heads, head_dim] and, where
    words are a stream of their own, [S, L + 1, heads, head_dim].
    """

    tokens: Tensor
    words: Tensor | None = None
    values: Tensor | None = None
    word_values: Tensor | None = None


class Prompt(NamedTuple):
    """How words are read: mask [S, 1, 1, L + 1] (True may be seen).

    Where they are a stream of their own, see streams.py: what steers them, [S, 1, 6 D] or the signal [S, 1, D], and for
    each token of the rows which prompt is its own, int64 [B, N].
    """

    mask: Tensor
    modulation: Tensor | None = None
    owner: Tensor | None = None


class Context(NamedTuple):
    """What all blocks are told alike.

    turn: the rotation of each of the N tokens, if they are turned.
    modulation: of each level of their times, [B, K, 6 D], or where each block has its own the signal [B, K, D].
    samples: the tokens that read the same prompt. scope: those a norm looks at together.
    """

    turn: Rotary | None
    modulation: Tensor
    times: Times
    samples: Groups
    scope: Scope | None = None
    prompt: Prompt | None = None


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

    def forward(self, text: Text) -> tuple[Tensor, Tensor]:
        """Text of tokens [S, L, E] -> states [S, L + 1, D] and their mask [S, 1, 1, L + 1]."""
        states = self.norm(self.project(text.tokens))
        nothing = self.nothing.to(states.dtype).expand(len(states), 1, -1)
        mask = F.pad(text.mask, (1, 0), value=True)
        return torch.cat((nothing, states), dim=1), mask[:, None, None]


class Block(nn.Module):
    """Tokens that attend, read the prompt and think; a fresh block changes nothing.

    It is the same for every folding: what its tokens see is an argument. `layer` is its number, from 0.
    """

    def __init__(
        self, width: int, heads: int, mlp_ratio: int, options: Options = PLAIN, layer: int = 0
    ) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(6 * width))
        self.modulation = Modulation(width) if options.modulation == "block" else nn.Identity()
        self.attention = SelfAttention(width, heads, options, layer)
        self.read = CrossAttention(width, heads, options) if options.prompt == "cross" else None
        self.feed_forward = FEED_FORWARDS[options.feed_forward](width, mlp_ratio)
        self.norm = NORMS[options.norm]

    def forward(self, state: State, context: Context, views: Sequence[Groups | Tensor]) -> State:
        """The state with other tokens; views: those that see each other, see SelfAttention."""
        tokens, words, values, _ = state
        turn, modulation, times, samples, scope, prompt = context
        steer = (self.modulation(modulation) + self.table).to(tokens.dtype)  # [B, K, 6 D]
        steer = [times.spread(part) for part in steer.chunk(6, dim=-1)]  # six of [B, 1 or N, D]
        normed = modulate(tokens, steer[0], steer[1], self.norm, scope)
        seen, values = self.attention(normed, turn, views, values)
        tokens = torch.addcmul(tokens, steer[2], seen)
        if self.read is not None and words is not None and prompt is not None:
            tokens = tokens + self.read(tokens, words, prompt.mask, samples)
        thought = self.feed_forward(modulate(tokens, steer[3], steer[4], self.norm, scope))
        return State(torch.addcmul(tokens, steer[5], thought), words, values)
