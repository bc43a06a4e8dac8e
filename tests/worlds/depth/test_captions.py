"""Captions say what the frames show, and no more."""

import random
import re

import numpy as np
import pytest

from tubelet.worlds.depth import words
from tubelet.worlds.depth.captions import NUM_CAPTIONS, captions_of
from tubelet.worlds.depth.draw import draw_scene
from tubelet.worlds.depth.events import EVENTS
from tubelet.worlds.depth.seen import PHASES, clear_of_walls, seen
from tubelet.worlds.depth.stage import Scene, Thing

LENGTHS = {"picture": np.arange(1) / 16, "moment": np.arange(9) / 16, "clip": np.arange(33) / 16}


@pytest.fixture(scope="module")
def told():
    """(scene, shot, seen, captions) of scenes at three lengths."""
    found = {name: [] for name in LENGTHS}
    for i in range(400):
        scene = draw_scene(random.Random(f"captions {i}"), unseen=i % 4 == 0)
        for name, t in LENGTHS.items():
            shot = scene.shot(t)
            shows = seen(scene, shot, t)
            found[name].append((scene, shot, shows, captions_of(scene, shows, random.Random(i))))
    return found


def everything(told, length=None):
    """Every honest caption: all but the last, which is as strangers write."""
    for name in [length] if length else LENGTHS:
        for scene, shot, shows, captions in told[name]:
            for caption in captions[:-1]:
                yield scene, shot, shows, caption


def says(caption: str, options) -> bool:
    return any(re.search(rf"\b{re.escape(option)}\b", caption) for option in options)


def of(scene: Scene, table) -> set[str]:
    """All the words of a table for what the scene has."""
    return {word for name in scene for word in table[name]}


def test_there_are_eight_different_captions_and_no_gap_is_left(told):
    for name in LENGTHS:
        for _, _, _, captions in told[name]:
            assert len(set(captions)) == len(captions) == NUM_CAPTIONS
            for caption in captions:
                assert not re.search(r"[{}]|  |None| ,|,,|^,|,$", caption), caption
    lengths = [len(captions[0].split()) for *_, captions in told["clip"]]
    assert 17 <= np.median(lengths) <= 22 and max(lengths) <= 45


def test_colours_and_shapes_are_those_of_the_bodies(told):
    every = {word: name for name, found in words.COLOURS.items() for word in found}
    for scene, _, _, caption in everything(told):
        ground = {w for option in words.GROUNDS[scene.ground.kind] for w in option.split()}
        worn = {c for t in scene.things for c in (t.body.paint.colour, t.body.paint.second) if c}
        worn |= {*scene.ground.colours} | ground
        spoken = {every[w] for w in every if re.search(rf"\b{w}\b", caption)}
        assert spoken - {"gold", "green", "blue"} <= worn, (caption, worn)
        kinds = {t.shape for t in scene.counted}
        for kind in ("ball", "cube", "cylinder", "cone"):
            assert kind in kinds or not says(caption, words.SHAPES[kind]), caption


def test_what_happens_is_said_only_once_it_has(told):
    later = {
        "and bounc": "bounces", "reappear": "comes out", "other side": "comes out", "comes out": "comes out",
        "knock": "hits", "which rolls away": "hits", "rebound": "hits", "rolls back": "hits", "stops": "stops",
        "comes to rest": "stops", "on over the ground": "lands", "onto the ground": "lands",
    }  # fmt: skip
    for name, t in LENGTHS.items():
        for scene, _, _, captions in told[name]:
            marks = {mark for time, mark in scene.things[0].marks if (t >= time).sum() >= 2}
            for caption in captions[:-1]:
                for words_, mark in later.items():
                    if words_ in caption and mark != "comes out":
                        assert mark in marks | ({"hits"} if scene.event == "rebound" else set()), caption
    for _, _, _, caption in everything(told, "picture"):
        moves = (
            "rolls|rolling|moves|flies|flying|falls|falling|camera|swings|slides|tips|bobs|turns|spins|sweeps"
        )
        assert not re.search(rf"\b({moves})\b", caption), caption


def test_coming_out_is_said_of_two_visible_frames_after_a_hidden_one(told):
    said = 0
    for name in LENGTHS:
        for scene, shot, shows, _ in told[name]:
            if shows.phase == "comes out":
                said += 1
                x = shot.camera.project(shot.motions[0].position, 1, 1)[0][:, 0]
                wall = next(k for k, body in enumerate(shot.bodies) if body.kind == "wall")
                half, middle = shot.bodies[wall].half, shot.motions[wall].position[0]
                corners = middle + np.array([[s * half[0], d * half[1], 0] for s in (-1, 1) for d in (-1, 1)])
                edges = shot.camera.project(np.broadcast_to(corners, (len(shot), 4, 3)), 1, 1)[0][..., 0]
                out = (x > edges.max(1)) if scene.direction == "right" else (x < edges.min(1))
                assert out.sum() >= 2
    assert said >= 10


def test_a_longer_clip_tells_more_and_two_frames_make_it_certain():
    """Frame by frame, a ball that nears a wall, is hidden and comes out again."""
    scenes = (draw_scene(random.Random(f"longer {i}")) for i in range(300))
    for scene in [scene for scene in scenes if scene.event == "behind"][:8]:
        t = np.arange(49) / 24
        whole = scene.shot(t)
        covered = 1 - clear_of_walls(whole, 0)
        last = np.flatnonzero(covered == 1)[-1]
        out = last + 1 + np.flatnonzero(covered[last + 1 :] < 0.6)[1]  # the second frame in which it is seen
        phases = [seen(scene, scene.shot(t[: n + 1]), t[: n + 1]).phase for n in range(49)]
        hides = int(np.flatnonzero(covered == 1)[0])
        assert phases[0] == "shows" and set(phases[5:hides]) <= {"shows", "nears"}
        assert set(phases[hides:out]) == {"hides"} and set(phases[out:]) == {"comes out"}


def test_directions_are_those_of_the_picture(told):
    sides = {"left": ("to the left", "leftwards"), "right": ("to the right", "rightwards")}
    for scene, shot, _, caption in everything(told, "clip"):
        action = caption.split(", the camera")[0]
        for side, options in sides.items():
            if says(action, options) and scene.event in ("roll", "throw", "slide", "ramp", "step", "topple"):
                assert scene.direction == side
                if scene.view.kind == "static":
                    at, _ = shot.camera.project(shot.motions[0].position, 1, 1)
                    assert (at[-1, 0] - at[0, 0]) * (1 if side == "right" else -1) > 0.04, caption


def test_speed_is_told_of_standing_cameras_and_size_of_equal_distances(told):
    swift = [w for found in words.SPEEDS.values() for w in found]
    for scene, shot, _, caption in everything(told):
        if says(caption, swift):
            assert scene.view.kind == "static" and says(caption, words.SPEEDS[scene.speed]), caption
            speed = np.linalg.norm(shot.motions[0].velocity[0])
            assert speed < 0.8 if scene.speed == "slow" else speed > 1.1
        sizes = [w for found in words.SIZES.values() for w in found]
        if says(caption, sizes):
            far = [np.linalg.norm(m.position[0] - shot.camera.position[0])
                   for b, m in zip(shot.bodies, shot.motions, strict=True) if not b.furniture]  # fmt: skip
            assert max(far) / min(far) < 1.15
            told_sizes = {t.size for t in scene.counted} - {"tall"}
            assert says(caption, of(told_sizes, words.SIZES))


def test_light_and_camera_are_the_right_ones(told):
    for scene, shot, _, caption in everything(told):
        for light, options in words.LIGHTS.items():
            if says(caption, options) and light != scene.light.kind:
                assert scene.light.kind == "day to night" and light == "sunny" and shot.sun.phase.max() < 0.25
        if re.search(
            r"camera (orbits|circles|moves|pu|comes|retreats|pans|turns|rises|goes|cranes|looks)", caption
        ):
            moved = np.ptp(shot.camera.yaw) + np.ptp(shot.camera.position, axis=0).max()
            assert scene.view.kind != "static" and moved > 0.05, caption
        if "camera pans left" in caption:
            assert shot.camera.yaw[8] < shot.camera.yaw[0]
        if "camera orbits to the left" in caption:
            assert shot.camera.position[-1, 0] < shot.camera.position[0, 0]


def test_every_event_has_its_verbs_and_every_word_one_meaning():
    assert set(PHASES) == set(EVENTS)
    assert all(verb in words.VERBS for phases in PHASES.values() for verb, _ in phases)
    for table in (words.COLOURS, words.SIZES, words.LIGHTS, words.SPEEDS, words.WAYS):
        spoken = [word for found in table.values() for word in set(found)]
        assert len(spoken) == len(set(spoken))
        assert all(words.CANONICAL[found[0]] == name or table is words.LIGHTS for name, found in table.items()
                   if found[0] in words.CANONICAL and table in (words.COLOURS, words.SIZES))  # fmt: skip


def test_strangers_words_come_up_in_the_last_caption_alone(told):
    strange = [caption for *_, captions in told["clip"] for caption in captions[-1:]]
    odd = [caption for caption in strange if says(caption, (*words.STRANGERS, *words.ELSEWHERE))]
    assert 0.25 < len(odd) / len(strange) < 0.6
    usual = [caption for *_, caption in everything(told)]
    assert not any(says(caption, [w for w in words.STRANGERS if w != "tree"]) for caption in usual)
    vocabulary = {word for caption in usual for word in re.findall(r"[a-z-]+", caption)}
    assert len(vocabulary) > 180


def test_a_thing_is_named_by_its_paint():
    scene = draw_scene(random.Random("paint"))
    from tubelet.worlds.depth.captions import noun
    from tubelet.worlds.depth.scene import Body, Paint

    def name(kind, paint, size):
        return noun(Thing(Body(kind, (0.5, 0.5, 0.5), paint), scene.things[0].law, size), size=True)

    assert name("ball", Paint("gold"), "small") == "a small shiny gold ball"
    assert name("ball", Paint("orange", "white", "octants"), "large") == "a large orange and white ball"
    assert name("ball", Paint("red", "white", "band"), "medium") == "a medium striped red ball"
    assert name("cube", Paint("blue"), "tall") == "a tall blue block"
