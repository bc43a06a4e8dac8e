"""The plane z = 0: its own colour at any point, and its picture from a camera, lit and hazy."""

from typing import NamedTuple

import numpy as np

from tubelet.worlds.depth.render.palette import Light, ramp, spread
from tubelet.worlds.depth.render.rays import Rays, f32
from tubelet.worlds.depth.render.texture import level, look_up
from tubelet.worlds.depth.scene import Array, Ground

LIFT = 0.3  # the ground in a low sun is lit more than it would be, so that its colour stays readable
FURTHEST = 400.0  # beyond it the ground is all haze
JOINT = 0.055  # width of the joints between tiles, in cells
JOINT_SHADE = 0.45
# What a smooth ground reflects when seen from above, and along it.
POLISH = {
    "water": (0.16, 0.9),
    "plain": (0.07, 0.6),
    "tiles": (0.05, 0.5),
    "wood": (0.035, 0.4),
    "checker": (0.05, 0.5),
}


def stripes(x: Array, width: Array, part: float) -> Array:
    """Mean over a box of that width of a wave of period 1 that is 1 on the first `part` of it and else 0."""
    half = width * np.float32(0.5)

    def total(x: Array) -> Array:
        whole = np.floor(x)
        return whole * np.float32(part) + np.minimum(x - whole, np.float32(part))

    return (total(x + half) - total(x - half)) / width


class Floor:
    """A ground's colours: `albedo` at points in its own, turned and shifted, coordinates."""

    def __init__(self, ground: Ground):
        """Prepare the tables of a ground."""
        rng = np.random.default_rng([7, ground.seed])
        self.kind, self.cell = ground.kind, ground.cell
        sine, cosine = np.sin(ground.angle), np.cos(ground.angle)
        self.axes = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0]])
        self.start = np.array(ground.offset) @ self.axes[:, :2].T
        self.jitter = rng.random(2) * 64
        self.textured = ground.kind in ("grass", "sand", "snow", "concrete", "wood", "water")
        if self.textured:
            self.tables = [ramp(ground.kind)]
        else:
            self.tables = [spread(name) for name in ground.colours or ("grey",)]
        self.texture = ground.kind if self.textured else "plain"
        self.mean = np.stack([table.mean(1) for table in self.tables]).mean(0).astype(float)  # [3]

    def texels(self, u: Array, v: Array, levels: Array) -> Array:
        """The texture's value at points in the ground's coordinates, uint8."""
        return look_up(self.texture, u + f32(self.jitter[0]), v + f32(self.jitter[1]), levels)

    def albedo(self, u: Array, v: Array, levels: Array, widths: tuple[Array, Array]) -> list[Array]:
        """Colour at (u, v): three float32 arrays. levels: of the texture; widths: of a pixel along u and v, units."""
        texels = self.texels(u, v, levels)
        planes = [table.take(texels) for table in self.tables[0]]
        if self.kind == "checker":
            scale = np.float32(0.5 / self.cell)
            a, b = (stripes(x * scale, w * scale, 0.5) for x, w in zip((u, v), widths, strict=True))
            mix = a + b - 2 * a * b
            for plane, table in zip(planes, self.tables[-1], strict=True):
                plane += (table.take(texels) - plane) * mix
        if self.kind == "tiles":
            scale = np.float32(1 / self.cell)
            a, b = (stripes(x * scale, w * scale, JOINT) for x, w in zip((u, v), widths, strict=True))
            keep = 1 - np.float32(1 - JOINT_SHADE) * (a + b - a * b)
            planes = [plane * keep for plane in planes]
        return planes


def meet(rays: Rays) -> tuple[Array, Array, Array]:
    """How steeply each row looks down, its depth on the ground, and the width of a pixel there: float64 [F, h, 1]."""
    down = -(rays.axes[1][:, 2, None, None] * rays.y + rays.axes[2][:, 2, None, None])
    height = rays.origin[:, 2, None, None]
    depth = height / np.maximum(down, np.maximum(height, 1e-3) / FURTHEST)
    return down, depth, depth * rays.pixel / np.sqrt(np.maximum(np.abs(down), 1e-3))


class Rows(NamedTuple):
    """What of the ground's light depends on the row alone.

    sunlit [3, F]: share of the light that comes from the sun; veil [3, F, h, 1]: haze; fresnel [F, h, 1]: share of the
    picture that a reflection has.
    """

    sunlit: Array
    veil: Array
    fresnel: Array


class Plane:
    """The ground as rays of whole rows meet it, and what depends on the row alone.

    t, blur: depth and width of a pixel; gain [3, F, h, 1]: what the ground's own colour is multiplied by.
    """

    def __init__(self, floor: Floor, rays: Rays, light: Light, towards: Array):
        """Rows above the horizon get the depth of the furthest ground."""
        self.floor, self.rays = floor, rays
        self.down, self.depth, blur = meet(rays)
        self.t, self.blur = f32(self.depth), f32(blur)
        clear = np.exp(-((self.depth / light.haze[:, None, None]) ** 1.5))
        dim = 1 / (1 + (self.depth / light.lamp[:, None, None]) ** 2)
        lift = LIFT + (1 - LIFT) * towards[:, 2]
        sun, sky = light.sun * lift[:, None], light.above
        self.gain = f32((sun + sky).T[..., None, None] * (clear * dim))
        veil = f32(light.horizon.T[..., None, None] * (1 - clear))
        cosine = np.minimum(np.abs(self.down) / np.sqrt(1 + rays.y**2), 1)
        least, most = POLISH.get(floor.kind, (0.0, 0.0))
        self.rows = Rows((sun / (sun + sky)).T, veil, f32(least + (most - least) * (1 - cosine) ** 5))

    def coordinates(self) -> tuple[Array, Array]:
        """Where each ray meets the ground, in the floor's coordinates: float32 [F, h, w] twice."""
        u, v = self.rays.points(self.t, self.floor.axes[:, None]) - f32(self.floor.start)[:, None, None, None]
        return u, v

    def texels(self) -> Array:
        """The texture's value at every ray, uint8 [F, h, w]."""
        return self.floor.texels(*self.coordinates(), level(self.blur * 0.8))

    def picture(self) -> list[Array]:
        """Three float32 planes [F, h, w]: lit, without shadows, with haze."""
        across = self.depth * self.rays.pixel
        along = across / np.maximum(np.abs(self.down), 0.02)
        x, y = self.rays.axes[0][:, 0], self.rays.axes[0][:, 1]  # to the right; ahead is (-y, x)
        widths = [
            f32(
                across * np.abs(x * a[0] + y * a[1])[:, None, None]
                + along * np.abs(x * a[1] - y * a[0])[:, None, None]
            )
            for a in self.floor.axes
        ]
        planes = self.floor.albedo(*self.coordinates(), level(self.blur * 0.8), (widths[0], widths[1]))
        for plane, gain, veil in zip(planes, self.gain, self.rows.veil, strict=True):
            plane *= gain
            plane += veil
        return planes
