"""What happens: for each event, where its bodies are and by which law they move."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from tubelet.worlds.depth.laws import (
    ZERO,
    Bob,
    Law,
    Swing,
    Topple,
    Vector,
    ahead,
    flies,
    halts,
    impulse,
    rests,
    rolling,
    rolls,
    slides,
    slips,
)
from tubelet.worlds.depth.scene import GRAVITY, WOOD, Body, Paint
from tubelet.worlds.depth.stage import CAMERAS, CLOCK, Thing


@dataclass(frozen=True)
class Cast:
    """The bodies that captions count, each with the word for its size, and the paint of the furniture."""

    bodies: tuple[Body, ...]
    sizes: tuple[str, ...]
    paint: Paint


@dataclass(frozen=True)
class Play:
    """What an event makes of its cast. aim: height at which the camera looks; free: where another body may stand.

    free: (lowest x, highest x, lowest y, highest y) of its centre, units, or None.
    cameras: those under which it stays readable.
    """

    laws: tuple[Law, ...]
    furniture: tuple[Thing, ...] = ()
    direction: str | None = None
    speed: str | None = None
    aim: float = 0.6
    free: tuple[float, float, float, float] | None = None
    cameras: tuple[str, ...] = CAMERAS


Act = Callable[[random.Random, Cast], Play]


def reach(body: Body) -> float:
    """Radius of the circle on the ground within which a standing body turns."""
    return math.hypot(*body.half[:2]) if body.kind in ("cube", "block", "wall") else body.half[0]


def any_turn(rng: random.Random, body: Body) -> Vector:
    """A rotation vector: of any direction for a ball, about the vertical for what stands."""
    if body.kind != "ball":
        return (0.0, 0.0, rng.uniform(-math.pi, math.pi))
    return (rng.uniform(-1.5, 1.5), rng.uniform(-1.5, 1.5), rng.uniform(-1.5, 1.5))


def beside(x: float, gap: float, near: float, far: float) -> tuple[float, float, float, float]:
    """Where another body may stand beside one at x: towards the middle, from `gap` on."""
    return (x + gap, x + gap + 0.3, near, far) if x < 0 else (x - gap - 0.3, x - gap, near, far)


def side_of(rng: random.Random) -> tuple[int, str]:
    """The sign of x and the word for the way."""
    sign = rng.choice((1, -1))
    return sign, "right" if sign > 0 else "left"


def drop(rng: random.Random, cast: Cast) -> Play:
    """Falls from rest and bounces."""
    r, height = cast.bodies[0].half[2], rng.uniform(1.35, 2.0)
    x, y = rng.uniform(-0.5, 0.5), rng.uniform(-0.3, 0.3)
    path = rests((x, y, r + height), any_turn(rng, cast.bodies[0]))
    path = flies(path, 0.0, ZERO, ZERO, r, rng.uniform(0.70, 0.88))
    return Play((path,), aim=(height + 2 * r) / 2 - 0.15, free=beside(x, r + 0.5, -0.1, 0.6))


def throw(rng: random.Random, cast: Cast) -> Play:
    """Flies in an arc and bounces on."""
    sign, way = side_of(rng)
    r, fast = cast.bodies[0].half[2], rng.uniform(0.9, 1.25)
    velocity = (sign * fast, rng.uniform(-0.15, 0.15), rng.uniform(1.0, 2.0))
    start = (-sign * fast + rng.uniform(-0.1, 0.1), 0.0, r + rng.uniform(0.4, 0.9))
    path = rests(start, any_turn(rng, cast.bodies[0]))
    path = flies(path, 0.0, velocity, rolling(velocity, r), r, rng.uniform(0.70, 0.88))
    return Play((path,), direction=way, aim=0.85, free=(-1.2, 1.2, 1.2, 1.7))


def roll(rng: random.Random, cast: Cast) -> Play:
    """Rolls to the left or the right, away from the camera or towards it; there it comes to rest after the clock."""
    r, speed = cast.bodies[0].half[2], rng.choice(("slow", "slow", "quick", "quick", "quick"))
    fast = rng.uniform(0.55, 0.75) if speed == "slow" else rng.uniform(1.15, 1.4)
    way = rng.choice(("left", "left", "right", "right", "away", "towards"))
    heading = {"right": 0.0, "away": 0.5, "left": 1.0, "towards": 1.5}[way] * math.pi + rng.uniform(
        -0.15, 0.15
    )
    velocity = (fast * math.cos(heading), fast * math.sin(heading), 0.0)
    across = way in ("left", "right")
    x, y = (rng.uniform(-0.15, 0.15), rng.uniform(-0.3, 0.2)) if across else (rng.uniform(-0.5, 0.5), 0.3)
    path = rolls(ahead((x, y, r), velocity, -CLOCK / 2), velocity, r, any_turn(rng, cast.bodies[0]))
    if way == "towards":
        path = halts(path, CLOCK, 1.0)
    free = (-1.3, 1.3, 1.7, 2.1) if across else beside(x, 1.0, -0.2, 0.8)
    cameras = CAMERAS if across else ("static", "pan", "rise")
    return Play((path,), direction=way, speed=speed, aim=0.55, free=free, cameras=cameras)


def behind(rng: random.Random, cast: Cast) -> Play:
    """Rolls behind a wall, is wholly hidden for 0.42 to 0.68 s, and comes out on the other side."""
    sign, way = side_of(rng)
    r, hidden = cast.bodies[0].half[2], rng.uniform(0.42, 0.68)
    fast = (2 * r + 0.06) / (1 - hidden / 2) * rng.uniform(1.04, 1.16)
    start = -sign * fast * rng.uniform(0.93, 1.07)
    path = rolls((start, 0.75, r), (sign * fast, 0.0, 0.0), r, any_turn(rng, cast.bodies[0]))
    wide = (fast * hidden / 2 + r) / 1.16  # the wall is nearer by a seventh of the way
    half = (wide, 0.1, rng.uniform(0.66, 0.8))
    wall = Thing(Body("wall", half, cast.paint), rests((rng.uniform(-0.1, 0.1), -0.2, half[2])))
    return Play((path,), (wall,), direction=way, aim=0.6)


def hit(rng: random.Random, cast: Cast) -> Play:
    """Rolls into an equal ball at rest, head-on or off-centre; both slip, then roll."""
    sign, way = side_of(rng)
    r, fast, wait = cast.bodies[0].half[2], rng.uniform(1.15, 1.5), rng.uniform(0.45, 0.65)
    offset = rng.choice((0.0, 0.0, 1.0, -1.0)) * rng.uniform(
        0.25, 0.5
    )  # sine of the angle of the line of centres
    friction = rng.uniform(0.15, 0.3)
    normal = (sign * math.sqrt(1 - offset**2), offset, 0.0)
    target = (sign * rng.uniform(0.15, 0.4), rng.uniform(-0.1, 0.2), r)
    velocity = (sign * fast, 0.0, 0.0)
    meets = ahead(target, normal, -2 * r)
    one = rolls(ahead(meets, velocity, -wait), velocity, r, any_turn(rng, cast.bodies[0]))
    two = rests(target, any_turn(rng, cast.bodies[1]))
    after = impulse(velocity, ZERO, normal, rng.uniform(0.86, 0.97))
    one = slips(one, wait, after[0], rolling(velocity, r), r, friction, "hits")
    two = slips(two, wait, after[1], ZERO, r, friction, "is hit")
    return Play((one, two), direction=way, aim=0.5)


def rebound(rng: random.Random, cast: Cast) -> Play:
    """Rolls against a wall and comes back at -e v, slipping until it rolls."""
    sign, way = side_of(rng)
    r, fast, wait = cast.bodies[0].half[2], rng.uniform(1.2, 1.6), rng.uniform(0.65, 0.95)
    half = (0.1, rng.uniform(0.7, 1.0), rng.uniform(0.45, 0.65))
    x = sign * rng.uniform(1.1, 1.3)
    wall = Thing(Body("wall", half, cast.paint), rests((x, 0.2, half[2])))
    meets, velocity = (x - sign * (half[0] + r), 0.0, r), (sign * fast, 0.0, 0.0)
    path = rolls(ahead(meets, velocity, -wait), velocity, r, any_turn(rng, cast.bodies[0]))
    back = ahead(ZERO, velocity, -rng.uniform(0.86, 0.97))
    path = slips(path, wait, back, rolling(velocity, r), r, rng.uniform(0.1, 0.2), "hits")
    return Play((path,), (wall,), direction=way, aim=0.5)


def slide(rng: random.Random, cast: Cast) -> Play:
    """Slides and stops."""
    sign, way = side_of(rng)
    body, fast, seconds = cast.bodies[0], rng.uniform(1.5, 2.1), rng.uniform(0.95, 1.5)
    velocity = (sign * fast, rng.uniform(-0.2, 0.2), 0.0)
    start = ahead((rng.uniform(-0.1, 0.1), 0.0, body.half[2]), velocity, -seconds / 4)
    friction = math.hypot(*velocity) / (GRAVITY * seconds)
    path = slides(start, velocity, friction, any_turn(rng, body))
    return Play((path,), direction=way, aim=0.55, free=(-1.0, 1.0, 1.7, 2.0))


def ramp(rng: random.Random, cast: Cast) -> Play:
    """Rolls down a ramp from rest, at 5/7 g sin(angle), and on over the ground."""
    sign, way = side_of(rng)
    r, angle, length = cast.bodies[0].half[2], math.radians(rng.uniform(22, 30)), rng.uniform(1.55, 1.85)
    sine, cosine = math.sin(angle), math.cos(angle)
    half = (length / 2, r + rng.uniform(0.1, 0.25), length * math.tan(angle) / 2)
    foot = sign * rng.uniform(-0.1, 0.15)
    turn = (0.0, 0.0, 0.0 if sign > 0 else math.pi)
    body = Thing(Body("ramp", half, cast.paint), rests((foot - sign * half[0], 0.0, half[2]), turn))
    distance = length / cosine - rng.uniform(
        0.05, 0.2
    )  # from the foot, along the slope, to where the ball touches it
    way_down = distance - r * math.tan(angle / 2)  # there it touches the ground
    start = (foot + sign * (r * sine - distance * cosine), 0.0, distance * sine + r * cosine)
    pull = 5 / 7 * GRAVITY * sine
    wait, seconds = rng.uniform(0.0, 0.15), math.sqrt(2 * way_down / pull)
    down = (sign * cosine, 0.0, -sine)
    path = rests(start, any_turn(rng, cast.bodies[0]))
    twist = (0.0, sign * pull / r, 0.0)
    path = path.then(wait, ZERO, ahead(ZERO, down, pull), ZERO, twist)
    velocity = (sign * cosine * pull * seconds, 0.0, 0.0)
    path = slips(path, wait + seconds, velocity, ahead(ZERO, twist, seconds), r, 0.3, "lands")
    return Play((path,), (body,), direction=way, aim=0.6)


def step(rng: random.Random, cast: Cast) -> Play:
    """Rolls off a block, fast enough to leave it at once (v^2 >= g r), and bounces."""
    sign, way = side_of(rng)
    r, wait, height = cast.bodies[0].half[2], rng.uniform(0.3, 0.5), rng.uniform(0.55, 0.85)
    fast = math.sqrt(GRAVITY * r) * rng.uniform(1.0, 1.06)
    edge, velocity = -sign * rng.uniform(0.5, 0.7), (sign * fast, 0.0, 0.0)
    length = fast * wait + rng.uniform(0.7, 1.0) * r
    half = (length / 2, r + rng.uniform(0.05, 0.2), height / 2)
    block = Thing(Body("block", half, cast.paint), rests((edge - sign * half[0], 0.0, half[2])))
    path = rolls((edge - sign * fast * wait, 0.0, height + r), velocity, r, any_turn(rng, cast.bodies[0]))
    path = flies(path, wait, velocity, rolling(velocity, r), r, rng.uniform(0.5, 0.7))
    return Play((path,), (block,), direction=way, aim=0.75)


def pendulum(rng: random.Random, cast: Cast) -> Play:
    """Swings on a rope below a crossbar."""
    r, angle = cast.bodies[0].half[2], rng.choice((1, -1)) * rng.uniform(0.55, 0.75)
    length = 0.6 + r + rng.uniform(0.0, 0.15)
    yaw, thick, high = rng.uniform(-0.25, 0.25), 0.07, length + r + rng.uniform(0.3, 0.45)
    along = (math.cos(yaw), math.sin(yaw))
    same = length + 0.4 * r * r / length  # length of the mathematical pendulum of that period
    wood = Paint(WOOD)
    slack = 0.07  # the rope begins so far below the pivot, or its corners would enter the crossbar
    rope = Body("beam", (0.05, 0.05, (length - r - slack) / 2), wood)
    pivot, wide = (0.0, 0.0, high), length * math.sin(abs(angle)) + r + thick + 0.1
    post, bar = (
        Body("beam", half, wood) for half in ((thick, thick, high / 2), (wide + thick, thick, thick))
    )
    turn = (0.0, 0.0, yaw)
    furniture = [Thing(rope, Swing(pivot, same, angle, along, (length - r + slack) / 2))]
    furniture += [Thing(bar, rests((0.0, 0.0, high + thick), turn))]
    for x in (-wide, wide):
        furniture.append(Thing(post, rests((x * along[0], x * along[1], high / 2), turn)))
    return Play((Swing(pivot, same, angle, along, length),), tuple(furniture), aim=high / 2)


def topple(rng: random.Random, cast: Cast) -> Play:
    """A tall block is pushed, tips over its edge and lies."""
    sign, way = side_of(rng)
    half = cast.bodies[0].half
    size, heading = math.hypot(half[0], half[2]), rng.uniform(-0.3, 0.3)
    along = (sign * math.cos(heading), math.sin(heading))
    needed = math.sqrt(1.5 * GRAVITY / size * (1 - half[2] / size))  # just over the edge
    edge = (-sign * half[2] * 0.6, rng.uniform(-0.2, 0.2), 0.0)
    law = Topple(edge, (half[0], half[2]), along, needed * rng.uniform(1.2, 1.7))
    return Play((law,), direction=way, aim=0.7)


def bobs(rng: random.Random, cast: Cast) -> Play:
    """Rise and sink on the water, each at its own rate."""
    laws = []
    for (x, y), body in zip(spots(rng, cast.bodies), cast.bodies, strict=True):
        place = (x, y, body.half[2] * rng.uniform(0.2, 0.4))
        rise, rate = rng.uniform(0.12, 0.18), rng.uniform(2.6, 3.6)
        laws.append(Bob(place, rise, rate, rng.uniform(0, 6.28), rng.uniform(-0.2, 0.2), any_turn(rng, body)))
    return Play(tuple(laws), aim=0.45)


def spin(rng: random.Random, cast: Cast) -> Play:
    """Turns on the spot about the vertical; a ball leans, so that its pattern shows it."""
    body, rate = cast.bodies[0], rng.choice((1, -1)) * rng.uniform(1.0, 2.0)
    x, turn = rng.uniform(-0.5, 0.5), any_turn(rng, body)
    if body.kind == "ball":
        turn = (rng.choice((1, -1)) * rng.uniform(0.8, 1.4), rng.uniform(-0.5, 0.5), 0.0)
    path = rests((x, rng.uniform(-0.2, 0.2), body.half[2]), turn, (0.0, 0.0, rate))
    return Play((path,), aim=0.55, free=beside(x, reach(body) + 0.5, 0.0, 0.7))


def still(rng: random.Random, cast: Cast) -> Play:
    """Nothing moves."""
    laws = [
        rests((x, y, body.half[2]), any_turn(rng, body))
        for (x, y), body in zip(spots(rng, cast.bodies), cast.bodies, strict=True)
    ]
    return Play(tuple(laws), aim=0.55)


def spots(rng: random.Random, bodies: tuple[Body, ...]) -> list[tuple[float, float]]:
    """Places side by side, with gaps, around x = 0."""
    ends, x = [], 0.0
    for body in bodies:
        x += reach(body)
        ends.append((x, rng.uniform(-0.35, 0.35) if len(bodies) > 1 else rng.uniform(-0.2, 0.2)))
        x += reach(body) + rng.uniform(0.1, 0.4)
    middle = (x - 0.25) / 2 + rng.uniform(-0.2, 0.2)
    return [(place - middle, y) for place, y in ends]


class Event(NamedTuple):
    """A row of EVENTS. weight: share of scenes; actors: the shapes that each may have, of which `least` are there.

    sizes: of actors; cameras: kinds besides "static", which has the share `static`; beside: chance that another body
    stands by; furniture: whether the act needs a paint for it.
    """

    act: Act
    weight: float
    actors: tuple[tuple[str, ...], ...]
    sizes: tuple[str, ...]
    cameras: tuple[str, ...] = ()
    static: float = 1.0
    beside: float = 0.0
    least: int = 1
    furniture: bool = False


BALL, ANY, ROUND = ("ball",), ("ball", "cube", "cylinder", "cone"), ("ball", "ball", "ball", "cube")
SMALL, MOST, ALL = ("small",), ("small", "medium"), ("small", "medium", "large")
EVENTS = {
    "drop": Event(drop, 9, (BALL,), MOST, ("closer", "back", "orbit"), 0.4, 0.3),
    "throw": Event(throw, 7, (BALL,), MOST, beside=0.2),
    "roll": Event(roll, 18, (BALL,), ALL, ("closer", "back", "pan", "rise"), 0.3, 0.4),
    "behind": Event(behind, 8, (BALL,), SMALL, furniture=True),
    "hit": Event(hit, 8, (BALL, BALL), SMALL, least=2),
    "rebound": Event(rebound, 6, (BALL,), MOST, furniture=True),
    "slide": Event(slide, 5, (("cube", "cylinder"),), MOST, ("back", "rise"), 0.4, 0.3),
    "ramp": Event(ramp, 7, (BALL,), MOST, furniture=True),
    "step": Event(step, 5, (BALL,), SMALL, furniture=True),
    "pendulum": Event(pendulum, 6, (BALL,), MOST, ("closer", "back"), 0.5),
    "topple": Event(topple, 5, (("block",),), ("tall",), ("closer", "back"), 0.5),
    "float": Event(bobs, 8, (BALL, BALL), ALL, ("orbit", "closer", "back", "pan", "away and back"), 0.3),
    "spin": Event(spin, 5, (ROUND,), ALL, ("closer", "back", "pan", "rise", "away and back"), 0.3, 0.3),
    "still": Event(still, 14, (ANY, ANY, ANY), MOST, CAMERAS[1:], 0.1),
    "sun moves": Event(still, 3, (ANY, ANY), ALL),
    "day to night": Event(still, 3, (ANY, ANY), ALL),
}
"""By name. A name of the last three shares its act with others: what differs is the camera and the light."""
