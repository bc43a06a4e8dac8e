"""The copy of averaged weights that a lost long run begins with again."""

import subprocess
import sys
from pathlib import Path

import torch

from tubelet import checkpoint
from tubelet.checkpoint import Part

SCRIPT = Path(__file__).resolve().parents[2] / "longrun" / "copy_averaged.py"


def test_the_copy_is_the_denoiser_alone_in_bf16_and_knows_its_step(tmp_path):
    weights = {"matrix": torch.randn(3, 4), "gain": torch.randn(4)}
    parts = {"transformer": Part({"width": 4}, weights), "training": Part({}, {"w": torch.zeros(2)})}
    checkpoint.save(tmp_path / "step-0000008", parts, {})
    arguments = [tmp_path / "step-0000008", tmp_path / "averaged", "48", "192"]
    for _ in range(2):  # a later copy takes the place of an earlier one
        subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], check=True)
    copy = checkpoint.load(tmp_path / "averaged")
    assert list(copy.parts) == ["transformer"] and copy.parts["transformer"].config == {"width": 4}
    assert copy.index["step"] == 48 and copy.index["samples"] == 192
    assert torch.equal(copy.parts["transformer"].tensors["matrix"], weights["matrix"].bfloat16())
    assert torch.equal(copy.parts["transformer"].tensors["gain"], weights["gain"])
