"""Tensors and what is known of them as files of at most 15 MB with hashes, and back."""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from tubelet import checkpoint
from tubelet.checkpoint import Part, hash_of
from tubelet.errors import InputError
from tubelet.training.saving import in_bf16, taken

PIECE = 15_000_000  # bytes
MOST = 60_000_000  # bytes of all pieces: more leaves the raw weights behind and keeps the average
NOTE = "state.json"


def split(folder: Path, note: dict[str, Any], tensors: dict[str, Tensor]) -> list[Path]:
    """Write state.json and state-0.bin, state-1.bin, ... into `folder`; earlier ones there are deleted."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("state-*.bin"):
        old.unlink()
    content = save(tensors)
    files, rows = [], []
    for start in range(0, len(content), PIECE):
        piece = content[start : start + PIECE]
        files.append(folder / f"state-{len(files)}.bin")
        files[-1].write_bytes(piece)
        rows.append({"name": files[-1].name, "sha256": hashlib.sha256(piece).hexdigest()})
    (folder / NOTE).write_text(json.dumps({**note, "pieces": rows}, indent=1))
    return [folder / NOTE, *files]


def join(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `split` wrote. InputError names a piece that is missing or changed."""
    if not (folder / NOTE).is_file():
        raise InputError(f"{folder} has no {NOTE}; name the folder of the pieces")
    note = json.loads((folder / NOTE).read_text("utf-8"))
    content = b""
    for row in note.pop("pieces"):
        file = folder / row["name"]
        piece = file.read_bytes() if file.is_file() else b""
        if hashlib.sha256(piece).hexdigest() != row["sha256"]:
            raise InputError(f"{file} is missing or damaged; fetch the pieces again")
        content += piece
    return note, load(content)


def state_of(step: Path, text: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A run's checkpoint folder as note and tensors in bf16: the average, transformer.*, and raw weights, weights.*.

    The codec is named by a hash and does not travel; neither does the optimizer's state. `text` says what is to be
    known of the text encoder.
    """
    saved = checkpoint.load(step)
    training = saved.parts["training"]
    average = in_bf16(saved.parts["transformer"].tensors)
    tensors = {f"transformer.{name}": value for name, value in average.items()}
    raw = in_bf16(taken(training.tensors, "weights."))
    weights = {f"weights.{name}": value for name, value in raw.items()}
    if sum(value.nbytes for value in (*tensors.values(), *weights.values())) <= MOST:
        tensors |= weights
    note = {
        "training": training.config,
        "parts": {name: part.config for name, part in saved.parts.items() if name != "training"},
        "codec": hash_of(saved.parts["autoencoder"]),
        "text": text,
    }
    return note, tensors


def warm_start(back: Path, out: Path) -> Path:
    """Write the joined state as a checkpoint of the run's folder `out`, from which the loop goes on; returns it.

    This is a warm restart and not a resumed run: weights and average come from bf16, the optimizer begins anew. The
    checkpoint says so among its breaks.
    """
    note, tensors = join(back)
    config = note["training"]
    average = {name: value.float() for name, value in taken(tensors, "transformer.").items()}
    weights = {name: value.float() for name, value in taken(tensors, "weights.").items()}
    broken = {
        "step": config["step"],
        "what": "warm restart",
        "was": "weights, average and optimizer in float32",
        "is": f"{'weights and average' if weights else 'the average for both'} in bf16, optimizer anew",
    }
    state = {
        **{f"weights.{name}": value for name, value in (weights or average).items()},
        **{f"average.{name}": value for name, value in average.items()},
    }
    config = {**config, "exact": False, "breaks": [*config.get("breaks", []), broken]}
    folder = out / f"step-{config['step']:07d}"
    checkpoint.save(folder, {"training": Part(config, state)}, {"library": "tubelet", "parts": ["training"]})
    return folder
