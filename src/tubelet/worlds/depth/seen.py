"""What the frames of a shot show of its scene: the predicates that captions must pass."""

import math
from dataclasses import dataclass

import numpy as np

from tubelet.worlds.depth.scene import Array, Body, Camera, Motion, Shot
from tubelet.worlds.depth.stage import Scene

LEAST_WAY = 0.2  # units that a thing goes before it is said to move
LEAST_TURN = math.radians(20)
FRAMES = 2
"""Frames in which what follows an incident is seen, before a caption says that it came."""

PHASES = {
    "drop": (("bounces", "bounces"), ("falls", "moves"), ("airborne", "")),
    "throw": (("arcs", "bounces"), ("flies", "moves"), ("airborne", "")),
    "roll": (("rolls", "moves"), ("shows", "")),
    "behind": (("comes out", "comes out"), ("hides", "hides"), ("nears", "moves"), ("shows", "")),
    "hit": (("hits", "hits"), ("meets", "moves"), ("shows", "")),
    "rebound": (("rebounds", "hits"), ("reaches", "moves"), ("shows", "")),
    "slide": (("stops", "stops"), ("slides", "moves"), ("shows", "")),
    "ramp": (("runs out", "lands"), ("descends", "moves"), ("on", "")),
    "step": (("drops off", "bounces"), ("leaves", "leaves"), ("crosses", "moves"), ("on", "")),
    "pendulum": (("swings", "moves"), ("hangs", "")),
    "topple": (("tips", "leans far"), ("leans", "moves"), ("stands", "")),
    "float": (("bobs", "bobs"), ("floats", "")),
    "spin": (("turns", "turns"), ("shows", "")),
    "still": (("shows", ""),),
    "sun moves": (("shows", ""),),
    "day to night": (("shows", ""),),
}
"""For each event, the verbs of `words.VERBS` and the incident that each needs; the first one that was seen is said."""


@dataclass(frozen=True)
class Seen:
    """What may be said of a shot.

    phase: key of words.VERBS; light: the light, as it looks; size, speed, camera, shadows: whether those may be told.
    moving: more than one frame.
    """

    phase: str
    light: str
    size: bool
    speed: bool
    camera: bool
    shadows: bool
    moving: bool


def seen(scene: Scene, shot: Shot, t: Array) -> Seen:
    """What the shot at times t [F] shows."""
    incidents = incidents_of(scene, shot, t)
    phase = next(verb for verb, needed in PHASES[scene.event] if not needed or needed in incidents)
    night = shot.sun.phase[-1]
    light = scene.light.kind
    if light == "day to night" and night - shot.sun.phase[0] < 0.7:
        light = "sunny" if night < 0.25 else ""
    swept = abs(shot.sun.azimuth[-1] - shot.sun.azimuth[0]) > LEAST_TURN
    return Seen(
        phase,
        light,
        size=comparable(shot),
        speed=scene.view.kind == "static" and phase == "rolls",
        camera=scene.view.kind != "static" and camera_moved(scene.view.kind, shot.camera),
        shadows=scene.event == "sun moves" and bool(swept),
        moving=len(t) > 1,
    )


def incidents_of(scene: Scene, shot: Shot, t: Array) -> set[str]:
    """What has happened to the first thing and was seen to go on for FRAMES frames."""
    thing, motion = scene.things[0], shot.motions[0]
    found = {mark for time, mark in thing.marks if (t >= time).sum() >= FRAMES}
    found |= {"moves"} if moved(motion) > LEAST_WAY else set()
    up = motion.rotation[:, 2, 2]  # cosine of the lean
    found |= {"leans far"} if up[-1] < 0.6 else set()
    found |= {"bobs"} if np.ptp(motion.position[:, 2]) > 0.1 else set()
    turn = np.linalg.norm(motion.spin, axis=1).mean() * (t[-1] - t[0])
    found |= {"turns"} if turn > LEAST_TURN else set()
    hidden = hidden_frames(shot, 0)
    if hidden.any():
        found.add("hides")
        x = shot.camera.project(motion.position, 1, 1)[0][:, 0]
        after = np.arange(len(t)) > np.flatnonzero(hidden)[-1]
        out = after & (clear_of_walls(shot, 0) > 0.4) & (np.abs(x - 0.5) < 0.5)
        found |= {"comes out"} if out.sum() >= FRAMES else set()
    return found


def moved(motion: Motion) -> float:
    """Largest distance from where it was in the first frame, units."""
    return float(np.linalg.norm(motion.position - motion.position[0], axis=1).max())


def camera_moved(kind: str, camera: Camera) -> bool:
    """Whether the frames show the movement that the camera is named for."""
    turn, way = np.ptp(camera.yaw), np.linalg.norm(camera.position[-1] - camera.position[0])
    if kind == "away and back":
        return bool(turn > 0.35 and abs(camera.yaw[-1] - camera.yaw[0]) < 0.08)
    return bool(turn > 0.08 if kind in ("pan", "orbit") else way > 0.3)


def comparable(shot: Shot) -> bool:
    """Whether sizes can be read: all that is counted at about one distance, and none unusually near or far."""
    counted = [k for k, body in enumerate(shot.bodies) if not body.furniture]
    at = [shot.motions[k].position[0] - shot.camera.position[0] for k in counted]
    far = np.linalg.norm(at, axis=1)
    return bool(far.max() / far.min() < 1.15 and far.min() > 4.8 and far.max() < 7.0)


def clear_of_walls(shot: Shot, body: int) -> Array:
    """Share of the outline of a ball that no wall covers, in each frame [F]."""
    right, down, _ = shot.camera.axes()
    turn = np.arange(16) * (2 * np.pi / 16)
    radius = shot.bodies[body].half[2] * 1.02
    ring = np.cos(turn)[:, None] * right[:, None] + np.sin(turn)[:, None] * down[:, None]  # [F, 16, 3]
    points = shot.motions[body].position[:, None] + radius * ring
    covered = np.zeros(points.shape[:2], bool)
    for k, other in enumerate(shot.bodies):
        if other.kind == "wall":
            covered |= crosses(shot.camera.position[:, None], points, other, shot.motions[k])
    return 1 - covered.mean(1)


def hidden_frames(shot: Shot, body: int) -> Array:
    """Frames [F] in which a wall covers the whole of a ball."""
    if not any(other.kind == "wall" for other in shot.bodies):
        return np.zeros(len(shot), bool)
    return clear_of_walls(shot, body) == 0


def crosses(start: Array, end: Array, box: Body, motion: Motion) -> Array:
    """Whether the lines from start to end [F, N, 3] pass through a box, each in its frame [F, N]."""
    own = motion.rotation.transpose(0, 2, 1)[:, None]  # [F, 1, 3, 3], the world's axes to the box's
    first, last = ((own @ (p - motion.position[:, None])[..., None])[..., 0] for p in (start, end))
    way = last - first
    way = np.where(np.abs(way) < 1e-12, 1e-12, way)
    one, two = (-np.array(box.half) - first) / way, (np.array(box.half) - first) / way
    enters, leaves = np.minimum(one, two).max(-1), np.maximum(one, two).min(-1)
    return (enters < leaves) & (leaves > 0) & (enters < 1)
