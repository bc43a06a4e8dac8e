"""A scene of the world in depth as functions of time: what stands where, under which light, seen by which camera."""

import math
from dataclasses import dataclass

import numpy as np

from tubelet.worlds.depth.laws import Law, Path
from tubelet.worlds.depth.scene import Array, Body, Camera, Ground, Shot, Sun

CLOCK = 2.0
"""Seconds for which scenes are composed; longer clips go on from there."""
FOCAL = 0.5 / math.tan(math.radians(20))
"""Of a picture that is 40 degrees wide."""
CAMERAS = ("static", "orbit", "closer", "back", "pan", "rise", "away and back")
EASE = 0.5  # seconds in which a camera comes to rest after the clock


@dataclass(frozen=True)
class Thing:
    """A body, how it moves, and the word for its size: "small", "medium", "large", "tall", or None for furniture."""

    body: Body
    law: Law
    size: str | None = None

    @property
    def shape(self) -> str:
        """Its shape in words: the kind of its body, but a tall cube is a "block"."""
        return "block" if self.size == "tall" else self.body.kind

    def place(self, t: Array) -> Array:
        """Its centre at times t [F], [F, 3]."""
        return self.law.place(t) if isinstance(self.law, Path) else self.law(t).position

    @property
    def marks(self) -> tuple[tuple[float, str], ...]:
        """Times at which something happens to it, and what."""
        return self.law.marks if isinstance(self.law, Path) else ()


@dataclass(frozen=True)
class Light:
    """Where sun, moon or lamp stand at t = 0, and how fast they move (radians a second). kind: of LIGHTS."""

    kind: str
    elevation: float
    azimuth: float
    sink: float = 0.0
    sweep: float = 0.0

    def sun(self, t: Array) -> Sun:
        """The light at times t [F]; day turns to night once, within the clock."""
        s = ran(t)
        phase = np.clip(t / CLOCK, 0, 1) if self.kind == "day to night" else np.zeros_like(t)
        return Sun(self.kind, self.elevation - self.sink * s, self.azimuth + self.sweep * s, phase)


@dataclass(frozen=True)
class View:
    """A camera and its one movement. kind: of CAMERAS.

    It looks at height `aim` above the origin from `distance`, `pitch` radians above the horizontal. rate: radians a
    second for "orbit" and "pan" (above 0 to the right), units a second for "closer", "back" and "rise", and the
    angle of "away and back", which begins and ends a fifth of it beside the origin.
    """

    kind: str
    distance: float
    pitch: float
    aim: float
    rate: float = 0.0

    def camera(self, t: Array) -> Camera:
        """The camera at times t [F]."""
        s, still = ran(t), np.zeros_like(t)
        yaw, turn, nearer, rise = still, still, still, still
        if self.kind == "orbit":
            yaw = self.rate * (s - CLOCK / 2)
        elif self.kind == "pan":
            turn = self.rate * (s - CLOCK / 2)
        elif self.kind == "away and back":
            turn = self.rate * (0.2 + np.sin(np.pi * np.clip(t / CLOCK, 0, 1)) ** 2)
        elif self.kind == "rise":
            rise = self.rate * s
        elif self.kind != "static":
            nearer = self.rate * (s - CLOCK / 2) * (1 if self.kind == "closer" else -1)
        distance = self.distance - nearer
        flat, height = distance * math.cos(self.pitch), distance * math.sin(self.pitch) + rise
        position = np.stack([-flat * np.sin(yaw), -flat * np.cos(yaw), self.aim + height], -1)
        return Camera(position, yaw + turn, np.arctan2(height, flat), FOCAL)


def ran(t: Array) -> Array:
    """Time that stops after the clock: t up to CLOCK, then easing to CLOCK + EASE, without a jolt."""
    late = np.maximum(t - CLOCK, 0)
    return np.minimum(t, CLOCK) + EASE * (1 - np.exp(-late / EASE))


@dataclass(frozen=True)
class Scene:
    """What a clip shows, at every time.

    things: those that captions count first, then furniture. event: a name of `events.EVENTS`. direction: "left",
    "right", "towards", "away" or None; speed: "slow", "quick" or None.
    """

    event: str
    things: tuple[Thing, ...]
    ground: Ground
    light: Light
    view: View
    backdrop: str
    direction: str | None = None
    speed: str | None = None

    @property
    def counted(self) -> tuple[Thing, ...]:
        """The things that are not furniture."""
        return tuple(thing for thing in self.things if not thing.body.furniture)

    def shot(self, t: Array) -> Shot:
        """The scene at times t [F], seconds."""
        return Shot(
            tuple(thing.body for thing in self.things),
            tuple(thing.law(t) for thing in self.things),
            self.ground,
            self.light.sun(t),
            self.view.camera(t),
            self.backdrop,
        )


def shot_of(scene: Scene, num_frames: int, fps: float) -> Shot:
    """The first num_frames frames at fps."""
    return scene.shot(np.arange(num_frames) / fps)
