"""Which motion the track of an object shows, and how fast it is.

Motions are named by rules on the track; the camera's own movement is no part of it.
"""

import math

import numpy as np

from tubelet.worlds.shapes.judge.colours import nearest_colour
from tubelet.worlds.shapes.judge.outlines import Fit
from tubelet.worlds.shapes.judge.pixels import SCALE, Floats, distance
from tubelet.worlds.shapes.judge.tracking import Track

MOTIONS = (
    "moves left",
    "moves right",
    "moves up",
    "moves down",
    "moves up left",
    "moves up right",
    "moves down left",
    "moves down right",
    "bounces",
    "falls",
    "orbits",
    "rotates",
    "grows",
    "shrinks",
    "fades",
    "changes colour",
    "stays",
)
WAYS = (
    "right",
    "down right",
    "down",
    "down left",
    "left",
    "up left",
    "up",
    "up right",
)  # by 45 degrees, y down

FADED = 0.35
"""Share of its contrast below which an object has faded."""
RECOLOURED = 50.0
"""Distance in RGB levels between a first and a last colour that are different."""
TRAVELS = 6.0
"""Extent of a path below which the object is on the spot."""
SWELLS = 1.5
"""Ratio of last to first area from which on an object has grown."""
ANGLES = 240
"""Angles that a turning shape is compared at: steps of 1.5 degrees."""
TURNS = math.radians(35)
"""Least angle over the clip of what rotates."""
TRAVEL_SPEED, TURN_SPEED, GROWTH_SPEED = 0.18, 1.3, 0.135
"""Where slow ends and fast begins: short sides, radians, and short sides of a diameter, each per second."""


def motion_of(track: Track) -> str:
    """The motion that the track shows, one of MOTIONS."""
    shown = np.isfinite(track.area)
    tail = max(1, len(track.area) // 8)
    began = float(np.median(track.contrast[shown][: 2 * tail]))
    if np.median(track.contrast[-tail:]) < FADED * began:
        return "fades"
    start, end = (np.median(part, axis=0) for part in (track.colour[shown][:3], track.colour[-3:]))
    if distance(start, end) > RECOLOURED and nearest_colour(start) != nearest_colour(end):
        return "changes colour"
    time = np.flatnonzero(shown).astype(np.float64)
    if len(time) < 4:
        return "stays"
    place = steady(track.place[shown])
    if np.ptp(place, axis=0).max() >= TRAVELS:
        return path_of(time, place)
    return in_place(track)


def steady(place: Floats) -> Floats:
    """The path [F, 2] without jumps of a single frame: the median of three frames, but for the ends."""
    middle = np.median([place[:-2], place[1:-1], place[2:]], axis=0)
    jumps = np.abs(middle - place[1:-1]).max(1, keepdims=True) > TRAVELS / 2
    return np.concatenate([place[:1], np.where(jumps, middle, place[1:-1]), place[-1:]])


def in_place(track: Track) -> str:
    """What an object does on the spot: grows, shrinks, rotates or stays."""
    area = track.area[np.isfinite(track.area)]
    some = max(1, len(area) // 5)
    ratio = float(np.median(area[-some:]) / np.median(area[:some]))
    if ratio > SWELLS:
        return "grows"
    if ratio < 1 / SWELLS:
        return "shrinks"
    return "rotates" if abs(turning(track)) * (len(track.area) - 1) >= TURNS else "stays"


def turning(track: Track) -> float:
    """The angle in radians that a shape turns from frame to frame, clockwise; 0 where turning explains nothing.

    One speed for the whole clip: the one that best maps each frame onto the frames up to three later.
    """
    views = polar(track)  # [F, R, ANGLES]
    if len(views) < 4:
        return 0.0
    speeds = range(-16, 17)  # steps a frame: up to 24 degrees
    misfit = [
        sum(
            float(np.square(views[lag:] - np.roll(views[:-lag], lag * k, axis=2)).mean()) for lag in (1, 2, 3)
        )
        for k in speeds
    ]
    best = int(np.argmin(misfit))
    if misfit[best] > 0.6 * misfit[len(speeds) // 2]:
        return 0.0
    return speeds[best] * 2 * math.pi / ANGLES


def polar(track: Track) -> Floats:
    """The shape in polar coordinates around its centre, in each frame that shows it: [F, R, ANGLES]."""
    shown = np.flatnonzero(np.isfinite(track.area))
    height, width = track.cover.shape[1:]
    unit = SCALE / min(height, width)
    reach = 1.8 * math.sqrt(float(np.median(track.area[shown])) / math.pi)
    radius = np.linspace(0.3, 1, 12)[:, None] * reach
    angle = np.arange(ANGLES) * 2 * math.pi / ANGLES
    views = []
    for frame in shown:
        x, y = track.place[frame] / unit
        columns = np.clip(x + radius / unit * np.cos(angle), 0, width - 1.001)
        rows = np.clip(y + radius / unit * np.sin(angle), 0, height - 1.001)
        i, j = rows.astype(int), columns.astype(int)
        down, right = rows - i, columns - j
        cover = track.cover[frame]
        upper = cover[i, j] * (1 - right) + cover[i, j + 1] * right
        views.append(
            upper * (1 - down) + (cover[i + 1, j] * (1 - right) + cover[i + 1, j + 1] * right) * down
        )
    return np.array(views)


def path_of(time: Floats, place: Floats) -> str:
    """The name of a path [F, 2] that leads somewhere: straight, falling, bouncing or round."""
    way = straight_way(time, place)
    if way is not None:
        return f"moves {WAYS[round(math.atan2(way[1], way[0]) / (math.pi / 4)) % 8]}"
    wide, tall = np.ptp(place, axis=0)
    if wide < 0.2 * tall and place[0, 1] < place[-1, 1] - 0.1 * tall:
        return "falls"
    return "orbits" if round_misfit(time, place) < folded_misfit(time, place) else "bounces"


def straight_way(time: Floats, place: Floats) -> Floats | None:
    """The displacement [2] of a path without a turn; None where the path has one."""
    net = place[-1] - place[0]
    basis = np.stack([np.ones_like(time), time], axis=1)
    line = basis @ np.linalg.lstsq(basis, place, rcond=None)[0]
    off = math.sqrt(float(np.square(place - line).sum(1).mean()))
    slope = line[-1] - line[0]
    extent = float(np.hypot(*np.ptp(place, axis=0)))
    return slope if off < 0.08 * extent and np.hypot(*net) > 0.8 * extent else None


def round_misfit(time: Floats, place: Floats) -> float:
    """Sum of squares that is left of a path when the best circle at constant speed is taken away."""
    z = place[:, 0] + 1j * place[:, 1]
    found = []
    for speed in np.linspace(0.08, 0.8, 37):
        for sign in (-1, 1):
            basis = np.stack([np.ones_like(z), np.exp(1j * sign * speed * time)], axis=1)
            rest = z - basis @ np.linalg.lstsq(basis, z, rcond=None)[0]
            found.append(float(np.square(np.abs(rest)).sum()))
    return min(found)


def folded_misfit(time: Floats, place: Floats) -> float:
    """Sum of squares left of a path when a straight way that turns back once is fitted to each axis."""
    total = 0.0
    for along in place.T:
        found = []
        for turn in np.arange(time[0], time[-1] - 0.9, 0.25):
            basis = np.stack([np.ones_like(time), np.abs(time - turn)], axis=1)
            found.append(float(np.square(along - basis @ np.linalg.lstsq(basis, along, rcond=None)[0]).sum()))
        total += min(found)
    return total


def speed_of(track: Track, motion: str, fit: Fit, fps: float) -> str | None:
    """slow or fast, where the motion has the two."""
    if motion.startswith("moves") or motion in ("bounces", "orbits"):
        return pace(travelled(track, motion) * fps / SCALE, TRAVEL_SPEED)
    if motion == "rotates":
        return pace(abs(turning(track)) * fps, TURN_SPEED)
    if motion in ("grows", "shrinks"):
        time = np.flatnonzero(np.isfinite(fit.radius))
        slope = float(np.polyfit(time, 2 * fit.radius[time], 1)[0])
        return pace(abs(slope) * fps / SCALE, GROWTH_SPEED)
    return None


def pace(value: float, limit: float) -> str:
    """The word for a speed."""
    return "fast" if value > limit else "slow"


def travelled(track: Track, motion: str) -> float:
    """The way from frame to frame in 64ths of the short side."""
    time = np.flatnonzero(np.isfinite(track.area))
    place = steady(track.place[time])
    if motion.startswith("moves"):
        return float(np.hypot(*(np.polyfit(time, along, 1)[0] for along in place.T)))
    step = 2 if len(time) > 4 else 1
    way = np.hypot(*(place[step:] - place[:-step]).T) / (time[step:] - time[:-step])
    return float(np.quantile(way, 0.6))
