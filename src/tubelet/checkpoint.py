"""A checkpoint is a folder of safetensors and JSON with a manifest of hashes; nothing in it is ever executed.

    folder/model_index.json  folder/<part>/config.json  folder/<part>/model.safetensors  folder/manifest.json

A flipped bit in a weight loads silently everywhere else, so every file is verified before any is used.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from tubelet.errors import InputError

INDEX = "model_index.json"
MANIFEST = "manifest.json"
CONFIG = "config.json"
TENSORS = "model.safetensors"
REMEDY = "take the checkpoint again from its source, or an earlier step"
# Blocks of the denoiser once held their attentions by name, where now all foldings share the one that was "all". The
# weights are the same, so checkpoints of that time are read, not rewritten: a checkpoint's hash is its identity.
RENAMED = {".attentions.all.": ".attention."}
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_FILE = re.compile(rf"{re.escape(INDEX)}|{_PART.pattern}/({re.escape(CONFIG)}|{re.escape(TENSORS)})")


@dataclass(frozen=True)
class Part:
    """One component: a config of plain JSON values, and its tensors by name (there may be none)."""

    config: dict[str, Any]
    tensors: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """What a folder holds. `hash` is the sha256 of the manifest's rows: equal when all content is equal."""

    index: dict[str, Any]
    parts: dict[str, Part]
    hash: str


def save(folder: str | Path, parts: Mapping[str, Part], index: dict[str, Any]) -> None:
    """Write a checkpoint at `folder`; one that is already there is replaced once the new one is whole.

    Everything is written and synced in a sibling folder, which is then renamed, so a kill or a full disk at
    any moment does not lose the old one. One process may write to a folder at a time. Raises OSError with the
    remedy when the disk refuses; InputError when `folder` is there and is not a checkpoint, or when a part's
    name is not plain.
    """
    folder = Path(folder).resolve()
    for name in parts:
        if not _PART.fullmatch(name):
            raise InputError(f"part {name!r} cannot name a folder; use letters, digits, _ and -")
    if folder.exists() and not (folder / MANIFEST).is_file() and not _is_empty(folder):
        raise InputError(f"{folder} is there and is not a checkpoint; choose another folder, or empty it")
    writing = folder.with_name(f".{folder.name}.writing-{os.getpid()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        _write(writing, parts, index)
        _swap(writing, folder)
    except OSError as error:
        needed = sum(tensor.nbytes for part in parts.values() for tensor in part.tensors.values()) / 1e6
        remedy = "free that much" if error.errno == errno.ENOSPC else "make it writable"
        raise OSError(
            error.errno,
            f"cannot save the checkpoint {folder}, which needs {needed:.1f} MB beside the one it replaces: "
            f"{error.strerror or error}; {remedy}, or save elsewhere. What was there before is unchanged",
        ) from error
    finally:
        shutil.rmtree(writing, ignore_errors=True)


def load(folder: str | Path) -> Checkpoint:
    """Read a checkpoint, tensors on the CPU, after comparing every file with the manifest.

    Raises InputError naming the file when one is missing, extra, cut short or changed, or when the folder is
    not a checkpoint. Files whose name starts with a dot are no part of it.
    """
    folder = Path(folder)
    files, fingerprint = _verified(folder)
    names = sorted({name.split("/")[0] for name in files if "/" in name})
    parts = {}
    for name in names:
        if f"{name}/{CONFIG}" not in files:
            raise InputError(f"{folder / name / CONFIG} is missing; {REMEDY}")
        tensors = _read_tensors(folder / name / TENSORS) if f"{name}/{TENSORS}" in files else {}
        parts[name] = Part(_read_json(folder / name / CONFIG), tensors)
    return Checkpoint(_read_json(folder / INDEX), parts, fingerprint)


def hash_of(part: Part) -> str:
    """sha256 of a part's config and tensors: equal when the content is equal, wherever it lies."""
    from safetensors.torch import save as tensors_to_bytes

    digest = hashlib.sha256(_render(part.config))
    digest.update(tensors_to_bytes(_plain(part.tensors)))
    return digest.hexdigest()


def _write(folder: Path, parts: Mapping[str, Part], index: dict[str, Any]) -> None:
    from safetensors.torch import save as tensors_to_bytes

    folder.mkdir()
    files = {INDEX: _put(folder / INDEX, _render(index))}
    for name, part in parts.items():
        (folder / name).mkdir()
        files[f"{name}/{CONFIG}"] = _put(folder / name / CONFIG, _render(part.config))
        if part.tensors:
            content = tensors_to_bytes(_plain(part.tensors))
            files[f"{name}/{TENSORS}"] = _put(folder / name / TENSORS, content)
        _sync_folder(folder / name)
    # The hash of the rows tells a damaged manifest from a damaged file.
    _put(folder / MANIFEST, _render({"files": files, "hash": _hash_of(files)}))
    _sync_folder(folder)


def _put(file: Path, content: bytes) -> dict[str, Any]:
    """Write and sync a file; its row of the manifest."""
    with open(file, "xb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _swap(new: Path, folder: Path) -> None:
    """Put `new` in the place of `folder`; the old one is deleted last."""
    old = folder.with_name(f".{folder.name}.old")
    if not folder.exists():
        os.rename(new, folder)
    else:
        shutil.rmtree(old, ignore_errors=True)
        os.rename(folder, old)
        try:
            os.rename(new, folder)
        except BaseException:  # an interrupt, too
            os.rename(old, folder)
            raise
    with suppress(OSError):  # the new one is whole and in place, whatever the parent folder says
        _sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _remove_leftovers(folder: Path) -> None:
    """Delete what a killed save left half written beside `folder`."""
    for sibling in folder.parent.iterdir():
        if sibling.name.startswith(f".{folder.name}.writing-"):
            shutil.rmtree(sibling, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, contiguous, and no two in one memory, which safetensors refuses."""
    seen, plain = set(), {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        plain[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return plain


def _render(value: dict[str, Any]) -> bytes:
    """The one way in which a dict is written as JSON, so that equal content gives equal bytes."""
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def _verified(folder: Path) -> tuple[dict[str, Any], str]:
    """The manifest's rows, once every file agrees with its own, and the manifest's hash."""
    if not folder.is_dir():
        aside = folder.absolute().with_name(f".{folder.absolute().name}.old")
        found = f"; a save was interrupted: rename {aside} to it" if aside.is_dir() else "; check the path"
        raise InputError(f"{folder}: there is no such checkpoint folder{found}")
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise InputError(
            f"{folder} is not a checkpoint: it has no {MANIFEST}; name the folder that holds one"
        )
    files = _rows(manifest)
    for name, row in files.items():
        file = folder / name
        if not file.is_file():
            raise InputError(f"{file} is missing; {REMEDY}")
        size = file.stat().st_size
        if size != row["bytes"]:
            raise InputError(f"{file} is damaged: {size:,} bytes instead of {row['bytes']:,}; {REMEDY}")
        with open(file, "rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != row["sha256"]:
                raise InputError(f"{file} is damaged: its sha256 is not the manifest's; {REMEDY}")
    for file in folder.rglob("*"):
        name = file.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if file.is_file() and not hidden and name.as_posix() not in {*files, MANIFEST}:
            raise InputError(f"{file} is not in the checkpoint's manifest; move it elsewhere")
    return files, _hash_of(files)


def _hash_of(files: dict[str, Any]) -> str:
    return hashlib.sha256(_render(files)).hexdigest()


def _rows(manifest: Path) -> dict[str, Any]:
    """The manifest's rows by file name; any byte that `save` would not have written is refused."""
    damaged = InputError(f"{manifest} is damaged; {REMEDY}")
    content = manifest.read_bytes()
    try:
        files = json.loads(content)["files"]
        intact = content == _render({"files": files, "hash": _hash_of(files)})
        wellformed = INDEX in files and all(
            _FILE.fullmatch(name) and isinstance(row["bytes"], int) and isinstance(row["sha256"], str)
            for name, row in files.items()
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged from error
    if not (intact and wellformed):
        raise damaged
    return files


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not JSON; {REMEDY}") from error
    if not isinstance(value, dict):
        raise InputError(f"{file} holds no JSON object; {REMEDY}")
    return value


def _read_tensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(file)
    except SafetensorError as error:
        raise InputError(f"{file} is not a safetensors file: {error}; {REMEDY}") from error
    return {_todays(name): tensor for name, tensor in tensors.items()}


def _todays(name: str) -> str:
    for old, new in RENAMED.items():
        name = name.replace(old, new)
    return name


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())
