"""The flags of `tubelet generate`, apart from what runs them, so that --help need not load torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class Generate:
    """Make videos from a text prompt.

    Args:
        prompt: What to show; or a file: .txt with a prompt a line, .csv with a column named prompt.
        out: Where to write: .mp4, .gif, or .png (contact sheet). Several videos are numbered.
        seed: The same seed makes the same video.
        checkpoint: Folder of a checkpoint; the one that ships when left out.
        negative_prompt: What to move away from.
        compose: Further prompts, each with a weight from -1 to 1: above 0 AND, below 0 NOT; the prompt has 1.
        num_frames: 1 + 4k frames; as trained when left out.
        height: Pixels, a multiple of 16; as trained when left out.
        width: Pixels, a multiple of 16; as trained when left out.
        num_inference_steps: Denoising steps.
        guidance_scale: 1 is the model as trained; more follows the prompt more strictly.
        guidance_interval: The times LOW < t <= HIGH that are guided; t goes from 1, noise, to 0.
        guidance_rescale: Share, 0 to 1, by which the guided latents get back the spread of unguided ones.
        guidance_parallel: Share, 0 to 1, of guidance that acts along the prediction itself; less saturates less.
        guidance_threshold: The largest difference, root mean square, that guidance multiplies; 0 is no limit.
        guidance_momentum: What the last step's difference counts in this one's, -1 to 1; below 0 pushes back.
        weaker: Folder of a less trained or smaller checkpoint; guidance moves away from what it makes of the prompt.
        num_videos_per_prompt: Videos of each prompt.
        sampler: euler, heun, ddim, ancestral, dpmpp_2m, dpmpp_3m (or with _sde), unipc_bh1 or unipc_bh2; the
            checkpoint's own when left out.
        grid: How the steps are spaced: uniform in time, log_snr, or karras; the checkpoint's own when left out.
        fps: Frames a second; as trained when left out. A checkpoint trained at several rates is told; of another's
            videos only the speed changes.
    """

    prompt: tyro.conf.Positional[str]
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    seed: int = 0
    checkpoint: Path | None = None
    negative_prompt: str | None = None
    compose: tuple[tuple[str, float], ...] = ()
    num_frames: int | None = None
    height: int | None = None
    width: int | None = None
    num_inference_steps: int = 30
    guidance_scale: float = 4.0
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    guidance_rescale: float = 0.0
    guidance_parallel: float = 1.0
    guidance_threshold: float = 0.0
    guidance_momentum: float = 0.0
    weaker: Path | None = None
    num_videos_per_prompt: int = 1
    sampler: str | None = None
    grid: str | None = None
    fps: float | None = None
