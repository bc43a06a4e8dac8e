"""The attributes that the judge reads, the words it may answer with, and those that a clip's truth asks for."""

from collections.abc import Mapping
from typing import Any

from tubelet.worlds.depth import words
from tubelet.worlds.depth.scene import COLOURS, GROUNDS, LIGHTS, METALS
from tubelet.worlds.depth.seen import PHASES
from tubelet.worlds.depth.stage import CAMERAS

SUN_MOVES = "sun moves"  # the one event that no verb tells: its shadow does
NOWHERE = "none"  # the direction of what does not go anywhere
STILL = tuple(dict.fromkeys(phases[-1][0] for phases in PHASES.values()))
"""What is said of a body that does not move."""

WORDS: dict[str, tuple[str, ...]] = {
    "light": LIGHTS,
    "ground": GROUNDS,
    "event": (*words.VERBS, SUN_MOVES),
    "direction": ("left", "right", "towards", "away", NOWHERE),
    "count": ("1", "2", "3"),
    "shape": tuple(words.SHAPES),
    "colour": (*COLOURS, *METALS),
    "camera": CAMERAS,
}
"""The answers to each attribute. A further attribute is a row here and a row of `truth_in`; the reader is then trained
anew. shape and colour are those of the first body, the one that acts, or the leftmost one where none does."""


def truth_in(attributes: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The right words for each attribute of WORDS, from what `truth.attributes_of` says of a clip.

    They are more than one where a body has two colours in equal parts.
    """
    body, shown = attributes["bodies"][0], attributes["shown"]
    both = body["pattern"] == "octants" and body["second"]
    goes = "{way}" in words.VERBS[shown][0][0]
    return {
        "light": (attributes["light"],),
        "ground": (attributes["ground"],),
        "event": (SUN_MOVES if attributes["event"] == SUN_MOVES else shown,),
        "direction": (attributes["direction"] if goes else NOWHERE,),
        "count": (str(attributes["count"]),),
        "shape": (body["shape"],),
        "colour": (body["colour"], body["second"]) if both else (body["colour"],),
        "camera": (attributes["camera"],),
    }
