"""What a run has done and used so far, read from its log.jsonl; needs no torch, so that it answers at once."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Event = dict[str, Any]


@dataclass(frozen=True)
class Account:
    """Samples of a run, planned and done, and what they cost in all sessions; repeated work is counted in the cost.

    step: the last one that the log tells of. cpu: seconds of processor time; wall: seconds from each session's begin to
    its last word. flops: of forward and backward, of the samples done. held_out: the last measurements.
    """

    batch_size: int
    steps: int
    step: int
    sessions: int
    cpu: float
    wall: float
    flops: float
    parameters: int
    held_out: dict[str, float]
    last: Event
    ended: bool

    @property
    def samples(self) -> int:
        """Samples trained on."""
        return self.step * self.batch_size

    @property
    def planned(self) -> int:
        """Samples of the whole run."""
        return self.steps * self.batch_size


def words(file: str | Path) -> list[Event]:
    """Every event of a log.jsonl, those that a later session repeats too; lines that a kill cut short are not."""
    found: list[Event] = []
    for line in Path(file).read_bytes().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def sessions_of(events: list[Event]) -> list[list[Event]]:
    """The events of each process that trained, from its `begin` on."""
    sessions: list[list[Event]] = []
    for event in events:
        if event["event"] == "begin":
            sessions.append([])
        if sessions:
            sessions[-1].append(event)
    return sessions


def account_of(events: list[Event]) -> Account | None:
    """The account of a log's events; None where no session has begun to train."""
    sessions = sessions_of(events)
    if not sessions:
        return None
    begin, last = sessions[-1][0], sessions[-1][-1]
    loop = begin["run"]["loop"]
    step = max(event.get("step", 0) for event in sessions[-1])
    measured = [event.get("held_out", event) for event in events if event["event"] in ("held_out", "end")]
    plain = ("event", "time", "step", "samples", "cpu")
    return Account(
        batch_size=loop["batch_size"],
        steps=loop["schedule"]["steps"],
        step=step,
        sessions=len(sessions),
        cpu=sum(max((event.get("cpu", 0.0) for event in each), default=0.0) for each in sessions),
        wall=sum(each[-1]["time"] - each[0]["time"] for each in sessions),
        flops=float(begin["flops_per_sample"]) * step * loop["batch_size"],
        parameters=begin["parameters"],
        held_out={k: v for k, v in measured[-1].items() if k not in plain} if measured else {},
        last=last,
        ended=any(event["event"] == "end" for event in sessions[-1]),
    )


def rate_of(events: list[Event], seconds: float) -> float:
    """Samples a second over about the last `seconds` that the last session tells of; 0 where it tells of too few."""
    sessions = sessions_of(events)
    if not sessions:
        return 0.0
    size = sessions[-1][0]["run"]["loop"]["batch_size"]
    steps = [event for event in sessions[-1] if event["event"] == "step"]
    if len(steps) < 2:
        return 0.0
    last = steps[-1]
    since = next(event for event in steps if event["time"] >= last["time"] - seconds)
    since = steps[-2] if since is last else since
    passed = last["time"] - since["time"]
    return (last["step"] - since["step"]) * size / passed if passed > 0 else 0.0
