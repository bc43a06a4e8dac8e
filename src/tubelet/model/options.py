"""What the layers of the transformer are made of and how they are told what to do, each choice by name."""

from dataclasses import dataclass

from tubelet.errors import InputError, near_miss
from tubelet.model.feed_forward import FEED_FORWARDS
from tubelet.model.norms import NORMS
from tubelet.model.places import PLACES

MODULATIONS = ("shared", "block")
PROMPTS = ("cross", "joint", "none")
NAMED = {
    "feed_forward": FEED_FORWARDS,
    "norm": NORMS,
    "positions": PLACES,
    "modulation": MODULATIONS,
    "prompt": PROMPTS,
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the layers are made of, as every block takes it. Raises InputError for names that are not in the tables.

    qk_norm: normalise queries and keys head by head.
    feed_forward: gelu, or swiglu of equally many parameters.
    norm: before the signal shifts and scales: layer or rms of each token, or instance, each channel over the video.
    registers: learned tokens beside those of each frame, which hold what belongs to no place.
    value_residual: mix each layer's values with those of the first, by a learned share that begins at one half.
    positions: rotary, periodic (rotary whose time comes round, for loops), sincos features that are added, or learned
    tables.
    modulation: one projection of time and prompt "shared" by all blocks, or one in each "block".
    prompt: its tokens are read by "cross" attention, are a second stream ("joint", see streams.py), or "none" is read;
    as a whole the prompt steers the blocks in each case.
    """

    qk_norm: bool = True
    feed_forward: str = "gelu"
    norm: str = "layer"
    registers: int = 0
    value_residual: bool = False
    positions: str = "rotary"
    modulation: str = "shared"
    prompt: str = "cross"

    def __post_init__(self) -> None:
        for field, table in NAMED.items():
            name = getattr(self, field)
            if name not in table:
                raise InputError(f"{field} {name!r}: {near_miss(name, list(table))}")
        if self.registers < 0:
            raise InputError(f"registers is {self.registers}; it must be at least 0")


PLAIN = Options()
