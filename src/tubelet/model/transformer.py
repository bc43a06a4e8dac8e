"""The denoiser: TransformerConfig, and a forward that reads like a recipe."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tubelet.errors import InputError, near_miss
from tubelet.model.blocks import Context, Prompt, ReadPrompt, State
from tubelet.model.conditioning import Modulation, Signal
from tubelet.model.foldings import FOLDINGS, VIEWS, Window, views_of
from tubelet.model.groups import Groups, groups
from tubelet.model.layout import Layout, layout_of
from tubelet.model.norms import Scope, scope_of
from tubelet.model.options import Options
from tubelet.model.places import PLACES
from tubelet.model.references import Outline, Reference, place_of
from tubelet.model.streams import block_of, owners
from tubelet.model.times import Times, pack, times_of
from tubelet.model.tubelets import Embed, Tubelet, Unembed, grid_of, join, marked
from tubelet.shapes import Text


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(Options):
    """Everything that decides the denoiser's shape. Raises InputError where fields do not fit together.

    predictions: numbers predicted for each channel of a latent; the second is the place of a learned variance.
    tubelet: frames, rows and columns of latents in one token.
    attention: names of foldings, which the layers take in turn; a lone name may stand for a tuple of one.
    window: frames, rows and columns of tokens in one window.
    """

    latent_channels: int = 16
    predictions: int = 1
    width: int = 256
    depth: int = 8
    heads: int = 4
    tubelet: Tubelet = (1, 2, 2)
    attention: tuple[str, ...] = ("joint",)
    window: Window = (4, 4, 4)
    text_width: int = 384
    mlp_ratio: int = 4
    frames_per_latent: int = 4
    pixels_per_latent: int = 8
    rope_base: float = (
        100.0  # small, since clips are a few dozen units long: the slowest wave turns once in 600
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.attention, str):  # as checkpoints have it that knew one folding for all layers
            object.__setattr__(self, "attention", (self.attention,))
        for name in ("tubelet", "attention", "window"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON and TOML hand over a list
        for name in ("tubelet", "window"):
            if len(getattr(self, name)) != 3:
                raise InputError(
                    f"{name} {getattr(self, name)} needs three sizes: frames, rows, columns; try (1, 2, 2)"
                )
        counts = {name: value for name, value in vars(self).items() if type(value) is int}
        del counts["registers"]  # there may be none
        parts = (("tubelet", part) for part in self.tubelet), (("window", part) for part in self.window)
        for name, value in (*counts.items(), *parts[0], *parts[1]):
            if value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1")
        if self.width % self.heads:
            fit = max(self.width // self.heads, 1) * self.heads
            raise InputError(f"width {self.width} does not divide into {self.heads} heads; try width {fit}")
        PLACES[self.positions].check(self.width, self.head_dim)
        self._check_attention()

    def _check_attention(self) -> None:
        if not self.attention:
            raise InputError(f"attention names no folding; known: {', '.join(FOLDINGS)}")
        for name in self.attention:
            if name not in FOLDINGS:
                raise InputError(f"attention {name!r}: {near_miss(name, list(FOLDINGS))}")
        views = max(map(len, self.views))
        if self.heads % views:
            below, above = self.heads // views * views, -(-self.heads // views) * views
            fits = " or ".join(f"{n} of width {n * self.head_dim}" for n in (below, above) if n)
            raise InputError(
                f"attention {' '.join(self.attention)} splits the heads into {views}, and there are {self.heads}; "
                f"try heads {fits}"
            )

    @property
    def views(self) -> tuple[tuple[str, ...], ...]:
        """The names of each layer's views."""
        return views_of(self.attention, self.depth)

    @property
    def head_dim(self) -> int:
        """Numbers of one attention head."""
        return self.width // self.heads


class Plan(NamedTuple):
    """All that the blocks need to know of a row of tokens besides their content.

    samples: the tokens of each sample, who read one prompt; views: for each layer, the groups its heads see.
    scope: the tokens a norm looks at together, and `last` the same for the final norm, which has the videos' alone.
    """

    layout: Layout
    samples: Groups
    views: tuple[tuple[Groups, ...], ...]
    scope: Scope
    last: Scope


def plan_of(config: TransformerConfig, outlines: tuple[Outline, ...], device: torch.device) -> Plan:
    """The plan of a row of samples; one outline serves a batch of equal samples.

    The samples must lie in the order of their sizes, since no token moves to find its prompt; else ValueError. It is
    kept for the next call with the same arguments. A compiled model takes it as a constant: making it depends on data.
    """
    return _plan(config, outlines, device)


# As torch.compiler.assume_constant_result does, which first imports the compiler: seconds, and a trace in os.environ.
setattr(plan_of, "_dynamo_marked_constant", True)  # noqa: B010


@lru_cache(maxsize=16)  # for a long packed row, each is megabytes
def _plan(config: TransformerConfig, outlines: tuple[Outline, ...], device: torch.device) -> Plan:
    with torch.inference_mode(False):  # a gradient may want it later, and cannot keep a tensor of that mode
        scale = (config.tubelet, config.frames_per_latent, config.pixels_per_latent)
        layout = layout_of(outlines, *scale, config.registers)
        PLACES[config.positions].check_within(layout.positions)
        samples = groups(layout.sample)
        if samples.order is not None:
            raise ValueError(f"the samples of {outlines} must lie in the order of their numbers of tokens")
        names = {name for layer in config.views for name in layer}
        seen = {name: groups(VIEWS[name](layout, config.window)).to(device) for name in names}
        views = tuple(tuple(seen[name] for name in layer) for layer in config.views)
        scope = Scope(samples, layout.video.float()[None, :, None]).to(device)
        last = scope_of(layout.sample[layout.video]).to(device)
        return Plan(layout.to(device), samples, views, scope, last)


class Sample(NamedTuple):
    """Samples of one outline as the layers take them: pieces of the video and its references, times of all tokens."""

    outline: Outline
    pieces: Tensor
    times: Times

    @property
    def order(self) -> tuple[int, Outline]:
        """By which samples are sorted in a packed row, as plan_of wants it."""
        return self.times.parts[0].tokens, self.outline


class VideoTransformer(nn.Module):
    """A prediction for every latent from noisy latents, their times and a prompt.   [DiT 3] [PixArt 2]"""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.embed = Embed(config.latent_channels, width, config.tubelet)
        self.place = PLACES[config.positions](width, config.head_dim, config.rope_base)
        self.signal = Signal(width, config.text_width)
        own, joint = config.modulation == "block", config.prompt == "joint"
        self.modulation = nn.Identity() if own else Modulation(width)
        self.words_modulation = Modulation(width) if joint and not own else nn.Identity()
        self.read = None if config.prompt == "none" else ReadPrompt(config.text_width, width, stream=joint)
        self.blocks = nn.ModuleList(block_of(config, layer) for layer in range(config.depth))
        channels = config.predictions * config.latent_channels
        self.unembed = Unembed(channels, width, config.tubelet, config.norm)
        if config.registers:
            self.registers = nn.Parameter(0.02 * torch.randn(config.registers, width))

    def forward(
        self,
        latents: Tensor,
        t: Tensor,
        text: Text,
        references: Sequence[Reference] = (),
        stride: float = 1.0,
    ) -> Tensor:
        """[B, C, f, h, w], t in [0, 1] that broadcasts to [B, 1, f, h, w], B prompts -> [B, P C, f, h, w].

        P is config.predictions: all channels of the first prediction come before those of the second.
        Latents at time 0 are known content; a token with any unknown latent has the time of that one. A t
        of [B, 1, 1, 1, 1] is the fast way to say one time for each sample, see `times_of` for others. References are
        known content beside the video, which its tokens see and for which nothing is predicted. stride: how many frames
        of the rate trained on one frame of these videos lasts. Under bfloat16 autocast the tokens are bfloat16 from end
        to end. Raises InputError for shapes that do not fit.
        """
        self._check_text(text, len(latents))
        sample = self._sample(latents, t, references, stride)
        plan = plan_of(self.config, (sample.outline,), latents.device)
        predicted = self.predict(sample.pieces, sample.times, text, plan)
        return join(predicted, sample.outline.grid, self.config.tubelet).to(latents.dtype)

    def packed(
        self,
        latents: Sequence[Tensor],
        t: Sequence[Tensor] | Tensor,
        text: Text,
        references: Sequence[Sequence[Reference]] = (),
        strides: Sequence[float] = (),
    ) -> list[Tensor]:
        """S samples [C, f, h, w] of any sizes, S times, S prompts -> their predictions [P C, f, h, w].

        Each is what `forward` makes of it alone, up to rounding: all tokens go through the layers in one row without
        padding, and none sees another sample's. A time is a number (a t of [S] gives each one) or broadcasts to
        [1, f, h, w]; references of latents [C, f', h', w'] and strides are given for each sample, or for none. Samples
        of one outline without references go as a batch. Raises InputError for shapes that do not fit.
        """
        self._check_text(text, len(latents))
        given = {"times": t, "lists of references": references or latents, "strides": strides or latents}
        for name, values in given.items():
            if len(values) != len(latents) or not len(latents):
                raise InputError(
                    f"{len(values)} {name} for {len(latents)} videos; give one for each, and at least one"
                )
        times = [x[None] if x.dim() else x for x in t]
        asides = [[Reference(x[None], frame) for x, frame in own] for own in references or [()] * len(times)]
        samples = zip(latents, times, asides, strides or [1.0] * len(times), strict=True)
        each = [self._sample(x[None], time, aside, stride) for x, time, aside, stride in samples]
        if len({sample.outline for sample in each}) == 1 and not any(asides):
            when = [x if x.dim() else x.view(1, 1, 1, 1, 1) for x in torch.broadcast_tensors(*times)]
            stride = each[0].outline.stride
            batch = self.forward(torch.stack(list(latents)), torch.cat(when), text, stride=stride)
            return [prediction.to(x.dtype) for prediction, x in zip(batch, latents, strict=True)]
        order = sorted(range(len(each)), key=lambda i: each[i].order)
        row = [each[i] for i in order]
        plan = plan_of(self.config, tuple(sample.outline for sample in row), latents[0].device)
        pieces = torch.cat([sample.pieces for sample in row], dim=1)
        predicted = self.predict(pieces, pack([sample.times for sample in row]), text[order], plan)
        parts = zip(row, plan.layout.split(predicted), strict=True)
        videos = [join(part, sample.outline.grid, self.config.tubelet)[0] for sample, part in parts]
        found = dict(zip(order, videos, strict=True))
        return [found[i].to(x.dtype) for i, x in enumerate(latents)]

    def predict(self, pieces: Tensor, times: Times, text: Text, plan: Plan) -> Tensor:
        """Rows of pieces [B, N, ...] (see `marked`), their times and S prompts -> [B, N, ...], without references.

        Every row is a sample and S is B, or B is 1 and its S samples lie as `plan` says.
        """
        layout, config = plan.layout, self.config
        # fmt: off
        tokens = self.embed(pieces)                                            # [B, N, D], without registers
        if config.registers:
            tokens = layout.with_registers(tokens, self.registers.to(tokens.dtype))  # [B, N, D]
        place, turn = self.place(layout.positions, layout.lengths)             # [N, D], cos and sin or None
        signal = self.signal(times.levels, times.per_level(text.whole))        # [B, K, D]
        modulation = self.modulation(signal)                                   # [B, K, 6 D], or the signal
        words, prompt = self.prompted(text, signal, times, plan)               # [S, L + 1, D], how they are read
        context = Context(turn, modulation, times, plan.samples, plan.scope, prompt)
        state = State(tokens + place.to(tokens.dtype), words)
        for block, views in zip(self.blocks, plan.views, strict=True):
            state = block(state, context, views)
        tokens = layout.videos(state.tokens)                                   # [B, N, D], of the video alone
        times = times.first([outline.grid.tokens for outline in layout.outlines])
        return self.unembed(tokens, signal, times, plan.last)                  # [B, N, P C volume]
        # fmt: on

    def prompted(
        self, text: Text, signal: Tensor, times: Times, plan: Plan
    ) -> tuple[Tensor | None, Prompt | None]:
        """The prompts' words and how blocks read them; as a stream they have the latest time of their sample."""
        if self.read is None:
            return None, None
        words, mask = self.read(text)
        if self.config.prompt != "joint":
            return words, Prompt(mask)
        modulation = self.words_modulation(times.latest(signal))  # [S, 1, 6 D], or the signal
        return words, Prompt(mask, modulation, owners(plan.samples, len(text), signal.device))

    def _sample(self, latents: Tensor, t: Tensor, references: Sequence[Reference], stride: float) -> Sample:
        self._check(latents, t, stride)
        size, config = tuple(latents.shape[2:]), self.config
        grid, times = grid_of(size, config.tubelet), times_of(t, size, config.tubelet)
        pieces = marked(latents, t, config.tubelet)
        if config.registers:
            ends = torch.arange(1, grid.frames + 1, device=times.levels.device) * grid.places - 1
            times = times.followed_by(ends.repeat_interleave(config.registers))
        if not references:
            return Sample(Outline(grid, stride=stride), pieces, times)
        places = [place_of(each, latents, config.tubelet, config.frames_per_latent) for each in references]
        known = [
            marked(each.latents.to(latents.dtype), t.new_zeros(()), config.tubelet) for each in references
        ]
        times = times.followed_by_known(sum(place.grid.tokens for place in places))
        return Sample(Outline(grid, tuple(places), stride), torch.cat((pieces, *known), dim=1), times)

    def _check(self, latents: Tensor, t: Tensor, stride: float) -> None:
        channels = self.config.latent_channels
        if latents.dim() != 5 or latents.shape[1] != channels:
            raise InputError(
                f"latents of shape {tuple(latents.shape)}, but this model takes [B, {channels}, f, h, w]; "
                "use the codec it was trained with"
            )
        if t.dim() not in (0, 5):
            raise InputError(
                f"t of shape {tuple(t.shape)} is ambiguous; give [B, 1, 1, 1, 1] or [B, 1, f, h, w]"
            )
        if not 0 < stride < math.inf:
            raise InputError(f"stride {stride} is not above 0; give 2 for half the rate trained on")

    def _check_text(self, text: Text, videos: int) -> None:
        text_width = self.config.text_width
        if text.tokens.shape[-1] != text_width:
            raise InputError(
                f"text of width {text.tokens.shape[-1]}, but this model reads {text_width}; use the text "
                "encoder it was trained with, or set text_width"
            )
        if len(text) != videos:
            raise InputError(f"{len(text)} prompts for {videos} videos; give one prompt for each")
