"""What a clip of the world in depth shows, as values: bodies, ground, light and camera at each frame.

World axes: x to the right, y away from the usual viewer, z up; the ground is z = 0. Lengths are in units in which a
medium ball has a radius of about 0.64; g is 4 units / s^2. `events.py` makes shots, `render/` draws them, and neither
knows the other.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

GRAVITY = 4.0

COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "white")
METALS = ("gold", "silver")  # mirror finish
WOOD = "brown"  # of beams
FLOORS = (
    "white",
    "grey",
    "navy",
    "teal",
    "brown",
    "blue",
    "green",
    "red",
)  # of plain grounds, tiles and checkers
SHAPES = ("ball", "cube", "cylinder", "cone")
FURNITURE = ("wall", "ramp", "block", "beam")  # a beam is a post, a crossbar or a rope
GROUNDS = ("grass", "sand", "snow", "concrete", "wood", "tiles", "water", "plain", "checker")
LIGHTS = ("sunny", "grey", "fog", "sunset", "night", "dark room", "day to night")
BACKDROPS = ("hills", "trees", "none")  # what stands on the horizon

Array = np.ndarray


@dataclass(frozen=True)
class Paint:
    """What a surface looks like: a colour of COLOURS, METALS (which mirror) or WOOD, and a second with its pattern.

    pattern: "plain", "octants" (eight parts in turn, balls) or "band" (a belt around the own z axis, balls).
    """

    colour: str
    second: str | None = None
    pattern: str = "plain"

    @property
    def mirror(self) -> bool:
        """Whether it reflects what is around it."""
        return self.colour in METALS


@dataclass(frozen=True)
class Body:
    """A rigid body: its shape, its half extents along its own axes, and its paint.

    kind: one of SHAPES or FURNITURE. A ball's half extents are its radius three times; cylinder and cone stand along
    their own z with their origin at half their height; cube, wall, block and beam are boxes; a ramp is the half of its
    box below the plane that falls from its -x edge at the top to its +x edge at the bottom.
    """

    kind: str
    half: tuple[float, float, float]
    paint: Paint

    @property
    def furniture(self) -> bool:
        """Whether it is part of the place rather than one of the things that captions count."""
        return self.kind in FURNITURE


class Motion(NamedTuple):
    """Where a body is in each of F frames: centre [F, 3], rotation [F, 3, 3] (own axes to the world's), their rates.

    velocity [F, 3] in units a second, spin [F, 3] the angular velocity in the world's axes, radians a second.
    """

    position: Array
    rotation: Array
    velocity: Array
    spin: Array


class Camera(NamedTuple):
    """A pinhole camera without roll: position [F, 3], yaw [F] (0 looks along +y, above 0 to the right), pitch [F].

    pitch is above 0 looking down. focal: in units of the picture's shorter side, so the central square shows the same
    at every aspect ratio.
    """

    position: Array
    yaw: Array
    pitch: Array
    focal: float

    def axes(self) -> tuple[Array, Array, Array]:
        """Unit vectors [F, 3] to the right, down and forward in the picture."""
        sin_yaw, cos_yaw = np.sin(self.yaw), np.cos(self.yaw)
        sin_pitch, cos_pitch = np.sin(self.pitch), np.cos(self.pitch)
        right = np.stack([cos_yaw, -sin_yaw, np.zeros_like(sin_yaw)], -1)
        forward = np.stack([sin_yaw * cos_pitch, cos_yaw * cos_pitch, -sin_pitch], -1)
        down = np.stack([-sin_yaw * sin_pitch, -cos_yaw * sin_pitch, -cos_pitch], -1)
        return right, down, forward

    def project(self, points: Array, height: int, width: int) -> tuple[Array, Array]:
        """World points [F, ..., 3] -> (x, y) in pixels [F, ..., 2], and their depth along the axis [F, ...].

        The middle of the pixel in row i and column j is (j + 1/2, i + 1/2). Points behind the camera have depth <= 0.
        """
        spread = (len(self.position), *([1] * (points.ndim - 2)), 3)
        offset = points - self.position.reshape(spread)
        right, down, forward = (axis.reshape(spread) for axis in self.axes())
        depth = (offset * forward).sum(-1)
        scale = self.focal * min(height, width) / np.where(depth > 1e-9, depth, np.nan)
        x, y = (offset * right).sum(-1) * scale + width / 2, (offset * down).sum(-1) * scale + height / 2
        return np.stack([x, y], -1), depth


class Sun(NamedTuple):
    """The light: its kind (LIGHTS), and where the sun, the moon or the lamp stands in each of F frames.

    elevation [F] above the horizon and azimuth [F] (0 is +y, above 0 to the right), radians; phase [F] from 0, day, to
    1, night, for "day to night", else 0.
    """

    kind: str
    elevation: Array
    azimuth: Array
    phase: Array

    def direction(self) -> Array:
        """Unit vectors [F, 3] towards it."""
        flat = np.cos(self.elevation)
        return np.stack(
            [flat * np.sin(self.azimuth), flat * np.cos(self.azimuth), np.sin(self.elevation)], -1
        )


@dataclass(frozen=True)
class Ground:
    """The plane z = 0: a kind of GROUNDS; colours of "plain", "tiles" (one) and "checker" (two), else none.

    Those are FLOORS. cell: side of a tile or checker, units. offset, angle: where its pattern lies. seed: of the
    backdrop's profile and of where the ground's texture begins.
    """

    kind: str
    colours: tuple[str, ...] = ()
    cell: float = 1.25
    offset: tuple[float, float] = (0.0, 0.0)
    angle: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Shot:
    """All that a renderer needs of F frames. Bodies never touch by more than rounding, nor the ground's far side."""

    bodies: tuple[Body, ...]
    motions: tuple[Motion, ...]
    ground: Ground
    sun: Sun
    camera: Camera
    backdrop: str

    def __len__(self) -> int:
        """Frames."""
        return len(self.camera.position)


class Picture(NamedTuple):
    """A rendered shot: frames uint8 [F, H, W, 3]; with truth also which body each pixel shows most of, and depth.

    ids int8 [F, H, W]: number of the body, -1 ground, -2 sky and backdrop. depth float32 [F, H, W], along the axis;
    infinite in the sky. visible float32 [F, bodies]: share of each body's picture that nothing nearer covers and that
    lies in the frame, 0 where it has none.
    """

    frames: Array
    ids: Array | None = None
    depth: Array | None = None
    visible: Array | None = None
