"""The legend of axis letters, and the one value that crosses folders.

B batch · F H W frames, rows, columns of pixels · f h w of latents · C channels · N tokens · D width ·
L text tokens · E text width · T diffusion steps. T is diffusion time; F is frames.

    frames  uint8 [F, H, W, 3]  ->  video  float [B, 3, F, H, W] in [-1, 1]
    video  ->  latents  float [B, C, f, h, w], standardised  ->  tokens  float [B, N, D]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Text:
    """Encoded prompts: a state per token, which tokens are real, and one vector for the whole prompt.

    Shapes: tokens [B, L, E] float, mask [B, L] bool (True is a real token), whole [B, E] float.
    """

    tokens: Tensor
    mask: Tensor
    whole: Tensor

    def __len__(self) -> int:
        """Number of prompts B."""
        return len(self.tokens)

    def __getitem__(self, index: slice | Tensor | list[int]) -> Self:
        """The prompts at `index` (a slice, a list or a LongTensor), in that order."""
        return type(self)(self.tokens[index], self.mask[index], self.whole[index])

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Moved to a device; `dtype` applies to the states, never to the mask."""
        return type(self)(self.tokens.to(device, dtype), self.mask.to(device), self.whole.to(device, dtype))

    def trimmed(self) -> Self:
        """Without the columns in which no prompt has a token (at least one column stays)."""
        longest = max(1, int(self.mask.sum(1).max())) if len(self) else 1
        return type(self)(self.tokens[:, :longest], self.mask[:, :longest], self.whole)

    def padded(self, length: int) -> Self:
        """With columns of padding (zeros, mask False) up to `length` tokens; never cut."""
        more = max(0, length - self.tokens.shape[1])
        pad = torch.nn.functional.pad
        return type(self)(pad(self.tokens, (0, 0, 0, more)), pad(self.mask, (0, more)), self.whole)

    def where(self, keep: Tensor, other: "Text") -> Self:
        """Row by row self where `keep` [B] bool is true, otherwise `other` (of one prompt, or of B)."""
        longest = max(self.tokens.shape[1], other.tokens.shape[1])
        mine, theirs = self.padded(longest), other.padded(longest)
        rows, tokens = keep[:, None], keep[:, None, None]
        return type(self)(
            torch.where(tokens, mine.tokens, theirs.tokens),
            torch.where(rows, mine.mask, theirs.mask),
            torch.where(rows, mine.whole, theirs.whole),
        )

    @classmethod
    def concatenate(cls, texts: "Sequence[Text]") -> Self:
        """All prompts in one batch, padded to the longest."""
        longest = max(text.tokens.shape[1] for text in texts)
        padded = [text.padded(longest) for text in texts]
        return cls(
            torch.cat([text.tokens for text in padded]),
            torch.cat([text.mask for text in padded]),
            torch.cat([text.whole for text in padded]),
        )
