"""What the long run says of itself: read from its folder, whether or not it is at work."""

import sys
import time
import tomllib
from pathlib import Path

from place import PIN, ROOT, Place
from processes import is_paused

sys.path.insert(0, str(ROOT / "src"))  # these modules of the package need Python alone

from tubelet.progress import duration
from tubelet.training.account import account_of, rate_of, words

LATELY, FORECAST = 600, 3600  # seconds of the rate that is told, and of the one that the end is expected by


def standing(place: Place) -> str:
    """Whether it is at work, in a line."""
    if pid := place.process:
        paused = f"paused as process {pid}; make long-run-continue lets it go on"
        return f"the long run is {paused if is_paused(pid) else f'at work as process {pid}'}"
    if (place.run / "final").exists():
        return f"the long run is done: {place.run / 'final'}"
    return "the long run is not at work; make long-run goes on with it"


def last_words(place: Place) -> str:
    """The last line of what the process said."""
    said = place.output.read_bytes()[-4000:].decode(errors="replace") if place.output.exists() else ""
    lines = said.replace("\r", "\n").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "nothing")


def status(place: Place) -> str:
    """How far it is, how fast, what it used, when it was saved, how good it was last, when it will end."""
    pin = tomllib.loads(PIN.read_text())
    commit = pin["commit"][:10] or "no commit yet: longrun/pin.toml names it"
    rows = [standing(place), f"  pinned       {pin['config']} at {commit}, in {place.runs}"]
    if place.notes.exists():
        rows.append(f"  last words   {last_words(place)}")
    if size := sum(file.stat().st_size for file in place.cache.rglob("*") if file.is_file()):
        beside = ", ".join(name for name in place.processes if name != "train")
        rows.append(f"  cache        {size / 1e9:.2f} GB" + (f", growing by {beside}" if beside else ""))
    return "\n".join(rows + training(place))


def training(place: Place) -> list[str]:
    """The rows about training, none before it has begun."""
    log, warm = place.run / "log.jsonl", place.begun_with
    events = words(log) if log.exists() else []
    account = account_of(events)
    if account is None:
        return []
    done, planned = warm["samples"] + account.samples, warm["samples"] + account.planned
    lately, overall = rate_of(events, LATELY), account.samples / account.wall if account.wall else 0.0
    rows = [f"  samples      {done:,} of {planned:,} ({done / planned:.1%}), {account.sessions} sessions"]
    if warm["samples"]:
        rows.append(f"  warm restart from the averaged weights at {warm['samples']:,} samples")
    rows += [
        f"  rate         {lately:.2f} samples/s lately, {overall:.2f} overall",
        f"  CPU time     {account.cpu / 3600:.2f} core-hours in all sessions"
        + (f", {encoding(place) / 3600:.2f} of encoding beside them" if encoding(place) else ""),
        f"  checkpoint   {checkpoint(place.steps)}",
        f"  held out     {measured(account.held_out)}",
    ]
    left = account.planned - account.samples
    if left > 0 and (rate := rate_of(events, FORECAST)):
        end = time.strftime("%a %d %b %H:%M", time.localtime(time.time() + left / rate))
        rows.append(f"  end          in {duration(left / rate)} at this rate: {end}, without pauses")
    return rows


def encoding(place: Place) -> float:
    """Processor time of the processes that encoded to the end beside the training, seconds."""
    return sum(line["cpu"] for line in words(place.encoding)) if place.encoding.exists() else 0.0


def checkpoint(steps: list[Path]) -> str:
    """The newest one and its age."""
    if not steps:
        return "none yet"
    return f"{steps[-1].name}, {duration(max(0.0, time.time() - steps[-1].stat().st_mtime))} old"


def measured(held_out: dict[str, float]) -> str:
    """The last held-out losses on a line."""
    return "  ".join(f"{name} {value:.4g}" for name, value in held_out.items()) or "nothing yet"
