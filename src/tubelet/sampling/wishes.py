"""The prompts of a batch as rows of one network call."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from tubelet.diffusion.guidance import compose
from tubelet.diffusion.reverse import Reverse
from tubelet.model.transformer import VideoTransformer
from tubelet.sampling.recipe import Recipe
from tubelet.shapes import Text
from tubelet.text.encoder import TextEncoder


@dataclass(frozen=True)
class Wishes:
    """What is asked of B videos: rows of B prompts, B negative ones and K further ones.

    prompts: the first B alone; rows: all 2B + K; owners [2B + K]: the video of each; weights [B, K]: what each further
    prompt counts in each video; stride: see VideoTransformer.forward.
    """

    prompts: Text
    rows: Text
    owners: Tensor
    weights: Tensor
    stride: float = 1.0

    @classmethod
    def of(cls, recipe: Recipe, encoder: TextEncoder, device: torch.device) -> Self:
        """Those of all videos of a recipe."""
        count = len(recipe.prompts)
        further = [(video, *term) for video, terms in enumerate(recipe.compositions) for term in terms]
        weights = torch.zeros(count, len(further))
        for number, (video, _, weight) in enumerate(further):
            weights[video, number] = weight
        prompts = encoder.encode(recipe.prompts)
        others = encoder.encode([*recipe.negative_prompts, *(words for _, words, _ in further)])
        owners = torch.tensor([*range(count), *range(count), *(video for video, _, _ in further)])
        rows = Text.concatenate([prompts, others])
        asked = (prompts.to(device), rows.to(device), owners.to(device), weights.to(device))
        return cls(*asked, recipe.stride)

    def predict(
        self, network: VideoTransformer, reverse: Reverse, xt: Tensor, t: Tensor, negative: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What a network predicts of the prompts composed, its learned variance or None, and of the negative ones.

        xt: [B, C, f, h, w]; t: [B]. Each [B, C, f, h, w]; the last is None where `negative` is false. Then, and without
        further prompts, the network sees B rows, else all of them. The variance is that of the prompts themselves.
        """
        count, whole = len(self.prompts), negative or self.weights.numel() > 0
        owners = self.owners if whole else self.owners[:count]
        noisy, times = xt[owners], t.to(xt.device, torch.float32)[owners]
        text = self.rows if whole else self.prompts
        prediction = network(noisy, times.view(-1, 1, 1, 1, 1), text, stride=self.stride)
        target, variance = reverse.split(prediction, noisy)
        conditional, away, others = target.tensor_split([count, 2 * count])  # B, B, K; or B, 0, 0
        composed = compose(conditional, away, others, self.weights)
        return composed, None if variance is None else variance[:count], away if negative else None
