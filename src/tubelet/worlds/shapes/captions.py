"""What can be said about a scene: many phrasings, each of them true of its pixels."""

import random

from tubelet.worlds.shapes.scene import Background, Scene, Thing

Verb = tuple[str, str]  # "moves", "moving"

SHAPE_WORDS: dict[str, tuple[str, ...]] = {
    "circle": ("circle", "circle", "disc"),
    "square": ("square",),
    "triangle": ("triangle",),
    "star": ("star", "star", "five-pointed star"),
    "diamond": ("diamond", "diamond", "rhombus"),
    "ring": ("ring",),
    "heart": ("heart", "heart", "heart shape"),
    "cross": ("cross", "cross", "plus sign"),
}
SIZE_WORDS = {"small": ("small", "little"), "medium": ("medium-sized", "medium"), "large": ("large", "big")}
SPEED_WORDS = {
    "slow": ("slowly", "slowly", "at a slow pace", "at low speed"),
    "fast": ("quickly", "fast", "rapidly", "at high speed"),
}
GO: tuple[Verb, ...] = (
    ("moves", "moving"),
    ("travels", "travelling"),
    ("slides", "sliding"),
    ("glides", "gliding"),
)
GO_AT = {"slow": ("drifts", "drifting"), "fast": ("rushes", "rushing")}
WAYS: dict[str, tuple[str, ...]] = {
    "moves left": ("left", "to the left", "leftwards", "towards the left"),
    "moves right": ("right", "to the right", "rightwards", "towards the right"),
    "moves up": ("up", "upwards", "towards the top"),
    "moves down": ("down", "downwards", "towards the bottom"),
    "moves up left": ("diagonally up and to the left", "up and left", "towards the top left"),
    "moves up right": ("diagonally up and to the right", "up and right", "towards the top right"),
    "moves down left": ("diagonally down and to the left", "down and left", "towards the bottom left"),
    "moves down right": ("diagonally down and to the right", "down and right", "towards the bottom right"),
}
VERBS: dict[str, tuple[Verb, ...]] = {
    "bounces": (
        ("bounces off the walls", "bouncing off the walls"),
        ("bounces off the edges", "bouncing off the edges"),
        ("rebounds from the edges of the frame", "rebounding from the edges of the frame"),
    ),
    "falls": (
        ("falls and bounces", "falling and bouncing"),
        ("drops and bounces on the floor", "dropping and bouncing on the floor"),
        ("falls down and bounces back up", "falling down and bouncing back up"),
    ),
    "orbits": (
        ("moves in a circle", "moving in a circle"),
        ("orbits a point", "orbiting a point"),
        ("circles around", "circling around"),
        ("travels along a circular path", "travelling along a circular path"),
    ),
    "rotates": (
        ("rotates", "rotating"),
        ("turns on the spot", "turning on the spot"),
        ("spins in place", "spinning in place"),
        ("revolves around its centre", "revolving around its centre"),
    ),
    "grows": (
        ("grows", "growing"),
        ("gets bigger", "getting bigger"),
        ("expands", "expanding"),
        ("becomes larger", "becoming larger"),
    ),
    "shrinks": (
        ("shrinks", "shrinking"),
        ("gets smaller", "getting smaller"),
        ("contracts", "contracting"),
        ("becomes smaller", "becoming smaller"),
    ),
    "fades": (
        ("fades out", "fading out"),
        ("fades away", "fading away"),
        ("gradually disappears", "gradually disappearing"),
        ("becomes transparent", "becoming transparent"),
    ),
    "changes colour": (
        ("changes colour to {to}", "changing colour to {to}"),
        ("turns {to}", "turning {to}"),
        ("becomes {to}", "becoming {to}"),
        ("changes color to {to}", "changing color to {to}"),
    ),
    "stays": (
        ("stays still", "staying still"),
        ("stays in place", "staying in place"),
        ("does not move", "not moving"),
        ("stands still", "standing still"),
    ),
}
TURNING = ("rotates", "orbits")
ONE = (
    "{noun} {verb}{setting}",
    "{noun} {doing}{setting}",
    "there is {noun} {doing}{setting}",
    "{noun} that {verb}{setting}",
    "a video of {noun} {doing}{setting}",
    "{setting_first}{noun} {verb}",
    "{noun} is shown{setting}, {doing}",
)
TWO = (
    "{one} {verb_one} and {two} {verb_two}{setting}",
    "{one} {verb_one} while {two} {verb_two}{setting}",
    "{one} {doing_one} and {two} {doing_two}{setting}",
    "two shapes: {one} {doing_one} and {two} {doing_two}{setting}",
    "{setting_first}{one} {verb_one} and {two} {verb_two}",
    "{two} {verb_two} while {one} {verb_one}{setting}",
)
RELATED = (
    "{one} is {relation} {two}{setting}",
    "{one} {relation} {two}{setting}",
    "there is {one} {relation} {two}{setting}",
    "{one} {relation} {two}{setting}; the {shape_one} {verb_one} and the {shape_two} {verb_two}",
    "{one} {verb_one} {relation} {two} that {verb_two}{setting}",
    "{two} {inverse} {one}{setting}",
)
RELATION_WORDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "left of": (("left of", "to the left of"), ("to the right of", "right of")),
    "above": (("above", "above", "higher than"), ("below", "underneath")),
    "behind": (("behind", "partly hidden behind"), ("in front of", "partly covering")),
}
NUM_CAPTIONS = 8


def captions_of(scene: Scene, rng: random.Random) -> list[str]:
    """Eight different captions: everything said, then the plain prompt form, then others."""
    found = [canonical(scene), plain(scene)]
    if scene.relation:
        found.append(plain(scene, related=True))
    found = list(dict.fromkeys(found))
    while len(found) < NUM_CAPTIONS:
        caption = varied(scene, rng)
        if caption not in found:
            found.append(caption)
    return found


def canonical(scene: Scene) -> str:
    """Every attribute, in fixed words."""
    nouns = [noun(thing, size=thing.size) for thing in scene.things]
    verbs = [
        first_verb(thing) + (f" {SPEED_WORDS[thing.speed][0]}" if thing.speed else "")
        for thing in scene.things
    ]
    said = " and ".join(f"{n} {v}" for n, v in zip(nouns, verbs, strict=True))
    if scene.relation:
        said = f"{nouns[0]} that {verbs[0]} is {scene.relation} {nouns[1]} that {verbs[1]}"
    pan = scene.background.pan
    return f"{said} over {background_nouns(scene.background)[0]}" + (
        f" as the camera pans {pan}" if pan else ""
    )


def plain(scene: Scene, *, related: bool = False) -> str:
    """Colour, shape and motion alone, as people ask for it; or colours, shapes and their relation."""
    nouns = [noun(thing) for thing in scene.things]
    if related:
        return f"{nouns[0]} {scene.relation} {nouns[1]}"
    return " and ".join(f"{n} {first_verb(thing)}" for n, thing in zip(nouns, scene.things, strict=True))


def first_verb(thing: Thing) -> str:
    """The plainest words for the motion."""
    if thing.motion in WAYS:
        return f"moves {WAYS[thing.motion][0]}"
    return VERBS[thing.motion][0][0].format(to=thing.to_colour)


def varied(scene: Scene, rng: random.Random) -> str:
    """One more way to say it, leaving out some of the attributes."""
    setting = rng.choice(settings(scene.background, rng)) if rng.random() < 0.6 else ""
    words = {"setting": f" {setting}" if setting else "", "setting_first": f"{setting}, " if setting else ""}
    things = scene.things
    if len(things) == 1:
        verb, doing = action(things[0], rng)
        return rng.choice(ONE).format(noun=some_noun(things[0], rng), verb=verb, doing=doing, **words)
    for name, thing in zip(("one", "two"), things, strict=True):
        verb, doing = action(thing, rng)
        words |= {name: some_noun(thing, rng), f"verb_{name}": verb, f"doing_{name}": doing}
        words[f"shape_{name}"] = SHAPE_WORDS[thing.shape][0]
    forms = TWO
    if scene.relation and rng.random() < 0.7:
        forms = RELATED
        there, back = RELATION_WORDS[scene.relation]
        words |= {"relation": rng.choice(there), "inverse": rng.choice(back)}
    return rng.choice(forms).format(**words)


def noun(thing: Thing, *, size: str | None = None, shape: str | None = None) -> str:
    """The object with its article."""
    said = " ".join(word for word in (size, thing.colour, shape or thing.shape) if word)
    return f"{'an' if said[0] in 'aeiou' else 'a'} {said}"


def some_noun(thing: Thing, rng: random.Random) -> str:
    """The object, with or without its size."""
    size = rng.choice(SIZE_WORDS[thing.size]) if thing.size and rng.random() < 0.5 else None
    return noun(thing, size=size, shape=rng.choice(SHAPE_WORDS[thing.shape]))


def action(thing: Thing, rng: random.Random) -> Verb:
    """What the object does, with or without its speed and the way it turns."""
    speed = thing.speed
    if thing.motion in WAYS:
        way = rng.choice(WAYS[thing.motion])
        swift = speed is not None and rng.random() < 0.15
        verb, doing = GO_AT[speed] if swift and speed else rng.choice(GO)
        verb, doing = f"{verb} {way}", f"{doing} {way}"
    else:
        verb, doing = (form.format(to=thing.to_colour) for form in rng.choice(VERBS[thing.motion]))
    if thing.motion in TURNING and rng.random() < 0.25:
        turn = "clockwise" if thing.spin > 0 else "anticlockwise"
        verb, doing = f"{verb} {turn}", f"{doing} {turn}"
    if speed is not None and rng.random() < 0.5:
        how = rng.choice(SPEED_WORDS[speed])
        verb, doing = f"{verb} {how}", f"{doing} {how}"
    return verb, doing


def background_nouns(background: Background) -> tuple[str, ...]:
    """The background in words, the plainest first; each starts with its article or has none."""
    name = background.colours[0]
    a = f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
    if background.kind == "plain":
        return f"a plain {name} background", f"{a} background", f"a solid {name} backdrop"
    if background.kind == "gradient":
        start, end = background.colours
        across = background.direction == "left to right"
        ends = ("on the left", "on the right") if across else ("at the top", "at the bottom")
        return (
            f"a gradient from {start} to {end}",
            f"a gradient from {start} {ends[0]} to {end} {ends[1]}",
            f"a background that blends from {start} into {end}",
        )
    if background.kind == "stripes":
        stripes = f"{background.direction} {name} stripes"
        return f"{a} striped background", stripes, f"{a} background with {background.direction} stripes"
    if background.kind == "checks":
        return f"{a} checked background", f"{a} checkerboard", f"{a} background with a check pattern"
    if background.kind == "dots":
        return f"{a} dotted background", f"{a} background with dots", f"{a} polka dot pattern"
    return f"{a} wavy background", f"{a} background of waves", f"{name} waves"


def settings(background: Background, rng: random.Random) -> list[str]:
    """Ways to tell what lies behind, and how the camera moves."""
    said = rng.choice(background_nouns(background))
    if background.pan is None:
        return [f"over {said}", f"on {said}", f"against {said}", f"in front of {said}"]
    against = {"left": "right", "right": "left", "up": "down", "down": "up"}[background.pan]
    return [
        f"over {said} as the camera pans {background.pan}",
        f"while the camera pans {background.pan} over {said}",
        f"while the camera pans {background.pan}",
        f"as the background slides {against}",
    ]
