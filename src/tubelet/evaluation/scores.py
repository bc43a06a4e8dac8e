"""Scores of readings against what was asked for: a share of right answers for each attribute."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tubelet.errors import InputError

if TYPE_CHECKING:
    from tubelet.evaluation.prompt_fit import Reading, ReadObject

OBJECT_ATTRIBUTES = ("shape", "colour", "to_colour", "size", "motion", "speed")
ATTRIBUTES = (*OBJECT_ATTRIBUTES, "background", "count", "relation", "pan")
TOGETHER = ("both", "all")
"""Colour and motion of a single object; everything that was asked for."""

Row = tuple[str, Any, Any]  # attribute, wanted, read


def score(
    readings: "Sequence[Reading]", attributes: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    """Per attribute: accuracy, count, low and high of Wilson's 95% interval, chance.

    `attributes` are those of the clips asked for; chance is the share of their most common answer. What is
    asked for as None (or not at all) is left out, what could not be read counts as wrong. "both" is colour and
    motion of one object together, "all" is everything that was asked of a clip. Raises InputError where there
    is nothing to score or the numbers differ.
    """
    if not readings or len(readings) != len(attributes):
        raise InputError(
            f"{len(readings)} readings for {len(attributes)} clips; give as many, and at least one"
        )
    pairs: dict[str, list[tuple[Any, Any]]] = {name: [] for name in (*ATTRIBUTES, *TOGETHER)}
    for reading, wanted in zip(readings, attributes, strict=True):
        for name, want, got in judged(reading, wanted):
            pairs[name].append((want, got))
    return {name: scored(rows) for name, rows in pairs.items() if rows}


def shuffled_score(
    readings: "Sequence[Reading]", attributes: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """Per attribute: mean accuracy of readings against the wishes of every other clip.

    These are all the cyclic shifts of the wishes but the one that leaves them in place. Raises InputError for
    fewer than two readings or another number of wishes.
    """
    if len(readings) < 2 or len(readings) != len(attributes):
        raise InputError(
            f"{len(readings)} readings for {len(attributes)} clips; give as many, and two or more"
        )
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for i, reading in enumerate(readings):
        for j, wanted in enumerate(attributes):
            if i != j:
                for name, want, got in judged(reading, wanted):
                    asked[name] += 1
                    right[name] += want == got
    return {name: right[name] / asked[name] for name in (*ATTRIBUTES, *TOGETHER) if asked[name]}


def judged(reading: "Reading", wanted: Mapping[str, Any]) -> list[Row]:
    """The rows of a clip, those of TOGETHER included."""
    rows = compared(reading, wanted)
    together = [("all", tuple(row[1] for row in rows), tuple(row[2] for row in rows))]
    pair = [row for row in rows if row[0] in ("colour", "motion")]
    if len(pair) == 2:
        together.insert(0, ("both", (pair[0][1], pair[1][1]), (pair[0][2], pair[1][2])))
    return rows + together


def compared(reading: "Reading", wanted: Mapping[str, Any]) -> list[Row]:
    """All that was asked of a clip, with what was read.

    Two objects are matched to those wanted such that most is right; one object is held against the main one.
    """
    objects = wanted["objects"]
    here: list[ReadObject | None] = [*reading.objects] or [None]
    if len(objects) == 1:
        rows, in_order = object_rows(objects, [here[reading.main]]), True
    else:
        here = [*here, None][:2]
        matches = [object_rows(objects, order) for order in (here, here[::-1])]
        right = [sum(want == got for _, want, got in rows) for rows in matches]
        in_order = right[0] >= right[1]
        rows = matches[0 if in_order else 1]
    if wanted.get("background") is not None:
        rows.append(background_row(reading, wanted["background"]))
    asked = {
        "count": reading.count,
        "relation": reading.relation if in_order else f"not {reading.relation}",
        "pan": reading.background.pan,
    }
    return rows + [(name, wanted[name], got) for name, got in asked.items() if wanted.get(name) is not None]


def object_rows(wanted: Sequence[Mapping[str, Any]], read: "Sequence[ReadObject | None]") -> list[Row]:
    """What was asked of each object, with what was read of the one in its place."""
    return [
        (name, want[name], getattr(got, name, None))
        for want, got in zip(wanted, read, strict=True)
        for name in OBJECT_ATTRIBUTES
        if want.get(name) is not None
    ]


def background_row(reading: "Reading", wanted: Mapping[str, Any]) -> Row:
    """Kind, colours and direction together; a direction that was not asked for may be any."""
    want, got = [], []
    for name in ("kind", "colours", "direction"):
        if wanted.get(name) is not None:
            value, found = wanted[name], getattr(reading.background, name)
            want.append(value if isinstance(value, str) else tuple(value))
            got.append(found)
    return "background", tuple(want), tuple(got)


def scored(rows: Sequence[tuple[Any, Any]]) -> dict[str, float]:
    """Accuracy of rows of (wanted, read), with its interval and the level of chance."""
    count, right = len(rows), sum(want == got for want, got in rows)
    low, high = wilson(right, count)
    chance = Counter(want for want, _ in rows).most_common(1)[0][1] / count
    return {"accuracy": right / count, "count": count, "low": low, "high": high, "chance": chance}


def wilson(right: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's interval for a share of `right` in `count`; 95% by default."""
    share, extra = right / count, z * z / count
    middle = (share + extra / 2) / (1 + extra)
    half = z / (1 + extra) * math.sqrt(share * (1 - share) / count + extra / (4 * count))
    return max(middle - half, 0.0), min(middle + half, 1.0)
