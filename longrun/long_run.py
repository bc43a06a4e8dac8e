"""The long run: it goes on whenever the machine is on, from a clone of this repository at a pinned commit.

    python longrun/long_run.py start | pause | continue | stop | status | keep [--runs FOLDER] [--cores N] [--nice N]

`make long-run`, `long-run-pause` and so on call this. All that it needs lies in FOLDER, outside of this repository, and
is made again from nothing where it is missing:

    clone/         this repository at the commit of longrun/pin.toml, with a .venv/ by its own Makefile
    cache/         encoded clips          compiled/    programs of torch.compile
    run/           checkpoints, log.jsonl, previews
    output.txt     what is said           processes.json  who says it

The process is detached, of the lowest priority and on one thread; where the kernel shares the processor among sessions
first (autogroup on Linux) its session still has an equal share, so that other work does not bring it to a stop. It is
`tubelet train`: first it encodes clips that the cache lacks, then it trains. With --cores N further N - 1 processes
encode beside it until the cache is whole. Where run/ holds no state but longrun/averaged/ holds the copy of averaged
weights that `keep` makes, a new run begins with these and does what is left: a warm restart. Only Python itself is
needed here, since .venv/ may not exist yet; pausing needs Linux.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from place import AVERAGED, PIN, ROOT, Place, Refused, pinned
from processes import family, is_paused, send
from status import last_words, standing, status

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS")
PATIENCE = 20  # seconds until a process that has said nothing is taken to be well


def shell(*command: str | Path) -> str:
    """What a command prints; Refused with its last words where it fails."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise Refused(f"{' '.join(map(str, command))} failed; mend this first: {' / '.join(said)}")
    return done.stdout.strip()


def say(text: str) -> None:
    """A line at once: what follows may take minutes."""
    print(text, flush=True)


def make_clone(place: Place, commit: str) -> None:
    """The clone stands at the commit, with its environment."""
    if not place.clone.exists():
        say(f"cloning into {place.clone}")
        making = place.clone.with_name("clone.making")
        shutil.rmtree(making, ignore_errors=True)
        shell("git", "clone", "--quiet", "--no-checkout", ROOT, making)
        os.rename(making, place.clone)
    git = ("git", "-C", place.clone)
    if not (place.clone / "Makefile").exists() or shell(*git, "rev-parse", "HEAD") != commit:
        say(f"the clone goes to commit {commit[:10]}")
        shell(*git, "fetch", "--quiet", ROOT, "HEAD")  # this repository may lie elsewhere by now
        shell(*git, "checkout", "--quiet", "--force", "--detach", commit)
    if not (place.clone / ".venv" / ".core").exists():
        say("making the clone's .venv/, which takes minutes")
    shell("make", "--no-print-directory", "-C", place.clone, ".venv/.core")


def link_data(place: Place) -> None:
    """Folders of clips that do not stand in the repository appear in the clone, under the names the config has."""
    data = Path(os.environ.get("TUBELET_DATA", ROOT.parent / "shared" / "data")).resolve()
    for name in tomllib.loads(PIN.read_text()).get("data", []):
        if not (data / name).is_dir():
            raise Refused(
                f"there is no folder {data / name}; set TUBELET_DATA to the folder that holds {name}"
            )
        (place.clone / name).unlink(missing_ok=True)  # the data may lie elsewhere by now
        (place.clone / name).symlink_to(data / name)


def warm_restart(place: Place) -> None:
    """A new run in run/ begins with the averaged weights, and a note in it says so. What was there is moved aside."""
    index = json.loads((AVERAGED / "model_index.json").read_text())
    if place.run.exists():
        os.rename(place.run, place.run.with_name(f"run-until-{time.time():.0f}"))
    shutil.rmtree(place.runs / "start", ignore_errors=True)
    shutil.copytree(AVERAGED, place.runs / "start")
    place.run.mkdir()
    place.warm.write_text(json.dumps({"step": index["step"], "samples": index["samples"]}))
    event = {"event": "warm_restart", "time": time.time(), "samples": index["samples"]}
    (place.run / "log.jsonl").write_text(json.dumps(event) + "\n")


def flags_of(place: Place, config: str) -> list[str]:
    """What is told to `tubelet train` besides the config. Paths are relative, so that the folder may be moved."""
    flags = ["--loop.out", "../run", "--cache", "../cache"]
    if not place.warm.exists():
        return flags
    # What is left of the run, by other samples and draws than those of its beginning.
    loop, done = tomllib.loads((place.clone / config).read_text())["loop"], place.begun_with["step"]
    flags += ["--loop.start-from", "../start", "--loop.seed", str(loop.get("seed", 0) + done)]
    flags += ["--loop.schedule.steps", str(loop["schedule"]["steps"] - done)]
    kept = [str(step - done) for step in loop.get("keep_at", []) if step > done]
    return flags + (["--loop.keep-at", *kept] if kept else [])


def start(place: Place, cores: int, nice: int) -> None:
    """Go on with the run, or begin it, unless it is at work or done."""
    commit, config = pinned()
    with place.alone():
        if place.process or (place.run / "final").exists():
            say(standing(place))
            return
        make_clone(place, commit)
        link_data(place)
        if not place.steps and (AVERAGED / "model_index.json").exists():
            warm_restart(place)
        working, run = place.processes, [str(place.python), "-m", "tubelet", "train", config]
        encode = [str(place.python), "longrun/encode_all.py", config, "../cache", "../encoding.jsonl"]
        child = launch(place, nice, [*run, *flags_of(place, config)])
        working["train"] = child.pid
        for name in (f"encode {number}" for number in range(1, cores)):
            working[name] = working.get(name) or launch(place, nice, encode).pid
        place.note(working)
    if ended_at_once(child, place):
        raise Refused(f"it ended at once; {place.output} has its words: {last_words(place)}")
    say(standing(place))


def launch(place: Place, nice: int, command: list[str]) -> subprocess.Popen:
    """A process that outlives this one and its terminal, on one thread."""
    environment = os.environ | dict.fromkeys(THREADS, "1")
    environment |= {"PYTHONPATH": str(place.clone / "src")}
    environment |= {"TORCHINDUCTOR_CACHE_DIR": str(place.runs / "compiled")}
    with place.output.open("ab") as said:
        said.write(f"{time.strftime('%F %T')} {' '.join(command)}\n".encode())
        said.flush()
        child = subprocess.Popen(
            ["nice", "-n", str(nice), *command], cwd=place.clone, env=environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=said, stderr=said,
        )  # fmt: skip
    return child


def ended_at_once(child: subprocess.Popen, place: Place) -> bool:
    """Whether it fails before it has said a word, or within a second of that; after a while it is taken to be well."""
    size, patience = place.output.stat().st_size, time.monotonic() + PATIENCE
    while time.monotonic() < patience and child.poll() is None and place.output.stat().st_size == size:
        time.sleep(0.1)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(1)
    return bool(child.poll())


def pause(place: Place) -> None:
    """Stop the processes and their workers where they are."""
    for _ in range(2):  # a worker may have been born meanwhile
        for pid in place.processes.values():
            send(signal.SIGSTOP, family(pid))
    while not all(map(is_paused, place.processes.values())):  # the system takes its moment
        time.sleep(0.01)
    say(standing(place))


def go_on(place: Place) -> None:
    """Let paused processes and their workers go on."""
    for pid in place.processes.values():
        send(signal.SIGCONT, family(pid)[::-1])
    say(standing(place))


def stop(place: Place) -> None:
    """Save and end, within the step that is being computed; what is paused goes on for that."""
    for pid in place.processes.values():
        send(signal.SIGCONT, family(pid)[::-1])
        send(signal.SIGTERM, [pid])
    while place.processes:
        time.sleep(0.2)
    say(standing(place))


def keep(place: Place) -> None:
    """Copy the newest averaged weights into longrun/averaged/, in bf16: to be committed, for a warm restart."""
    if not place.steps:
        raise Refused(f"{place.run} holds no checkpoint to copy yet; ask again when it does")
    loop = tomllib.loads((place.clone / pinned()[1]).read_text())["loop"]
    step = place.begun_with["step"] + int(place.steps[-1].name.removeprefix("step-"))
    copy = place.clone / "longrun" / "copy_averaged.py"
    numbers = [str(step), str(step * loop["batch_size"])]
    environment = os.environ | {"PYTHONPATH": str(place.clone / "src")}
    subprocess.run([place.python, copy, place.steps[-1], AVERAGED, *numbers], check=True, env=environment)
    say(f"{AVERAGED} holds the averaged weights of step {step}; commit it")


COMMANDS = {
    "pause": pause,
    "continue": go_on,
    "stop": stop,
    "keep": keep,
    "status": lambda place: say(status(place)),
}


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["start", *COMMANDS])
    parser.add_argument("--runs", type=Path, default=ROOT.parent / "long-run")
    parser.add_argument("--cores", type=int, default=1, help="all but one encode clips beside the training")
    parser.add_argument("--nice", type=int, default=19, help="of its processes: 19 yields within a session")
    arguments = parser.parse_args()
    place = Place(arguments.runs)
    try:
        if arguments.command == "start":
            start(place, arguments.cores, arguments.nice)
        else:
            COMMANDS[arguments.command](place)
    except Refused as problem:
        print(f"long run: {problem}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
