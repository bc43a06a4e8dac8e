"""Scenes at random: looks, motions that stay in the frame, relations that hold in every frame."""

import math
import random
from dataclasses import dataclass, replace

from tubelet.worlds.shapes import scene as words
from tubelet.worlds.shapes.motion import MAX_RADIUS, State, mix
from tubelet.worlds.shapes.render import SHAPES, coverage, masks, states_of
from tubelet.worlds.shapes.scene import Background, Pair, Rgb, Scene, Thing

ROUND = ("circle", "ring")
"""Turned on the spot, these look the same."""
IN_PLACE = ("rotates", "grows", "shrinks", "fades", "changes colour", "stays")
STEADY = ("stays", "rotates", "changes colour")
"""What an object does while another hides part of it."""
APART = 105.0
"""Least distance in RGB levels between an object and what lies behind it."""
TRIES = 40
RELATION_TIMES = [k / 4 for k in range(17)]
CLASH_TIMES = [k / 8 for k in range(17)]


@dataclass(frozen=True)
class Slot:
    """Where the middle of a motion may lie, in short sides from the centre: a box."""

    x: Pair = (-0.5, 0.5)
    y: Pair = (-0.5, 0.5)


def draw_scene(rng: random.Random, *, unseen: bool, two_objects: float, pan: float) -> Scene:
    """A scene without any pair that training never shows, or with one as its first or second object."""
    pair = rng.choice(words.UNSEEN_COLOURS + words.UNSEEN_MOTIONS) if unseen else None
    if rng.random() < two_objects:
        for _ in range(TRIES):
            things, relation = draw_two(rng, pair)
            if holds(relation, things):
                return Scene(things=things, relation=relation, background=draw_background(rng, things, None))
    direction = rng.choice(tuple(words.PANS)) if rng.random() < pan else None
    motions = motions_under(direction)
    while pair is not None and pair[1] in words.MOTIONS and pair[1] not in motions:
        direction = rng.choice((*words.PANS, None))
        motions = motions_under(direction)
    thing = place(rng, draw_look(rng, motions, pair=pair), Slot())
    return Scene(things=(thing,), background=draw_background(rng, (thing,), direction))


def motions_under(pan: str | None) -> tuple[str, ...]:
    """The motions that read the same while the camera moves: on the spot, or straight across its way."""
    if pan is None:
        return tuple(words.MOTIONS)
    across = ("moves up", "moves down") if pan in ("left", "right") else ("moves left", "moves right")
    return IN_PLACE + across


def draw_look(
    rng: random.Random,
    motions: tuple[str, ...],
    *,
    pair: tuple[str, str] | None = None,
    beside: Thing | None = None,
    sizes: dict[str, float] | None = None,
) -> Thing:
    """An object without a place; `pair` fixes its shape and colour or motion, `beside` must differ."""
    sizes = sizes or {"small": 1.0, "medium": 1.0, "large": 1.0}
    while True:
        shape = pair[0] if pair else rng.choice(tuple(SHAPES))
        colour = rng.choice(tuple(words.COLOURS))
        motion = rng.choices(motions, [words.MOTIONS[name] for name in motions])[0]
        if pair:
            colour, motion = (pair[1], motion) if pair[1] in words.COLOURS else (colour, pair[1])
        to_colour = rng.choice(tuple(words.COLOURS)) if motion == "changes colour" else None
        size = rng.choices(tuple(sizes), list(sizes.values()))[0]
        thing = Thing(
            shape=shape,
            colour=colour,
            rgb=jitter(rng, words.COLOURS[colour], 8),
            size=size,
            radius=rng.uniform(*words.SIZES[size]) / 2,
            motion=motion,
            to_colour=to_colour,
            to_rgb=jitter(rng, words.COLOURS[to_colour], 8) if to_colour else None,
        )
        if colour == to_colour or (motion == "rotates" and shape in ROUND):
            continue
        if beside is not None and alike(thing, beside):
            continue
        if pair or not thing.is_unseen():
            return thing


def alike(one: Thing, other: Thing) -> bool:
    """Whether the two share a shape or ever a colour."""
    colours = {one.colour, one.to_colour} & {other.colour, other.to_colour} - {None}
    return one.shape == other.shape or bool(colours)


def jitter(rng: random.Random, rgb: Rgb, levels: float) -> Rgb:
    """The colour, a little off."""
    red, green, blue = (min(max(value + rng.uniform(-levels, levels), 0), 255) for value in rgb)
    return red, green, blue


def place(rng: random.Random, thing: Thing, slot: Slot) -> Thing:
    """The object with the numbers of its motion, such that it stays in the frame for the clock's time."""
    if thing.motion in words.DIRECTIONS:
        thing = with_speed(rng, thing, words.MOVE_SPEED)
        value = math.hypot(*thing.velocity)
        way = words.DIRECTIONS[thing.motion]
        velocity = (value * way[0], value * way[1])
        away = (abs(velocity[0]) * words.CLOCK / 2, abs(velocity[1]) * words.CLOCK / 2)
        thing = anchored(rng, thing, slot, thing.radius * 0.75, away)
        start = (-velocity[0] * words.CLOCK / 2, -velocity[1] * words.CLOCK / 2)
        return replace(thing, velocity=velocity, offset=start)
    if thing.motion == "bounces":
        return place_bounce(rng, with_speed(rng, thing, words.MOVE_SPEED), slot)
    if thing.motion == "falls":
        _, top, bottom = SHAPES[thing.shape].extent
        drop = rng.uniform(0.8, 0.95) * (1 - (top + bottom) * thing.radius)
        seconds = rng.uniform(0.65, 0.85)
        thing = anchored(rng, thing, slot, thing.radius * 1.1, (0.0, 0.0))
        return replace(thing, drop=drop, gravity=2 * drop / seconds**2)
    if thing.motion == "orbits":
        thing = with_speed(rng, thing, words.MOVE_SPEED)
        path = rng.uniform(0.085, 0.10) if thing.speed == "slow" else rng.uniform(0.12, 0.15)
        thing = anchored(rng, thing, slot, thing.radius * 0.75 + path, (0.0, 0.0))
        spin = rng.choice((-1, 1)) * math.hypot(*thing.velocity) / path
        return replace(thing, orbit=(path, rng.uniform(0, 2 * math.pi)), spin=spin, velocity=(0.0, 0.0))
    if thing.motion == "rotates":
        thing = with_speed(rng, thing, words.TURN_SPEED)
        spin = rng.choice((-1, 1)) * thing.velocity[0]
        return replace(
            anchored(rng, thing, slot, thing.radius * 1.1, (0.0, 0.0)), spin=spin, velocity=(0.0, 0.0)
        )
    if thing.motion in ("grows", "shrinks"):
        return place_growth(rng, with_speed(rng, thing, words.GROW_SPEED), slot)
    return anchored(rng, thing, slot, thing.radius * 1.1, (0.0, 0.0))


def with_speed(rng: random.Random, thing: Thing, speeds: dict[str, Pair]) -> Thing:
    """The object as slow or fast, its speed along x for now."""
    speed = rng.choice(tuple(speeds))
    return replace(thing, speed=speed, velocity=(rng.uniform(*speeds[speed]), 0.0))


def anchored(rng: random.Random, thing: Thing, slot: Slot, margin: float, away: Pair) -> Thing:
    """The object at a random place of the slot, `margin` and the way it goes inside the frame."""
    spot = []
    for (low, high), way in zip((slot.x, slot.y), away, strict=True):
        room = max(0.5 - margin - way, 0.0)
        low, high = min(max(low, -room), room), max(min(high, room), -room)
        spot.append(rng.uniform(low, high) * 2)
    return replace(thing, anchor=(spot[0], spot[1]))


def place_bounce(rng: random.Random, thing: Thing, slot: Slot) -> Thing:
    """Towards a corner, so that it meets two walls within the clock's time."""
    centre = (sum(slot.x), sum(slot.y))
    corner = tuple(math.copysign(1, part) if part else rng.choice((-1.0, 1.0)) for part in centre)
    side, top, bottom = (thing.radius * reach for reach in SHAPES[thing.shape].extent)
    angle, value = math.radians(rng.uniform(33, 57)), thing.velocity[0]
    speeds = (value * math.cos(angle), value * math.sin(angle))
    hits = [rng.uniform(0.4, 0.8), rng.uniform(0.9, 1.4)]
    rng.shuffle(hits)
    reach = (side, bottom if corner[1] > 0 else top)
    offset = tuple(-c * (r + v * hit) for c, r, v, hit in zip(corner, reach, speeds, hits, strict=True))
    velocity = (corner[0] * speeds[0], corner[1] * speeds[1])
    return replace(thing, anchor=(corner[0], corner[1]), offset=(offset[0], offset[1]), velocity=velocity)


def place_growth(rng: random.Random, thing: Thing, slot: Slot) -> Thing:
    """From a size to another, both well inside what the frame holds."""
    change = thing.velocity[0] * words.CLOCK / 2  # of the radius
    small = rng.uniform(0.085, 0.11) if thing.speed == "fast" else rng.uniform(0.10, 0.14)
    large = min(small + change, MAX_RADIUS)
    thing = anchored(rng, thing, slot, large, (0.0, 0.0))
    grows = thing.motion == "grows"
    growth = (1 if grows else -1) * change / words.CLOCK
    return replace(thing, size=None, radius=small if grows else large, growth=growth, velocity=(0.0, 0.0))


def draw_two(rng: random.Random, pair: tuple[str, str] | None) -> tuple[tuple[Thing, Thing], str | None]:
    """Two objects that look different, and the relation that they are meant to have."""
    relation = rng.choices((*words.RELATIONS, None), (1.0, 1.0, 0.8, 1.6))[0]
    if relation == "behind":
        return draw_behind(rng, pair), relation
    sizes = {"small": 0.65, "medium": 0.35}
    one, two = draw_looks(rng, pair, tuple(words.MOTIONS), as_one=False, sizes=(sizes, sizes))
    across = relation == "left of" or (relation is None and rng.random() < 0.5)
    spread = 0.14 if relation else 0.3
    near, far, wide = (-0.32, -0.18), (0.18, 0.32), (-spread, spread)
    slots = [Slot(near, wide), Slot(far, wide)] if across else [Slot(wide, near), Slot(wide, far)]
    if relation is None:
        rng.shuffle(slots)
    return (place(rng, one, slots[0]), place(rng, two, slots[1])), relation


def draw_looks(
    rng: random.Random,
    pair: tuple[str, str] | None,
    motions: tuple[str, ...],
    *,
    as_one: bool,
    sizes: tuple[dict[str, float], dict[str, float]],
) -> tuple[Thing, Thing]:
    """Two objects without a place, either of them the one of the pair; `as_one` gives both one motion."""
    lead = rng.choice((0, 1))
    one = draw_look(rng, motions, pair=pair, sizes=sizes[lead])
    two = draw_look(rng, (one.motion,) if as_one else motions, beside=one, sizes=sizes[1 - lead])
    return (two, one) if lead else (one, two)


def draw_behind(rng: random.Random, pair: tuple[str, str] | None) -> tuple[Thing, Thing]:
    """The first object partly hidden by the second; both on the spot, or moving as one."""
    as_one = rng.random() < 0.35
    motions = tuple(words.DIRECTIONS) if as_one else STEADY
    sizes = ({"medium": 0.7, "large": 0.3}, {"small": 0.3, "medium": 0.7})
    back, front = draw_looks(rng, pair, motions, as_one=as_one, sizes=sizes)
    front = place(rng, front, Slot((-0.2, 0.2), (-0.2, 0.2)))
    angle = rng.uniform(0, 2 * math.pi)
    away = rng.uniform(0.5, 0.75) * (back.radius + front.radius)
    moving = replace(back, speed=front.speed, velocity=front.velocity)
    back = moving if as_one else place(rng, back, Slot())
    offset = (front.offset[0] + away * math.cos(angle), front.offset[1] + away * math.sin(angle))
    return replace(back, anchor=front.anchor, offset=offset), front


def holds(relation: str | None, things: tuple[Thing, Thing]) -> bool:
    """Whether the relation is true at every time.

    `left of` and `above` hold for four seconds, `behind` for the clock's time; two objects without a relation
    do not collide for the clock's time.
    """
    if relation == "behind":
        return overlaps(*things)
    if relation and "fades" in (things[0].motion, things[1].motion):
        return False  # nothing is left of what cannot be seen
    times = RELATION_TIMES if relation else CLASH_TIMES
    ways = zip(*(states_of(thing, times, 64, 64) for thing in things), strict=True)
    if relation is None:
        return all(gap(one, two) > 0.85 * (one.radius + two.radius) for one, two in ways)
    if relation == "left of":
        return all(two.x - one.x > one.radius + two.radius for one, two in ways)
    return all(two.y - one.y > one.radius + two.radius for one, two in ways)


def gap(one: State, two: State) -> float:
    """Distance of the two centres."""
    return math.hypot(one.x - two.x, one.y - two.y)


def overlaps(back: Thing, front: Thing) -> bool:
    """Whether at every time the front one hides some of the one behind, and leaves most of it to be seen."""
    as_one = back.motion in words.DIRECTIONS and back.velocity == front.velocity
    if not as_one and not {back.motion, front.motion} <= set(STEADY):
        return False
    hidden, shown = (masks(thing, CLASH_TIMES, 64, 64) for thing in (back, front))
    inside = hidden.sum((1, 2))  # [F]
    whole = coverage(back, CLASH_TIMES, 64, 64)[0].sum((1, 2))
    share = (hidden * shown).sum((1, 2)) / inside.clip(1)
    return bool((inside > 0.7 * whole).all() and (share > 0.12).all() and (share < 0.5).all())


def draw_background(rng: random.Random, things: tuple[Thing, ...], pan: str | None) -> Background:
    """A background that is nowhere near the colour of an object; textured where the camera pans."""
    kind = "textured" if pan else rng.choices(("plain", "gradient", "textured"), (0.53, 0.26, 0.21))[0]
    names = list(words.BACKGROUNDS)
    rng.shuffle(names)
    shades = [(name, jitter(rng, words.BACKGROUNDS[name], 6)) for name in names]
    fit = [(name, rgb) for name, rgb in shades if shows(things, rgb, rgb)]  # black is always among them
    name, rgb = fit[0]
    if kind == "plain":
        return Background(kind=kind, colours=(name,), rgb=(rgb,))
    if kind == "gradient":
        direction = rng.choice(("left to right", "top to bottom"))
        for other, end in fit[1:]:
            if math.dist(rgb, end) > 55 and shows(things, rgb, end):
                return Background(kind=kind, colours=(name, other), rgb=(rgb, end), direction=direction)
        return Background(kind="plain", colours=(name,), rgb=(rgb,))
    return textured(rng, name, rgb, pan)


def shows(things: tuple[Thing, ...], start: Rgb, end: Rgb) -> bool:
    """Whether every object stands out, at every moment, from every shade between two colours."""
    shades = [mix(start, end, k / 8) for k in range(9 if end != start else 1)]
    for thing in things:
        ends = [rgb for rgb in (thing.rgb, thing.to_rgb) if rgb is not None]
        between = [mix(ends[0], ends[-1], k / 4) for k in (1, 2, 3)]
        if any(math.dist(shade, rgb) < APART for shade in shades for rgb in ends):
            return False
        if any(math.dist(shade, rgb) < APART / 2 for shade in shades for rgb in between):
            return False
    return True


def textured(rng: random.Random, name: str, rgb: Rgb, pan: str | None) -> Background:
    """A texture whose movement under the camera can be seen: stripes lie across its way."""
    kind = rng.choice(words.TEXTURES)
    direction = rng.choice(words.STRIPES) if kind == "stripes" else None
    if pan and direction:
        direction = "vertical" if pan in ("left", "right") else "horizontal"
    period = rng.uniform(0.30, 0.38) if kind in ("checks", "waves") else rng.uniform(0.22, 0.30)
    speed = rng.uniform(*words.PAN_SPEED)
    return Background(
        kind=kind,
        colours=(name,),
        rgb=(rgb,),
        direction=direction,
        period=period,
        phase=(rng.uniform(0, 2 * math.pi), rng.uniform(0, 2 * math.pi)),
        contrast=rng.uniform(18, 24),
        pan=pan,
        velocity=(words.PANS[pan][0] * speed, words.PANS[pan][1] * speed) if pan else (0.0, 0.0),
    )
