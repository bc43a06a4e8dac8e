"""Clips that the reader of the world in depth is trained on, with the right words for each, and ways to spoil them.

A clip's labels are a dict: attribute -> its right words, () where it cannot be read; what is left out does not count.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from tubelet.worlds.depth import looks
from tubelet.worlds.depth.draw import BACKDROPS
from tubelet.worlds.depth.judge.attributes import NOWHERE, STILL, SUN_MOVES, WORDS, truth_in
from tubelet.worlds.depth.judge.network import FRAMES, ROLES, SIDE
from tubelet.worlds.depth.judge.reading import FPS
from tubelet.worlds.depth.render import render
from tubelet.worlds.depth.scene import COLOURS, GROUNDS, METALS
from tubelet.worlds.depth.seen import PHASES
from tubelet.worlds.depth.stage import Scene, Thing
from tubelet.worlds.depth.truth import attributes_of

Frames = NDArray[np.uint8]
Labels = dict[str, tuple[str, ...]]
TIMES = np.arange(FRAMES) / FPS
SHORT = 1 + FRAMES // 2  # frames of a clip of one second
USUAL = 16.0  # frames a second at which the world says what it shows
UNREADABLE: Labels = dict.fromkeys(WORDS, ())

OTHER_WAY = {"left": "right", "right": "left", "towards": "away", "away": "towards", NOWHERE: NOWHERE}
SAME_BACKWARDS = {"rolls", "comes out", "swings", "bobs", "turns", SUN_MOVES} | {
    p[-1][0] for p in PHASES.values()
}
"""Events that look the same when time runs backwards, but for their direction."""
LEFTMOST = {(), *((word,) for word in (*STILL, "bobs", SUN_MOVES))}
"""Events in which no body acts, so that the leftmost is the first."""
NEVER_BACKWARDS = {"bounces", "arcs", "stops", "runs out", "drops off", "tips"}
"""Events that become none of the world's."""


def labels_of(scene: Scene, count: int) -> Labels:
    """The right words for the first `count` frames of a scene."""
    times = np.arange(round((count - 1) * USUAL / FPS) + 1) / USUAL
    labels = truth_in(attributes_of(scene, scene.shot(times), times))
    if count < FRAMES:
        labels.pop("camera")  # hardly moved
        if scene.light.kind == "day to night":
            labels.pop("light")
    if count == 1 and labels["event"] == (SUN_MOVES,):
        labels["event"] = ("shows",)
    kind = scene.light.kind
    if not set(labels["colour"]) <= {*looks.READABLE.get(kind, COLOURS), *METALS}:
        labels.pop("colour")  # it does not keep its name under that light
    return labels


def pictures(scene: Scene) -> tuple[Frames, Frames]:
    """A scene as the reader sees it, uint8 [9, 64, 64, 3], and the share of each of ROLES in cells of 8 x 8 pixels.

    Those are uint8 [9, 8, 8, 3], of 255.
    """
    shot = scene.shot(TIMES)
    picture = render(shot, SIDE, SIDE, truth=True)
    if picture.ids is None:
        raise AssertionError("truth was asked for")
    furniture = np.array([body.furniture for body in shot.bodies])
    role = np.append(np.where(furniture, 2, 1), [-1, -1])  # of ids 0, 1, ... -2, -1
    role[0] = 0
    shown = role[picture.ids][..., None] == np.arange(len(ROLES))  # [F, H, W, 3]
    cells = shown.reshape(FRAMES, 8, SIDE // 8, 8, SIDE // 8, len(ROLES)).mean((2, 4))
    return picture.frames, (255 * cells).round().astype(np.uint8)


# Scenes that the world does not draw, so that no attribute can be guessed from another


def another_ground(scene: Scene, rng: random.Random) -> Scene:
    """The same on any ground; what floats stays on the water."""
    if scene.event == "float":
        return scene
    return replace(scene, ground=looks.draw_ground(rng, rng.choice(GROUNDS)))


def another_light(scene: Scene, rng: random.Random) -> Scene:
    """The same in any light that does not change."""
    if scene.event in ("sun moves", "day to night"):
        return scene
    kind = rng.choice(list(looks.LIGHTS))
    backdrop = "none" if kind == "dark room" else looks.one_of(rng, BACKDROPS)
    return replace(scene, light=looks.draw_light(rng, kind, moves=False), backdrop=backdrop)


def repainted(scene: Scene, rng: random.Random) -> Scene:
    """The same with other paints: no thing keeps its first colour."""
    left = [*COLOURS, *METALS]
    things = []
    for thing in scene.things:
        if thing.body.kind == "beam":
            things.append(thing)
            continue
        old = thing.body.paint
        offered = [colour for colour in left if colour not in (old.colour, old.second)]
        paint = looks.draw_paint(rng, thing.body.kind, offered, None, spare=True)
        left = [colour for colour in left if colour not in (paint.colour, paint.second)]
        things.append(replace(thing, body=replace(thing.body, paint=paint)))
    return replace(scene, things=tuple(things))


def exchanged(scene: Scene) -> Scene | None:
    """The first two counted things with each other's paint; None where there is one."""
    if len(scene.counted) < 2:
        return None
    one, two = scene.things[:2]

    def painted(thing: Thing, by: Thing) -> Thing:
        paint = by.body.paint
        if thing.body.kind != "ball":  # patterns are for balls
            paint = replace(paint, second=None, pattern="plain")
        return replace(thing, body=replace(thing.body, paint=paint))

    return replace(scene, things=(painted(one, two), painted(two, one), *scene.things[2:]))


CHANGES = (another_ground, another_light, repainted)


def changed(scene: Scene, rng: random.Random) -> Scene:
    """The scene with one or more of CHANGES."""
    chosen = [change for change in CHANGES if rng.random() < 0.5] or [rng.choice(CHANGES)]
    for change in chosen:
        scene = change(scene, rng)
    return scene


def dissolved(scene: Scene, rng: random.Random) -> Frames:
    """The scene with bodies of which half is left: smeared, torn by a random warp, mixed with what is around."""
    picture = render(scene.shot(TIMES), SIDE, SIDE, truth=True)
    if picture.ids is None:
        raise AssertionError("truth was asked for")
    clip = torch.from_numpy(picture.frames).permute(0, 3, 1, 2).float()
    body = torch.from_numpy(picture.ids >= 0).float()[:, None]
    generator = torch.Generator().manual_seed(rng.getrandbits(60))
    bend = torch.randn(FRAMES, 2, 6, 6, generator=generator) * rng.uniform(0.15, 0.3)
    bend = F.interpolate(bend, size=(SIDE, SIDE), mode="bicubic").permute(0, 2, 3, 1)
    line = torch.linspace(-1 + 1 / SIDE, 1 - 1 / SIDE, SIDE)
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    torn = F.grid_sample(
        F.avg_pool2d(clip, 5, 1, 2, count_include_pad=False), grid + bend, "bilinear", "border", False
    )
    share = F.avg_pool2d(F.max_pool2d(body, 5, 1, 2), 3, 1, 1) * rng.uniform(0.75, 1.0)
    clip = clip * (1 - share) + torn * share
    return clip.clamp(0, 255).round().byte().permute(0, 2, 3, 1).numpy()


def dissolved_labels(labels: Labels) -> Labels:
    """What is left to read of them: the place."""
    gone: Labels = dict.fromkeys(("event", "direction", "count", "shape"), ())
    return {name: words for name, words in labels.items() if name in ("light", "ground")} | gone


# What happens to the pixels of a clip: float [F, 64, 64, 3] from 0 to 255


def noised(clip: Tensor, rng: random.Random) -> Tensor:
    """With Gaussian noise of up to 25 levels."""
    return clip + torch.randn_like(clip) * rng.uniform(3, 25)


def blurred(clip: Tensor, rng: random.Random) -> Tensor:
    """Blurred by up to 1.5 pixels."""
    sigma = rng.uniform(0.4, 1.5)
    line = torch.exp(-torch.arange(-4, 5).square() / (2 * sigma**2))
    line = (line / line.sum()).to(clip.dtype)
    x = clip.permute(0, 3, 1, 2)
    x = F.pad(x, (4, 4, 4, 4), mode="replicate").flatten(0, 1)[:, None]
    x = F.conv2d(F.conv2d(x, line[None, None, None]), line[None, None, :, None])
    return x[:, 0].unflatten(0, (-1, 3)).permute(0, 2, 3, 1)


def resampled(clip: Tensor, rng: random.Random) -> Tensor:
    """Smaller and large again."""
    size = rng.randint(32, 56)
    x = F.interpolate(clip.permute(0, 3, 1, 2), size=(size, size), mode="bilinear", antialias=True)
    return F.interpolate(x, size=(SIDE, SIDE), mode="bilinear").permute(0, 2, 3, 1)


def toned(clip: Tensor, rng: random.Random) -> Tensor:
    """A little lighter or darker, of more or less contrast."""
    return (clip - 128) * rng.uniform(0.9, 1.1) + 128 + rng.uniform(-8, 8)


PIXELS = (noised, blurred, resampled, toned)


# What happens to a clip and to what is right


def frozen(labels: Labels) -> Labels:
    """Labels of a clip that stays at its first frame, from those of that frame."""
    return {name: words for name, words in labels.items() if name != "camera"} | {
        "camera": ("static",),
        "direction": (NOWHERE,),
    }


def backwards(labels: Labels) -> Labels:
    """Labels of a clip played backwards: the other direction, and no event where it has an arrow of time."""
    found, event = dict(labels), labels["event"][0]
    if event in NEVER_BACKWARDS:
        found["event"] = ()
    elif event not in SAME_BACKWARDS:
        found.pop("event")
    if event != "rebounds":
        found["direction"] = (OTHER_WAY[labels["direction"][0]],)
    camera = {"closer": ("back",), "back": ("closer",), "rise": ()}
    found["camera"] = camera.get(labels["camera"][0], labels["camera"])
    return found | ({"light": ()} if labels["light"] == ("day to night",) else {})


def mirrors(labels: Labels) -> bool:
    """Whether the first body is the same one in a mirror: it acts, or is alone."""
    return labels.get("count") == ("1",) or labels.get("event", ()) not in LEFTMOST


def mirrored(labels: Labels) -> Labels:
    """Labels of a clip seen in a mirror: left is right."""
    sides = {"left": "right", "right": "left"}
    turned = (
        {"direction": tuple(sides.get(word, word) for word in labels["direction"])}
        if "direction" in labels
        else {}
    )
    return labels | turned


def out_of_order(labels: Labels) -> Labels:
    """Labels of a clip whose frames are shuffled."""
    moves = labels["event"][0] not in SAME_BACKWARDS or labels["event"] == ("rolls",)
    gone: Labels = {"event": (), "direction": ()} if moves else {}
    kept = ("ground", "count", "shape", "colour")
    return {name: words for name, words in labels.items() if name in kept} | gone


def noise_of(rng: random.Random, clip: Tensor) -> Tensor:
    """Noise of some scale, with a trace of a clip at most."""
    trace, side = rng.uniform(0, 0.1), SIDE // rng.choice((1, 2, 4, 8))
    noise = torch.randn(len(clip), 3, side, side)
    noise = F.interpolate(noise, size=(SIDE, SIDE), mode=rng.choice(("nearest", "bilinear")))
    return clip * trace + (128 + noise.permute(0, 2, 3, 1) * rng.uniform(30, 80)) * (1 - trace)


def shuffled(rng: random.Random, clip: Tensor) -> Tensor:
    """A clip with its patches in another order, the same in every frame."""
    size = rng.choice((8, 16))
    x = (
        clip.unflatten(1, (-1, size)).unflatten(3, (-1, size)).transpose(2, 3).flatten(1, 2)
    )  # [F, P, s, s, 3]
    x = x[:, torch.randperm(x.shape[1])].unflatten(1, (SIDE // size, -1)).transpose(2, 3)
    return x.flatten(3, 4).flatten(1, 2)


PLACES = ("light", "ground", "colour")  # what patches still show
SPOILT: tuple[tuple[Callable[[random.Random, Tensor], Tensor], Labels], ...] = (
    (noise_of, UNREADABLE),
    (shuffled, {name: () for name in WORDS if name not in PLACES}),
)


def as_rows(labels: Labels) -> dict[str, list[Any]]:
    """The labels, ready for JSON."""
    return {name: list(words) for name, words in labels.items()}
