"""What is known of a clip: words for a judge, and numbers for every frame."""

from typing import Any

import numpy as np

from tubelet.worlds.depth.scene import Array, Picture, Shot
from tubelet.worlds.depth.seen import hidden_frames, seen
from tubelet.worlds.depth.stage import Scene, Thing


def attributes_of(scene: Scene, shot: Shot, t: Array) -> dict[str, Any]:
    """What a clip shows in words, ready for JSON; None where a word does not apply.

    shown: the key of words.VERBS for what the frames show of the event, so that a short clip is not asked for more.
    """
    view, shows = scene.view, seen(scene, shot, t)
    furniture = [thing for thing in scene.things if thing.body.furniture and thing.body.kind != "beam"]
    return {
        "event": scene.event,
        "shown": shows.phase,
        "direction": scene.direction,
        "speed": scene.speed,
        "light": scene.light.kind,
        "ground": scene.ground.kind,
        "ground_colours": list(scene.ground.colours),
        "backdrop": scene.backdrop,
        "count": len(scene.counted),
        "bodies": [words_for(thing) for thing in scene.counted],
        "furniture": {f.body.kind: f.body.paint.colour for f in furniture},
        "camera": view.kind,
        "camera_side": ("right" if view.rate > 0 else "left")
        if view.kind in ("orbit", "pan", "away and back")
        else None,
    }


def words_for(thing: Thing) -> dict[str, Any]:
    """The words for one thing."""
    body = thing.body
    return {
        "shape": thing.shape,
        "colour": body.paint.colour,
        "second": body.paint.second,
        "pattern": body.paint.pattern,
        "size": thing.size,
    }


def truth_of(scene: Scene, shot: Shot, t: Array, picture: Picture | None = None) -> dict[str, Array]:
    """Numbers of F frames and B bodies (furniture last), ready for npz; lengths in units, angles in radians.

    time [F]; camera_position [F, 3], camera_yaw [F], camera_pitch [F], focal (shorter sides); position, velocity and
    spin [F, B, 3]; rotation [F, B, 3, 3]; half [B, 3]; kind [B]; counted [B]: not furniture; hidden [F, B]: wholly
    behind a wall; sun [F, 3]: direction towards the light; night [F] from 0 to 1; mark, mark_time, mark_body [M]:
    what happens when to which body, over the clip's time. With a picture that has them: ids and depth [F, H, W],
    visible [F, B].
    """
    marks = [(time, mark, k) for k, thing in enumerate(scene.things) for time, mark in thing.marks]
    marks = sorted(mark for mark in marks if mark[0] <= t[-1])
    found = {
        "time": t,
        "camera_position": shot.camera.position,
        "camera_yaw": shot.camera.yaw,
        "camera_pitch": shot.camera.pitch,
        "focal": np.array(shot.camera.focal),
        "position": np.stack([motion.position for motion in shot.motions], 1),
        "rotation": np.stack([motion.rotation for motion in shot.motions], 1),
        "velocity": np.stack([motion.velocity for motion in shot.motions], 1),
        "spin": np.stack([motion.spin for motion in shot.motions], 1),
        "half": np.array([body.half for body in shot.bodies]),
        "kind": np.array([body.kind for body in shot.bodies]),
        "counted": np.array([not body.furniture for body in shot.bodies]),
        "hidden": hidden_bodies(shot),
        "sun": shot.sun.direction(),
        "night": shot.sun.phase,
        "mark": np.array([mark for _, mark, _ in marks], dtype="U16"),
        "mark_time": np.array([time for time, _, _ in marks], dtype=float),
        "mark_body": np.array([body for _, _, body in marks], dtype=int),
    }
    if picture is not None and picture.ids is not None:
        dense = {"ids": picture.ids, "depth": picture.depth, "visible": picture.visible}
        found |= {name: values for name, values in dense.items() if values is not None}
    return found


def hidden_bodies(shot: Shot) -> Array:
    """Which bodies are wholly behind a wall [F, B]; balls alone are asked about."""
    hidden = np.zeros((len(shot), len(shot.bodies)), bool)
    for k, body in enumerate(shot.bodies):
        if body.kind == "ball":
            hidden[:, k] = hidden_frames(shot, k)
    return hidden
