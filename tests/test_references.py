"""Every source tag in a docstring of src/ is explained in docs/REFERENCES.md."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "src" / "tubelet").rglob("*.py"))

BRACKETS = re.compile(r"(?<![\w\]\"'`])\[([^\[\]]+)\]")
WHERE = r"(?:(?:alg\.|app\.|fig\.|model|sec\.|table) )?(?:[A-Z]|[A-Z]?\d+(?:\.\d+)*)"
TAG = re.compile(rf"([A-Z][A-Za-z0-9+-]+)( {WHERE}(?:, {WHERE})*)?")
ENTRY = re.compile(r"^- \*\*([^*]+)\*\* .+", re.MULTILINE)


def docstrings(source: str) -> list[str]:
    """The docstrings of a module, its classes and its functions."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, documented)]
    return [docstring for node in nodes if (docstring := ast.get_docstring(node))]


def keys_of(docstring: str) -> set[str]:
    """The keys of its tags: [DDPM 14], [DiT 3; PixArt 2], a bare [RoPE] after three spaces; not [B, C]."""
    keys = set()
    for brackets in BRACKETS.finditer(docstring):
        set_apart = docstring[: brackets.start()].endswith("   ")
        for tag in (TAG.fullmatch(piece.strip()) for piece in brackets[1].split(";")):
            if tag and (tag[2] or set_apart):
                keys.add(tag[1])
    return keys


def references() -> list[str]:
    return ENTRY.findall((ROOT / "docs" / "REFERENCES.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_every_tag_of_a_module_resolves(module):
    used = {key for text in docstrings(module.read_text(encoding="utf-8")) for key in keys_of(text)}
    assert used <= set(references()), "add the missing key to docs/REFERENCES.md"


def test_every_reference_is_listed_once_and_in_order():
    assert references() == sorted(set(references()), key=str.lower)


@pytest.mark.parametrize(
    ("docstring", "keys"),
    [
        ("The mean.   [DDPM 14]", {"DDPM"}),
        ("[DDPM alg. 2] [VDM app. A] [DiT 3.2]", {"DDPM", "VDM", "DiT"}),
        ("[DPM++ alg. 2]", {"DPM++"}),
        (
            "[DiT 3; PixArt 2], [ViT-22B 2], [DDIM 12, 16], rotary.   [RoPE]",
            {"DiT", "PixArt", "RoPE", "ViT-22B", "DDIM"},
        ),
        ("latents [B, C, f, h, w], times [B], table [T + 1], frames [F H W 3], in [-1, 1]", set()),
        ('the token "[CLS]", a [BLOCK] of frames, a list[Tensor], dict[str, Any], Sequence[Text]', set()),
    ],
)
def test_a_tag_is_told_from_a_shape(docstring, keys):
    assert keys_of(docstring) == keys
