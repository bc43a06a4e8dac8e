"""Closed-form motions of rigid bodies, as functions of time on a fixed clock.

A `Path` is made of pieces of constant acceleration and constant angular acceleration: flights, rolls, slips and
slides are all of that form. Swinging and tipping are `Swing` and `Topple`, whose one equation is integrated on a
fixed grid, so that every rate of frames sees the same motion. Balls are solid spheres, I = 2/5 m r^2.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from tubelet.worlds.depth.scene import GRAVITY, Array, Motion

Vector = tuple[float, float, float]
Law = Callable[[Array], Motion]

ZERO: Vector = (0.0, 0.0, 0.0)
EYE = np.eye(3)
STEP = 1 / 128
"""Seconds between points of the grid on which swings are integrated."""
LEAST_BOUNCE = 0.15
"""Landings slower than this, units a second, end the bouncing: their apex would be 0.003 units."""


class Piece(NamedTuple):
    """From `start` on: place + velocity s + pull s^2 / 2 and angular velocity spin + twist s, s = t - start.

    mark: what happens at its start ("bounces", "hits", ...), or "" where nothing does that a viewer would name.
    """

    start: float
    place: Vector
    velocity: Vector
    pull: Vector
    spin: Vector
    twist: Vector
    mark: str


@dataclass(frozen=True)
class Path:
    """Motion in pieces; `turn` is the orientation at t = 0, a rotation vector."""

    pieces: tuple[Piece, ...]
    turn: Vector = ZERO

    def __call__(self, t: Array) -> Motion:
        """The motion at times t [F] >= 0."""
        now, s = self._now(t)
        velocity, pull, spin, twist = (column[now] for column in self._columns[2:])  # [F, 3]
        rotation = turned(spin, twist, s) @ self._turns[now]
        return Motion(self.place(t), rotation, velocity + pull * s, spin + twist * s)

    def place(self, t: Array) -> Array:
        """The position alone [F, 3]."""
        now, s = self._now(t)
        place, velocity, pull = (column[now] for column in self._columns[1:4])
        return place + velocity * s + 0.5 * pull * s**2

    def _now(self, t: Array) -> tuple[Array, Array]:
        """Which piece holds at t [F], and the time since it began [F, 1]."""
        starts = self._columns[0]
        now = np.searchsorted(starts, t, "right") - 1
        return now, (t - starts[now])[:, None]

    @cached_property
    def _columns(self) -> list[Array]:
        """The pieces' starts [pieces], and places, velocities, pulls, spins and twists [pieces, 3]."""
        return [np.array(column, float) for column in list(zip(*self.pieces, strict=True))[:-1]]

    @cached_property
    def _turns(self) -> Array:
        """Orientation at the start of each piece [pieces, 3, 3]."""
        starts, _, _, _, spin, twist = self._columns
        turns = [rotation_of(np.array(self.turn))]
        if len(starts) > 1:
            for step in turned(spin[:-1], twist[:-1], np.diff(starts)[:, None]):
                turns.append(step @ turns[-1])
        return np.stack(turns)

    def then(
        self,
        time: float,
        velocity: Vector,
        pull: Vector = ZERO,
        spin: Vector = ZERO,
        twist: Vector = ZERO,
        mark: str = "",
    ) -> "Path":
        """The same path up to `time`, and from there on with other rates."""
        place, _, _ = self.at(time)
        piece = Piece(time, place, velocity, pull, spin, twist, mark)
        return Path((*self.pieces, piece), self.turn)

    def at(self, time: float) -> tuple[Vector, Vector, Vector]:
        """Place, velocity and spin at a time in the last piece."""
        last = self.pieces[-1]
        s = time - last.start
        place = add(last.place, last.velocity, last.pull, s)
        return place, ahead(last.velocity, last.pull, s), ahead(last.spin, last.twist, s)

    @property
    def marks(self) -> tuple[tuple[float, str], ...]:
        """Times at which something happens, and what."""
        return tuple((piece.start, piece.mark) for piece in self.pieces if piece.mark)


def ahead(start: Vector, rate: Vector, s: float) -> Vector:
    """start + rate s."""
    return (start[0] + rate[0] * s, start[1] + rate[1] * s, start[2] + rate[2] * s)


def add(place: Vector, velocity: Vector, pull: Vector, s: float) -> Vector:
    """place + velocity s + pull s^2 / 2."""
    return ahead(ahead(place, velocity, s), pull, s * s / 2)


def rotation_of(vector: Array) -> Array:
    """Rotation vectors [..., 3] -> matrices [..., 3, 3] (Rodrigues)."""
    angle = np.sqrt((vector * vector).sum(-1))[..., None, None]
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    cross = np.zeros((*vector.shape, 3))
    cross[..., 0, 1], cross[..., 0, 2], cross[..., 1, 2] = -z, y, -x
    cross[..., 1, 0], cross[..., 2, 0], cross[..., 2, 1] = z, -y, x
    safe = np.maximum(angle, 1e-100)  # both ratios tend to 1, and cross to 0
    sine, half = np.sin(angle) / safe, np.sin(angle / 2) / (safe / 2)
    return EYE + sine * cross + (half**2 / 2) * (cross @ cross)


def turned(spin: Array, twist: Array, s: Array) -> Array:
    """Rotation [..., 3, 3] gathered over s [..., 1] at angular velocity spin + twist s (Magnus, fourth order).

    Exact where spin and twist are parallel.
    """
    a, b = twist[..., [1, 2, 0]], twist[..., [2, 0, 1]]
    cross = a * spin[..., [2, 0, 1]] - b * spin[..., [1, 2, 0]]
    return rotation_of(spin * s + twist * (s**2 / 2) + cross * (s**3 / 12))


def rolling(velocity: Vector, radius: float) -> Vector:
    """The spin of a ball that rolls on the ground without slip: the contact point's speed is 0."""
    return (-velocity[1] / radius, velocity[0] / radius, 0.0)


def rests(place: Vector, turn: Vector = ZERO, spin: Vector = ZERO) -> Path:
    """Stays where it is, turning at a constant rate or not at all."""
    return Path((Piece(0.0, place, ZERO, ZERO, spin, ZERO, ""),), turn)


def rolls(place: Vector, velocity: Vector, radius: float, turn: Vector = ZERO) -> Path:
    """A ball that rolls at constant velocity."""
    return Path((Piece(0.0, place, velocity, ZERO, rolling(velocity, radius), ZERO, ""),), turn)


def halts(path: Path, time: float, seconds: float) -> Path:
    """`path`, a roll, slowed evenly from `time` on until it stands."""
    _, velocity, spin = path.at(time)
    pull, twist = (ahead(ZERO, rate, -1 / seconds) for rate in (velocity, spin))
    return path.then(time, velocity, pull, spin, twist).then(time + seconds, ZERO, mark="stops")


def flies(path: Path, time: float, velocity: Vector, spin: Vector, radius: float, bounce: float) -> Path:
    """From `time` on a parabola, then flights of restitution `bounce`, then a roll.

    A ball whose spin is that of rolling at its horizontal speed does not slip where it lands, so both stay.
    """
    floor = path.at(time)[0][2] - radius
    pull = (0.0, 0.0, -GRAVITY)
    path = path.then(time, velocity, pull, spin, mark="leaves" if time else "")
    landing = math.sqrt(velocity[2] ** 2 + 2 * GRAVITY * max(floor, 0.0))
    time += (velocity[2] + landing) / GRAVITY
    while (landing := landing * bounce) > LEAST_BOUNCE:
        path = path.then(time, (velocity[0], velocity[1], landing), pull, spin, mark="bounces")
        time += 2 * landing / GRAVITY
    return path.then(time, (velocity[0], velocity[1], 0.0), spin=spin, mark="bounces")


def slips(
    path: Path, time: float, velocity: Vector, spin: Vector, radius: float, friction: float, mark: str = ""
) -> Path:
    """From `time` on a ball slides and spins at any rates, and rolls after 2 u / (7 mu g).

    u is the contact point's speed; its direction stays. The slip is cut into four pieces, for the orientation.
    """
    u = (velocity[0] - radius * spin[1], velocity[1] + radius * spin[0])
    speed = math.hypot(*u)
    if speed < 1e-12:
        return path.then(time, velocity, spin=spin, mark=mark)
    pull = (-friction * GRAVITY * u[0] / speed, -friction * GRAVITY * u[1] / speed, 0.0)
    twist = (2.5 / radius * pull[1], -2.5 / radius * pull[0], 0.0)
    seconds = 2 * speed / (7 * friction * GRAVITY)
    for part in range(4):
        s = seconds * part / 4
        piece_mark = "" if part else mark
        path = path.then(time + s, ahead(velocity, pull, s), pull, ahead(spin, twist, s), twist, piece_mark)
    velocity = ahead(velocity, pull, seconds)
    return path.then(time + seconds, velocity, spin=rolling(velocity, radius))


def slides(place: Vector, velocity: Vector, friction: float, turn: Vector = ZERO) -> Path:
    """A body that slides without turning and stops after v^2 / (2 mu g)."""
    speed = math.hypot(*velocity)
    pull = ahead(ZERO, velocity, -friction * GRAVITY / speed)
    path = Path((Piece(0.0, place, velocity, pull, ZERO, ZERO, ""),), turn)
    return path.then(speed / (friction * GRAVITY), ZERO, mark="stops")


def impulse(one: Vector, two: Vector, normal: Vector, restitution: float) -> tuple[Vector, Vector]:
    """Velocities after two equal balls meet; `normal` is the unit vector from the first centre to the second."""
    closing = sum((a - b) * n for a, b, n in zip(one, two, normal, strict=True))
    change = (1 + restitution) / 2 * closing
    return ahead(one, normal, -change), ahead(two, normal, change)


@lru_cache(maxsize=64)
def _grid(rate: float, angle: float, speed: float, steps: int) -> Array:
    """Angle and its rate [steps + 1, 2] at multiples of STEP, by RK4 of angle'' = rate sin(angle)."""
    points = [(angle, speed)]
    for _ in range(steps):
        angle, speed = _runge_kutta(rate, angle, speed, STEP, math.sin)
        points.append((angle, speed))
    return np.array(points)


def _runge_kutta(rate, angle, speed, step, sin):  # floats with math.sin, arrays with np.sin
    """One step of angle'' = rate sin(angle)."""
    half = step / 2
    a1 = rate * sin(angle)
    v2 = speed + half * a1
    a2 = rate * sin(angle + half * speed)
    v3 = speed + half * a2
    a3 = rate * sin(angle + half * v2)
    v4 = speed + step * a3
    a4 = rate * sin(angle + step * v3)
    return angle + step / 6 * (speed + 2 * v2 + 2 * v3 + v4), speed + step / 6 * (a1 + 2 * a2 + 2 * a3 + a4)


def angles(rate: float, angle: float, speed: float, t: Array) -> tuple[Array, Array]:
    """Solution of angle'' = rate sin(angle) and its derivative at t [F]: RK4 to the grid, one step beyond it."""
    whole = np.floor(t / STEP).astype(int)
    steps = -(-int(whole.max(initial=0)) // 128) * 128  # a round number, so that clips share grids
    start = _grid(rate, angle, speed, max(steps, 128))[whole]
    return _runge_kutta(rate, start[:, 0], start[:, 1], t - whole * STEP, np.sin)


def _upright(angle: Array, speed: Array, along: tuple[float, float]) -> tuple[Array, Array, Array, Array]:
    """Unit vectors up and sideways of a thing leaning by `angle` towards `along`, its rotation and spin."""
    side, up = np.array([*along, 0.0]), np.array([0.0, 0.0, 1.0])
    cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
    axis = np.array([-along[1], along[0], 0.0])
    rotation = rotation_of(axis * angle[:, None])
    return up * cosine + side * sine, side * cosine - up * sine, rotation, axis * speed[:, None]


@dataclass(frozen=True)
class Swing:
    """A body on a stiff weightless rod below `pivot`; angle'' = -g / length sin(angle), released at `angle`.

    arm: distance from the pivot to this body's centre; rope and bob share the rest. along: the way of a positive
    angle, on the ground. length: that of the mathematical pendulum of the same period, L + 2 r^2 / (5 L) for a ball.
    """

    pivot: Vector
    length: float
    angle: float
    along: tuple[float, float]
    arm: float

    def __call__(self, t: Array) -> Motion:
        """The motion at times t [F] >= 0."""
        angle, speed = angles(-GRAVITY / self.length, self.angle, 0.0, t)
        up, side, rotation, spin = _upright(-angle, -speed, self.along)
        return Motion(np.array(self.pivot) - self.arm * up, rotation, self.arm * speed[:, None] * side, spin)


@dataclass(frozen=True)
class Topple:
    """A standing box, pushed at `push` rad / s, that tips over its lower edge towards `along` and lies still.

    edge: middle of that edge on the ground. half: (half the depth along `along`, half the height).
    The angle of its centre from the vertical obeys angle'' = 3 g / (4 D) sin(angle), D = hypot(half).
    """

    edge: Vector
    half: tuple[float, float]
    along: tuple[float, float]
    push: float

    def __call__(self, t: Array) -> Motion:
        """The motion at times t [F] >= 0."""
        reach, first = math.hypot(*self.half), -math.atan2(*self.half)
        angle, speed = angles(0.75 * GRAVITY / reach, first, self.push, t)
        lies = angle >= first + math.pi / 2
        angle, speed = np.where(lies, first + math.pi / 2, angle), np.where(lies, 0.0, speed)
        up, side, _, spin = _upright(angle, speed, self.along)
        heading = math.atan2(self.along[1], self.along[0])
        lean = rotation_of(np.array([-self.along[1], self.along[0], 0.0]) * (angle - first)[:, None])
        rotation = lean @ rotation_of(np.array([0.0, 0.0, heading]))
        return Motion(np.array(self.edge) + reach * up, rotation, reach * speed[:, None] * side, spin)


@dataclass(frozen=True)
class Bob:
    """A body that rises and sinks on water: height `rise` sin(rate t + phase) about `place`, rocking by `tilt`."""

    place: Vector
    rise: float
    rate: float
    phase: float
    tilt: float
    turn: Vector = ZERO

    def __call__(self, t: Array) -> Motion:
        """The motion at times t [F] >= 0."""
        wave, slope = np.sin(self.rate * t + self.phase), self.rate * np.cos(self.rate * t + self.phase)
        up, axis = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])
        rotation = rotation_of(axis * (self.tilt * wave)[:, None]) @ rotation_of(np.array(self.turn))
        position = np.array(self.place) + up * (self.rise * wave)[:, None]
        return Motion(
            position, rotation, up * (self.rise * slope)[:, None], axis * (self.tilt * slope)[:, None]
        )
