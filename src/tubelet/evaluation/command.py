"""What `tubelet bound` calls."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from tubelet.data.clips import Clips
from tubelet.data.source import DataConfig, held_out_clips, training_clips
from tubelet.data.views import FirstClips
from tubelet.errors import InputError
from tubelet.evaluation.likelihood import BoundTable, bound_table, standard_error
from tubelet.progress import progress
from tubelet.sampling.pipeline import Scheduler, VideoPipeline
from tubelet.worlds import WORLDS, default_config, world_of

FITTED = 32  # training clips that a latent model's decoder is fitted on


@dataclass(frozen=True, kw_only=True)
class BoundFlags:
    """The variational bound of a checkpoint on held-out clips, term by term, in bits per pixel value.

    checkpoint: its folder; "default" is the shipped one.
    data: a folder of clips with metadata.jsonl, cut and made smaller to what the checkpoint was trained on; or a kind
        of world, its plainest scenes ("world" is the flat one, with one object). Its held-out clips are measured.
    caption: the attribute of a clip that stands for its caption, for a checkpoint of labels.
    clips: how many of them.
    rows: rows of the table; each costs one network call a clip.
    steps: of the chain; training's own when left out.
    variance: "small" or "large" instead of the checkpoint's own.
    flow: also estimate the likelihood by the probability-flow ODE (pixel models; 256 network calls a clip, and as many
        backward).
    out: a .jsonl file for the table and every clip's nats.
    plot: a .png file for the terms against time.
    """

    checkpoint: tyro.conf.Positional[str]
    data: str = "world"
    caption: str | None = None
    clips: int = 64
    rows: int = 21
    steps: int | None = None
    variance: str | None = None
    flow: bool = False
    seed: int = 0
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    plot: Path | None = None


def bound(arguments: list[str]) -> None:
    """Parse the flags, measure, print the table, and write what was asked for."""
    flags = tyro.cli(BoundFlags, args=arguments, prog="tubelet bound")
    for file, suffix in ((flags.out, ".jsonl"), (flags.plot, ".png")):
        if file is not None and (file.suffix != suffix or not file.parent.is_dir()):
            raise InputError(f"{file} must be a {suffix} file in a folder that is there")
    for name, value in (("clips", flags.clips), ("steps", flags.steps)):
        if value is not None and value < 1:
            raise InputError(f"--{name} must be 1 or more, got {value}")
    pipe = VideoPipeline.from_pretrained(None if flags.checkpoint == "default" else flags.checkpoint)
    clips, training = clips_of(flags, pipe.scheduler)
    with progress("measuring clips", len(clips)) as done:
        table = bound_table(
            pipe, clips, training=training, variance=flags.variance, num_steps=flags.steps, num_rows=flags.rows,
            flow=flags.flow, seed=flags.seed, progress=done,
        )  # fmt: skip
    print(report(table, len(clips), f"{flags.checkpoint} on {flags.data}"))
    if flags.out is not None:
        lines: list[dict[str, Any]] = [
            {"clip_nats": term.nats.tolist(), **table.row(term)} for term in table.terms
        ]
        settings = {"checkpoint": pipe.hash, "data": flags.data, "seed": flags.seed, "steps": table.steps}
        lines.append({**settings, "variance": table.variance, "dims": table.dims, **table.row(table.total)})
        flags.out.write_text("".join(json.dumps(line) + "\n" for line in lines))
    if flags.plot is not None:
        draw(table, flags.plot, flags.checkpoint)


def clips_of(flags: BoundFlags, trained: Scheduler) -> tuple[Clips, Clips]:
    """The held-out clips to measure and a few training clips, both of the size that the checkpoint was trained on."""
    kind = default_config().kind if flags.data == "world" else flags.data
    world = world_of(kind).plain if kind in WORLDS else None
    config = DataConfig(
        folder=flags.data if world is None else None, world=world or default_config(), clips=FITTED,
        held_out=flags.clips, caption=flags.caption, frames=trained.num_frames, height=trained.height,
        width=trained.width,
    )  # fmt: skip
    return held_out_clips(config), FirstClips(training_clips(config), FITTED)


def report(table: BoundTable, count: int, what: str) -> str:
    """The table as text."""
    lines = [
        f"{what}: {count} clips of {table.dims} values, {table.steps} steps, {table.variance} variance, guidance 1",
        f"{'term':<12} {'t':<15} {'bits/dim':>9}  {'± s.e.':<8} {'nats/clip':>10}",
    ]
    for row in table.rows():
        span = "" if row["t_low"] is None else f"{row['t_low']:.3f} .. {row['t_high']:.3f}"
        bits, error, nats = row["bits_per_dim"], row["standard_error"], row["nats"]
        lines.append(f"{row['term']:<12} {span:<15} {bits:>9.4f}  {error:<8.4f} {nats:>10.1f}")
    if table.flow is not None:
        flow, error = table.flow.mean().item(), standard_error(table.flow)
        lines.append(f"{'ODE':<12} {'an estimate':<15} {flow:>9.4f}  {error:<8.4f}")
    lines.append(f"{'x264':<12} {'lossless codec':<15} {table.lossless:>9.4f}")
    if table.scale is not None:
        lines.append(
            f"p(x|z) is a discretised Laplace of scale {table.scale:.4f}, fitted on {FITTED} training clips. This "
            "bound on pixels goes through a lossy codec: it is not comparable with models of pixels."
        )
    return "\n".join(lines)


def draw(table: BoundTable, file: Path, title: str) -> None:
    """The terms in bits per dimension and step, against time, as a PNG."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("--plot needs matplotlib: pip install 'tubelet[plot]'") from None
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for row, term in zip(table.rows(), table.terms, strict=False):
        if term.times is None or term.name == "L_T":
            continue
        low, high = term.times
        steps = round((high - low) * table.steps)
        bits, error = row["bits_per_dim"] / steps, row["standard_error"] / steps
        color = "C1" if term.name == "L_0" else "C0"
        start = max(low, 0.5 / table.steps)  # time is shown by its logarithm, in which rows are equally wide
        axes.bar(start, bits, high - start, align="edge", color=color, ec="white", lw=0.5)
        axes.errorbar((start * high) ** 0.5, bits, error, color="black", lw=0.8)
    # A density may exceed 1, so the decoder's term of latents may be negative.
    axes.set_yscale("log" if min(term.nats.mean() for term in table.terms[1:]) > 0 else "asinh")
    axes.set(xlabel="t", ylabel="bits/dim of one step", xscale="log", xlim=(0.5 / table.steps, 1))
    total = table.row(table.total)
    axes.set_title(
        f"{title}: {total['bits_per_dim']:.3f} ± {total['standard_error']:.3f} bits/dim", fontsize=10
    )
    figure.savefig(file, dpi=120)
