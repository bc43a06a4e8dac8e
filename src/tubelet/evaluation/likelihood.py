"""The variational bound of a checkpoint on real clips, term by term, in bits per pixel value."""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Any

import av
import numpy as np
import torch
from torch import Tensor

from tubelet.autoencoder.codec import CausalCodec, IdentityCodec
from tubelet.data.clips import Clips
from tubelet.diffusion.bound import bits_per_dim, bound_rows, strata
from tubelet.diffusion.likelihood import (
    dequantise,
    flow_bits_per_dim,
    flow_log_prob,
    flow_times,
    rademacher_probes,
)
from tubelet.diffusion.paths import Chain
from tubelet.diffusion.reverse import Reverse
from tubelet.draws import normal, stream
from tubelet.errors import InputError
from tubelet.gaussians import Laplace
from tubelet.sampling.pipeline import VideoPipeline
from tubelet.video import to_video

BOUND = 0xB0  # sets the noise of the bound apart from that of training
BATCH = 8
STEPS = 1000  # of the grid on a path that has none of its own
SCALES = torch.logspace(-3.5, 0, 71, dtype=torch.float64)  # of the Laplace decoder, 12 % apart


@dataclass(frozen=True)
class Term:
    """One term of the bound, or several next to each other: its name, its times, and its nats for each clip [N]."""

    name: str
    times: tuple[float, float] | None
    nats: Tensor


@dataclass(frozen=True)
class BoundTable:
    """The bound on each of N clips; the terms sum to it. dims: values of a clip, 3 F H W."""

    terms: list[Term]
    dims: int
    variance: str
    steps: int
    lossless: float
    flow: Tensor | None = None
    scale: float | None = None

    @property
    def total(self) -> Term:
        """The whole bound."""
        return Term("bound", None, torch.stack([term.nats for term in self.terms]).sum(0))

    def row(self, term: Term) -> dict[str, Any]:
        """A term's mean over clips and its standard error, in nats a clip and in bits a value."""
        bits = bits_per_dim(term.nats, self.dims)
        mean, error = bits.mean().item(), standard_error(bits)
        low, high = term.times or (None, None)
        return {
            "term": term.name, "t_low": low, "t_high": high, "nats": term.nats.mean().item(),
            "bits_per_dim": mean, "standard_error": error,
        }  # fmt: skip

    def rows(self) -> list[dict[str, Any]]:
        """All terms and, last, their sum."""
        return [self.row(term) for term in [*self.terms, self.total]]


def bound_table(
    pipe: VideoPipeline,
    clips: Clips,
    *,
    training: Clips | None = None,
    variance: str | None = None,
    num_steps: int | None = None,
    num_rows: int = 21,
    flow: bool = False,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> BoundTable:
    """The bound on every clip, with its first caption, guidance 1, one draw of noise for each row.

    variance: "small" or "large" instead of the checkpoint's own. num_steps: another grid than training's. num_rows:
    rows of the table, each one network call a clip; see bound.strata. training: clips the decoder's scale is fitted on,
    needed by latent models. flow: estimate the likelihood by the probability-flow ODE as well (pixel models).
    InputError for clips of another size than the checkpoint's, and for a variance that it did not learn.
    """
    reverse = reverse_of(pipe, variance)
    steps = num_steps or (reverse.path.T if isinstance(reverse.path, Chain) else STEPS)
    rows, times = strata(steps, num_rows), [n / steps for n in range(steps + 1)]
    pixels = isinstance(pipe.codec, IdentityCodec)
    if not pixels and training is None:
        raise InputError("the bound of a latent model needs training clips, to fit its decoder's scale on")
    if flow and not pixels:
        raise InputError("the flow's likelihood is one of pixels; this checkpoint models latents")
    scale = None if pixels or training is None else fitted_scale(pipe, training, seed)
    nats, flows, lossless = [], [], 0
    for first in range(0, len(clips), BATCH):
        some = range(first, min(first + BATCH, len(clips)))
        frames = torch.stack([clips.frames(i) for i in some])
        lossless += sum(lossless_bits(each) for each in frames)
        sources, video = [stream(BOUND, seed, i) for i in some], to_video(frames).to(pipe.device)
        denoise = as_trained(pipe, [clips.captions(i)[0] for i in some])
        nats.append(torch.stack(nats_of(pipe, denoise, video, scale, reverse, times, rows, sources)).cpu())
        if flow:
            flows.append(flow_bits(denoise, video, reverse, sources))
        progress(min(first + BATCH, len(clips)))
    spans = [(1.0, 1.0), *((times[row.start - 1], times[row.stop - 1]) for row in rows)]
    names = ["L_T", "L_0", *["L_{t-1}"] * (len(rows) - 1), *(ENDS if scale is not None else ())]
    terms = [Term(*each) for each in zip(names, spans + [None] * len(ENDS), torch.cat(nats, 1), strict=False)]
    dims = video[0].numel()
    return BoundTable(
        terms, dims, reverse.variance, steps, lossless / len(clips) / dims, torch.cat(flows) if flows else None, scale
    )  # fmt: skip


@torch.no_grad()
def nats_of(
    pipe: VideoPipeline,
    denoise: Callable[[Tensor, Tensor], Tensor],
    video: Tensor,
    scale: float | None,
    reverse: Reverse,
    times: list[float],
    rows: list[range],
    sources: Sequence[np.random.Generator],
) -> list[Tensor]:
    """Every term of the bound on video [B, 3, F, H, W], each in nats [B]; of a latent model then ENDS."""
    x0, ends = (video, []) if scale is None else latents_and_ends(pipe, video, scale, sources)
    terms = bound_rows(
        denoise, x0, reverse, times, rows, decoder="discretised" if scale is None else "gaussian",
        uniform=lambda: torch.tensor([source.random() for source in sources]), noise=lambda: stacked_noise(sources, x0),
    )  # fmt: skip
    return [*terms, *ends]


ENDS = ("-log p(x|z)", "-H(q(z|x))", "log std")


def latents_and_ends(
    pipe: VideoPipeline, video: Tensor, scale: float, sources: Sequence[np.random.Generator]
) -> tuple[Tensor, list[Tensor]]:
    """Sampled standardised latents, and the nats [B] of ENDS, which make a bound on the video of that on latents.

    -log p(x) <= E_q[-log p(x|z)] - H(q(z|x)) + (bound on standardised latents) + sum of log std
    """
    assert isinstance(pipe.codec, CausalCodec)
    posterior = pipe.codec.encode(video)
    latents = posterior.sample(stacked_noise(sources, posterior.mean))
    decoder = Laplace(pipe.codec.decode(latents).clamp(-1, 1), torch.tensor(scale))
    log_std = pipe.codec.log_volume() * latents[0, 0].numel()
    log_std = log_std.expand(len(video))
    # Of the latents before they were standardised.
    entropy = posterior.entropy().double().flatten(1).sum(1) + log_std
    return latents, [-decoder.log_prob_discretised(video).double().flatten(1).sum(1), -entropy, log_std]


@torch.no_grad()
def fitted_scale(pipe: VideoPipeline, training: Clips, seed: int) -> float:
    """The scale of a Laplace decoder that makes training clips most probable."""
    nats = torch.zeros_like(SCALES)
    for first in range(0, len(training), BATCH):
        some = range(first, min(first + BATCH, len(training)))
        video = to_video(torch.stack([training.frames(i) for i in some])).to(pipe.device)
        posterior = pipe.codec.encode(video)
        noise = stacked_noise([stream(BOUND, seed, 1, i) for i in some], posterior.mean)
        mean = pipe.codec.decode(posterior.sample(noise)).clamp(-1, 1)
        for place, scale in enumerate(SCALES):
            nats[place] -= Laplace(mean, scale.float()).log_prob_discretised(video).double().sum().item()
    return SCALES[nats.argmin()].item()


def flow_bits(
    denoise: Callable[[Tensor, Tensor], Tensor],
    video: Tensor,
    reverse: Reverse,
    sources: Sequence[np.random.Generator],
) -> Tensor:
    """Bits per dimension of dequantised video by the probability-flow ODE, one Rademacher probe a clip: [B]."""
    uniform = torch.from_numpy(np.stack([s.random((2, *video.shape[1:]), dtype=np.float32) for s in sources]))
    x = dequantise(video, uniform[:, 0].to(video))
    probes = rademacher_probes(uniform[:, 1])[None].to(video)
    times = flow_times(reverse.path, smoothing=FLOW_SMOOTHING)
    log_prob = flow_log_prob(
        lambda xt, t: reverse.split(denoise(xt, t), xt)[0], x, reverse.path, reverse.target, probes=probes,
        times=times,
    )  # fmt: skip
    return flow_bits_per_dim(log_prob, video[0].numel()).cpu()


FLOW_SMOOTHING = 1e-2  # below the noise of the first step (beta_1 = 1e-4) no network was trained


def as_trained(pipe: VideoPipeline, prompts: list[str]) -> Callable[[Tensor, Tensor], Tensor]:
    """denoise(xt [B, C, f, h, w], t [B]) for B prompts without guidance, which has no bound."""
    text = pipe.text_encoder.encode(prompts).to(pipe.device)
    return lambda xt, t: pipe.transformer(xt, t.float().to(xt.device).view(-1, 1, 1, 1, 1), text)


def stacked_noise(sources: Sequence[np.random.Generator], like: Tensor) -> Tensor:
    """Standard normal noise like [B, ...], each sample's from its own stream."""
    return torch.stack([normal(source, tuple(like.shape[1:])) for source in sources]).to(like.device)


def reverse_of(pipe: VideoPipeline, variance: str | None) -> Reverse:
    """The checkpoint's reverse process, or the same with another variance; a learned one reads twice the channels."""
    learned = pipe.reverse
    if variance is None or variance == learned.variance:
        return learned
    if variance == "learned":
        raise InputError(
            f"this checkpoint has {learned.variance} variance and learned none; use small or large"
        )
    if learned.variance == "learned":
        return MeanOnly(learned.path, learned.target, variance, learned.clip)
    return Reverse(learned.path, learned.target, variance, learned.clip)


class MeanOnly(Reverse):
    """A fixed variance for a network that has learned one: what it says of its variance is left out."""

    def split(self, prediction: Tensor, xt: Tensor) -> tuple[Tensor, None]:
        """The channels of the target alone."""
        return super().split(prediction[:, : xt.shape[1]], xt)[0], None


def standard_error(values: Tensor) -> float:
    """Of the mean of [N] values; NaN for one."""
    return (values.std() / math.sqrt(len(values))).item() if len(values) > 1 else math.nan


def lossless_bits(frames: Tensor, file: IO[bytes] | None = None) -> int:
    """The size in bits of frames [F, H, W, 3], by lossless x264 (RGB, its slowest preset), container left out.

    The film itself is written to `file`, where there is one.
    """
    file, bits = io.BytesIO() if file is None else file, 0
    with av.open(file, "w", format="matroska") as container:
        options = {"qp": "0", "preset": "veryslow", "x264-params": "threads=1:log-level=error"}
        video = container.add_stream("libx264rgb", rate=8, options=options)
        video.height, video.width, video.pix_fmt = frames.shape[1], frames.shape[2], "rgb24"
        images = [av.VideoFrame.from_ndarray(image, format="rgb24") for image in frames.numpy()]
        for packet in (packet for image in [*images, None] for packet in video.encode(image)):
            bits += 8 * packet.size
            container.mux(packet)
    return bits
