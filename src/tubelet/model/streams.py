"""Joint text-video blocks: the prompt's tokens are a second stream, with weights of its own.   [SD3 4]

Both streams meet in one attention. A token of the video sees its groups, as the folding says, and the whole prompt of
its sample; a token of the prompt sees the prompt and all of its sample's video. So under every folding something has
seen the whole video, and packed samples stay apart.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.model.attention import HeadNorm, SelfAttention, attend
from tubelet.model.blocks import Block, FeedForward, Prompt
from tubelet.model.conditioning import Modulation, modulate
from tubelet.model.groups import Groups
from tubelet.model.linear import Linear
from tubelet.model.positions import Rotary
from tubelet.model.times import Times

if TYPE_CHECKING:
    from tubelet.model.transformer import Plan, TransformerConfig

Heads = Sequence[
    Tensor
]  # queries, keys and values, or keys and values alone: each [B, tokens, heads, head_dim]


class Stream(nn.Module):
    """One stream's weights in a block: before the attention that both share, and after it."""

    def __init__(self, width: int, heads: int, mlp_ratio: int, own_modulation: bool) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(6 * width))
        self.modulation = Modulation(width) if own_modulation else nn.Identity()
        self.attention = SelfAttention(width, heads)
        self.feed_forward = FeedForward(width, mlp_ratio)

    def steer(self, tokens: Tensor, modulation: Tensor) -> tuple[Tensor, ...]:
        """The modulation [B, K, 6 D], or the signal [B, K, D] -> shift, scale, gate, shift, scale, gate [B, K, D]."""
        return (self.modulation(modulation) + self.table).to(tokens.dtype).chunk(6, dim=-1)

    def split(self, tokens: Tensor, steer: Sequence[Tensor], turn: Rotary | None) -> Heads:
        """Tokens [B, N, D] -> queries, keys and values."""
        return self.attention.split(modulate(tokens, *steer[:2]), turn)

    def update(self, tokens: Tensor, steer: Sequence[Tensor], seen: Tensor) -> Tensor:
        """Tokens and what their heads have seen, both [B, N, D] -> [B, N, D]."""
        tokens = torch.addcmul(tokens, steer[2], self.attention.out(seen))
        thought = self.feed_forward(modulate(tokens, *steer[3:5]))
        return torch.addcmul(tokens, steer[5], thought)


class LastWords(nn.Module):
    """The prompt's stream in the last block: keys and values alone, since nobody reads what would become of it."""

    def __init__(self, width: int, heads: int, own_modulation: bool) -> None:
        super().__init__()
        self.heads = heads
        self.table = nn.Parameter(torch.zeros(2 * width))
        self.modulation = Modulation(width, parts=2) if own_modulation else nn.Identity()
        self.kv = Linear(width, 2 * width)
        self.k_norm = HeadNorm(width // heads)

    def split(self, tokens: Tensor, modulation: Tensor) -> Heads:
        """Tokens [S, L, D], their modulation [S, 1, 6 D] or signal [S, 1, D] -> keys and values."""
        steer = self.modulation(modulation)[..., : len(self.table)] + self.table  # shift and scale
        words = modulate(tokens, *steer.to(tokens.dtype).chunk(2, dim=-1))
        k, v = self.kv(words).unflatten(-1, (2, self.heads, -1)).unbind(2)
        return self.k_norm(k), v


class JointBlock(nn.Module):
    """A block of both streams; a fresh one changes neither. In the last one the prompt's stream ends."""

    def __init__(
        self, width: int, heads: int, mlp_ratio: int, *, own_modulation: bool = False, last: bool = False
    ) -> None:
        super().__init__()
        self.video = Stream(width, heads, mlp_ratio, own_modulation)
        self.words = (
            LastWords(width, heads, own_modulation)
            if last
            else Stream(width, heads, mlp_ratio, own_modulation)
        )

    def forward(
        self,
        tokens: Tensor,
        turn: Rotary,
        modulation: Tensor,
        times: Times,
        prompt: Prompt,
        samples: Groups,
        views: Sequence[Groups],
    ) -> tuple[Tensor, Prompt]:
        """The arguments of Block, with a prompt that has a modulation and owners -> tokens [B, N, D] and the prompt."""
        states, mask, signal, owner = prompt
        assert signal is not None and owner is not None
        steer = [times.spread(part) for part in self.video.steer(tokens, modulation)]  # six of [B, 1 or N, D]
        q, *video = self.video.split(tokens, steer, turn)
        if isinstance(self.words, LastWords):
            words = self.words.split(states, signal)
        else:
            told = self.words.steer(states, signal)
            asked, *words = self.words.split(states, told, None)
            states = self.words.update(states, told, seen_by_words(asked, words, mask, video, samples))
        seen = seen_by_video(q, video, words, mask, views, samples, owner)
        return self.video.update(tokens, steer, seen), prompt._replace(states=states)


def block_of(config: "TransformerConfig", layer: int) -> Block | JointBlock:
    """The block of layer 0 .. depth - 1."""
    shape, own = (config.width, config.heads, config.mlp_ratio), config.modulation == "block"
    if config.prompt == "joint":
        return JointBlock(*shape, own_modulation=own, last=layer == config.depth - 1)
    return Block(*shape, own_modulation=own, reads=config.prompt == "cross")


def owners(samples: Groups, prompts: int, device: torch.device) -> Tensor:
    """Which of so many prompts each token reads: int64 [B, N], B prompts in a batch, S in a packed row (B = 1)."""
    rows = prompts // sum(count for count, _ in samples.sizes)
    each = torch.arange(prompts, device=device).split([rows * count for count, _ in samples.sizes])
    sized = zip(each, samples.sizes, strict=True)
    return samples.row([numbers[:, None].expand(-1, size) for numbers, (_, size) in sized])


def seen_by_video(
    q: Tensor,
    video: Heads,
    words: Heads,
    mask: Tensor,
    views: Sequence[Groups],
    samples: Groups,
    owner: Tensor,
) -> Tensor:
    """What the video's tokens see of their groups and of their own prompts' words: [B, N, D].

    The video's q, k and v are [B, N, heads, head_dim], the words' k and v [S, L, heads, head_dim], their mask
    [S, 1, 1, L]; the heads are split evenly among the views.
    """
    heads = zip(*(x.chunk(len(views), dim=2) for x in (q, *video, *words)), strict=True)
    seen = []
    for view, (*mine, words_k, words_v) in zip(views, heads, strict=True):
        pieces, text = [view.pieces(x) for x in mine], (words_k, words_v, mask)
        if view.sizes == samples.sizes:  # each group is a sample, in the order of the prompts
            texts = [x.split([len(piece) for piece in pieces[0]]) for x in text]
        else:
            texts = [[x[prompts[:, 0]] for prompts in view.pieces(owner)] for x in text]
        seen.append(view.row([_with_words(*each) for each in zip(*pieces, *texts, strict=True)]))
    return seen[0] if len(seen) == 1 else torch.cat(seen, dim=-1)


def seen_by_words(q: Tensor, words: Heads, mask: Tensor, video: Heads, samples: Groups) -> Tensor:
    """What the prompts' words [S, L, heads, head_dim] see of themselves and of their samples' video: [S, L, D]."""
    videos = list(
        zip(*(samples.pieces(x) for x in video), strict=True)
    )  # k and v of the samples of each size
    texts = zip(*(x.split([len(k) for k, _ in videos]) for x in (q, *words, mask)), strict=True)
    return torch.cat([_with_words(q, k, v, *text) for (q, *text), (k, v) in zip(texts, videos, strict=True)])


def _with_words(q: Tensor, k: Tensor, v: Tensor, words_k: Tensor, words_v: Tensor, mask: Tensor) -> Tensor:
    everything = F.pad(mask, (k.shape[1], 0), value=True)  # [G, 1, 1, tokens + L]
    return attend(q, torch.cat((k, words_k), dim=1), torch.cat((v, words_v), dim=1), everything)


def prompt_flops(config: "TransformerConfig", plan: "Plan", states: int) -> int:
    """Multiply-adds by which all blocks of one sample read so many states of its prompt; see transformer.flops."""
    width, depth, (tokens,) = config.width, config.depth, plan.layout.tokens
    if config.prompt == "none":
        return 0
    if config.prompt == "cross":
        return depth * (2 * (tokens + states) * width**2 + 2 * tokens * states * width)
    steering = 6 * (depth - 1) + 2 if config.modulation == "block" else 6
    through = (4 + 2 * config.mlp_ratio) * states * width**2 + 2 * states * (tokens + states) * width
    last = 2 * states * width**2
    return steering * width**2 + (depth - 1) * through + last + depth * 2 * tokens * states * width
