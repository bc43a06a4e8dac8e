"""A reading held against what was asked for: every attribute with the answer wanted and the answer read."""

from collections.abc import Mapping
from typing import Any

from tubelet.worlds.depth.judge.attributes import NOWHERE, truth_in
from tubelet.worlds.depth.judge.reading import Reading

DIM = ("sunset", "night", "day to night")  # lights that change how colours look

Row = tuple[str, Any, Any]  # attribute, wanted, read


def compared(reading: Reading, wanted: Mapping[str, Any]) -> list[Row]:
    """All that was asked of a clip, with what was read; a direction where nothing goes anywhere is not asked for.

    "colour" is by day, "dim colour" in a light that changes colours; of a body in two colours both are wanted.
    "all" is everything that was asked for.
    """
    rows: list[Row] = []
    for name, words in truth_in(wanted).items():
        if words == (NOWHERE,):
            continue
        dim = name == "colour" and wanted["light"] in DIM
        read = tuple(sorted(reading.likely(name)[: len(words)]))
        rows.append((f"dim {name}" if dim else name, tuple(sorted(words)), read))
    return [*rows, ("all", tuple(row[1] for row in rows), tuple(row[2] for row in rows))]
