"""The judge's names for colours, of objects and of backgrounds."""

import numpy as np

from tubelet.worlds.shapes.judge.pixels import Floats

PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "orange": (250, 136, 24),
    "yellow": (248, 220, 48),
    "green": (44, 184, 66),
    "blue": (44, 92, 236),
    "purple": (150, 52, 206),
    "pink": (252, 140, 196),
    "white": (244, 244, 244),
}
GROUNDS: dict[str, tuple[int, int, int]] = {
    "black": (20, 20, 22),
    "grey": (112, 112, 114),
    "navy": (26, 36, 82),
    "brown": (88, 62, 42),
    "beige": (190, 174, 146),
    "olive": (92, 98, 50),
    "teal": (34, 94, 100),
    "maroon": (90, 26, 42),
}


def nearest_colour(rgb: Floats) -> str:
    """The palette's name for a colour [3]; lightness counts half, since blur and shade change it first."""

    def gap(name: str) -> float:
        off = rgb - np.array(PALETTE[name])
        grey = off.mean()
        return float(np.square(off - grey).sum() + 3 * (0.5 * grey) ** 2)

    return min(PALETTE, key=gap)


def nearest_ground(rgb: Floats) -> str:
    """The background's name for a colour [3]."""
    return min(GROUNDS, key=lambda name: float(np.square(rgb - np.array(GROUNDS[name])).sum()))
