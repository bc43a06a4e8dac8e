"""The words of the flat world, and what a scene is made of.

Lengths are in units of the frame's short side, measured from its centre with y pointing down; speeds are
per second. A place is an anchor in fractions of the half frame plus an offset in short sides, so a wide frame
spreads a scene out without changing how fast anything moves.
"""

from dataclasses import dataclass

Rgb = tuple[float, float, float]
Pair = tuple[float, float]

COLOURS: dict[str, Rgb] = {
    "red": (222, 38, 38),
    "green": (44, 184, 66),
    "blue": (44, 92, 236),
    "yellow": (248, 220, 48),
    "purple": (150, 52, 206),
    "orange": (250, 136, 24),
    "pink": (252, 140, 196),
    "white": (244, 244, 244),
}
BACKGROUNDS: dict[str, Rgb] = {
    "black": (20, 20, 22),
    "grey": (112, 112, 114),
    "navy": (26, 36, 82),
    "brown": (88, 62, 42),
    "beige": (190, 174, 146),
    "olive": (92, 98, 50),
    "teal": (34, 94, 100),
    "maroon": (90, 26, 42),
}
SIZES: dict[str, Pair] = {"small": (0.20, 0.24), "medium": (0.32, 0.36), "large": (0.45, 0.50)}
"""Diameters in short sides; the ranges do not touch."""

TEXTURES = ("stripes", "checks", "dots", "waves")
STRIPES = ("vertical", "horizontal", "diagonal")
PANS: dict[str, Pair] = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}
RELATIONS = ("left of", "above", "behind")

DIRECTIONS: dict[str, Pair] = {
    "moves left": (-1.0, 0.0),
    "moves right": (1.0, 0.0),
    "moves up": (0.0, -1.0),
    "moves down": (0.0, 1.0),
    "moves up left": (-(0.5**0.5), -(0.5**0.5)),
    "moves up right": (0.5**0.5, -(0.5**0.5)),
    "moves down left": (-(0.5**0.5), 0.5**0.5),
    "moves down right": (0.5**0.5, 0.5**0.5),
}
MOTIONS: dict[str, float] = {
    **{name: 2.2 if name.count(" ") == 1 else 0.8 for name in DIRECTIONS},
    "bounces": 1.5,
    "falls": 1.5,
    "orbits": 1.5,
    "rotates": 2.4,
    "grows": 1.2,
    "shrinks": 1.2,
    "fades": 1.2,
    "changes colour": 1.2,
    "stays": 1.2,
}
"""How often each motion is drawn, up to a common factor."""

CLOCK = 2.0
"""Seconds over which every motion shows itself and no object leaves the frame: 17 frames at 8 a second."""
MOVE_SPEED: dict[str, Pair] = {"slow": (0.115, 0.14), "fast": (0.23, 0.29)}
"""Short sides per second of what travels: 0.92-1.12 and 1.84-2.32 pixels a frame at 64 pixels and 8 fps."""
TURN_SPEED: dict[str, Pair] = {"slow": (0.70, 0.86), "fast": (1.9, 2.5)}
"""Radians per second of anything that turns on the spot."""
GROW_SPEED: dict[str, Pair] = {"slow": (0.085, 0.105), "fast": (0.17, 0.20)}
"""Short sides per second by which a diameter grows or shrinks."""
PAN_SPEED: Pair = (0.13, 0.20)
"""Short sides per second by which the camera moves."""

UNSEEN_COLOURS = (
    ("circle", "purple"),
    ("square", "orange"),
    ("triangle", "pink"),
    ("star", "blue"),
    ("diamond", "red"),
    ("ring", "green"),
    ("heart", "yellow"),
    ("cross", "white"),
)
"""Pairs of shape and colour that no scene of the training split shows."""
UNSEEN_MOTIONS = (
    ("circle", "shrinks"),
    ("square", "moves up"),
    ("triangle", "moves right"),
    ("star", "falls"),
    ("diamond", "bounces"),
    ("ring", "orbits"),
    ("heart", "rotates"),
    ("cross", "moves left"),
)
"""Pairs of shape and motion that no scene of the training split shows."""


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One object: how it looks, where it starts, and the numbers of its motion."""

    shape: str
    colour: str
    rgb: Rgb
    size: str | None  # None where the size changes
    radius: float
    motion: str
    speed: str | None = None  # None where the motion has no slow and fast
    anchor: Pair = (0.0, 0.0)
    offset: Pair = (0.0, 0.0)
    velocity: Pair = (0.0, 0.0)
    spin: float = 0.0  # radians per second, clockwise
    orbit: Pair = (0.0, 0.0)  # radius, angle at the start
    growth: float = 0.0  # of the radius
    drop: float = 0.0  # height of the fall
    gravity: float = 0.0
    to_colour: str | None = None
    to_rgb: Rgb | None = None

    def is_unseen(self) -> bool:
        """Whether the training split never shows this shape with this colour or this motion."""
        colours = {(self.shape, self.colour), (self.shape, self.to_colour)}
        return bool(colours & set(UNSEEN_COLOURS)) or (self.shape, self.motion) in UNSEEN_MOTIONS


@dataclass(frozen=True, kw_only=True)
class Background:
    """What lies behind the objects, and how the camera moves over it."""

    kind: str  # "plain", "gradient" or one of TEXTURES
    colours: tuple[str, ...]  # two for a gradient
    rgb: tuple[Rgb, ...]
    direction: str | None = None  # of stripes; of a gradient: "left to right", "top to bottom"
    period: float = 0.0
    phase: Pair = (0.0, 0.0)
    contrast: float = 0.0  # levels above and below the colour
    pan: str | None = None
    velocity: Pair = (0.0, 0.0)  # of the camera


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One or two objects over a background; a later object hides an earlier one."""

    things: tuple[Thing, ...]
    background: Background
    relation: str | None = None  # of the first object to the second, in every frame
