"""Train the denoiser on a GPU machine without network, within a number of minutes; the same command goes on.

    export PYTHONPATH=src:.gpu-bundle/site; python benchmarks/gpu/unpack.py .gpu-bundle
    python benchmarks/gpu/train.py configs/denoiser.toml --minutes 8 --set loop.batch_size=1024

Clips are rendered on all cores and encoded on the device, then the project's own loop trains (see device_task.py for
the draws). The run's folder keeps whole checkpoints; --back receives log, averaged weights and raw weights in bf16, in
pieces of 15 MB (see join.py). Where the run's folder is lost, --warm BACK goes on from those pieces.
"""

import argparse
import importlib.util
import os
import shutil
import signal
import threading
import time
import tomllib
from pathlib import Path
from typing import Any

import torch
from cut_text import NAME, CutMiniLM, register
from device_task import DeviceTask
from pieces import split, state_of, warm_start
from world_data import cores, fill_cache

from tubelet.errors import InputError
from tubelet.training import loop as loops
from tubelet.training.config import DenoiserRun, from_dict, read_run, to_dict
from tubelet.training.folder import sole_use
from tubelet.training.log import Log

BEGUN = time.monotonic()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--bundle", type=Path, default=Path(".gpu-bundle"))
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder of the run")
    parser.add_argument("--back", type=Path, default=Path(os.environ.get("OUT", "runs/gpu-back")),
                        help="folder of what is to be kept; default: the environment's OUT")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=8.0, help="stop after so many, data making included")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--workers", type=int, default=cores(), help="processes that render")
    parser.add_argument("--warm", type=Path, help="pieces to go on from where --out has no checkpoint")
    parser.add_argument("--graphs", action="store_true", help="compiled steps as CUDA graphs")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="a field of the run, such as model.width=384")  # fmt: skip
    return parser.parse_args()


def run_of(options: argparse.Namespace) -> DenoiserRun:
    """The config with this machine's paths, device and text encoder, then with every --set."""
    values = to_dict(read_run(DenoiserRun, options.config))
    values |= {"codec": "default", "text": NAME, "cache": "cache/gpu"}
    values["loop"] |= {"out": str(options.out), "device": options.device, "compile": True}
    values["loop"] |= {"held_out_every": 500, "preview_every": 10**9, "save_every": 1000, "log_every": 50}
    for word in options.set:
        key, _, text = word.partition("=")
        *path, last = key.split(".")
        table = values
        for name in path:
            table = table.setdefault(name, {})
        table[last] = plain(text)
    return from_dict(DenoiserRun, values)


def plain(text: str) -> Any:
    """A value as TOML would read it; what is none is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def stop_after(seconds: float) -> None:
    """Interrupt the loop as the user would, once it listens: it ends its step, saves, and raises KeyboardInterrupt.

    Before and after the loop the signal is ignored, so that neither set-up nor the writing of results is cut short.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def wait() -> None:
        time.sleep(max(0.0, seconds))
        while signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def without_pictures(path: Path, frames: torch.Tensor) -> None:
    """Stands for the writing of previews where pillow is missing."""
    print(f"no pillow here: {path} is not written")


def go(run: DenoiserRun, options: argparse.Namespace) -> bool:
    """Train until the run is done or the minutes are over; whether it is done."""
    out = Path(run.loop.out)
    with sole_use(out):
        if options.warm is not None and not list(out.glob("step-*")):
            print(f"warm restart: {warm_start(options.warm, out)}")
        fill_cache(run, options.workers)
        log = Log(out)
        task = DeviceTask(run, log)
        log.event("ready", seconds=round(time.monotonic() - BEGUN, 1), clips=len(task.data),
                  bytes=task.store.nbytes)  # fmt: skip
        stop_after(options.minutes * 60 - (time.monotonic() - BEGUN))
        try:
            loops.train(task, run, log)
        except KeyboardInterrupt:
            return False
    return True


def give_back(run: DenoiserRun, options: argparse.Namespace) -> None:
    """Write log, last preview and the newest checkpoint in pieces into --back."""
    out, back = Path(run.loop.out), options.back
    newest = max(out.glob("step-*"))
    text = CutMiniLM(options.bundle / NAME).note if run.text == NAME else {}
    files = split(back, *state_of(newest, text))
    kept = [out / "log.jsonl", *sorted(out.glob("preview-*.png"))[-1:]]
    for file in kept:
        shutil.copyfile(file, back / file.name)
    for file in [*files, *(back / file.name for file in kept)]:
        print(f"{file.stat().st_size:>12,} bytes  {file}")


def main() -> None:
    """Train, and write what is to be kept."""
    options = arguments()
    try:
        run = run_of(options)
        register(options.bundle, options.device)
        if importlib.util.find_spec("PIL") is None:
            loops.write_video = without_pictures
        if options.graphs:
            import torch._inductor.config as inductor

            inductor.triton.cudagraphs = True
        try:
            done = go(run, options)
        finally:  # a run that broke off keeps what it had
            if list(Path(run.loop.out).glob("step-*")):
                give_back(run, options)
    except InputError as error:
        raise SystemExit(f"train.py: {error}") from None
    print("the run is done" if done else f"minutes are over; the same command goes on from {run.loop.out}")
    print(f"{time.monotonic() - BEGUN:.0f} s in all")


if __name__ == "__main__":
    main()
