"""What a pipeline returns: frames in the form asked for, and how they were made."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from tubelet.errors import InputError
from tubelet.sampling.recipe import Recipe
from tubelet.video import to_frames, write_video


@dataclass
class VideoOutput:
    """frames: what `output_type` says. recipe: everything needed to make them again."""

    frames: Any
    fps: float
    recipe: Recipe
    video: Tensor | None = None

    @classmethod
    def of(cls, video: Tensor, output_type: str, fps: float, recipe: Recipe) -> Self:
        """From video [B, 3, F, H, W] in [-1, 1]; output_type "np", "pt" or "pil"."""
        share = (video + 1) / 2  # [B, 3, F, H, W]
        frames: Any = share.permute(0, 2, 1, 3, 4)  # [B, F, 3, H, W]
        if output_type == "np":
            frames = share.permute(0, 2, 3, 4, 1).contiguous().numpy()
        elif output_type == "pil":
            from PIL import Image

            frames = [[Image.fromarray(f.numpy()) for f in clip] for clip in to_frames(video)]
        return cls(frames, fps, recipe, video)

    def save(self, path: str | Path, *, fps: float | None = None) -> list[Path]:
        """Write mp4, gif or a png contact sheet, by suffix, each with its recipe; returns the files.

        Several videos are numbered: out.mp4 becomes out-0.mp4, out-1.mp4, ... InputError for latents.
        """
        if self.video is None:
            raise InputError('latents cannot be written as video; use output_type "np", "pt" or "pil"')
        path = Path(path)
        clips = to_frames(self.video)  # [B, F, H, W, 3]
        one = len(clips) == 1
        files = [path if one else path.with_stem(f"{path.stem}-{i}") for i in range(len(clips))]
        for i, (file, clip) in enumerate(zip(files, clips, strict=True)):
            recipe = {**asdict(self.recipe), "video": i}
            write_video(
                file, clip, fps=self.fps if fps is None else fps, metadata={"tubelet": json.dumps(recipe)}
            )
        return files
