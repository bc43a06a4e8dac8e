"""Everything that decides a video, as a value that travels in the file's metadata."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch

from tubelet import __version__
from tubelet.errors import InputError

SEED_RANGE = 2**63 - 1

Generators = torch.Generator | Sequence[torch.Generator]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to make, and with what. One prompt, negative prompt and key of a noise stream for each video.

    checkpoint is the hash of its manifest, shift that of the time grid, batch how many videos are denoised together.
    What follows is the environment, which decides the last bits. A field that files of an older tubelet lack may be
    None. A callback that replaces latents is not in a recipe.
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
    batch: int
    version: str
    torch: str
    threads: int
    shift: float | None = None
    cpu: str | None = None
    device: str | None = None

    def batch_of(self, video: int) -> tuple[Self, int]:
        """The recipe of the batch that a video is made in, and its place there: no other video touches its bits."""
        first = video // self.batch * self.batch
        some = slice(first, first + self.batch)
        prompts, negatives, keys = self.prompts[some], self.negative_prompts[some], self.keys[some]
        return replace(self, prompts=prompts, negative_prompts=negatives, keys=keys), video - first


def environment(device: torch.device) -> dict[str, Any]:
    """The recipe's fields that are not asked for: versions, threads, instruction set, and where the networks are."""
    return {
        "version": __version__,
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


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
