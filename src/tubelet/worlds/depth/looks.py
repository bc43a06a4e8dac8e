"""What things look like, and which looks go together: colours that stand out, grounds, lights, held-out pairs."""

import math
import random

from tubelet.worlds.depth.scene import COLOURS, METALS, Body, Ground, Paint
from tubelet.worlds.depth.stage import CLOCK, Light

SIZES = {"small": (0.42, 0.50), "medium": (0.60, 0.68), "large": (0.82, 0.92)}
"""Radius of a ball, units."""
UNSEEN_PLACES = (("cone", "sand"), ("cube", "snow"), ("cylinder", "wood"))
"""Shape and ground: shown in the split `unseen_pairs` alone."""
UNSEEN_LIGHTS = (
    ("drop", "fog"),
    ("roll", "dark room"),
    ("hit", "sunset"),
    ("ramp", "night"),
    ("still", "grey"),
)
"""Event and light."""
UNSEEN_COLOURS = (
    ("purple", "roll"),
    ("yellow", "drop"),
    ("red", "behind"),
    ("blue", "throw"),
    ("pink", "still"),
)
"""Colour (the first or the second of a body) and event."""

AVOID = {
    "grass": ("green", "yellow"),
    "sand": ("yellow", "orange", "gold", "white"),
    "snow": ("white", "silver", "cyan"),
    "concrete": ("white", "silver"),
    "wood": ("orange", "yellow", "gold"),
    "water": ("blue", "cyan", "green"),
    "white": ("white", "silver", "pink"),
    "grey": ("white", "silver"),
    "navy": ("blue", "purple"),
    "brown": ("orange", "red", "gold"),
    "blue": ("blue", "cyan", "purple"),
    "green": ("green", "cyan"),
    "red": ("red", "orange", "pink"),
}
"""Colours of bodies that would be hard to see on a ground, or on a floor of a colour."""
READABLE = {
    "sunset": ("red", "green", "blue", "purple", "white"),
    "night": ("red", "yellow", "green", "white", "pink"),
    "day to night": ("red", "yellow", "green", "white"),
}
"""Colours that keep their name under a light; the other lights show all."""
ALIKE = [
    {"red", "orange"}, {"red", "pink"}, {"red", "purple"}, {"orange", "yellow"}, {"orange", "pink"},
    {"purple", "pink"}, {"purple", "blue"}, {"blue", "cyan"}, {"cyan", "green"},
]  # fmt: skip
"""Colours that make no clear pattern together."""
METAL = 0.18  # share of balls that mirror
OUTDOORS = {
    "grass": 5.0,
    "sand": 4.0,
    "snow": 3.0,
    "concrete": 2.0,
    "tiles": 1.5,
    "wood": 1.0,
    "checker": 1.0,
}
INDOORS = {"wood": 3.0, "tiles": 3.0, "plain": 3.0, "checker": 2.0, "concrete": 1.0}
FLOORS = {
    "plain": (("navy",), ("brown",), ("green",), ("red",)),
    "tiles": (("grey",), ("blue",), ("brown",), ("white",)),
    "checker": (
        ("white", "blue"),
        ("white", "green"),
        ("white", "red"),
        ("grey", "navy"),
        ("white", "brown"),
    ),
}
LIGHTS = {"sunny": 8.0, "grey": 3.0, "fog": 2.0, "sunset": 2.5, "night": 2.0, "dark room": 3.0}
ELEVATIONS = {
    "sunny": (32, 55),
    "grey": (45, 65),
    "fog": (45, 65),
    "sunset": (13, 20),
    "night": (32, 50),
    "dark room": (45, 65),
    "day to night": (38, 48),
}
"""Degrees above the horizon at t = 0."""


def one_of(rng: random.Random, weights: dict[str, float]) -> str:
    """A key, drawn in proportion to its weight."""
    return rng.choices(list(weights), list(weights.values()))[0]


def draw_light(rng: random.Random, kind: str, *, moves: bool) -> Light:
    """A light of a kind: to the side or over the shoulder of the camera, or moving across the sky."""
    elevation = math.radians(rng.uniform(*ELEVATIONS[kind]))
    azimuth, side = math.radians(rng.uniform(75, 150)), rng.choice((1, -1))
    if moves:
        return Light(kind, elevation, side * math.radians(rng.uniform(60, 80)), 0.0, -side * 2.2 / CLOCK)
    sink = math.radians(26) / CLOCK if kind == "day to night" else 0.0
    return Light(kind, elevation, side * azimuth, sink)


def draw_ground(rng: random.Random, kind: str) -> Ground:
    """A ground of a kind, with its colours, laid at random."""
    colours = rng.choice(FLOORS[kind]) if kind in FLOORS else ()
    cell = rng.uniform(1.25, 1.6) if kind == "checker" else rng.uniform(0.9, 1.3)
    offset = (rng.uniform(-8.0, 8.0), rng.uniform(-8.0, 8.0))
    return Ground(kind, colours, cell, offset, rng.uniform(-math.pi, math.pi), rng.randrange(1 << 30))


def draw_body(rng: random.Random, shape: str, size: str, paint: Paint) -> Body:
    """A body of a shape; those of one size look about as large as its ball. A "block" is a tall cube."""
    if shape == "block":
        return Body("cube", (rng.uniform(0.22, 0.3), rng.uniform(0.32, 0.42), rng.uniform(0.75, 0.95)), paint)
    r = rng.uniform(*SIZES[size])
    half = {
        "ball": (r, r, r),
        "cube": (0.82 * r, 0.82 * r, 0.82 * r),
        "cylinder": (0.82 * r, 0.82 * r, 0.95 * r),
        "cone": (0.98 * r, 0.98 * r, 1.15 * r),
    }[shape]
    return Body(shape, half, paint)


def colours_on(ground: Ground, light: str, event: str, *, unseen: bool) -> list[str]:
    """Colours and metals that stand out there and then; unseen: also those held out with the event."""
    avoided = {c for where in (ground.kind, *ground.colours) for c in AVOID.get(where, ())}
    if not unseen:
        avoided |= {colour for colour, held_out in UNSEEN_COLOURS if held_out == event}
    metals = () if light in ("sunset", "fog") else METALS  # which would mirror nothing but orange or grey
    return [colour for colour in (*READABLE.get(light, COLOURS), *metals) if colour not in avoided]


def draw_paint(
    rng: random.Random, shape: str, colours: list[str], first: str | None, *, spare: bool, plain: float = 0.3
) -> Paint:
    """A paint of some of `colours`, with `first` as its colour if given.

    Balls mirror now and then, and most of the others have a pattern, so that rolling is seen: all but the share
    `plain`, if a colour is to spare. Other shapes are of one colour: a mirror with flat sides is hard to see.
    """
    metals = [colour for colour in colours if colour in METALS]
    matt = [colour for colour in colours if colour not in METALS]
    ball = shape == "ball"
    if not first and ball and metals and plain and (not matt or rng.random() < METAL):
        return Paint(rng.choice(metals))
    if ball and spare and rng.random() >= plain:
        pairs = {a: [b for b in matt if a != b and {a, b} not in ALIKE] for a in ([first] if first else matt)}
        if paired := [a for a, seconds in pairs.items() if seconds]:
            colour = rng.choice(paired)
            second = "white" if "white" in pairs[colour] else rng.choice(pairs[colour])
            return Paint(colour, second, rng.choice(("octants", "octants", "band")))
    return Paint(first or rng.choice(matt))
