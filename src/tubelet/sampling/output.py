"""What a pipeline returns: frames in the form asked for, and how they were made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from tubelet.errors import InputError
from tubelet.sampling.recipe import Recipe
from tubelet.sampling.record import Record
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
        path, count = Path(path), len(self.frames)
        files = [path] if count == 1 else [path.with_stem(f"{path.stem}-{i}") for i in range(count)]
        for number, file in enumerate(files):
            self.write(file, number, fps=fps)
        return files

    def write(self, path: str | Path, number: int, *, fps: float | None = None) -> None:
        """Write one of the videos, with its recipe, to exactly this path."""
        clip, fps = self.clip(number), self.fps if fps is None else fps
        record = Record.of(self.recipe, number, clip, fps, Path(path).suffix)
        write_video(path, clip, fps=fps, metadata=record.metadata())

    def clip(self, number: int) -> Tensor:
        """One of the videos as uint8 frames [F, H, W, 3]. InputError for latents."""
        if self.video is None:
            raise InputError('latents cannot be written as video; use output_type "np", "pt" or "pil"')
        return to_frames(self.video[number : number + 1])[0]
