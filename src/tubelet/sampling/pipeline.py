"""VideoPipeline: a checkpoint as one callable, with the names diffusers' users know."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from tubelet import __version__, checkpoint
from tubelet.autoencoder.codec import CausalCodec, IdentityCodec, codec_of, codec_part, encoder_hash
from tubelet.checkpoint import Part
from tubelet.diffusion.grids import time_grid
from tubelet.diffusion.guidance import guided
from tubelet.diffusion.paths import PathConfig, path_config
from tubelet.diffusion.reverse import Reverse
from tubelet.diffusion.samplers import sampler_named
from tubelet.diffusion.times import size_shift
from tubelet.draws import normal, stream
from tubelet.errors import InputError, near_miss
from tubelet.model.transformer import TransformerConfig, VideoTransformer
from tubelet.model.tubelets import Tubelet, grid_of
from tubelet.sampling.output import VideoOutput
from tubelet.sampling.recipe import (
    Composition,
    Generators,
    Recipe,
    each_composition,
    each_negative,
    each_prompt,
    environment,
    noise_keys,
)
from tubelet.sampling.wishes import Wishes
from tubelet.text.encoder import TextEncoder, make_encoder

DEFAULT = Path(__file__).parent.parent / "checkpoints" / "default"
BATCH = 8  # videos denoised together: a bound on memory
OUTPUT_TYPES = ("np", "pt", "pil", "latent")

Callback = Callable[["VideoPipeline", int, float, dict[str, Tensor]], Any]


@dataclass(frozen=True, kw_only=True)
class Scheduler:
    """How the denoiser was trained and is sampled: path, target, variance, sampler, its grid of times, sizes, rate.

    variance, clip: see diffusion.reverse; with "learned" the transformer predicts twice the channels. grid, shift: see
    diffusion.grids.time_grid. fps: frames a second of its usual videos; rates: of all that it was trained on.
    """

    path: PathConfig = field(default_factory=PathConfig)
    target: str = "velocity"
    variance: str = "small"
    clip: float | None = None
    sampler: str = "euler"
    grid: str = "uniform"
    shift: float = 1.0
    num_frames: int = 17
    height: int = 64
    width: int = 64
    fps: float = 8.0
    rates: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "rates", tuple(self.rates))
        object.__setattr__(self, "path", path_config(self.path))  # files hold its name, or its values


class VideoPipeline:
    """Text to video. Built by `from_pretrained`; its parts are public: codec, transformer, text_encoder, scheduler.

    weaker: a pipeline of the same encoder, text encoder, path and target, but trained less or smaller; or None. Where
    there is one, guidance moves away from what it predicts of the same prompts, not from the prediction without a
    prompt [Autoguidance]. It is not saved with the pipeline. One that does not fit raises InputError.
    """

    def __init__(
        self,
        codec: CausalCodec | IdentityCodec,
        transformer: VideoTransformer,
        text_encoder: TextEncoder,
        scheduler: Scheduler,
        hash: str = "",
        weaker: Self | None = None,
    ):
        self.codec, self.transformer = codec.eval(), transformer.eval()
        self.text_encoder, self.scheduler, self.hash = text_encoder, scheduler, hash
        self.reverse = Reverse(scheduler.path.make(), scheduler.target, scheduler.variance, scheduler.clip)
        self.weaker = weaker
        if weaker is not None:
            check_weaker(self, weaker)

    @classmethod
    def from_pretrained(cls, folder: str | Path | None = None, *, weaker: str | Path | None = None) -> Self:
        """The checkpoint in `folder`, or the one that ships; `weaker` is the folder of one to guide by.

        Every file is verified: InputError names a damaged one.
        """
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
        other = None if weaker is None else cls.from_pretrained(weaker)
        return cls(codec_of(saved.parts["autoencoder"]), transformer, encoder, scheduler, saved.hash, other)

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
        if self.weaker is not None:
            self.weaker.to(device)
        return self

    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        negative_prompt: str | Sequence[str] | None = None,
        compose: Composition | Sequence[Composition] = (),
        num_frames: int | None = None,
        height: int | None = None,
        width: int | None = None,
        fps: float | None = None,
        num_inference_steps: int = 30,
        guidance_scale: float = 4.0,
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        guidance_rescale: float = 0.0,
        guidance_parallel: float = 1.0,
        guidance_threshold: float = 0.0,
        guidance_momentum: float = 0.0,
        num_videos_per_prompt: int = 1,
        generator: Generators | None = None,
        seed: int | None = None,
        sampler: str | None = None,
        grid: str | None = None,
        output_type: str = "np",
        callback_on_step_end: Callback | None = None,
    ) -> VideoOutput:
        """Videos of the prompts, `num_videos_per_prompt` of each, in the prompts' order.

        Sizes and fps default to those trained on; at other sizes the times are shifted, see shift_of, and a checkpoint
        that was trained at several rates is told which. guidance_scale 1 is the model as trained; negative_prompt
        stands where the empty prompt would; for guidance_* see diffusion.guidance.Guidance. compose: further prompts
        with weights, [("a blue square", 1), ("stars", -0.5)], above 0 AND, below 0 NOT; one list, or one for each
        prompt; see diffusion.guidance.compose. `seed` S gives video i the noise stream (S, i); a `generator` draws one
        number per video, a list gives one each; neither means fresh noise. output_type: "np" float32 [B, F, H, W, 3] in
        [0, 1], "pt" [B, F, 3, H, W], "pil" lists of images, "latent" [B, C, f, h, w]. callback(pipe, step, t,
        {"latents": x}) may return {"latents": x} to replace them. Raises InputError for what does not fit.
        """
        wanted, trained = each_prompt(prompt, num_videos_per_prompt), self.scheduler
        counts = len(wanted) // num_videos_per_prompt, num_videos_per_prompt
        size, rate = self.size_of(num_frames, height, width), trained.fps if fps is None else fps
        recipe = Recipe(
            prompts=wanted, negative_prompts=each_negative(negative_prompt, *counts),
            compositions=each_composition(compose, *counts), keys=noise_keys(len(wanted), seed, generator),
            num_frames=size[0], height=size[1], width=size[2], num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale, guidance_interval=guidance_interval, guidance_rescale=guidance_rescale,
            guidance_parallel=guidance_parallel, guidance_threshold=guidance_threshold,
            guidance_momentum=guidance_momentum, sampler=sampler or trained.sampler, grid=grid or trained.grid,
            shift=self.shift_of(*size), stride=self.stride_of(rate), checkpoint=self.hash,
            weaker=None if self.weaker is None else self.weaker.hash, batch=BATCH, **environment(self.device),
        )  # fmt: skip
        return self.make(recipe, output_type, callback_on_step_end, rate)

    @torch.no_grad()
    def make(
        self,
        recipe: Recipe,
        output_type: str = "np",
        callback: Callback | None = None,
        fps: float | None = None,
    ) -> VideoOutput:
        """The videos of a recipe, to be played at `fps` or the rate trained on."""
        fps = self.scheduler.fps if fps is None else fps
        check_output_type(output_type)
        draw = sampler_named(recipe.sampler)
        self._check_weaker(recipe)
        shift = self.scheduler.shift if recipe.shift is None else recipe.shift
        times = time_grid(recipe.num_inference_steps, shift, recipe.grid, self.reverse.path)
        shape = self.latent_shape(recipe.num_frames, recipe.height, recipe.width)
        batches = []
        for first in range(0, len(recipe.prompts), recipe.batch):
            batch, _ = recipe.batch_of(first)
            sources = [stream(*key) for key in batch.keys]
            batches.append(self.denoised(draw, self.guided(batch), sources, shape, times, callback))
        latents = torch.cat(batches)
        if output_type == "latent":
            return VideoOutput(latents.cpu(), fps, recipe)
        video = torch.cat([self.codec.decode(some).cpu() for some in latents.split(recipe.batch)])
        return VideoOutput.of(video.clamp(-1, 1), output_type, fps, recipe)

    def _check_weaker(self, recipe: Recipe) -> None:
        given = None if self.weaker is None else self.weaker.hash
        if recipe.weaker is not None and recipe.weaker != given:
            found = "none is given" if given is None else f"this one is {given[:12] or 'unsaved'}"
            raise InputError(
                f"it was guided by the weaker checkpoint {recipe.weaker[:12] or '(unsaved)'}, and {found}; "
                "name its folder with --weaker"
            )

    def latent_shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, f, h, w) of the latents of a video that codec and tubelets can make; InputError names sizes that fit."""
        return latent_shape(self.codec, self.transformer.config.tubelet, num_frames, height, width)

    def size_of(self, num_frames: int | None, height: int | None, width: int | None) -> tuple[int, int, int]:
        """Frames, height and width, those trained on where they are None."""
        own = self.scheduler
        return (
            own.num_frames if num_frames is None else num_frames,
            own.height if height is None else height,
            own.width if width is None else width,
        )

    def shift_of(self, num_frames: int, height: int, width: int) -> float:
        """The shift of times at a size: the checkpoint's own, times `size_shift` from the size it was trained at."""
        size, trained = (num_frames, height, width), self.size_of(None, None, None)
        if size == trained:
            return self.scheduler.shift
        latents, base = (math.prod(self.latent_shape(*each)[1:]) for each in (size, trained))
        return self.scheduler.shift * size_shift(latents, base)

    def stride_of(self, fps: float) -> float:
        """How the network is told of a rate; 1, the usual one, where it was never told of others.

        Raises InputError for a rate that no file may have.
        """
        if not 0.01 <= fps <= 1000:
            raise InputError(f"--fps {fps} is not from 0.01 to 1000; {self.scheduler.fps:g} is as trained")
        return self.scheduler.fps / fps if len(self.scheduler.rates) > 1 else 1.0

    def guided(self, recipe: Recipe) -> Callable[[Tensor, Tensor], Tensor]:
        """denoise(xt [B, C, f, h, w], t [B]) of a recipe's B videos, for one run: see diffusion.guidance.guided."""
        wishes, reverse = Wishes.of(recipe, self.text_encoder, self.device), self.reverse
        weaker = None if recipe.weaker is None else self.weaker

        def branches(xt: Tensor, t: Tensor, both: bool) -> tuple[Tensor, Tensor | None, Tensor | None]:
            asked = wishes.predict(self.transformer, reverse, xt, t, negative=both and weaker is None)
            if not both or weaker is None:
                return asked
            worse = wishes.predict(weaker.transformer, weaker.reverse, xt, t, negative=False)
            return asked[0], asked[1], worse[0]

        return guided(branches, reverse, recipe.guidance)

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


def latent_shape(
    codec: CausalCodec | IdentityCodec, tubelet: Tubelet, num_frames: int, height: int, width: int
) -> tuple[int, int, int, int]:
    """(C, f, h, w) of the latents of a video that codec and tubelets can make; InputError names sizes that fit."""
    shape = codec.latent_shape(num_frames, height, width)
    sides = zip(("height", "width"), (height, width), shape[2:], tubelet[1:], strict=True)
    for name, pixels, latents, part in sides:
        if latents % part:
            unit = part * codec.pixels_per_latent
            below, above = pixels // unit * unit, (pixels // unit + 1) * unit
            raise InputError(
                f"--{name} {pixels} does not fill tubelets of {unit} pixels; try {below} or {above}"
            )
    grid_of(shape[1:], tubelet)  # refuses frames that do not fill tubelets
    return shape


def check_output_type(name: str) -> None:
    """Raises InputError, with the near miss, for a name that is not in OUTPUT_TYPES."""
    if name not in OUTPUT_TYPES:
        raise InputError(f"output_type {name!r} is unknown; {near_miss(name, OUTPUT_TYPES)}")


def check_weaker(pipe: VideoPipeline, weaker: VideoPipeline) -> None:
    """Raises InputError, with the reason, where `weaker` does not predict the same thing of the same prompts."""

    def traits(of: VideoPipeline) -> dict[str, str]:
        return {
            "encoder of latents": encoder_hash(codec_part(of.codec)),
            "text encoder": of.text_encoder.fingerprint,
            "path": repr(of.scheduler.path),
            "target": of.scheduler.target,
        }

    theirs = traits(weaker)
    other = [name for name, value in traits(pipe).items() if theirs[name] != value]
    if other:
        raise InputError(
            f"--weaker: it was trained with another {', another '.join(other)}, so the two cannot be compared; "
            "name an earlier step, or a smaller model on the same latents"
        )
