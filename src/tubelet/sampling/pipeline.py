"""VideoPipeline: a checkpoint as one callable, with the names diffusers' users know."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from tubelet import __version__, checkpoint
from tubelet.autoencoder.codec import CausalCodec, IdentityCodec, codec_of, codec_part
from tubelet.checkpoint import Part
from tubelet.diffusion.guidance import guide
from tubelet.diffusion.paths import make_path
from tubelet.diffusion.reverse import Reverse
from tubelet.diffusion.samplers import SAMPLERS, time_grid
from tubelet.draws import normal, stream
from tubelet.errors import InputError, near_miss
from tubelet.model.transformer import TransformerConfig, VideoTransformer
from tubelet.sampling.output import VideoOutput
from tubelet.sampling.recipe import (
    Generators,
    Recipe,
    each_negative,
    each_prompt,
    environment,
    noise_keys,
)
from tubelet.shapes import Text
from tubelet.text.encoder import TextEncoder, make_encoder

DEFAULT = Path(__file__).parent.parent / "checkpoints" / "default"
BATCH = 8  # videos denoised together: a bound on memory
OUTPUT_TYPES = ("np", "pt", "pil", "latent")

Callback = Callable[["VideoPipeline", int, float, dict[str, Tensor]], Any]


@dataclass(frozen=True, kw_only=True)
class Scheduler:
    """How the denoiser was trained and is sampled: path, target, sampler, the shift of the time grid, trained sizes."""

    path: str = "rectified_flow"
    target: str = "velocity"
    sampler: str = "euler"
    shift: float = 1.0
    num_frames: int = 17
    height: int = 64
    width: int = 64
    fps: float = 8.0


class VideoPipeline:
    """Text to video. Built by `from_pretrained`; its parts are public: codec, transformer, text_encoder, scheduler."""

    def __init__(
        self,
        codec: CausalCodec | IdentityCodec,
        transformer: VideoTransformer,
        text_encoder: TextEncoder,
        scheduler: Scheduler,
        hash: str = "",
    ):
        self.codec, self.transformer = codec.eval(), transformer.eval()
        self.text_encoder, self.scheduler, self.hash = text_encoder, scheduler, hash
        self.reverse = Reverse(make_path(scheduler.path), scheduler.target)

    @classmethod
    def from_pretrained(cls, folder: str | Path | None = None) -> Self:
        """The checkpoint in `folder`, or the one that ships. Every file is verified: InputError names a damaged one."""
        saved = checkpoint.load(DEFAULT if folder is None else folder)
        missing = {"autoencoder", "transformer", "text_encoder", "scheduler"} - set(saved.parts)
        if missing:
            raise InputError(
                f"{folder} has no {', '.join(sorted(missing))}; give the folder `tubelet train` made"
            )
        text = saved.parts["text_encoder"].config
        encoder = make_encoder(text["name"])
        if encoder.fingerprint != text["fingerprint"]:
            raise InputError(
                f"{folder or 'the shipped checkpoint'} was trained with another build of the text encoder "
                f"{text['name']!r}; install the one it names: {text['fingerprint']}"
            )
        part = saved.parts["transformer"]
        transformer = VideoTransformer(TransformerConfig(**part.config))
        transformer.load_state_dict({name: value.float() for name, value in part.tensors.items()})
        scheduler = Scheduler(**saved.parts["scheduler"].config)
        return cls(codec_of(saved.parts["autoencoder"]), transformer, encoder, scheduler, saved.hash)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a checkpoint folder that `from_pretrained` reads."""
        parts = self.parts()
        checkpoint.save(folder, parts, {"library": "tubelet", "version": __version__, "parts": sorted(parts)})

    def parts(self) -> dict[str, Part]:
        """The checkpoint's parts; the text encoder is named, its weights are not copied."""
        encoder = self.text_encoder
        return {
            "autoencoder": codec_part(self.codec),
            "transformer": Part(
                dataclasses.asdict(self.transformer.config), dict(self.transformer.state_dict())
            ),
            "text_encoder": Part({"name": encoder.name, "fingerprint": encoder.fingerprint}),
            "scheduler": Part(dataclasses.asdict(self.scheduler)),
        }

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.transformer.parameters()).device

    def to(self, device: torch.device | str) -> Self:
        """Move the networks to a device; noise is always drawn on the CPU."""
        self.codec.to(device)
        self.transformer.to(device)
        return self

    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        negative_prompt: str | Sequence[str] | None = None,
        num_frames: int | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 30,
        guidance_scale: float = 4.0,
        num_videos_per_prompt: int = 1,
        generator: Generators | None = None,
        seed: int | None = None,
        sampler: str | None = None,
        output_type: str = "np",
        callback_on_step_end: Callback | None = None,
    ) -> VideoOutput:
        """Videos of the prompts, `num_videos_per_prompt` of each, in the prompts' order.

        Sizes default to those trained on. guidance_scale 1 is the model as trained; negative_prompt stands where the
        empty prompt would. `seed` S gives video i the noise stream (S, i); a `generator` draws one number per video,
        a list gives one each; neither means fresh noise. output_type: "np" float32 [B, F, H, W, 3] in [0, 1], "pt"
        [B, F, 3, H, W], "pil" lists of images, "latent" [B, C, f, h, w]. callback(pipe, step, t, {"latents": x})
        may return {"latents": x} to replace them. Raises InputError for sizes, steps and names that do not fit.
        """
        if output_type not in OUTPUT_TYPES:
            raise InputError(
                f"output_type {output_type!r} is unknown; {near_miss(output_type, OUTPUT_TYPES)}"
            )
        wanted, trained = each_prompt(prompt, num_videos_per_prompt), self.scheduler
        recipe = Recipe(
            prompts=wanted,
            negative_prompts=each_negative(
                negative_prompt, len(wanted) // num_videos_per_prompt, num_videos_per_prompt
            ),
            keys=noise_keys(len(wanted), seed, generator),
            num_frames=trained.num_frames if num_frames is None else num_frames,
            height=trained.height if height is None else height,
            width=trained.width if width is None else width,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            sampler=sampler or trained.sampler,
            shift=trained.shift,
            checkpoint=self.hash,
            batch=BATCH,
            **environment(self.device),
        )
        return self.make(recipe, output_type, callback_on_step_end)

    @torch.no_grad()
    def make(self, recipe: Recipe, output_type: str = "np", callback: Callback | None = None) -> VideoOutput:
        """The videos of a recipe."""
        draw = sampler_of(recipe.sampler)
        shift = self.scheduler.shift if recipe.shift is None else recipe.shift
        times = time_grid(recipe.num_inference_steps, shift)
        shape = self.latent_shape(recipe.num_frames, recipe.height, recipe.width)
        batches = []
        for first in range(0, len(recipe.prompts), recipe.batch):
            some = slice(first, first + recipe.batch)
            text = self.text_encoder.encode(recipe.prompts[some])
            guided = recipe.guidance_scale != 1
            against = self.text_encoder.encode(recipe.negative_prompts[some]) if guided else None
            sources = [stream(*key) for key in recipe.keys[some]]
            denoise = self.guided(text, against, recipe.guidance_scale)
            batches.append(self.denoised(draw, denoise, sources, shape, times, callback))
        latents = torch.cat(batches)
        if output_type == "latent":
            return VideoOutput(latents.cpu(), self.scheduler.fps, recipe)
        video = torch.cat([self.codec.decode(some).cpu() for some in latents.split(recipe.batch)])
        return VideoOutput.of(video.clamp(-1, 1), output_type, self.scheduler.fps, recipe)

    def latent_shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, f, h, w) of the latents of a video that codec and tubelets can make; InputError names sizes that fit."""
        shape = self.codec.latent_shape(num_frames, height, width)
        _, *tubelet = self.transformer.config.tubelet
        for name, pixels, latents, part in zip(
            ("height", "width"), (height, width), shape[2:], tubelet, strict=True
        ):
            if latents % part:
                unit = part * self.codec.pixels_per_latent
                below, above = pixels // unit * unit, (pixels // unit + 1) * unit
                raise InputError(
                    f"--{name} {pixels} does not fill tubelets of {unit} pixels; try {below} or {above}"
                )
        return shape

    def guided(self, text: Text, against: Text | None, scale: float) -> Callable[[Tensor, Tensor], Tensor]:
        """denoise(xt [B, C, f, h, w], t [B]) with classifier-free guidance; `against` None means scale 1."""
        count = len(text)
        both = (text if against is None else Text.concatenate([text, against])).to(self.device)

        def denoise(xt: Tensor, t: Tensor) -> Tensor:
            time = t.to(self.device, torch.float32).view(-1, 1, 1, 1, 1)
            if against is None:
                return self.transformer(xt, time, both)
            prediction = self.transformer(torch.cat([xt, xt]), torch.cat([time, time]), both)
            return guide(prediction[:count], prediction[count:], scale)

        return denoise

    def denoised(
        self,
        draw: Callable[..., Any],
        denoise: Callable[[Tensor, Tensor], Tensor],
        sources: list[np.random.Generator],
        shape: tuple[int, ...],
        times: list[float],
        callback: Callback | None,
    ) -> Tensor:
        """Latents [B, C, f, h, w] from noise, one stream per video."""

        def noise() -> Tensor:
            return torch.stack([normal(source, shape) for source in sources]).to(self.device)

        x = noise()
        for step, after in enumerate(draw(denoise, x, self.reverse, times, noise=noise)):
            x = after
            if callback is not None:
                changed = callback(self, step, times[step], {"latents": x})
                if changed and "latents" in changed:
                    x.copy_(changed["latents"])
        return x


def sampler_of(name: str) -> Callable[..., Any]:
    """The sampler of that name."""
    if name not in SAMPLERS:
        raise InputError(f"--sampler {name!r} is unknown; {near_miss(name, list(SAMPLERS))}")
    return SAMPLERS[name]
