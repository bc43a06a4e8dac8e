"""The world in depth: the first 24 held-out clips with their captions, four frames of each; nothing picked.

python examples/depth_world.py [--out docs/depth_world.jpg] [--seed 0] [--size 128]
"""

import argparse
import textwrap

import numpy as np
from PIL import Image, ImageDraw

from tubelet.worlds.depth.clips import DepthClips
from tubelet.worlds.depth.config import DepthConfig

CLIPS, COLUMNS, FRAMES, GAP, LINE = 24, 2, 4, 2, 12


def panel(clips: DepthClips, index: int) -> Image.Image:
    """A clip's caption over frames from its first to its last."""
    frames = clips.frames(index).numpy()  # [F, H, W, 3]
    shown = frames[np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)]
    strip = np.concatenate(list(np.pad(shown, ((0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)), 1)
    image = Image.new("RGB", (strip.shape[1] + 2 * GAP, strip.shape[0] + 2 * LINE + GAP), "white")
    image.paste(Image.fromarray(strip), (0, 2 * LINE))
    lines = textwrap.wrap(clips.captions(index)[0], strip.shape[1] // 6)[:2]
    ImageDraw.Draw(image).text((1, 0), "\n".join(lines), fill="black", spacing=0)
    return image


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="docs/depth_world.jpg")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=128)
    arguments = parser.parse_args()
    config = DepthConfig(seed=arguments.seed, height=arguments.size, width=arguments.size)
    clips = DepthClips(config, CLIPS, "held_out")
    panels = [np.asarray(panel(clips, index)) for index in range(CLIPS)]
    rows = [np.concatenate(panels[k : k + COLUMNS], 1) for k in range(0, CLIPS, COLUMNS)]
    Image.fromarray(np.concatenate(rows)).save(arguments.out, quality=92, subsampling=0)
    print(arguments.out)


if __name__ == "__main__":
    main()
