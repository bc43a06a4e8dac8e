"""The table of sizes, each with its number of parameters under the default channels and text width."""

from tubelet.errors import InputError, near_miss
from tubelet.model.transformer import TransformerConfig

#          width depth heads     parameters
# fmt: off
SIZES = {
    "nano": (  96,    4,    4,       794_176),
    "mini": ( 256,    8,    4,     9_331_776),  # the one that ships
    "s":    ( 384,   12,    6,    30_196_288),  # s to xl: the widths, depths and heads of DiT and Latte
    "b":    ( 768,   12,   12,   119_666_752),
    "l":    (1024,   24,   16,   413_796_416),
    "xl":   (1152,   28,   16,   608_499_136),
    "xxl":  (1536,   32,   24, 1_231_972_416),
}
# fmt: on


def preset(name: str) -> TransformerConfig:
    """The config of a size by its name; change other fields with `dataclasses.replace`.

    Raises InputError for a name that is not in the table.
    """
    if name not in SIZES:
        raise InputError(f"size {name!r} is unknown; {near_miss(name, list(SIZES))}")
    width, depth, heads, _ = SIZES[name]
    return TransformerConfig(width=width, depth=depth, heads=heads)
