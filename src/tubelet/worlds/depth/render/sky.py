"""Sky, clouds, sun or moon, and the hills or trees on the horizon, from a camera without roll."""

from functools import lru_cache

import numpy as np

from tubelet.worlds.depth.render.palette import Light
from tubelet.worlds.depth.render.rays import Rays, f32, wide
from tubelet.worlds.depth.render.solids import share
from tubelet.worlds.depth.render.texture import SIDE, tile
from tubelet.worlds.depth.scene import Array

AROUND = 2048  # entries of a profile once around
CLOUDS_AROUND = 3  # times the clouds' tile goes around
MIST, MISTY = (
    0.7,
    0.035,
)  # how much of the horizon's colour is before the foot of the hills, and up to which height
DISC = 0.00075  # 1 - cosine of the radius of sun and moon


def gradient(light: Light, rise: Array) -> Array:
    """Colour of the clear sky by the sine of the elevation [F, ...]: float64 [3, F, ...]."""
    low, high = np.clip(rise / 0.16, 0, 1), np.clip((rise - 0.08) / 0.55, 0, 1)
    low, high = low * (2 - low), high * (2 - high)
    stops = (
        field.T.reshape(3, -1, *([1] * (rise.ndim - 1)))
        for field in (light.horizon, light.middle, light.zenith)
    )
    horizon, middle, zenith = stops
    colour = horizon + (middle - horizon) * low
    return colour + (zenith - colour) * high


@lru_cache(maxsize=64)
def profiles(backdrop: str, seed: int) -> tuple[tuple[Array, float], ...]:
    """Layers from the furthest: tangent of the height once around [AROUND], and how hazy the layer is."""
    rng = np.random.default_rng([11, seed])
    angle = np.arange(AROUND) * (2 * np.pi / AROUND)

    def waves(low: int, high: int, power: float) -> Array:
        total = np.zeros(AROUND)
        for k in range(low, high):
            total += k**-power * np.cos(k * angle + 2 * np.pi * rng.random()) * (0.5 + rng.random())
        return total / np.abs(total).max()

    if backdrop == "hills":
        far = 0.062 + 0.036 * waves(5, 60, 1.0)
        near = 0.028 + 0.022 * waves(7, 40, 1.4)
        return ((far, 0.62), (near, 0.25))
    if backdrop == "trees":
        far = 0.034 + 0.010 * waves(5, 60, 1.0)
        near = np.full(AROUND, 0.012)
        for centre in np.arange(0, AROUND, 5) + rng.integers(-2, 3, len(range(0, AROUND, 5))):
            half, height = rng.integers(5, 10), 0.022 + 0.026 * rng.random()
            offset = np.arange(-half, half + 1)
            bump = height * np.sqrt(1 - (offset / (half + 1)) ** 2)
            near[(centre + offset) % AROUND] = np.maximum(near[(centre + offset) % AROUND], bump)
        return ((far, 0.60), (near, 0.12))
    return ()


def azimuths(rays: Rays) -> Array:
    """Azimuth of each column where it crosses the horizon, radians [F, w]."""
    forward, right = rays.axes[2], rays.axes[0]
    yaw = np.arctan2(-right[:, 1], right[:, 0])
    level = np.sqrt(forward[:, 0] ** 2 + forward[:, 1] ** 2)
    return yaw[:, None] + np.arctan(rays.x[:, 0] * level[:, None])


def picture(rays: Rays, light: Light, towards: Array, backdrop: str, seed: int, indoors: bool) -> list[Array]:
    """Three float32 planes [F, h, w] of what is above the horizon."""
    up = rays.axes[1][:, 2, None, None] * rays.y + rays.axes[2][:, 2, None, None]  # [F, h, 1]
    rise = up / np.sqrt(1 + rays.y**2)
    shape = (len(rise), rise.shape[1], rays.x.shape[2])
    planes = [np.broadcast_to(f32(plane), shape).copy() for plane in gradient(light, rise)]
    if indoors:
        return planes
    clouds(planes, rays, light, rise, seed)
    shine(planes, rays, light, towards)
    for profile, haze in profiles(backdrop, seed):
        ridge(planes, rays, light, profile, haze)
    return planes


@lru_cache(maxsize=64)
def cloud_table(seed: int) -> tuple[Array, Array]:
    """Where the clouds' texture begins, texels [2], and how much of the sky each of its values hides, float32 [256]."""
    part = np.clip((np.arange(256) - 118) / 75, 0, 1)
    return np.random.default_rng([13, seed]).random(2) * SIDE, f32(part * part * (3 - 2 * part) * 0.85)


def clouds(planes: list[Array], rays: Rays, light: Light, rise: Array, seed: int) -> None:
    """Blend the clouds in: a texture over azimuth and elevation, smaller towards the horizon."""
    start, thickness = cloud_table(seed)
    column = (
        np.floor(azimuths(rays) * (CLOUDS_AROUND * SIDE / (2 * np.pi)) + start[0]).astype(np.int32) % SIDE
    )
    high = np.maximum(rise, 0)
    row = np.floor(SIDE * 0.9 * high / (high + 0.22) + start[1]).astype(np.int32) % SIDE
    amount = tile("clouds").take(row * SIDE + column[:, None])
    cover = thickness.take(amount)
    cover *= f32(np.clip(high / 0.05, 0, 1))
    for plane, colour in zip(planes, light.cloud.T, strict=True):
        plane += (wide(colour) - plane) * cover


def shine(planes: list[Array], rays: Rays, light: Light, towards: Array) -> None:
    """Add the disc of the sun or moon, where the light comes from, and its glow."""
    away = 1 - rays.along(towards) / np.sqrt(rays.squared())
    np.maximum(away, np.float32(0), out=away)
    glow = np.float32(0.010) / (away + np.float32(0.012))
    glow *= np.float32(0.45)
    edge = np.float32(2 * np.sqrt(2 * DISC) * rays.pixel)
    disc = np.clip((np.float32(DISC) - away) / edge + np.float32(0.5), 0, 1)
    weight = np.minimum(glow, np.float32(0.7))
    np.maximum(weight, disc, out=weight)
    for plane, colour in zip(planes, light.disc.T, strict=True):
        plane += np.maximum(wide(colour) - plane, np.float32(0)) * weight


def ridge(planes: list[Array], rays: Rays, light: Light, profile: Array, haze: float) -> None:
    """Draw one layer of hills or trees: everything below its profile."""
    place = azimuths(rays) * (AROUND / (2 * np.pi)) % AROUND
    left = np.floor(place).astype(int)
    part = place - left
    left %= AROUND
    tangent = profile[left] * (1 - part) + profile[(left + 1) % AROUND] * part  # [F, w]
    forward = rays.axes[2]
    level = np.sqrt(forward[:, 0] ** 2 + forward[:, 1] ** 2)[:, None]
    flat = np.sqrt(rays.x[:, 0] ** 2 + 1 / level**2)  # of the horizontal part of d at the horizon
    steep = rays.axes[1][:, 2, None]  # below 0; above 0 for mirrored rays, which see it upside down
    edge = (tangent * flat - forward[:, 2:]) / steep  # [F, w]
    rows = np.array([0, len(rays.y[0])])  # all but those above the whole profile
    if steep[0, 0] < 0:
        rows[0] = np.searchsorted(rays.y[0, :, 0], edge.min() - rays.pixel)
    else:
        rows[1] = np.searchsorted(rays.y[0, :, 0], edge.max() + rays.pixel)
    y = rays.y[:, slice(*rows)]
    side = share(f32((edge[:, None] - y) * np.sign(steep)[:, None] / rays.pixel))
    mist = MIST * np.clip(1 - (steep[:, None] * y + forward[:, 2, None, None]) / MISTY, 0, 1)
    mixed = light.hills * (1 - haze) + light.middle * haze
    for plane, colour, horizon in zip(planes, mixed.T, light.horizon.T, strict=True):
        shown = colour[:, None, None] * (1 - mist) + horizon[:, None, None] * mist
        target = plane[:, slice(*rows)]
        target += (f32(shown) - target) * side
