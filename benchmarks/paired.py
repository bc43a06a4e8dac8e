"""How far apart two bounds are, clip by clip: the mean difference in bits a pixel value and its standard error.

python benchmarks/paired.py FIRST.jsonl SECOND.jsonl

Both are files that `tubelet bound --out` wrote (or their .gz) of the same clips with the same --seed, so each clip's
nats have the same noise in both, and much of what varies between clips cancels.
"""

import argparse
import gzip
import json
import math
from pathlib import Path
from statistics import mean, stdev
from typing import Any


def rows(file: Path) -> list[dict[str, Any]]:
    """The lines of a .jsonl file, or of one that is packed."""
    text = gzip.decompress(file.read_bytes()).decode() if file.suffix == ".gz" else file.read_text()
    return [json.loads(line) for line in text.splitlines()]


def bits(file: Path) -> list[float]:
    """The bound of each clip: its nats are lines of their own, one a term, and are added up."""
    found = rows(file)
    dims = next(row["dims"] for row in found if "dims" in row)
    terms = [row["clip_nats"] for row in found if "clip_nats" in row]
    return [sum(each) / dims / math.log(2) for each in zip(*terms, strict=True)]


def main() -> None:
    """Print the difference."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    options = parser.parse_args()
    first, second = bits(options.first), bits(options.second)
    away = [a - b for a, b in zip(first, second, strict=True)]
    error = stdev(away) / math.sqrt(len(away))
    print(
        f"{mean(first):.4f} - {mean(second):.4f} = {mean(away):.4f} ± {error:.4f} bits/dim on {len(away)} clips"
    )


if __name__ == "__main__":
    main()
