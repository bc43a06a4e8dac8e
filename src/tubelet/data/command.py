"""What `tubelet world` calls."""

from pathlib import Path

from tubelet.data.clips import write_clips
from tubelet.errors import InputError
from tubelet.progress import progress
from tubelet.worlds import WORLDS, world_of


def write_world(
    out: Path,
    count: int,
    kind: str = next(iter(WORLDS)),
    split: str = "train",
    num_frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    fps: float | None = None,
    seed: int = 0,
    truth: bool = False,
) -> None:
    """Write clips of a rendered world as an ordinary folder of mp4 files with metadata.jsonl.

    Args:
        out: The folder to make.
        count: How many clips.
        kind: Which world: shapes (flat) or depth.
        split: train, held_out, or unseen_pairs (attribute pairs that training never sees); the files lie in a folder of
            this name.
        num_frames: Frames of a clip; shapes 17, depth 33 when left out.
        height: Pixels; shapes 64, depth 128.
        width: Pixels; shapes 64, depth 128.
        fps: Frames a second; shapes 8, depth 16.
        seed: Another seed is another world of scenes.
        truth: Beside each clip also an .npz of camera, bodies, events, masks and depth; for a world that knows them.
    """
    asked = {"num_frames": num_frames, "height": height, "width": width, "fps": fps}
    world = world_of(kind)
    config = world.config(seed=seed, **{name: value for name, value in asked.items() if value is not None})
    if truth and not world.has_truth:
        those = " or ".join(other for other in WORLDS if world_of(other).has_truth)
        raise InputError(f"--truth: the world {kind!r} keeps none; give --kind {those}, or leave it out")
    clips = world.clips(config, count, split)
    with progress("writing clips", count) as done:
        write_clips(clips, out, part=split, truth=truth, progress=done)
    print(f"{count} clips in {out}, with metadata.jsonl")
