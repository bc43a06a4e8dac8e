"""Stands in for the package in tests of the long run: `tubelet train` without torch, fifty steps a second."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path


def main() -> None:
    command, config, *flags = sys.argv[1:]
    given = dict(zip(flags[::2], flags[1::2], strict=True))
    loop = tomllib.loads(Path(config).read_text())["loop"]
    out, size = Path(given["--loop.out"]), loop["batch_size"]
    steps = int(given.get("--loop.schedule.steps", loop["schedule"]["steps"]))
    Path(given["--cache"]).mkdir(exist_ok=True)
    out.mkdir(exist_ok=True)
    found = sorted(out.glob("step-*"))
    step = int(found[-1].name[5:]) if found else 0

    def say(kind: str, **values: object) -> None:
        with (out / "log.jsonl").open("a") as log:
            log.write(json.dumps({"event": kind, "time": time.time(), "step": step, **values}) + "\n")

    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    (out / "worker").write_text(str(worker.pid))
    kept = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "TORCHINDUCTOR_CACHE_DIR")}
    kept |= {"nice": os.nice(0), "session": os.getsid(0) == os.getpid(), "flags": given, "command": command}
    run = {"loop": {"batch_size": size, "schedule": {"steps": steps}}}
    say("begin", run=run, parameters=7, flops_per_sample=10, told=kept)
    print(f"training from step {step}", flush=True)
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    begun = time.process_time()
    while step < steps and not stopped:
        time.sleep(0.02)
        step += 1
        say("step", loss=1.0, cpu=round(1800 + time.process_time() - begun, 3))
        if step % 5 == 0:
            (out / f"step-{step:07d}").mkdir(exist_ok=True)
            say("held_out", samples=step * size, held_out_loss=1 / step)
            shutil.rmtree(out / f"step-{step - 10:07d}", ignore_errors=True)
    if stopped:
        (out / f"step-{step:07d}").mkdir(exist_ok=True)
    else:
        (out / "final").mkdir()
        say("end", held_out={"held_out_loss": 0.1})
    worker.kill()


if __name__ == "__main__":
    main()
