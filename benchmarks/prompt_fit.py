"""How often generated clips show what captions of a world's plainest scenes ask for: each attribute, and all of them.

Run: python benchmarks/prompt_fit.py --checkpoint FOLDER [--world depth] --out raw.jsonl
     python benchmarks/prompt_fit.py --true        (the judge's own accuracy, on rendered clips)
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tubelet.evaluation.scores import score
from tubelet.sampling.pipeline import VideoPipeline
from tubelet.worlds import WORLDS, WorldConfig, world_of

CHUNK = 16  # prompts between two signs of progress


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--checkpoint", default=None, help="folder of a checkpoint; default: the one that ships"
    )
    parser.add_argument("--world", choices=tuple(WORLDS), default="shapes", help="whose scenes, whose judge")
    parser.add_argument("--count", type=int, default=100, help="clips")
    parser.add_argument(
        "--split", choices=("held_out", "unseen_pairs"), default="held_out", help="of the scenes asked for"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the noise; chunk k of 16 prompts takes seed + k"
    )
    parser.add_argument("--steps", type=int, default=30, help="sampling steps")
    parser.add_argument("--sampler", default=None, help="default: the checkpoint's own")
    parser.add_argument("--grid", default=None, help="of times; default: the checkpoint's own")
    guidance_flags(parser)
    parser.add_argument(
        "--true", action="store_true", help="judge the rendered clips instead of generated ones"
    )
    parser.add_argument(
        "--out", type=Path, default=None, help="JSON lines: one for each clip, then a summary"
    )
    return parser.parse_args()


def guidance_flags(parser: argparse.ArgumentParser) -> None:
    """How the clips are guided, with the names and meanings of `tubelet generate`."""
    parser.add_argument("--guidance", type=float, default=4.0, help="guidance scale")
    parser.add_argument(
        "--guidance-interval", type=float, nargs=2, metavar=("LOW", "HIGH"), default=(0.0, 1.0)
    )
    for name, default in (("rescale", 0.0), ("parallel", 1.0), ("threshold", 0.0), ("momentum", 0.0)):
        parser.add_argument(f"--guidance-{name}", type=float, default=default)
    parser.add_argument("--negative-prompt", default=None)
    parser.add_argument("--weaker", default=None, help="folder of a weaker checkpoint to guide by")


def guidance_of(args: argparse.Namespace) -> dict[str, Any]:
    """The keywords of VideoPipeline for those flags, but the scale and the weaker checkpoint."""
    names = ("interval", "rescale", "parallel", "threshold", "momentum")
    settings = {f"guidance_{name}": getattr(args, f"guidance_{name}") for name in names}
    return settings | {"negative_prompt": args.negative_prompt}


def videos(
    args: argparse.Namespace, clips: Any, pipe: VideoPipeline | None, some: range
) -> list[NDArray[np.uint8]]:
    """The clips of these numbers, rendered or generated: each uint8 [F, H, W, 3]."""
    if pipe is None:
        return [clips.frames(i).numpy() for i in some]
    made = pipe(
        [clips.captions(i)[0] for i in some],
        seed=args.seed + some.start // CHUNK,
        num_inference_steps=args.steps,
        sampler=args.sampler,
        grid=args.grid,
        guidance_scale=args.guidance,
        **guidance_of(args),
        output_type="np",
    ).frames
    return list((np.asarray(made) * 255).round().clip(0, 255).astype(np.uint8))


def asked(attributes: dict[str, Any]) -> dict[str, Any]:
    """What the first caption says of a scene: all but, in the flat world, the way of stripes and of a gradient."""
    untold = {"direction": None}
    return attributes | {k: attributes[k] | untold for k in ("background",) if k in attributes}


STEADY = {"shapes": {"pan": 0.0}}  # the flat world's captions are judged under a still camera


def scenes(kind: str, pipe: VideoPipeline | None) -> WorldConfig:
    """The plainest scenes of a world, as long, large and fast as the checkpoint's videos."""
    plain = replace(world_of(kind).plain, **STEADY.get(kind, {}))
    if pipe is None:
        return plain
    own = pipe.scheduler
    return replace(plain, num_frames=own.num_frames, height=own.height, width=own.width, fps=own.fps)


def show(table: dict[str, dict[str, float]]) -> None:
    """One row for each attribute, then colour and motion together, then everything that was asked for."""
    print(f"{'':10} accuracy   95% interval   chance   count")
    for name, row in table.items():
        interval = f"{row['low']:.3f} - {row['high']:.3f}"
        print(f"{name:10} {row['accuracy']:8.3f}   {interval}   {row['chance']:6.3f}   {row['count']:5}")


def main() -> None:
    """Judge the clips, print the table, write the lines."""
    args = arguments()
    world = world_of(args.world)
    if world.judge is None:
        raise SystemExit(f"{args.world} has no judge yet")
    pipe = None if args.true else VideoPipeline.from_pretrained(args.checkpoint, weaker=args.weaker)
    config = scenes(args.world, pipe)
    clips = world.clips(config, args.count, args.split)
    readings: list[Any] = []
    wanted, lines = [], []
    start = time.perf_counter()
    for first in range(0, args.count, CHUNK):
        some = range(first, min(first + CHUNK, args.count))
        for i, frames in zip(some, videos(args, clips, pipe, some), strict=True):
            readings.append(world.judge.read(frames, fps=config.fps))
            wanted.append(asked(clips.attributes(i)))
            lines.append({"prompt": clips.captions(i)[0], "wanted": wanted[-1], "read": readings[-1].words()})
        print(f"{len(readings)} of {args.count} clips, {time.perf_counter() - start:.0f} s", flush=True)
    table = score(world.judge.compare, readings, wanted)
    show(table)
    recipe = {"checkpoint": args.checkpoint, "hash": "" if pipe is None else pipe.hash, "true": args.true}
    recipe |= {
        "world": args.world,
        "split": args.split,
        "count": args.count,
        "seed": args.seed,
        "steps": args.steps,
        "sampler": args.sampler,
        "grid": args.grid,
        "guidance": args.guidance,
        **guidance_of(args),
        "weaker": args.weaker,
    }
    found = sum(reading.found for reading in readings)
    lines.append({"summary": table, "found": found, **recipe})
    if args.out is not None:
        args.out.write_text("".join(json.dumps(each) + "\n" for each in lines), "utf-8")


if __name__ == "__main__":
    main()
