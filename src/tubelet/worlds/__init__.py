"""Rendered worlds: sources of clips whose truth is known, each with its judge.

WORLDS is the one place that knows them by name. Importing this is cheap; a world is loaded when it is asked for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

from tubelet.errors import InputError, near_miss

WORLDS = {name: f"tubelet.worlds.{name}.world" for name in ("shapes", "depth")}
"""The kinds of world, and the module of each that holds its WORLD; the first is the usual one."""


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """How clips of a world are rendered: what every world has; a kind's own fields are those of its subclass.

    kind: one of WORLDS. seed: another seed is another world of scenes.
    """

    kind: str = ""
    num_frames: int = 17
    height: int = 64
    width: int = 64
    fps: float = 8.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be rendered."""
        own = type(self).kind
        if self.kind != own:
            raise InputError(f"world kind {self.kind!r} has other fields than {own!r}; {_remedy(self.kind)}")
        if self.num_frames < 1:
            raise InputError(f"num_frames {self.num_frames}: a clip has at least 1; try 17")
        if min(self.height, self.width) < 16:
            raise InputError(
                f"{self.height} x {self.width} pixels: worlds need at least 16 x 16; try 64 x 64"
            )
        if not self.fps > 0:
            raise InputError(f"fps {self.fps} is not positive; try 8")
        if self.seed < 0:
            raise InputError(f"seed {self.seed} is negative; give 0 or more")

    @classmethod
    def variant(cls, values: Mapping[str, Any]) -> "type[WorldConfig]":
        """The class that plain values of a file are read as, by their kind; InputError for an unknown one."""
        return world_of(values.get("kind", next(iter(WORLDS)))).config


def default_config() -> WorldConfig:
    """The usual world as it is usually rendered."""
    return world_of(next(iter(WORLDS))).config()


class Judge(NamedTuple):
    """What reads a world's clips from their pixels alone.

    read: (uint8 [F, H, W, 3], fps=) -> a reading. compare: (reading, attributes asked for) -> rows of attribute,
    wanted, read, for evaluation/scores.py.
    """

    read: Callable[..., Any]
    compare: Callable[[Any, Mapping[str, Any]], list[tuple[str, Any, Any]]]


class World(NamedTuple):
    """A world as general code sees it.

    config: its class of WorldConfig. clips: (config, count, split) -> Clips; clip i is a function of seed, split and i.
    splits: "train" and "held_out" first. plain: its plainest scenes, which likelihoods are measured on unless told
    otherwise. has_truth: its clips have `truth(index, dense=False)`, a dict of arrays, those of every pixel if dense.
    judge: None where it has none yet.
    """

    config: type[WorldConfig]
    clips: Callable[[Any, int, str], Any]
    splits: tuple[str, ...]
    plain: WorldConfig
    has_truth: bool = False
    judge: Judge | None = None


def world_of(kind: str) -> World:
    """The world of a kind; InputError, with the near miss, for an unknown one."""
    if kind not in tuple(WORLDS):
        raise InputError(f"world kind {kind!r} is unknown; {_remedy(kind)}")
    return import_module(WORLDS[kind]).WORLD


def _remedy(kind: Any) -> str:
    return near_miss(str(kind), list(WORLDS))
