"""Clips that the tests of the judge draw themselves, uint8 [F, H, W, 3]."""

import numpy as np

F, SIDE = 17, 64
TIME = np.arange(F)
RED, YELLOW, BLUE, WHITE = (220, 40, 40), (248, 220, 48), (44, 92, 236), (244, 244, 244)
GREY, NAVY, BEIGE, TEAL = (110, 110, 112), (26, 36, 82), (190, 174, 146), (34, 94, 100)


def ground(colour=GREY, height=SIDE, width=SIDE):
    """A background of one colour: float [F, H, W, 3]."""
    return np.broadcast_to(np.array(colour, float), (F, height, width, 3)).copy()


def laid(clip, inside, colour):
    """A clip with a colour (one, or one a frame) where `inside` [F, H, W] says, 0 to 1."""
    colour = np.broadcast_to(np.asarray(colour, float), (len(clip), 3))[:, None, None]
    return clip + inside[..., None] * (colour - clip)


def pixels(clip):
    return (clip + 0.5).clip(0, 255).astype(np.uint8)


def away(x, y, shape=(SIDE, SIDE)):
    """How far each pixel lies right of and below a place, which may move: two [F, H, W]."""
    x, y = (np.broadcast_to(np.asarray(v, float), F)[:, None, None] for v in (x, y))
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return columns - x, rows - y


def round_cover(x, y, radius, shape=(SIDE, SIDE)):
    """How much of each pixel a soft disc covers: [F, H, W]."""
    radius = np.broadcast_to(np.asarray(radius, float), F)[:, None, None]
    return np.clip(radius - np.hypot(*away(x, y, shape)) + 0.5, 0, 1)


def disc(x=32.0, y=32.0, radius=9.0, colour=RED, alpha=1.0):
    """A soft disc on grey; every number may change over the frames."""
    alpha = np.broadcast_to(np.asarray(alpha, float), F)[:, None, None]
    return pixels(laid(ground(), round_cover(x, y, radius) * alpha, colour))


def bar(angle):
    """A blue bar turned by each angle, in radians."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - 31.5
    turn = np.asarray(angle, float)[:, None, None]
    along = np.abs(columns * np.cos(turn) + rows * np.sin(turn)) < 16
    across = np.abs(rows * np.cos(turn) - columns * np.sin(turn)) < 5
    return pixels(laid(ground(), (along & across) * 1.0, BLUE))


def painted(inside, x=32.0, y=32.0, size=11.0, colour=YELLOW, angle=0.0, behind=NAVY):
    """A shape given by a test of places in units of its size, drawn with 4 x 4 points a pixel."""
    cover = np.zeros((F, SIDE, SIDE))
    angle = np.broadcast_to(np.asarray(angle, float), F)[:, None, None]
    steps = (np.arange(4) - 1.5) / 4
    for right in steps:
        for down in steps:
            across, below = away(x, y)
            across, below = (across + right) / size, (below + down) / size
            turned = (
                across * np.cos(angle) + below * np.sin(angle),
                below * np.cos(angle) - across * np.sin(angle),
            )
            cover += inside(*turned) / 16
    return pixels(laid(ground(behind), cover, colour))


def spiky(x, y):
    """A star of five points, from its edges in polar coordinates."""
    turn = (np.arctan2(x, -y) % (2 * np.pi / 5)) - np.pi / 5
    near = np.pi / 5 - np.abs(turn)  # angle to the nearest point
    tip, notch = np.array([1.15, 0.0]), 0.48 * np.array([np.cos(np.pi / 5), np.sin(np.pi / 5)])
    edge = notch - tip
    radius = np.hypot(x, y)
    px, py = radius * np.cos(near) - tip[0], radius * np.sin(near)
    return edge[0] * py - edge[1] * px > 0


SHAPES = {
    "circle": lambda x, y: np.hypot(x, y) < 1,
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.77) < 0.23,
    "square": lambda x, y: np.maximum(np.abs(x), np.abs(y)) < 0.88,
    "triangle": lambda x, y: (y < 0.6) & (np.abs(x) < (y + 1.2) * 0.577),
    "star": spiky,
    "diamond": lambda x, y: np.abs(x) / 0.72 + np.abs(y) / 1.15 < 1,
    "heart": lambda x, y: (
        (np.hypot(np.abs(x) - 0.435, y + 0.261) < 0.615) | ((np.abs(x) + y < 1.044) & (y > 0.17))
    ),
    "cross": lambda x, y: (np.minimum(np.abs(x), np.abs(y)) < 0.34) & (np.maximum(np.abs(x), np.abs(y)) < 1),
}
