"""What `tubelet world` calls."""

from pathlib import Path

from tubelet.data.clips import write_clips
from tubelet.progress import progress
from tubelet.worlds import world_of


def write_world(
    out: Path,
    count: int,
    split: str = "train",
    num_frames: int = 17,
    height: int = 64,
    width: int = 64,
    fps: float = 8.0,
    seed: int = 0,
) -> None:
    """Write clips of the procedural world as an ordinary folder of mp4 files with metadata.jsonl.

    Args:
        out: The folder to make.
        count: How many clips.
        split: train, held_out, or unseen_pairs (attribute pairs that training never sees).
        num_frames: Frames of a clip.
        height: Pixels.
        width: Pixels.
        fps: Frames a second.
        seed: Another seed is another world of scenes.
    """
    world = world_of("shapes")
    config = world.config(num_frames=num_frames, height=height, width=width, fps=fps, seed=seed)
    clips = world.clips(config, count, split)
    with progress("writing clips", count) as done:
        write_clips(clips, out, progress=done)
    print(f"{count} clips in {out}, with metadata.jsonl")
