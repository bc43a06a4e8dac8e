"""Everything that decides a video, as a value that travels in the file's metadata."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tubelet.errors import InputError

SEED_RANGE = 2**63 - 1

Generators = torch.Generator | Sequence[torch.Generator]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to make, and with what. One prompt, negative prompt and key of a noise stream for each video.

    checkpoint is the hash of its manifest. The same recipe, build and threads make the same bits.
    """

    prompts: list[str]
    negative_prompts: list[str]
    keys: list[tuple[int, ...]]
    num_frames: int
    height: int
    width: int
    num_inference_steps: int
    guidance_scale: float
    sampler: str
    checkpoint: str
    version: str
    batch: int
    torch: str = torch.__version__
    threads: int = 0


def noise_keys(count: int, seed: int | None, generator: Generators | None) -> list[tuple[int, ...]]:
    """The key of each video's noise stream: (seed, i), or a number drawn from its generator."""
    if seed is not None:
        if generator is not None or not 0 <= seed <= SEED_RANGE:
            raise InputError(f"--seed {seed}: give a seed from 0 to 2^63 - 1, or a generator, not both")
        return [(seed, i) for i in range(count)]
    if isinstance(generator, torch.Generator) or generator is None:
        fresh = int(np.random.SeedSequence().generate_state(1)[0])
        sources: Sequence[torch.Generator] = [generator or torch.Generator().manual_seed(fresh)] * count
    else:
        sources = generator
    if len(sources) != count:
        raise InputError(f"{len(sources)} generators for {count} videos; give one, or one for each video")
    return [(int(torch.randint(SEED_RANGE, (), generator=g, device=g.device)),) for g in sources]


def each_prompt(prompt: str | Sequence[str], times: int) -> list[str]:
    """Every prompt `times` times, in order. InputError where there is nothing to make."""
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    if not prompts or times < 1:
        raise InputError("nothing to make: give at least one prompt and --num-videos-per-prompt 1 or more")
    return [text for text in prompts for _ in range(times)]


def each_negative(negative: str | Sequence[str] | None, count: int, times: int) -> list[str]:
    """One negative prompt per video of `count` prompts; "" where none is given."""
    texts = [negative or ""] * count if isinstance(negative, str | None) else list(negative)
    if len(texts) != count:
        raise InputError(f"{len(texts)} negative prompts for {count} prompts; give one, or one for each")
    return [text for text in texts for _ in range(times)]
