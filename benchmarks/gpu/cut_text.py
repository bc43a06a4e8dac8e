"""MiniLM cut to some rows of its word table, in 16 bits: a text encoder where the published files are not.

Its states are not MiniLM's bit for bit, so its name and fingerprint are its own. `join.py` says what a checkpoint that
was trained on them becomes.
"""

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from tubelet.errors import InputError
from tubelet.text.bert import Bert, BertConfig
from tubelet.text.encoder import ENCODERS, MiniLM
from tubelet.text.tokenizer import WordPieces

NAME = "minilm-cut"
FILES = ("config.json", "tokenizer.json", "model.safetensors")
NOTE = "cut.json"  # what was kept, of which files, and how far the states are from the published ones
ROWS = "rows"  # the tensor of the word numbers that were kept, in the order of the cut table


class CutMiniLM(MiniLM):
    """MiniLM's states, nearly, of prompts whose words are among those kept; computed in float32 on `device`."""

    name = NAME

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        for name in (*FILES, NOTE):
            if not (folder / name).is_file():
                raise InputError(f"{folder / name} is missing; make it with benchmarks/gpu/pack.py")
        self.note = json.loads((folder / NOTE).read_text("utf-8"))
        config = BertConfig.of(json.loads((folder / "config.json").read_text("utf-8")))
        tensors = load_file(folder / "model.safetensors")
        kept = tensors.pop(ROWS).long()
        self._row = torch.full((self.note["vocabulary"],), -1)
        self._row[kept] = torch.arange(len(kept))
        self.device = device
        self.bert = Bert(config, {name: value.float().to(device) for name, value in tensors.items()})
        self.max_tokens, self.width = self.note["max_tokens"], config.hidden_size
        self._tokenizer = WordPieces(folder / "tokenizer.json", self.max_tokens)
        hashes = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES]
        self.fingerprint = hashlib.sha256(json.dumps([NAME, self.max_tokens, *hashes]).encode()).hexdigest()

    def _states(self, ids: Tensor, mask: Tensor) -> Tensor:
        rows = self._row[ids]  # [B, L]
        if bool((rows < 0).any()):
            lost = sorted(set(ids[rows < 0].tolist()))
            raise InputError(f"word pieces {lost} were cut from {NAME}; use words of the procedural world")
        with torch.autocast(torch.device(self.device).type, enabled=False):
            return self.bert(rows.to(self.device), mask.to(self.device)).cpu()


def register(bundle: Path, device: str = "cpu") -> None:
    """Make `text = "minilm-cut"` a text encoder that runs and checkpoints can name in this process."""
    ENCODERS[NAME] = lambda: CutMiniLM(bundle / NAME, device)
