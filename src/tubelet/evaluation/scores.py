"""Scores of readings against what was asked for: a share of right answers for each attribute.

A judge (`worlds/NAME/judge/`) reads a clip and says, attribute by attribute, what was asked for and what it read;
nothing here knows what an attribute means.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tubelet.errors import InputError

Row = tuple[str, Any, Any]  # attribute, wanted, read
Compare = Callable[[Any, Mapping[str, Any]], list[Row]]
"""The rows of a reading and the attributes asked for."""


def score(
    compare: Compare, readings: Sequence[Any], attributes: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    """Per attribute: accuracy, count, low and high of Wilson's 95% interval, chance.

    `attributes` are those of the clips asked for; chance is the share of their most common answer. What could not be
    read counts as wrong. Raises InputError where there is nothing to score or the numbers differ.
    """
    if not readings or len(readings) != len(attributes):
        raise InputError(
            f"{len(readings)} readings for {len(attributes)} clips; give as many, and at least one"
        )
    pairs: dict[str, list[tuple[Any, Any]]] = {}
    for reading, wanted in zip(readings, attributes, strict=True):
        for name, want, got in compare(reading, wanted):
            pairs.setdefault(name, []).append((want, got))
    return {name: scored(rows) for name, rows in pairs.items()}


def shuffled_score(
    compare: Compare, readings: Sequence[Any], attributes: Sequence[Mapping[str, Any]]
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
                for name, want, got in compare(reading, wanted):
                    asked[name] += 1
                    right[name] += want == got
    return {name: right[name] / asked[name] for name in asked}


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
