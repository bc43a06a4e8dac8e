"""Make a checkpoint that `VideoPipeline.from_pretrained` loads of the pieces that train.py gave back.

    python benchmarks/gpu/join.py BACK --out runs/gpu-final

The pieces' hashes are compared. The codec is taken from --codec, whose hash must be that of the codec trained with.
The run read its prompts through MiniLM cut to 16 bits, whose states are about 0.1 % off the published ones; the
checkpoint written here names the published MiniLM, with which it is sampled, and its model_index.json says what it was
trained with.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from cut_text import NAME
from pieces import join

from tubelet import __version__, checkpoint
from tubelet.autoencoder.codec import codec_of, codec_part
from tubelet.checkpoint import Part, hash_of
from tubelet.errors import InputError
from tubelet.text.encoder import make_encoder
from tubelet.training.saving import taken
from tubelet.training.start import part_of


def main() -> None:
    """Join, check, write, and say what was written."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("back", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--codec", default="default", help="folder of the codec's checkpoint; default: the shipped one"
    )
    options = parser.parse_args()
    try:
        index = joined(options.back, options.out, options.codec)
    except InputError as error:
        raise SystemExit(f"join.py: {error}") from None
    print(f"{options.out}: {json.dumps(index['training'], indent=1)}")


def joined(back: Path, out: Path, codec: str) -> dict[str, Any]:
    """Write the checkpoint; returns its index."""
    note, tensors = join(back)
    autoencoder = part_of(codec, "autoencoder")
    if hash_of(codec_part(codec_of(autoencoder))) != note["codec"]:
        raise InputError(
            f"{codec} is not the codec that the run was trained with; name that one with --codec"
        )
    training = note["training"]
    known = {key: training[key] for key in ("step", "exact", "breaks", "build", "run")}
    parts = {
        "autoencoder": autoencoder,
        "transformer": Part(note["parts"]["transformer"], taken(tensors, "transformer.")),
        "text_encoder": Part(note["parts"]["text_encoder"]),
        "scheduler": Part(note["parts"]["scheduler"]),
    }
    if note["parts"]["text_encoder"]["name"] == NAME:
        published = make_encoder("minilm")
        parts["text_encoder"] = Part({"name": published.name, "fingerprint": published.fingerprint})
        known["text_states"] = {"trained_with": note["parts"]["text_encoder"], **note["text"]}
    index = {"library": "tubelet", "version": __version__, "parts": sorted(parts), "training": known}
    checkpoint.save(out, parts, index)
    return index


if __name__ == "__main__":
    main()
