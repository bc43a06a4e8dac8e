"""What stands still behind the bodies: sky and ground of frames in a row with one camera and light, worked out once."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tubelet.worlds.depth.render import sky
from tubelet.worlds.depth.render.ground import Plane, Rows
from tubelet.worlds.depth.render.palette import Light
from tubelet.worlds.depth.render.rays import View, f32
from tubelet.worlds.depth.render.shade import Place
from tubelet.worlds.depth.render.solids import share
from tubelet.worlds.depth.scene import Array

RIPPLE = 0.010  # by how much, in x and y, one deviation of the water's texture shifts what it mirrors


@dataclass(frozen=True)
class Background:
    """Frames that look the same from one to the next: `group` [F] numbers them; the rest is of one frame of each.

    first: the first row with ground in any frame; last: the first row without sky.
    """

    view: View
    place: Place
    group: Array
    first: int
    last: int

    @classmethod
    def of(cls, view: View, place: Place) -> "Background":
        """Find the frames whose camera and light differ from the frame before."""
        changed = np.zeros(len(view.origin), bool)
        for field in (view.origin, *view.axes, place.towards, *place.light):
            changed[1:] |= (field[1:] != field[:-1]).any(tuple(range(1, field.ndim)))
        starts = np.flatnonzero(np.r_[True, changed[1:]])
        light = Light(*(field[starts] for field in place.light))
        kept = view.frames(starts)
        horizon = -kept.axes[2][:, 2] / kept.axes[1][:, 2] / kept.pixel + kept.height / 2
        first, last = np.clip(
            [np.floor(horizon.min()) - 1, np.ceil(horizon.max()) + 1], 0, kept.height
        ).astype(int)
        place = place._replace(light=light, towards=place.towards[starts])
        return cls(kept, place, np.cumsum(changed), int(first), int(last))

    def sky(self, view: View, rows: slice) -> list[Array]:
        """The sky in some rows of a view."""
        rays, place = view.rays(view.whole(rows)), self.place
        return sky.picture(rays, place.light, place.towards, place.backdrop, place.seed, place.indoors)

    def picture(self) -> tuple[list[Array], Array]:
        """Three float32 planes [F, H, W] without any body, and the ground's share of each row [F, H, 1]."""
        plane = self.plane
        cover = np.zeros((len(self.view.origin), self.view.height, 1), np.float32)
        cover[:, self.first :] = share(
            f32(plane.down / (self.view.pixel * -self.view.axes[1][:, 2, None, None]))
        )
        ground = plane.picture()
        above = self.sky(self.view, slice(0, self.last))
        whole = []
        for low, high in zip(ground, above, strict=True):
            both = np.empty((len(cover), self.view.height, self.view.width), np.float32)
            both[:, self.last :] = low[:, self.last - self.first :]
            both[:, : self.first] = high[:, : self.first]
            edge = slice(self.first, self.last)
            low, high = low[:, : self.last - self.first], high[:, self.first :]
            both[:, edge] = high + (low - high) * cover[:, edge]
            whole.append(both[self.group])
        return whole, cover[self.group]

    @cached_property
    def plane(self) -> Plane:
        """The ground below `first`."""
        rays = self.view.rays(self.view.whole(slice(self.first, None)))
        return Plane(self.place.floor, rays, self.place.light, self.place.towards)

    def rows(self) -> Rows:
        """What depends on the row alone, of all frames."""
        rows = self.plane.rows
        return Rows(rows.sunlit[:, self.group], rows.veil[:, self.group], rows.fresnel[self.group])

    def mirrored(self) -> list[Array]:
        """Three float32 planes [F, H - first, W] of the sky that a level mirror on the ground would show."""
        return [plane[self.group] for plane in self.sky(self.view.mirrored(), slice(self.first, None))]

    def ripple(self) -> Array:
        """From which pixel of a frame's mirrored picture each pixel of rippled water takes its colour: [F, h, W]."""
        plane = self.plane
        texels = plane.texels().astype(np.float32)
        shift = (texels - np.float32(128)) * np.float32(RIPPLE / 42 / self.view.pixel)
        height, width = shift.shape[1:]
        row = shift + np.arange(height, dtype=np.float32)[:, None]
        row = np.minimum(np.maximum(row, np.float32(0)), np.float32(height - 1)).astype(np.int32)
        index = row * width + np.arange(width, dtype=np.int32)
        index += (np.arange(len(index), dtype=np.int32) * (height * width))[:, None, None]
        offsets = (np.arange(len(self.group)) - self.group).astype(np.int32) * (height * width)
        return index[self.group] + offsets[:, None, None]
