"""From images to videos: a video transformer that begins as an image transformer, or from nothing.   [ViViT 3.4]

    python benchmarks/inflation.py --data FOLDER [--only nothing central average] [--out FOLDER]
        [--image-steps 2000] [--steps 1000] [--plot FILE.png]

A model of configs/pixels.toml learns single frames with tubelets of one frame, then others learn clips with tubelets
of three: from nothing, or from the images' weights with the central frame or the average of frames embedded. All have
the same steps of the same clips. The network predicts x0: a tubelet of three frames has 144 numbers, and the noise in
them, which has no structure, does not pass through 128. A run that is done is not repeated, one that was interrupted
goes on. Prints a JSON line of each, with its curve of held-out loss.
"""

import argparse
import json
from pathlib import Path

from runs import curve, trained

from tubelet.training.log import read_events

STARTS = ("nothing", "central", "average")


def flags_of(arguments: argparse.Namespace, steps: int) -> list[str]:
    """What all runs are told."""
    schedule = {"steps": steps, "warm-up": steps // 25, "cool-down": steps // 4}
    words = [word for key, value in schedule.items() for word in (f"--loop.schedule.{key}", str(value))]
    return [
        "--data", str(arguments.data), "--target", "x0", *words, f"--loop.held-out-every={steps // 20}",
        f"--loop.preview-every={steps}", f"--loop.save-every={steps // 10}", "--loop.keep=1",
    ]  # fmt: skip


def row(name: str, out: Path) -> dict[str, object]:
    """What a run came to."""
    begin, end = read_events(out / "log.jsonl", "begin")[0], read_events(out / "log.jsonl")[-1]
    return {
        "start": name, "steps": end["step"], "samples": end["step"] * begin["run"]["loop"]["batch_size"],
        "flops_per_sample": begin["flops_per_sample"], "curve": curve(out),
    }  # fmt: skip


def plot(rows: list[dict[str, object]], file: Path) -> None:
    """Held-out loss against steps, a line for each start."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for each in rows:
        losses = each["curve"]
        assert isinstance(losses, dict)
        axes.plot(list(losses), list(losses.values()), label=str(each["start"]))
    axes.set(xlabel="step", ylabel="held-out loss", yscale="log")
    axes.legend(title="started from")
    figure.savefig(file, dpi=120)


def main() -> None:
    """Train the images, then a video model from each start, and print and plot what they came to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="configs/pixels.toml")
    parser.add_argument("--data", required=True, help="folder of clips")
    parser.add_argument("--only", nargs="+", choices=STARTS, default=list(STARTS))
    parser.add_argument("--image-steps", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=1000, help="of each video run")
    parser.add_argument("--out", type=Path, default=Path("runs/inflation"))
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    images = arguments.out / "images"
    if set(arguments.only) - {"nothing"}:
        trained(arguments.config, images, [*flags_of(arguments, arguments.image_steps), "--data.frames", "1"])
        print(json.dumps(row("images", images)), flush=True)
    rows = []
    for name in arguments.only:
        flags = [*flags_of(arguments, arguments.steps), "--model.tubelet", "3", "4", "4"]
        if name != "nothing":
            flags += ["--loop.start-from", str(images / "final"), "--inflation", name]
        rows.append(row(name, trained(arguments.config, arguments.out / name, flags)))
        print(json.dumps(rows[-1]), flush=True)
    if arguments.plot is not None:
        plot(rows, arguments.plot)


if __name__ == "__main__":
    main()
