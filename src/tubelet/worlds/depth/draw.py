"""Scenes drawn at random: what happens, where, in which light, seen how, so that a viewer can read it."""

import math
import random
from dataclasses import replace
from itertools import combinations

import numpy as np

from tubelet.worlds.depth import looks
from tubelet.worlds.depth.events import ANY, EVENTS, Cast, Event, any_turn, reach
from tubelet.worlds.depth.laws import rests
from tubelet.worlds.depth.scene import METALS, Body, Ground, Paint
from tubelet.worlds.depth.stage import CLOCK, Scene, Thing, View

ATTEMPTS = 60
"""Draws of one scene's places; from one to the next the camera stands a little further off, so the last one fits."""
CHECKED = np.linspace(0, CLOCK, 9)
BACKDROPS = {"hills": 0.45, "trees": 0.35, "none": 0.2}
Wish = dict[str, str]


def draw_scene(rng: random.Random, *, unseen: bool = False) -> Scene:
    """A scene without a held-out pair, or, if `unseen`, with one."""
    wish = draw_wish(rng) if unseen else {}
    event = wish.get("event") or looks.one_of(rng, {k: e.weight for k, e in EVENTS.items() if fits(k, wish)})
    light, ground, colours = draw_setting(rng, event, wish)
    cast, left = draw_cast(rng, event, ground, colours, wish)
    beside = draw_companion(rng, ground, left) if rng.random() < EVENTS[event].beside else None
    sky = looks.draw_light(rng, light, moves=event == "sun moves")
    backdrop = "none" if light == "dark room" else looks.one_of(rng, BACKDROPS)
    camera = draw_camera(rng, EVENTS[event], len(cast.bodies) + bool(beside))
    start = Scene(event, (), ground, sky, View(camera, 6.0, 0.2, 0.6), backdrop)
    for attempt in range(ATTEMPTS):
        if scene := placed(rng, start, cast, beside, attempt):
            return scene
    raise AssertionError(f"no camera shows {event} whole")


def draw_wish(rng: random.Random) -> Wish:
    """One held-out pair, which the scene must show."""
    pairs = [{"shape": a, "ground": b} for a, b in looks.UNSEEN_PLACES]
    pairs += [{"event": a, "light": b} for a, b in looks.UNSEEN_LIGHTS]
    pairs += [{"colour": a, "event": b} for a, b in looks.UNSEEN_COLOURS]
    return rng.choice(pairs)


def fits(event: str, wish: Wish) -> bool:
    """Whether an event can show the wished shape on the wished ground."""
    actors = EVENTS[event].actors
    return "shape" not in wish or (event != "float" and any(wish["shape"] in shapes for shapes in actors[:1]))


def draw_setting(rng: random.Random, event: str, wish: Wish) -> tuple[str, Ground, list[str]]:
    """A light and a ground that go with the event, each other and the wish, and at least two colours seen there."""
    lights = {k: w for k, w in looks.LIGHTS.items() if (event, k) not in looks.UNSEEN_LIGHTS}
    if event in ("float", "slide"):
        lights.pop("dark room", None)  # water is outdoors, and so is what slides on snow
    fixed = {"sun moves": "sunny", "day to night": "day to night"}.get(event)
    for _ in range(ATTEMPTS):
        light = wish.get("light") or fixed or looks.one_of(rng, lights)
        kinds = {"water": 1.0} if event == "float" else dict(looks.OUTDOORS)
        if light == "dark room":
            kinds = looks.INDOORS
        kinds = {k: w for k, w in kinds.items() if shapes_on(EVENTS[event].actors[0], k)}
        if "ground" in wish:
            kinds = {k: w for k, w in looks.OUTDOORS.items() if k == wish["ground"] and light != "dark room"}
        if not kinds:
            continue
        ground = looks.draw_ground(rng, looks.one_of(rng, kinds))
        colours = looks.colours_on(ground, light, event, unseen="colour" in wish)
        if wish.get("colour", colours[0]) in colours and sum(c not in METALS for c in colours) >= 2:
            return light, ground, colours
    raise AssertionError(f"{event} has no ground for {wish}")


def shapes_on(shapes: tuple[str, ...], ground: str) -> list[str]:
    """Those that are not held out with the ground."""
    return [shape for shape in shapes if (shape, ground) not in looks.UNSEEN_PLACES]


def draw_cast(
    rng: random.Random, name: str, ground: Ground, colours: list[str], wish: Wish
) -> tuple[Cast, list[str]]:
    """The bodies of an event with colours of their own, and the colours that are left."""
    event, left = EVENTS[name], list(colours)
    matt = sum(colour not in METALS for colour in colours)
    count = min(rng.randint(event.least, len(event.actors)), matt - event.furniture)
    bodies, sizes = [], []
    for place, shapes in enumerate(event.actors[:count]):
        wished = wish if place == 0 else {}
        shape = wished.get("shape") or rng.choice(shapes_on(shapes, ground.kind))
        spare = sum(colour not in METALS for colour in left) > count - place + event.furniture
        plain = 0.0 if name == "spin" else 0.3
        paint = looks.draw_paint(rng, shape, left, wished.get("colour"), spare=spare, plain=plain)
        left = [colour for colour in left if colour not in (paint.colour, paint.second)]
        sizes.append(rng.choice(event.sizes if count < 3 else ("small",)))
        bodies.append(looks.draw_body(rng, shape, sizes[-1], paint))
    if event.least == 2:  # balls that meet are equal
        bodies[1], sizes[1] = replace(bodies[1], half=bodies[0].half), sizes[0]
    furniture = (
        rng.choice([colour for colour in left if colour not in METALS]) if event.furniture else "white"
    )
    left = [colour for colour in left if colour != furniture]
    return Cast(tuple(bodies), tuple(sizes), Paint(furniture)), left


def draw_companion(rng: random.Random, ground: Ground, colours: list[str]) -> tuple[Body, str] | None:
    """A body to stand beside what happens, and its size; None where no colour is left."""
    matt = [colour for colour in colours if colour not in METALS]
    if not matt:
        return None
    shape, size = rng.choice(shapes_on(ANY, ground.kind)), rng.choice(("small", "medium"))
    return looks.draw_body(rng, shape, size, looks.draw_paint(rng, shape, matt, None, spare=False)), size


def draw_camera(rng: random.Random, event: Event, count: int) -> str:
    """The kind of a camera; only a thing by itself is lost from sight and found again."""
    if rng.random() < event.static:
        return "static"
    if count == 1 and event.cameras[-1] == "away and back" and rng.random() < 0.4:
        return "away and back"
    return rng.choice([kind for kind in event.cameras if kind != "away and back"])


def draw_view(rng: random.Random, kind: str, aim: float, attempt: int) -> View:
    """A camera of a kind that looks at height `aim`."""
    rate = {
        "orbit": rng.choice((1, -1)) * rng.uniform(0.2, 0.34),
        "closer": rng.uniform(0.4, 0.6),
        "back": rng.uniform(0.4, 0.6),
        "pan": rng.choice((1, -1)) * rng.uniform(0.07, 0.12),
        "rise": rng.uniform(0.45, 0.65),
        "away and back": rng.choice((1, -1)) * rng.uniform(0.38, 0.42),
    }.get(kind, 0.0)
    pitch = rng.uniform(9, 12) if kind == "rise" else rng.uniform(9, 18)
    return View(kind, rng.uniform(5.4, 6.0) + 0.05 * attempt, math.radians(pitch), aim, rate)


def placed(
    rng: random.Random, scene: Scene, cast: Cast, beside: tuple[Body, str] | None, attempt: int
) -> Scene | None:
    """The scene with its bodies and camera in place, or None where these do not fit."""
    play = EVENTS[scene.event].act(rng, cast)
    if scene.view.kind not in play.cameras:
        return None
    things = [Thing(*parts) for parts in zip(cast.bodies, play.laws, cast.sizes, strict=True)]
    if beside and play.free:
        body, size = beside
        x, y = rng.uniform(*play.free[:2]), rng.uniform(*play.free[2:])
        companion = Thing(body, rests((x, y, body.half[2]), any_turn(rng, body)), size)
        if not clear(things, companion):
            return None
        things.append(companion)
    view = draw_view(rng, scene.view.kind, play.aim, attempt)
    found = replace(
        scene,
        things=(*things, *play.furniture),
        view=view,
        direction=play.direction,
        speed=play.speed,
    )
    return found if framed(found) else None


def clear(things: list[Thing], companion: Thing) -> bool:
    """Whether nothing comes near the companion, for twice the clock."""
    t = np.linspace(0, 2 * CLOCK, 33)
    spot = companion.place(t[:1])[0, :2]
    ways = [np.hypot(*(thing.place(t)[:, :2] - spot).T).min() for thing in things]
    room = reach(companion.body) + 0.08
    return all(way > room + reach(thing.body) for way, thing in zip(ways, things, strict=True))


def framed(scene: Scene) -> bool:
    """Whether what is counted stays in the central square over the clock, and apart at its beginning.

    When the camera looks away, it must be gone half-way and there at both ends.
    """
    camera = scene.view.camera(CHECKED)
    places = np.stack([thing.place(CHECKED) for thing in scene.counted], 1)  # [F, B, 3]
    at, depth = camera.project(places, 1, 1)
    size = camera.focal * np.array([outline(thing.body) for thing in scene.counted]) / depth  # [F, B]
    for i, j in combinations(range(places.shape[1]), 2):
        if np.hypot(*(at[0, i] - at[0, j])) < 0.6 * (size[0, i] + size[0, j]):
            return False
    over = np.maximum(size[..., None] - at, at + size[..., None] - 1)  # [F, B, 2]
    inside = over.max(-1) < 0.12 * size
    if scene.view.kind == "away and back":
        gone = np.abs(at[4, :, 0] - 0.5) > 0.5 + size[4]
        return bool(inside[0].all() and inside[-1].all() and gone.all())
    return bool(inside.all())


def outline(body: Body) -> float:
    """Radius of a circle that about holds the body's picture."""
    return body.half[2] if body.kind == "ball" else max(math.hypot(*body.half[:2]) * 0.92, body.half[2])
