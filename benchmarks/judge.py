"""How well the judge of prompt fit reads clips whose contents are known, and whether it sees what is wrong.

    python benchmarks/judge.py [--count 600] [--two 200] [--pan 200] [--checkpoint FOLDER] [--out raw.jsonl]

Held-out clips of one object under a still camera, from --first on: as rendered, through the codec, against
the wishes of every other clip (mean over all cyclic shifts), frozen at the first frame, played backwards, with
their colour channels exchanged; then clips of two objects and clips under a panning camera. "way" is the
motion of those clips whose motion has a direction in time.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tubelet.autoencoder.codec import Codec
from tubelet.evaluation.scores import score, shuffled_score
from tubelet.sampling.pipeline import VideoPipeline
from tubelet.video import to_frames, to_video
from tubelet.worlds.shapes.clips import ShapesClips
from tubelet.worlds.shapes.config import ShapesConfig
from tubelet.worlds.shapes.judge.compare import compared
from tubelet.worlds.shapes.judge.prompt_fit import Reading, read_clip

CHUNK = 16  # clips that the codec takes at once
ONE_WAY = ("moves", "falls", "grows", "shrinks", "fades")

Frames = NDArray[np.uint8]
Wishes = list[dict[str, Any]]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=600, help="clips of one object under a still camera")
    parser.add_argument("--two", type=int, default=200, help="clips of two objects")
    parser.add_argument("--pan", type=int, default=200, help="clips under a panning camera")
    parser.add_argument("--first", type=int, default=0, help="number of the first held-out clip")
    parser.add_argument("--checkpoint", default=None, help="whose codec; default: the one that ships")
    parser.add_argument("--out", type=Path, default=None, help="JSON lines: one a clip, then the table")
    return parser.parse_args()


def through_codec(codec: Codec, clips: list[Frames]) -> Iterable[Frames]:
    """Each clip encoded (posterior mean) and decoded."""
    for start in range(0, len(clips), CHUNK):
        video = to_video(torch.from_numpy(np.stack(clips[start : start + CHUNK])))
        with torch.no_grad():
            yield from to_frames(codec.decode(codec.encode(video).mean)).numpy()


CORRUPTIONS: dict[str, Callable[[Frames], Frames]] = {
    "frozen": lambda clip: np.repeat(clip[:1], len(clip), axis=0),
    "reversed": lambda clip: clip[::-1].copy(),
    "recoloured": lambda clip: clip[..., [2, 0, 1]].copy(),
}


def clips_of(first: int, count: int, **config: float) -> tuple[list[Frames], Wishes]:
    """The held-out clips of these numbers, and what they show."""
    clips = ShapesClips(ShapesConfig(**config), first + count, split="held_out")  # type: ignore[arg-type]
    numbers = range(first, first + count)
    return [clips.frames(i).numpy() for i in numbers], [clips.attributes(i) for i in numbers]


def accuracies(readings: list[Reading], wishes: Wishes) -> dict[str, Any]:
    """The scores of each attribute, and those of motions that have a direction in time."""
    table: dict[str, Any] = score(compared, readings, wishes)
    one_way = [
        (reading, wish)
        for reading, wish in zip(readings, wishes, strict=True)
        if len(wish["objects"]) == 1 and wish["objects"][0]["motion"].startswith(ONE_WAY)
    ]
    if one_way:
        table["way"] = score(compared, [each[0] for each in one_way], [each[1] for each in one_way])["motion"]
    return table


def show(table: dict[str, dict[str, Any]]) -> None:
    """One column for each set, one row for each attribute."""
    names = list(dict.fromkeys(name for column in table.values() for name in column))
    chance = table["true"]
    print(f"{'':10}" + "".join(f"{name:>11}" for name in table) + f"{'chance':>11}{'clips':>7}")
    for name in names:
        cells = [
            f"{column[name]['accuracy']:11.4f}" if name in column else f"{'':11}" for column in table.values()
        ]
        last = f"{chance[name]['chance']:11.3f}{chance[name]['count']:7}" if name in chance else ""
        print(f"{name:10}" + "".join(cells) + last)


def main() -> None:
    """Read every set, print the table, write the lines."""
    args = arguments()
    true, wishes = clips_of(args.first, args.count, two_objects=0.0, pan=0.0)
    codec = VideoPipeline.from_pretrained(args.checkpoint).codec
    sets: dict[str, tuple[Iterable[Frames], Wishes]] = {"true": (true, wishes)}
    sets["codec"] = (through_codec(codec, true), wishes)
    sets |= {name: (map(change, true), wishes) for name, change in CORRUPTIONS.items()}
    if args.two:
        sets["two"] = clips_of(args.first, args.two, two_objects=1.0, pan=0.0)
    if args.pan:
        sets["pan"] = clips_of(args.first, args.pan, two_objects=0.0, pan=1.0)
    table: dict[str, dict[str, Any]] = {}
    lines: list[dict[str, Any]] = []
    for name, (clips, wanted) in sets.items():
        start = time.process_time()
        readings = [read_clip(clip) for clip in clips]
        print(f"{name}: {(time.process_time() - start) / len(readings):.3f} s a clip", flush=True)
        table[name] = accuracies(readings, wanted)
        lines += [
            {"set": name, "clip": args.first + k, "wanted": wish, "read": reading.words()}
            for k, (reading, wish) in enumerate(zip(readings, wanted, strict=True))
        ]
        if name == "true":
            shuffled = shuffled_score(compared, readings, wanted)
            table["shuffled"] = {key: {"accuracy": value} for key, value in shuffled.items()}
    show(table)
    lines.append({"summary": table, "count": args.count, "first": args.first, "checkpoint": args.checkpoint})
    if args.out is not None:
        args.out.write_text("".join(json.dumps(each) + "\n" for each in lines), "utf-8")


if __name__ == "__main__":
    main()
