"""How well a world's judge reads clips whose contents are known, and whether it sees what is wrong.

    python benchmarks/judge.py [--count 600] [--two 200] [--pan 200] [--checkpoint FOLDER] [--out raw.jsonl]
    python benchmarks/judge.py --world depth [--count 500] [--out raw.jsonl]

Held-out clips, from --first on: as rendered, through the codec (at the size that the checkpoint was trained on), with
noise, blurred, against the wishes of every other clip (mean over all cyclic shifts), frozen at the first frame, played
backwards, with their colour channels exchanged.
The flat world: one object under a still camera; then clips of two objects and clips under a panning camera. "way" is
the motion of those clips whose motion has a direction in time.
The world in depth: also unseen pairs; clips played backwards, repainted scenes and scenes whose first two bodies have
each other's paint, held against what they then show; and of what cannot be read, the share that is answered.
"""

import argparse
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import judge_clips
import numpy as np
import torch
from numpy.typing import NDArray

from tubelet.autoencoder.codec import Codec
from tubelet.evaluation.scores import score, shuffled_score
from tubelet.sampling.pipeline import VideoPipeline
from tubelet.video import to_frames, to_video
from tubelet.worlds import WORLDS, Judge, WorldConfig, world_of
from tubelet.worlds.depth.clips import DepthClips
from tubelet.worlds.depth.judge.network import FRAMES, SIDE
from tubelet.worlds.depth.judge.reading import FPS
from tubelet.worlds.depth.render import render
from tubelet.worlds.depth.truth import attributes_of

CHUNK = 16  # clips that the codec takes at once
ONE_WAY = ("moves", "falls", "grows", "shrinks", "fades")

Frames = NDArray[np.uint8]
Wishes = list[dict[str, Any]]
Set = tuple[Iterable[Frames], Wishes, float]  # clips, what they show, frames a second


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--world", choices=tuple(WORLDS), default="shapes", help="whose judge")
    parser.add_argument("--count", type=int, default=600, help="clips of the plainest scenes")
    parser.add_argument("--two", type=int, default=200, help="clips of two objects")
    parser.add_argument("--pan", type=int, default=200, help="clips under a panning camera")
    parser.add_argument("--first", type=int, default=0, help="number of the first held-out clip")
    parser.add_argument(
        "--size", type=int, nargs=3, default=None, metavar=("F", "H", "W"), help="of the clips"
    )
    parser.add_argument("--fps", type=float, default=None, help="of the clips")
    parser.add_argument("--checkpoint", default=None, help="whose codec; default: the one that ships")
    parser.add_argument("--out", type=Path, default=None, help="JSON lines: one a clip, then the table")
    return parser.parse_args()


def through_codec(codec: Codec, clips: Iterable[Frames]) -> Iterator[Frames]:
    """Each clip encoded (posterior mean) and decoded."""
    clips = list(clips)
    for start in range(0, len(clips), CHUNK):
        video = to_video(torch.from_numpy(np.stack(clips[start : start + CHUNK])))
        with torch.no_grad():
            yield from to_frames(codec.decode(codec.encode(video).mean)).numpy()


def noised(clip: Frames) -> Frames:
    """With Gaussian noise of 15 levels."""
    noise = np.random.default_rng(0).standard_normal(clip.shape, np.float32)
    return (clip + 15 * noise).clip(0, 255).round().astype(np.uint8)


def blurred(clip: Frames) -> Frames:
    """Every pixel the mean of a square a 21st of the side wide: 3 pixels at 64."""
    reach = round(clip.shape[1] / 42)
    x = clip.astype(np.float32)
    for axis in (1, 2):
        wide = np.pad(x, [(reach, reach) if k == axis else (0, 0) for k in range(4)], mode="edge")
        size = clip.shape[axis]
        x = np.stack([wide.take(range(k, k + size), axis) for k in range(2 * reach + 1)]).mean(0)
    return x.round().astype(np.uint8)


CORRUPTIONS: dict[str, Callable[[Frames], Frames]] = {
    "noised": noised,
    "blurred": blurred,
    "frozen": lambda clip: np.repeat(clip[:1], len(clip), axis=0),
    "reversed": lambda clip: clip[::-1].copy(),
    "recoloured": lambda clip: clip[..., [2, 0, 1]].copy(),
}


def clips_of(config: WorldConfig, numbers: range, split: str = "held_out") -> Set:
    """The clips of these numbers, and what they show."""
    clips = world_of(config.kind).clips(config, numbers.stop, split)
    return [clips.frames(i).numpy() for i in numbers], [clips.attributes(i) for i in numbers], config.fps


# What only one world has


def of_shapes(config: WorldConfig, args: argparse.Namespace, true: Set) -> dict[str, Set]:
    """Clips of two objects, and clips under a panning camera."""
    kinds = {"two": {"two_objects": 1.0, "pan": 0.0}, "pan": {"two_objects": 0.0, "pan": 1.0}}
    counts = {name: getattr(args, name) for name in kinds}
    return {
        name: clips_of(replace(config, **fields), range(args.first, args.first + counts[name]))
        for name, fields in kinds.items()
        if counts[name]
    }


def of_depth(config: WorldConfig, args: argparse.Namespace, true: Set) -> dict[str, Set]:
    """Unseen pairs; clips played backwards, repainted and exchanged, with what they then show."""
    numbers = range(args.first, args.first + args.count)
    found = {"unseen": clips_of(config, numbers, "unseen_pairs")}
    other_way = [
        wish | {"direction": judge_clips.OTHER_WAY.get(wish["direction"])}
        if wish["shown"] != "rebounds"
        else wish
        for wish in true[1]
    ]
    found["turned"] = [CORRUPTIONS["reversed"](clip) for clip in true[0]], other_way, config.fps
    clips = DepthClips(config, numbers.stop, "held_out")
    changes = {
        "repainted": lambda scene: judge_clips.repainted(scene, random.Random(0)),
        "exchanged": judge_clips.exchanged,
    }
    for name, change in changes.items():
        scenes = [scene for i in numbers if (scene := change(clips.scene(i))) is not None]
        shots = [scene.shot(clips.times) for scene in scenes]
        frames = (render(shot, config.height, config.width).frames for shot in shots)
        wishes = [attributes_of(scene, shot, clips.times) for scene, shot in zip(scenes, shots, strict=True)]
        found[name] = frames, wishes, config.fps
    return found


OWN = {"shapes": of_shapes, "depth": of_depth}
STEADY = {"shapes": {"pan": 0.0}}  # the flat world is read under a still camera first


def answered(judge: Judge, first: int, count: int) -> dict[str, dict[str, float]]:
    """Share of clips, by attribute, of which a judge with a `word` for None says something where nothing is."""
    torch.manual_seed(first)
    rng = random.Random(first)
    size = {"num_frames": FRAMES, "height": SIDE, "width": SIDE, "fps": FPS}
    numbers = range(first, first + count)
    flat, deep = (
        world_of(kind).clips(replace(world_of(kind).config(), **size), numbers.stop, "held_out")
        for kind in ("shapes", "depth")
    )
    kinds = {
        "noise": [
            judge_clips.noise_of(rng, deep.frames(i).float()).clamp(0, 255).byte().numpy() for i in numbers
        ],
        "dissolved": [judge_clips.dissolved(deep.scene(i), rng) for i in numbers],
        "flat world": [flat.frames(i).numpy() for i in numbers],
    }
    table = {}
    for kind, clips in kinds.items():
        readings = [judge.read(clip, fps=FPS) for clip in clips]
        table[kind] = {
            name: sum(reading.word(name) is not None for reading in readings) / count
            for name in readings[0].chances
        }
    return table


# Tables


def accuracies(judge: Judge, readings: list[Any], wishes: Wishes) -> dict[str, Any]:
    """The scores of each attribute, and those of the flat world's motions that have a direction in time."""
    table: dict[str, Any] = score(judge.compare, readings, wishes)
    one_way = [
        (reading, wish)
        for reading, wish in zip(readings, wishes, strict=True)
        if len(wish.get("objects", ())) == 1 and wish["objects"][0]["motion"].startswith(ONE_WAY)
    ]
    if one_way:
        some = score(judge.compare, [each[0] for each in one_way], [each[1] for each in one_way])
        table["way"] = some["motion"]
    return table


def show(table: dict[str, dict[str, Any]]) -> None:
    """One column for each set, one row for each attribute."""
    names = list(dict.fromkeys(name for column in table.values() for name in column))
    chance = table["true"]
    print(
        f"{'':10}" + "".join(f"{name:>11}" for name in table) + f"{'lower end':>11}{'chance':>11}{'clips':>7}"
    )
    for name in names:
        cells = [
            f"{column[name]['accuracy']:11.4f}" if name in column else f"{'':11}" for column in table.values()
        ]
        row = chance.get(name)
        last = f"{row['low']:11.3f}{row['chance']:11.3f}{row['count']:7}" if row else ""
        print(f"{name:10}" + "".join(cells) + last)


def main() -> None:
    """Read every set, print the tables, write the lines."""
    args = arguments()
    world = world_of(args.world)
    judge = world.judge
    if judge is None:
        raise SystemExit(f"{args.world} has no judge yet")
    config = replace(world.plain, **STEADY.get(args.world, {}))
    if args.size is not None:
        config = replace(config, **dict(zip(("num_frames", "height", "width"), args.size, strict=True)))
    config = replace(config, fps=args.fps or config.fps)
    numbers = range(args.first, args.first + args.count)
    pipe = VideoPipeline.from_pretrained(args.checkpoint)
    own = pipe.scheduler
    small = replace(config, num_frames=own.num_frames, height=own.height, width=own.width, fps=own.fps)
    sets = {"true": clips_of(config, numbers)}
    true, wishes, fps = sets["true"]
    sets["codec"] = clips_of(small, numbers)
    sets["codec"] = through_codec(pipe.codec, sets["codec"][0]), *sets["codec"][1:]
    sets |= {name: (map(change, true), wishes, fps) for name, change in CORRUPTIONS.items()}
    sets |= OWN[args.world](config, args, sets["true"])
    table: dict[str, dict[str, Any]] = {}
    lines: list[dict[str, Any]] = []
    for name, (clips, wanted, rate) in sets.items():
        readings, seconds = [], 0.0
        for clip in clips:
            start = time.process_time()
            readings.append(judge.read(clip, fps=rate))
            seconds += time.process_time() - start
        print(f"{name}: {seconds / len(readings):.3f} s a clip", flush=True)
        table[name] = accuracies(judge, readings, wanted)
        lines += [
            {"set": name, "clip": args.first + k, "wanted": wish, "read": reading.words()}
            for k, (reading, wish) in enumerate(zip(readings, wanted, strict=True))
        ]
        if name == "true":
            shuffled = shuffled_score(judge.compare, readings, wanted)
            table["shuffled"] = {key: {"accuracy": value} for key, value in shuffled.items()}
    show(table)
    lines.append({"summary": table, "count": args.count, "first": args.first, "checkpoint": args.checkpoint})
    if args.world == "depth":
        spoiled = answered(judge, args.first, max(1, args.count // 5))
        for kind, shares in spoiled.items():
            print(
                f"answered of {kind}: " + ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
            )
        lines[-1]["answered"] = spoiled
    if args.out is not None:
        args.out.write_text("".join(json.dumps(each) + "\n" for each in lines), "utf-8")


if __name__ == "__main__":
    main()
