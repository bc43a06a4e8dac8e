"""An image transformer's weights for tubelets of several frames: a video transformer's first.   [ViViT 3.4]"""

import torch
from einops import repeat
from torch import Tensor

from tubelet.errors import InputError, near_miss
from tubelet.model.positions import axis_pairs
from tubelet.model.transformer import TransformerConfig

INFLATIONS = ("central", "average")


def inflated(
    tensors: dict[str, Tensor], trained: TransformerConfig, wanted: TransformerConfig, how: str
) -> dict[str, Tensor]:
    """Weights for `wanted`, whose tubelets have more frames of latents than the one frame of `trained`'s.

    Each tubelet is embedded by its "central" frame alone, or by the "average" of its frames, and each of its frames is
    predicted as the image was; what the model knew of frame 0 it is told of every frame. So on a video that stands
    still it predicts in every frame what it predicts for the image: exactly where tokens see only their own frame of
    tokens, and where there is only one. Raises InputError for tubelets that already have several frames, and where
    frames are told apart by features that are not learnt.
    """
    if how not in INFLATIONS:
        raise InputError(f"inflation {how!r}: {near_miss(how, INFLATIONS)}")
    depth, volume = wanted.tubelet[0], trained.tubelet[1] * trained.tubelet[2]
    if trained.tubelet[0] != 1 or trained.tubelet[1:] != wanted.tubelet[1:]:
        fit = (depth if trained.tubelet[0] == 1 else trained.tubelet[0], *trained.tubelet[1:])
        raise InputError(
            f"weights for tubelets of {trained.tubelet} cannot become those of {wanted.tubelet}: they grow from one "
            f"frame to several, and in frames alone; set tubelet to {fit} or start from another"
        )
    if wanted.positions == "sincos":
        raise InputError(
            "positions sincos tell frames apart by features that are not learnt, so no video would look like the "
            "image; train the images with positions rotary or learned"
        )
    share = torch.zeros(depth)
    share[depth // 2] = 1.0
    share = share if how == "central" else torch.full_like(share, 1 / depth)
    found = dict(tensors)
    embed = tensors["embed.project.weight"].unflatten(1, (-1, 1, volume))  # [D, C + 1, 1, volume]
    found["embed.project.weight"] = (embed * share[:, None]).flatten(1)
    for name in ("unembed.project.weight", "unembed.project.bias"):
        rows = tensors[name].unflatten(0, (-1, volume))  # [P C, volume, ...]
        found[name] = repeat(rows, "c v ... -> (c depth v) ...", depth=depth)
    return found | same_for_every_frame(found, wanted)


def same_for_every_frame(tensors: dict[str, Tensor], config: TransformerConfig) -> dict[str, Tensor]:
    """What tells tokens their place, changed so that every frame is told what frame 0 was."""
    if config.positions == "learned":
        table = tensors["place.axes.0"]
        return {"place.axes.0": table[:1].expand_as(table).clone()}

    pairs, half = axis_pairs(config.head_dim)[0], config.head_dim // 2
    # [D, head_dim]: of the cos, then of the sin; those of frames come first.
    place = tensors["place.weight"].clone()
    always = place[:, :pairs].sum(1)  # at frame 0 each cos is 1 and each sin 0
    place[:, :pairs] = 0
    place[:, half : half + pairs] = 0
    born = ("embed.project.bias", "registers")  # all tokens that are told their place
    return {"place.weight": place, **{name: tensors[name] + always for name in born if name in tensors}}
