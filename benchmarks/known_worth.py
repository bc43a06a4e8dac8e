"""What knowing something is worth to a denoiser: its held-out loss on the same latents, knowing and not knowing.

python benchmarks/known_worth.py RUN [--sheet FILE.png]

RUN is the folder of a training with [known] content. Of each kind that it measures a JSON line: the loss of the latents
that are not known, at each noise level and as a mean, where the content is given and where the same latents are
predicted without.
--sheet draws samples instead (30 Euler steps, guidance 4): a row for each of five held-out clips, every fourth frame of
the clip, then of samples that know its first frame in place, its last as a reference, both, and nothing.
"""

import argparse
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import torch
from einops import rearrange
from runs import task_of
from torch import Tensor

from tubelet.diffusion.guidance import guide
from tubelet.model.references import Reference
from tubelet.shapes import Text
from tubelet.training.batches import Content
from tubelet.training.denoiser_task import HELD_OUT_TIMES, DenoiserTask
from tubelet.training.known import NOTHING, Kind, KnownConfig, measured_kinds
from tubelet.video import to_frames, write_video

CLIPS, STEPS, GUIDANCE = 5, 30, 4.0


@torch.no_grad()
def losses(task: DenoiserTask, kind: Kind, level: float) -> Iterator[tuple[Tensor, Tensor]]:
    """The losses of held-out clips at a noise level, knowing and not knowing, of the same latents and noise."""
    for content in task.samples.held_out(0, kind):
        t = torch.full((len(content.x0), 1), level, dtype=torch.float64)
        blind = content._replace(unknown=None, known=None, references=())
        without = task.noised(blind, t)._replace(unknown=content.unknown)
        with task.run.loop.autocast():
            yield tuple(  # pyright: ignore[reportReturnType]
                task.terms(batch, task.network(batch.xt, batch.t, batch.text, batch.references))["loss"]
                for batch in (task.noised(content, t), without)
            )


@torch.no_grad()
def sampled(task: DenoiserTask, content: Content) -> Tensor:
    """Latents [B, C, f, h, w] from noise, by Euler steps of a model that predicts the velocity of a rectified flow."""
    unknown = torch.ones(1, 1, 1, 1, 1) if content.unknown is None else content.unknown
    text = Text.concatenate([content.text, *[task.null] * len(content.x0)])
    beside = [Reference(torch.cat((x, x)), frame) for x, frame in content.references]
    x, times = torch.where(unknown > 0, content.noise, content.x0), torch.linspace(1, 0, STEPS + 1)
    for t, s in pairwise(times):
        when = (t * unknown).expand(len(x), *unknown.shape[1:])
        with_prompt, without = task.network(torch.cat((x, x)), torch.cat((when, when)), text, beside).chunk(2)
        x = x + (s - t) * guide(with_prompt, without, GUIDANCE) * unknown
    return x


@torch.no_grad()
def sheet(task: DenoiserTask) -> Tensor:
    """The picture that --sheet draws, uint8 [1, rows, columns, 3]."""
    last = measured_kinds(KnownConfig(last=1.0), task.sizes[0].shape[1])["last"]
    nothing, beside = (next(task.samples.held_out(0, kind)) for kind in (NOTHING, last))
    some = slice(0, CLIPS)
    nothing = Content(nothing.x0[some], nothing.noise[some], nothing.text[some])
    unknown = (torch.arange(nothing.x0.shape[2]) > 0).view(1, 1, -1, 1, 1)
    references = tuple(Reference(x[some], frame) for x, frame in beside.references)
    known = [
        nothing._replace(unknown=unknown),
        nothing._replace(references=references),
        nothing._replace(unknown=unknown, references=references),
        nothing,
    ]
    columns = []
    for latents in (nothing.x0, *(sampled(task, content) for content in known)):
        frames = to_frames(task.codec.decode(latents).clamp(-1, 1))[:, ::4]  # [B, n, H, W, 3]
        column = rearrange(frames, "clip frame row column colour -> (clip row) (frame column) colour")
        columns.append(torch.nn.functional.pad(column, (0, 0, 0, 8), value=255))
    return torch.cat(columns, dim=1)[None]


def main() -> None:
    """Print a line for each kind, or draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    task = task_of(options.run)
    if options.sheet is not None:
        write_video(options.sheet, sheet(task))
        return
    for name, kind in task.samples.measured(task.sizes[0], 0).items():
        if kind.each_frame:  # knows nothing
            continue
        row: dict[str, float | str] = {"kind": name}
        means = []
        for level in HELD_OUT_TIMES:
            given, without = (
                float(torch.cat(rows).mean()) for rows in zip(*losses(task, kind, level), strict=True)
            )
            means.append((given, without))
            row |= {f"knowing_{level:g}": round(given, 4), f"without_{level:g}": round(without, 4)}
        given, without = (sum(each) / len(means) for each in zip(*means, strict=True))
        print(json.dumps({**row, "knowing": round(given, 4), "without": round(without, 4)}), flush=True)


if __name__ == "__main__":
    main()
