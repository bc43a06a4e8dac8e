"""Where an object is at a time: the laws of motion of the flat world."""

import math
from dataclasses import dataclass

from tubelet.worlds.shapes.scene import CLOCK, Pair, Rgb, Thing

RESTITUTION = 0.75
MIN_RADIUS, MAX_RADIUS = 0.06, 0.40
"""Where growing and shrinking stop."""


@dataclass(frozen=True)
class State:
    """An object at one time; lengths in short sides from the centre of the frame."""

    x: float
    y: float
    radius: float
    angle: float
    opacity: float
    rgb: Rgb


def state_at(thing: Thing, seconds: float, half: Pair, extent: tuple[float, float, float]) -> State:
    """The object after `seconds`, in a frame that reaches `half` from its centre.

    `extent` is the shape's half width, top and bottom at radius one.
    """
    x = thing.anchor[0] * half[0] + thing.offset[0] + thing.velocity[0] * seconds
    y = thing.anchor[1] * half[1] + thing.offset[1] + thing.velocity[1] * seconds
    side, top, bottom = (thing.radius * reach for reach in extent)
    if thing.motion == "bounces":
        x, y = fold(x, side - half[0], half[0] - side), fold(y, top - half[1], half[1] - bottom)
    elif thing.motion == "falls":
        y = half[1] - bottom - bounce_height(thing.drop, thing.gravity, seconds)
    elif thing.motion == "orbits":
        angle = thing.orbit[1] + thing.spin * seconds
        x, y = x + thing.orbit[0] * math.cos(angle), y + thing.orbit[0] * math.sin(angle)
    radius = thing.radius
    if thing.growth:
        radius = min(max(radius + thing.growth * seconds, MIN_RADIUS), MAX_RADIUS)
    return State(
        x=x,
        y=y,
        radius=radius,
        angle=thing.spin * seconds if thing.motion == "rotates" else 0.0,
        opacity=max(1 - seconds / CLOCK, 0.0) if thing.motion == "fades" else 1.0,
        rgb=rgb_at(thing, seconds),
    )


def rgb_at(thing: Thing, seconds: float) -> Rgb:
    """The colour after `seconds`: the change happens in the middle half of the clock."""
    if thing.to_rgb is None:
        return thing.rgb
    share = min(max(2 * seconds / CLOCK - 0.5, 0.0), 1.0)
    share = share * share * (3 - 2 * share)
    return mix(thing.rgb, thing.to_rgb, share)


def mix(start: Rgb, end: Rgb, share: float) -> Rgb:
    """The colour on the straight line between two."""
    red, green, blue = (a + share * (b - a) for a, b in zip(start, end, strict=True))
    return red, green, blue


def fold(place: float, low: float, high: float) -> float:
    """A straight path reflected at two walls."""
    span = high - low
    if span <= 0:
        return (low + high) / 2
    way = (place - low) % (2 * span)
    return low + (way if way < span else 2 * span - way)


def bounce_height(drop: float, gravity: float, seconds: float) -> float:
    """Height over the floor of what falls from `drop` and bounces, a little lower each time."""
    fall = math.sqrt(2 * drop / gravity)
    if seconds < fall:
        return drop - gravity * seconds**2 / 2
    since, flight = seconds - fall, 2 * fall * RESTITUTION
    while since >= flight:
        since, flight = since - flight, flight * RESTITUTION
        if flight < 0.02:
            return 0.0
    return gravity * since * (flight - since) / 2
