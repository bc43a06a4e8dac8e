"""A reading held against what was asked for: every attribute with the answer wanted and the answer read."""

from collections.abc import Mapping, Sequence
from typing import Any

from tubelet.worlds.shapes.judge.prompt_fit import Reading, ReadObject

OBJECT_ATTRIBUTES = ("shape", "colour", "to_colour", "size", "motion", "speed")

Row = tuple[str, Any, Any]  # attribute, wanted, read


def compared(reading: Reading, wanted: Mapping[str, Any]) -> list[Row]:
    """All that was asked of a clip, with what was read; None (or nothing) asked for is left out.

    "both" is colour and motion of a single object together, "all" everything that was asked for.
    """
    rows = asked_rows(reading, wanted)
    together = [("all", tuple(row[1] for row in rows), tuple(row[2] for row in rows))]
    pair = [row for row in rows if row[0] in ("colour", "motion")]
    if len(pair) == 2:
        together.insert(0, ("both", (pair[0][1], pair[1][1]), (pair[0][2], pair[1][2])))
    return rows + together


def asked_rows(reading: Reading, wanted: Mapping[str, Any]) -> list[Row]:
    """What was asked of the clip, attribute by attribute, with what was read.

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


def object_rows(wanted: Sequence[Mapping[str, Any]], read: Sequence[ReadObject | None]) -> list[Row]:
    """What was asked of each object, with what was read of the one in its place."""
    return [
        (name, want[name], getattr(got, name, None))
        for want, got in zip(wanted, read, strict=True)
        for name in OBJECT_ATTRIBUTES
        if want.get(name) is not None
    ]


def background_row(reading: Reading, wanted: Mapping[str, Any]) -> Row:
    """Kind, colours and direction together; a direction that was not asked for may be any."""
    want, got = [], []
    for name in ("kind", "colours", "direction"):
        if wanted.get(name) is not None:
            value, found = wanted[name], getattr(reading.background, name)
            want.append(value if isinstance(value, str) else tuple(value))
            got.append(found)
    return "background", tuple(want), tuple(got)
