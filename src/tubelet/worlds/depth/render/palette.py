"""Every colour there is, linear (the picture's values are its square roots), and the light of each frame.

Ground and light are chosen so that bodies stay readable: nothing is brighter than white in full light, nights are blue
rather than black, and a sunset is mild.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tubelet.worlds.depth.render.rays import unit
from tubelet.worlds.depth.scene import Array, Sun

PAINTS = {
    "red": (0.62, 0.035, 0.03),
    "orange": (0.80, 0.24, 0.02),
    "yellow": (0.80, 0.60, 0.04),
    "green": (0.05, 0.36, 0.06),
    "cyan": (0.03, 0.50, 0.58),
    "blue": (0.03, 0.09, 0.60),
    "purple": (0.30, 0.04, 0.52),
    "pink": (0.80, 0.25, 0.45),
    "white": (0.80, 0.80, 0.78),
    "grey": (0.26, 0.26, 0.27),
    "brown": (0.16, 0.07, 0.03),
    "black": (0.03, 0.03, 0.03),
    "navy": (0.03, 0.05, 0.22),
    "gold": (1.20, 0.84, 0.26),
    "silver": (0.93, 0.95, 0.98),
}

# Colours along a ground's texture, from its darkest to its lightest value.
RAMPS = {
    "grass": ((0.038, 0.120, 0.008), (0.100, 0.265, 0.018), (0.190, 0.400, 0.050)),
    "sand": ((0.420, 0.270, 0.110), (0.620, 0.440, 0.210), (0.740, 0.570, 0.320)),
    "snow": ((0.540, 0.600, 0.710), (0.660, 0.710, 0.790), (0.740, 0.770, 0.820)),
    "concrete": ((0.230, 0.230, 0.225), (0.330, 0.325, 0.310), (0.410, 0.400, 0.380)),
    "wood": ((0.110, 0.042, 0.014), (0.300, 0.135, 0.048), (0.440, 0.235, 0.100)),
    "water": ((0.010, 0.070, 0.110), (0.018, 0.110, 0.160), (0.040, 0.170, 0.220)),
}
SMOOTH = 0.07  # how far the texture darkens and lightens a floor of one colour


class Light(NamedTuple):
    """The light in each of F frames: colours [F, 3] but for `haze`, `soft`, `lamp` [F].

    sun: of the sun, moon or lamp on a surface that faces it; above, below: of the sky and from the ground; zenith,
    middle, horizon: the sky's; cloud; hills: near the viewer; disc: of the sun or moon; haze: distance at which the
    ground has lost 63 % of its own colour; soft: width of a shadow's edge by distance from what casts it; lamp: how
    far away a lamp's light falls to half, or infinite.
    """

    sun: Array
    above: Array
    below: Array
    zenith: Array
    middle: Array
    horizon: Array
    cloud: Array
    hills: Array
    disc: Array
    haze: Array
    soft: Array
    lamp: Array


#            sun                above              below              zenith             middle
#            horizon            cloud              hills              disc               haze  soft  lamp
_TABLE = {
    "sunny": ((0.84, 0.80, 0.70), (0.30, 0.34, 0.41), (0.17, 0.17, 0.14), (0.06, 0.18, 0.62), (0.18, 0.40, 0.82),
              (0.62, 0.76, 0.90), (0.92, 0.93, 0.95), (0.10, 0.22, 0.17), (1.00, 0.97, 0.85), 60.0, 0.09, np.inf),
    "grey": ((0.24, 0.24, 0.24), (0.62, 0.64, 0.67), (0.26, 0.26, 0.26), (0.40, 0.43, 0.48), (0.50, 0.53, 0.57),
             (0.62, 0.64, 0.66), (0.68, 0.69, 0.71), (0.20, 0.24, 0.24), (0.62, 0.63, 0.65), 50.0, 0.55, np.inf),
    "fog": ((0.20, 0.20, 0.19), (0.60, 0.61, 0.62), (0.28, 0.28, 0.28), (0.60, 0.62, 0.64), (0.63, 0.65, 0.66),
            (0.66, 0.67, 0.68), (0.66, 0.67, 0.68), (0.50, 0.52, 0.53), (0.66, 0.67, 0.68), 13.0, 0.65, np.inf),
    "sunset": ((0.86, 0.61, 0.40), (0.31, 0.30, 0.40), (0.16, 0.13, 0.13), (0.13, 0.16, 0.42), (0.52, 0.34, 0.40),
               (0.92, 0.52, 0.26), (0.92, 0.50, 0.38), (0.16, 0.10, 0.16), (1.00, 0.86, 0.55), 50.0, 0.10, np.inf),
    "night": ((0.42, 0.48, 0.62), (0.16, 0.19, 0.30), (0.08, 0.09, 0.13), (0.008, 0.016, 0.065), (0.02, 0.040, 0.14),
              (0.065, 0.100, 0.24), (0.07, 0.09, 0.18), (0.012, 0.022, 0.05), (0.95, 0.96, 0.90), 40.0, 0.09, np.inf),
    "dark room": ((0.92, 0.84, 0.70), (0.24, 0.23, 0.25), (0.13, 0.12, 0.12), (0.02, 0.02, 0.024), (0.03, 0.03, 0.036),
                  (0.05, 0.05, 0.058), (0.05, 0.05, 0.06), (0.04, 0.04, 0.05), (0.05, 0.05, 0.05), 17.0, 0.16, 8.0),
}  # fmt: skip


def light_of(sun: Sun) -> Light:
    """The light of every frame; "day to night" goes from sunny through sunset to night with its phase."""
    stops = ("sunny", "sunset", "night") if sun.kind == "day to night" else (sun.kind,)
    phase = np.clip(np.asarray(sun.phase, float), 0, 1) * (len(stops) - 1)
    left = np.minimum(phase.astype(int), max(len(stops) - 2, 0))
    right, part = np.minimum(left + 1, len(stops) - 1), phase - left
    fields = []
    for values in zip(*(_TABLE[stop] for stop in stops), strict=True):
        table = np.array(values, float)
        if np.isinf(table).any():
            fields.append(np.full(len(phase), np.inf))
            continue
        weight = part[:, None] if table.ndim == 2 else part
        fields.append(table[left] * (1 - weight) + table[right] * weight)
    return Light(*fields)


def paint(name: str) -> Array:
    """A colour's linear values, float64 [3]."""
    return np.array(PAINTS[name])


@lru_cache(maxsize=16)
def ramp(ground: str) -> Array:
    """Colours of a ground's texture from dark to light, float32 [3, 256]."""
    stops = np.array(RAMPS[ground])
    place = np.linspace(0, len(stops) - 1, 256)
    return np.stack([np.interp(place, np.arange(len(stops)), stops[:, k]) for k in range(3)]).astype(
        np.float32
    )


@lru_cache(maxsize=16)
def spread(name: str) -> Array:
    """A floor of one colour with its texture's light and dark, float32 [3, 256]."""
    return (paint(name)[:, None] * (1 + SMOOTH * np.linspace(-1, 1, 256))).astype(np.float32)


def towards(sun: Sun) -> Array:
    """Unit vectors [F, 3] towards the light; never below 4 degrees, so that shadows end."""
    direction = sun.direction()
    return unit(np.concatenate([direction[:, :2], np.maximum(direction[:, 2:], 0.07)], 1))
