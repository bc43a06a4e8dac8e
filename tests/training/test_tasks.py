"""The long run trains every task: what its samples know, by task, as docs/ARCHITECTURE.md has it."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tubelet.data.buckets import bucket_of
from tubelet.training.config import DenoiserRun, read_run
from tubelet.training.known import NOTHING, Kind, kind_of

ROOT = Path(__file__).resolve().parents[2]
RUN = read_run(DenoiserRun, ROOT / "configs" / "depth.toml")
SIZES = [(RUN.data.world.num_frames, RUN.data.world.height, RUN.data.world.width)]
SIZES += [(size.frames, size.height, size.width) for size in RUN.data.other]
LATENTS = [1 + (frames - 1) // 4 for frames, _, _ in SIZES]
UNITS = 20_000

ROWS = {  # of the table in the docs, in its order
    "one first frame, no ending": lambda k, end: k.first == 1 and not end and not k.region,
    "one first frame and the last": lambda k, end: k.first == 1 and end == 1 and not k.region,
    "keyframes, with or without the ends": lambda k, end: len(k.references) > (end > 0),
    "a longer beginning, no ending": lambda k, end: k.first > 1 and not end and not k.region,
    "an ending, no beginning": lambda k, end: bool(end) and not k.first and not k.region,
    "a longer beginning and a longer ending": lambda k, end: k.first > 1 and end > 1 and not k.region,
    "a region": lambda k, end: k.region,
    "nothing": lambda k, end: k._replace(each_frame=False) == NOTHING,
}


def drawn() -> list[tuple[int, Kind]]:
    """Bucket and kind of many units of the long run."""
    found = []
    for unit in range(UNITS):
        bucket = bucket_of(0, unit, RUN.data.shares)
        found.append((bucket, kind_of(RUN.known, 0, unit, LATENTS[bucket], holes=bucket == 0)))
    return found


def ending(kind: Kind, latents: int) -> int:
    """Frames of a kind's ending; a lone keyframe at the end is one."""
    last = [span.count for span in kind.references if span.first + span.count == 1 + 4 * (latents - 1)]
    return last[0] if last else 0


@pytest.fixture(scope="module")
def units() -> list[tuple[int, Kind]]:
    return drawn()


def test_each_task_has_the_share_that_the_docs_say(units):
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    told = {what.strip(): float(share) for what, share in re.findall(r"\| ([^|]+?) \| ([\d.]+) % \|", page)}
    counts = Counter()
    for bucket, kind in units:
        end = ending(kind, LATENTS[bucket])
        counts.update(name for name, holds in ROWS.items() if holds(kind, end))
    for name in ROWS:
        assert counts[name] / UNITS == pytest.approx(told[name] / 100, abs=0.006), name


def test_both_ends_and_the_ending_alone_make_a_twentieth_each():
    """In closed form: buckets of images know nothing, regions are in the main one alone."""
    known, single = RUN.known, 0.5
    least = dict.fromkeys(("first_last", "prefix_ending", "ending"), 0.0)
    for number, share in enumerate(RUN.data.shares):
        if LATENTS[number] < 5:
            assert LATENTS[number] == 1
            continue
        share *= known.share * (1 - known.region * (number == 0))
        least["first_last"] += share * known.first * known.last * single * single
        least["prefix_ending"] += share * known.first * known.last * (1 - single) * (1 - single)
        least["ending"] += share * (1 - known.first) * known.last
    assert min(least.values()) >= 0.05, least


def test_few_shapes_are_compiled(units):
    """Tokens of the video and its references, and the form of t, are what a program is made for."""
    shapes = set()
    for bucket, kind in units:
        (_, height, width), latents = SIZES[bucket], LATENTS[bucket]
        places = height * width // 32**2
        beside = places * sum(1 + span.count // 4 for span in kind.references)
        form = "region" if kind.region else "frames" if kind.by_frame else "one"
        shapes.add((places * latents, latents, beside, form))
    assert len(shapes) == 25, sorted(shapes)
