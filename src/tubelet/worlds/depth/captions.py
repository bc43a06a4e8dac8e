"""What can be said about a shot: many phrasings, each of them true of its frames but for the strangers' last one."""

import random

from tubelet.worlds.depth import words
from tubelet.worlds.depth.scene import Ground
from tubelet.worlds.depth.seen import Seen
from tubelet.worlds.depth.stage import Scene, Thing

NUM_CAPTIONS = 8
TRIES = 60
Chooser = random.Random | None  # None: the canonical words


def captions_of(scene: Scene, seen: Seen, rng: random.Random) -> list[str]:
    """Eight captions: everything said, then the plain prompt form, five other phrasings, and one as strangers write."""
    found = [full(scene, seen), plain(scene, seen)]
    for form, until in ((varied, NUM_CAPTIONS - 1), (strange, NUM_CAPTIONS)):
        for _ in range(TRIES):
            if len(found) == until:
                break
            caption = form(scene, seen, rng)
            if caption not in found:
                found.append(caption)
    return found


def pick(options: tuple[str, ...], rng: Chooser) -> str:
    """The first, or, half of the time, any."""
    return rng.choice(options) if rng and rng.random() < 0.5 else options[0]


def article(noun: str) -> str:
    """The noun after "a" or "an"."""
    return f"{'an' if noun[0] in 'aeio' else 'a'} {noun}"


def joined(parts: list[str]) -> str:
    """Parts of a list in words."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def noun(thing: Thing, rng: Chooser = None, *, size: bool = False) -> str:
    """A thing with its article: size, paint and shape."""
    paint, tall = thing.body.paint, thing.size == "tall"
    shape = pick(words.SHAPES[thing.shape], rng)
    colour = pick(words.COLOURS[paint.colour], rng)
    if paint.mirror:
        colour = f"shiny {colour}"
    elif paint.pattern == "octants" and paint.second:
        colour = f"{colour} and {paint.second}"
    elif paint.pattern == "band":
        colour = f"striped {colour}"
    told = [pick(words.SIZES[thing.size], rng)] if size and thing.size and not tall else []
    return article(" ".join([*(["tall"] if tall else []), *told, colour, shape]))


def furniture(scene: Scene, rng: Chooser) -> str:
    """The wall, ramp or block of the scene with its colour, or ""."""
    for thing in scene.things:
        if thing.body.kind in words.FURNITURE:
            colour = pick(words.COLOURS[thing.body.paint.colour], rng)
            return article(f"{colour} {pick(words.FURNITURE[thing.body.kind], rng)}")
    return ""


def deed(scene: Scene, seen: Seen, rng: Chooser, *, how: bool, size: bool) -> tuple[str, str]:
    """What the first thing does, as "moves" and "moving"."""
    verbs = words.VERBS[seen.phase]
    verb = rng.choice(verbs) if rng else verbs[0]
    speed = f" {pick(words.SPEEDS[scene.speed], rng)}" if how and seen.speed and scene.speed else ""
    gaps = {
        "way": pick(words.WAYS[scene.direction], rng) if scene.direction else "",
        "how": speed,
        "furniture": furniture(scene, rng),
        "other": noun(scene.counted[1], rng, size=size) if len(scene.counted) > 1 else "",
    }
    return verb[0].format(**gaps), verb[1].format(**gaps)


def ground_words(ground: Ground, rng: Chooser) -> str:
    """Where it is: "on grass", "on a blue tiled floor"."""
    names = dict(zip(("colour", "other"), ground.colours, strict=False))
    return pick(words.GROUNDS[ground.kind], rng).format(**names)


def camera_words(scene: Scene, rng: Chooser) -> str:
    """How the camera moves."""
    right = scene.view.rate > 0
    if scene.view.kind == "orbit":
        right = not right  # it looks to the right from further left
    return pick(words.CAMERAS[scene.view.kind], rng).format(side="right" if right else "left")


def subject(scene: Scene, seen: Seen, rng: Chooser, *, size: bool) -> tuple[str, list[str]]:
    """The first thing in words, or all where they do the same, and those that stand beside it."""
    things = scene.counted
    told = [noun(thing, rng, size=size and seen.size) for thing in things]
    if seen.phase in ("shows", "bobs", "floats"):
        return joined(told), []
    together = seen.phase in ("hits", "meets")
    return told[0], told[2:] if together else told[1:]


def full(scene: Scene, seen: Seen) -> str:
    """All that can be told, in canonical words."""
    return told(scene, seen, None, {"size", "how", "beside", "ground", "light", "camera", "shadows"})


def plain(scene: Scene, seen: Seen) -> str:
    """Colours, shapes and what happens, as people ask for it; the place where nothing happens."""
    return told(scene, seen, None, {"ground"} if seen.phase == "shows" else {"shadows"})


def told(scene: Scene, seen: Seen, rng: Chooser, parts: set[str]) -> str:
    """A sentence that has the given parts, in their usual order."""
    body, others = subject(scene, seen, rng, size="size" in parts)
    verb, doing = deed(scene, seen, rng, how="how" in parts, size="size" in parts and seen.size)
    if len(scene.counted) > 1 and not others and seen.phase in ("bobs", "floats"):
        verb = doing
    setting = settings(scene, seen, rng, parts)
    beside = [f"{pick(words.BESIDE, rng)} {joined(others)}"] if others and "beside" in parts else []
    if seen.phase == "shows":
        told = [body, *beside, *setting]
    elif rng and rng.random() < 0.5:
        openings = words.OPENINGS if seen.moving else words.STILL_OPENINGS
        told = [rng.choice(openings).format(f"{body} {doing}"), *beside, *setting]
    else:
        told = [body, verb, *beside, *setting]
    ends = [camera_words(scene, rng)] if seen.camera and "camera" in parts else []
    ends += [pick(words.SHADOWS, rng)] if seen.shadows and "shadows" in parts else []
    sentence = " ".join(told)
    if rng and setting and rng.random() < 0.2:  # the place first
        sentence = f"{' '.join(setting)}, {' '.join(part for part in told if part not in setting)}"
    return ", ".join([sentence, *ends])


def settings(scene: Scene, seen: Seen, rng: Chooser, parts: set[str]) -> list[str]:
    """Ground and light, those of them that are told."""
    found = [ground_words(scene.ground, rng)] if "ground" in parts else []
    return found + ([pick(words.LIGHTS[seen.light], rng)] if seen.light and "light" in parts else [])


def varied(scene: Scene, seen: Seen, rng: random.Random) -> str:
    """One more way to say it, leaving out some of it."""
    chances = {
        "size": 0.4,
        "how": 0.5,
        "beside": 0.7,
        "ground": 0.75,
        "light": 0.7,
        "camera": 0.7,
        "shadows": 0.9,
    }
    parts = {part for part, chance in chances.items() if rng.random() < chance}
    return told(scene, seen, rng, parts or {"ground"})


def strange(scene: Scene, seen: Seen, rng: random.Random) -> str:
    """As people type: words dropped, clauses swapped, style words; in half of them something that is not there."""
    sentence = varied(scene, seen, rng)
    if rng.random() < 0.5:
        if rng.random() < 0.6:
            thing = rng.choice(scene.counted)
            for name in words.SHAPES[thing.shape]:
                sentence = sentence.replace(f" {name}", f" {rng.choice(words.STRANGERS)}", 1)
        else:
            sentence = f"{sentence} {rng.choice(words.ELSEWHERE)}"
    clauses = sentence.split(", ")
    rng.shuffle(clauses)
    kept = [
        word for word in ", ".join(clauses).split() if word not in ("a", "an", "the") or rng.random() < 0.6
    ]
    kept = [word for word in kept if rng.random() < 0.95] or kept
    if rng.random() < 0.4:
        kept += [f"{rng.choice(words.STYLES)}"]
    return " ".join(kept).strip(", ")
