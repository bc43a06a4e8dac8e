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

from tubelet.model.attention import SelfAttention, ValueMix, head_norms
from tubelet.model.blocks import Block, Context, State
from tubelet.model.conditioning import Modulation, modulate
from tubelet.model.feed_forward import FEED_FORWARDS
from tubelet.model.groups import Groups
from tubelet.model.kernels import attend
from tubelet.model.linear import Linear
from tubelet.model.norms import NORMS, WORD_NORMS, Norm, Scope
from tubelet.model.options import PLAIN, Options

if TYPE_CHECKING:
    from tubelet.model.transformer import TransformerConfig

# Queries, keys and values, or keys and values alone: each [B, tokens, heads, head_dim].
Heads = Sequence[Tensor]


class Stream(nn.Module):
    """One stream's weights in a block: before the attention that both share, and after it."""

    def __init__(
        self, width: int, heads: int, mlp_ratio: int, options: Options, layer: int, norm: Norm
    ) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(6 * width))
        self.modulation = Modulation(width) if options.modulation == "block" else nn.Identity()
        self.attention = SelfAttention(width, heads, options, layer)
        self.feed_forward = FEED_FORWARDS[options.feed_forward](width, mlp_ratio)
        self.norm = norm

    def steer(self, tokens: Tensor, modulation: Tensor) -> tuple[Tensor, ...]:
        """The modulation [B, K, 6 D], or the signal [B, K, D] -> shift, scale, gate, shift, scale, gate [B, K, D]."""
        return (self.modulation(modulation) + self.table).to(tokens.dtype).chunk(6, dim=-1)

    def normed(self, tokens: Tensor, steer: Sequence[Tensor], scope: Scope | None) -> Tensor:
        """Tokens [B, N, D], normalised, shifted and scaled."""
        return modulate(tokens, steer[0], steer[1], self.norm, scope)

    def update(
        self, tokens: Tensor, steer: Sequence[Tensor], seen: Tensor, scope: Scope | None = None
    ) -> Tensor:
        """Tokens and what their heads have seen, both [B, N, D] -> [B, N, D]."""
        tokens = torch.addcmul(tokens, steer[2], self.attention.out(seen))
        thought = self.feed_forward(self.normed(tokens, steer[3:5], scope))
        return torch.addcmul(tokens, steer[5], thought)


class LastWords(nn.Module):
    """The prompt's stream in the last block: keys and values alone, since nobody reads what would become of it."""

    def __init__(self, width: int, heads: int, options: Options, layer: int, norm: Norm) -> None:
        super().__init__()
        self.heads = heads
        self.table = nn.Parameter(torch.zeros(2 * width))
        self.modulation = Modulation(width, parts=2) if options.modulation == "block" else nn.Identity()
        self.kv = Linear(width, 2 * width)
        _, self.k_norm = head_norms(width // heads, options.qk_norm)
        self.mix = ValueMix(options, layer)
        self.norm = norm

    def split(self, tokens: Tensor, modulation: Tensor, first: Tensor | None) -> Heads:
        """Words [S, L, D], their modulation [S, 1, 6 D] or signal [S, 1, D] -> keys and values."""
        steer = self.modulation(modulation)[..., : len(self.table)] + self.table  # shift and scale
        shift, scale = steer.to(tokens.dtype).chunk(2, dim=-1)
        words = modulate(tokens, shift, scale, self.norm)
        k, v = self.kv(words).unflatten(-1, (2, self.heads, -1)).unbind(2)
        return self.k_norm(k), self.mix(v, first)[0]


class JointBlock(nn.Module):
    """A block of both streams; a fresh one changes neither. In the last one the prompt's stream ends.

    With value_residual each stream mixes its values with its own of the first layer.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_ratio: int,
        options: Options = PLAIN,
        layer: int = 0,
        last: bool = False,
    ) -> None:
        super().__init__()
        self.video = Stream(width, heads, mlp_ratio, options, layer, NORMS[options.norm])
        norm = WORD_NORMS[options.norm]
        self.words = (
            LastWords(width, heads, options, layer, norm)
            if last
            else Stream(width, heads, mlp_ratio, options, layer, norm)
        )

    def forward(self, state: State, context: Context, views: Sequence[Groups]) -> State:
        """As Block, with words and a prompt that has a modulation and owners: the state with other tokens and words."""
        tokens, words, values, word_values = state
        turn, modulation, times, samples, scope, prompt = context
        assert words is not None and prompt is not None
        mask, told_by, owner = prompt
        assert told_by is not None and owner is not None
        steer = [times.spread(part) for part in self.video.steer(tokens, modulation)]  # six of [B, 1 or N, D]
        normed = self.video.normed(tokens, steer, scope)
        q, *video, values = self.video.attention.split(normed, turn, values)
        if isinstance(self.words, LastWords):
            told = self.words.split(words, told_by, word_values)
        else:
            by = self.words.steer(words, told_by)
            normed = self.words.normed(words, by, None)
            asked, *told, word_values = self.words.attention.split(normed, None, word_values)
            words = self.words.update(words, by, seen_by_words(asked, told, mask, video, samples))
        seen = seen_by_video(q, video, told, mask, views, samples, owner)
        return State(self.video.update(tokens, steer, seen, scope), words, values, word_values)


def block_of(config: "TransformerConfig", layer: int) -> Block | JointBlock:
    """The block of layer 0 .. depth - 1."""
    shape = config.width, config.heads, config.mlp_ratio
    if config.prompt == "joint":
        return JointBlock(*shape, config, layer, last=layer == config.depth - 1)
    return Block(*shape, config, layer)


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
