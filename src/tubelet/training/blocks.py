"""What is done to a model's blocks from outside: activations computed again instead of kept, and torch.compile.

Both change `forward` of each block and nothing else, so names of parameters and what is computed stay.
"""

import contextlib
import shutil
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils import checkpoint

from tubelet.model.kernels import CHUNKED

KEPT = {  # by selective checkpointing: results of products and of attention, dear to compute again
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten.baddbmm.default,
    torch.ops.aten.convolution.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    CHUNKED,
}
CHECKPOINTING = ("none", "selective", "full")
PROGRAMS = (
    128  # that torch.compile may make of a block: two for each shape where the first layer's values are kept
)


def checkpointed(blocks: Iterable[nn.Module], which: str) -> None:
    """Keep less of what each block computes for its backward, and compute that again there.   [Sublinear 4]

    "full" keeps a block's inputs alone and computes the block twice; "selective" also keeps the results of matrix
    products and attention, so that only cheap operations are repeated. "none" changes nothing.
    """
    if which == "none":
        return
    options: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}  # no block draws numbers
    if which == "selective":
        options["context_fn"] = partial(checkpoint.create_selective_checkpoint_contexts, list(KEPT))
    for block in blocks:
        block.forward = partial(checkpoint.checkpoint, block.forward, **options)


def compiled(blocks: Iterable[nn.Module]) -> None:
    """torch.compile each block on its own, one program for all that are alike; a C++ compiler must be there.

    Whatever lies outside, a plan of tokens or the frames that references stand for, may change without compiling anew.
    torch would run a block as it is written from its ninth program on and say nothing; here it may have PROGRAMS, and
    one more is an error (see failed_to_compile).
    """
    from torch._dynamo import config  # seconds to import, and here it is needed

    config.recompile_limit = max(config.recompile_limit, PROGRAMS)
    config.fail_on_recompile_limit_hit = True
    for block in blocks:
        block.forward = torch.compile(block.forward, dynamic=False)


def released(blocks: Iterable[nn.Module]) -> None:
    """Undo all that was done to the blocks."""
    for block in blocks:
        block.__dict__.pop("forward", None)


def can_compile() -> bool:
    """Whether there is the C++ compiler that torch.compile calls."""
    return shutil.which("g++") is not None


def failed_to_compile(problem: Exception) -> bool:
    """Whether it is the compiler that raised `problem`, and not what was compiled."""
    from torch._dynamo.exc import (  # seconds to import, and here it is
        FailOnRecompileLimitHit,
        TorchDynamoException,
    )

    return isinstance(problem, TorchDynamoException | FailOnRecompileLimitHit)


def uncompiled() -> contextlib.AbstractContextManager[Any]:
    """A context in which compiled blocks run as they are written: for sizes and modes that come up now and then."""
    return torch.compiler.set_stance("force_eager")
