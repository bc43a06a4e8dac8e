"""Unpack the packages of the bundle that are missing here, and say what the machine has.

    export PYTHONPATH=src:.gpu-bundle/site; python benchmarks/gpu/unpack.py .gpu-bundle

What is installed is used as it is.
"""

import argparse
import importlib.metadata
import importlib.util
import platform
import zipfile
from pathlib import Path

SEEN = ("torch", "numpy", "safetensors", "einops", "tokenizers", "pillow", "av")


def main() -> None:
    """Unpack into `site` of the bundle and print one line a package."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    bundle = parser.parse_args().bundle
    unpacked = unpack(bundle)
    print(f"python {platform.python_version()}")
    for name in SEEN:
        print(name, "unpacked" if name in unpacked else version(name))


def unpack(bundle: Path) -> list[str]:
    """Unpack what no folder of sys.path but `site` has; returns the names."""
    site = bundle / "site"
    site.mkdir(exist_ok=True)
    with zipfile.ZipFile(bundle / "packages.zip") as archive:
        packed = sorted({name.split("/")[0] for name in archive.namelist()})
        missing = [name for name in packed if importlib.util.find_spec(name) is None]
        archive.extractall(site, [n for n in archive.namelist() if n.split("/")[0] in missing])
    importlib.invalidate_caches()
    return missing


def version(package: str) -> str:
    """The version that is recorded as installed, or "not recorded"."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not recorded"


if __name__ == "__main__":
    main()
