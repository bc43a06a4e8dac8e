"""Everything that decides a video, as a value that travels in the file's metadata."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
import torch

from tubelet import __version__
from tubelet.diffusion.guidance import Guidance, check_weights
from tubelet.errors import InputError

SEED_RANGE = 2**63 - 1

Generators = torch.Generator | Sequence[torch.Generator]
Composition = Sequence[tuple[str, float]]  # further prompts with their weights


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to make, and with what. One prompt, negative prompt and key of a noise stream for each video.

    checkpoint is the hash of its manifest, grid and shift those of the times, batch how many videos are denoised
    together, stride how many frames of the rate trained on one frame lasts. What follows is the environment, which
    decides the last bits. A field that files of an older tubelet lack has a default, which is what that one did.
    compositions: the further prompts of each video, with their weights; none at all where no video has any. weaker: the
    hash of the checkpoint to guide by, or None. A callback that replaces latents is not in a recipe. Raises InputError
    for guidance out of range.
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
    grid: str = "uniform"
    shift: float | None = None
    stride: float = 1.0
    cpu: str | None = None
    device: str | None = None
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    guidance_rescale: float = 0.0
    guidance_parallel: float = 1.0
    guidance_threshold: float = 0.0
    guidance_momentum: float = 0.0
    compositions: list[list[tuple[str, float]]] = field(default_factory=list)
    weaker: str | None = None

    def __post_init__(self) -> None:
        _ = self.guidance
        for terms in self.compositions:
            check_weights([weight for _, weight in terms])
        if self.weaker is not None and any(self.negative_prompts):
            raise InputError(
                "--negative-prompt and --weaker: a weaker checkpoint stands where the negative prompt would; "
                "leave one out, or push a prompt away with --compose"
            )

    @property
    def guidance(self) -> Guidance:
        """Its fields guidance_*."""
        return Guidance(**{each.name: getattr(self, f"guidance_{each.name}") for each in fields(Guidance)})

    def batch_of(self, video: int) -> tuple[Self, int]:
        """The recipe of the batch that a video is made in, and its place there: no other video touches its bits."""
        first = video // self.batch * self.batch
        some = slice(first, first + self.batch)
        each = ("prompts", "negative_prompts", "keys", "compositions")
        return replace(self, **{name: getattr(self, name)[some] for name in each}), video - first


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


def each_composition(
    compose: Composition | Sequence[Composition], count: int, times: int
) -> list[list[tuple[str, float]]]:
    """The further prompts of each video of `count` prompts; [] where none has any."""
    each: list[Any] = [compose] * count if _is_composition(compose) else list(compose)
    if len(each) != count or not all(map(_is_composition, each)):
        raise InputError(
            f"--compose takes pairs of a prompt and its weight, or a list of pairs for each of {count} prompts; "
            'try ("a blue square", 1)'
        )
    if not any(each):
        return []
    return [[(words, float(weight)) for words, weight in terms] for terms in each for _ in range(times)]


def _is_composition(value: Any) -> bool:
    def is_term(term: Any) -> bool:
        pair = isinstance(term, list | tuple) and len(term) == 2
        return pair and isinstance(term[0], str) and isinstance(term[1], int | float)

    return isinstance(value, list | tuple) and all(map(is_term, value))
