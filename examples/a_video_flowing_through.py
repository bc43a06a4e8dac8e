"""One clip on its way through the shipped model, drawn: frames, latents, noise, tokens, what they see, and back.

python examples/a_video_flowing_through.py [--prompt TEXT] [--out docs/flow.png]
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import torch
from einops import rearrange
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from tubelet import VideoPipeline
from tubelet.diffusion.process import add_noise
from tubelet.draws import normal, stream
from tubelet.model.foldings import VIEWS
from tubelet.model.layout import Layout
from tubelet.model.references import Outline
from tubelet.model.transformer import plan_of
from tubelet.model.tubelets import cut, grid_of
from tubelet.video import to_frames

T = 0.6
SEEN = [  # folding, view, and who has it
    ("joint", "all", "all heads of all layers"),
    ("space_then_time", "space", "in one layer"),
    ("space_then_time", "time", "in the next"),
    ("split_heads", "space", "half of the heads"),
    ("split_heads", "time", "the other half"),
    ("window", "window", "in one layer"),
    ("window", "shifted_window", "in the next"),
]


def strip(video: Tensor, every: int) -> Tensor:
    """Some frames of video [1, 3, F, H, W] side by side: uint8 [H, n W, 3]."""
    return torch.cat(list(to_frames(video.clamp(-1, 1))[0, ::every]), dim=1)


def picture(latents: Tensor) -> Tensor:
    """The first three channels of latents [1, C, f, h, w] as colours, frame beside frame: [h, f (w + 1), 3] in 0..1."""
    shown = (latents[0, :3] / 6 + 0.5).clamp(0, 1)
    shown = torch.nn.functional.pad(shown, (0, 1), value=1.0)
    return rearrange(shown, "c f h w -> h (f w) c")


def show(axes: Axes, image: Tensor, title: str, words: str, **options: Any) -> None:
    """An image between what it is and how it came about."""
    axes.imshow(image.numpy(), interpolation="nearest", **options)
    axes.set_title(title, fontsize=9, fontweight="bold")
    axes.set_xlabel(words, fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])


class Journey(NamedTuple):
    """What a clip is on its way: video, latents, noisy latents, pieces of tokens, what is predicted, and its layout."""

    video: Tensor
    x0: Tensor
    xt: Tensor
    pieces: Tensor
    x0_hat: Tensor
    decoded: Tensor
    layout: Layout


@torch.no_grad()
def journey(pipe: VideoPipeline, prompt: str) -> Journey:
    """A clip of the prompt, sent through once more at time T."""
    model, path = pipe.transformer, pipe.reverse.path
    video = pipe(prompt, seed=0, output_type="pt").video
    assert video is not None
    x0 = pipe.codec.encode(video.clamp(-1, 1)).mean  # [1, C, f, h, w]
    t = torch.full((1, 1, 1, 1, 1), T)
    xt = add_noise(path, x0, normal(stream(0), tuple(x0.shape)), t.double())
    pieces = cut(xt, model.config.tubelet)  # [1, N, C volume]
    x0_hat = pipe.reverse.x0(model(xt, t, pipe.text_encoder.encode([prompt])), xt, torch.tensor([T]))
    grid = grid_of(tuple(x0.shape[2:]), model.config.tubelet)
    layout = plan_of(model.config, (Outline(grid),), torch.device("cpu")).layout
    return Journey(video, x0, xt, pieces, x0_hat, pipe.codec.decode(x0_hat), layout)


def drawn(way: Journey, tubelet: tuple[int, int, int]) -> Figure:
    """The picture."""
    figure = Figure(figsize=(13, 9.2), layout="constrained")
    rows = figure.subfigures(4, 1, height_ratios=[1, 1, 1.5, 1])
    (grid,) = way.layout.grids
    size, lie = (" x ".join(map(str, each)) for each in (tubelet, grid))
    video, latents = (", ".join(map(str, x.shape[1:])) for x in (way.video, way.x0))
    left, right = rows[0].subplots(1, 2)
    show(
        left,
        strip(way.video, 4),
        f"1  video [B, {video}]",
        "every fourth frame; `video.py` makes it of bytes and back",
    )
    words = "three of the channels; `CausalCodec.encode`: the first frame alone, then four to a latent"
    show(right, picture(way.x0), f"2  latents [B, {latents}]", words)
    left, right = rows[1].subplots(1, 2)
    words = "`diffusion.process.add_noise`: on this path alpha = 1 - t, sigma = t"
    show(left, picture(way.xt), f"3  xt = alpha x0 + sigma noise, t = {T}", words)
    title = (
        f"4  tokens [B, {grid.tokens}, D], from pieces [B, {grid.tokens}, {way.pieces.shape[2]}] (columns)"
    )
    words = f"`model.tubelets`: {size} latents each, {lie} of them"
    show(right, way.pieces[0].T, title, words, cmap="RdBu", aspect="auto")
    title = "5  each block: norm, attend, read the prompt, feed forward. What a token (row) sees, by folding"
    rows[2].suptitle(title, fontsize=9, fontweight="bold")
    for axes, (name, view, who) in zip(rows[2].subplots(1, len(SEEN)), SEEN, strict=True):
        keys = VIEWS[view](way.layout, (2, 2, 2))
        seen = (keys[:, None] == keys).float()
        show(axes, seen, f"{name}\n{view}", who, cmap="Greys", vmin=0, vmax=1)
    left, right = rows[3].subplots(1, 2)
    words = "`VideoTransformer` predicts the velocity; `targets.py` makes it x0; a sampler repeats 3 to 6"
    show(left, picture(way.x0_hat), "6  predicted x0", words)
    words = f"`CausalCodec.decode`: what the model knows after one look at t = {T}"
    show(right, strip(way.decoded, 4), "7  decoded", words)
    return figure


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompt", default="a large red circle moves right on a blue background")
    parser.add_argument("--out", type=Path, default=Path("flow.png"))
    options = parser.parse_args()
    pipe = VideoPipeline.from_pretrained()
    figure = drawn(journey(pipe, options.prompt), pipe.transformer.config.tubelet)
    figure.savefig(options.out, dpi=110)


if __name__ == "__main__":
    main()
