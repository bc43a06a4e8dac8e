"""The denoiser of a checkpoint in bf16, alone in another: python copy_averaged.py FROM TO STEP SAMPLES."""

import sys

from tubelet import checkpoint
from tubelet.checkpoint import Part
from tubelet.training.saving import in_bf16


def main() -> None:
    """Copy as the command line says."""
    source, target, step, samples = sys.argv[1:]
    part = checkpoint.load(source).parts["transformer"]  # a checkpoint's parts hold the averaged weights
    index = {"library": "tubelet", "parts": ["transformer"], "step": int(step), "samples": int(samples)}
    checkpoint.save(target, {"transformer": Part(part.config, in_bf16(part.tensors))}, index)


if __name__ == "__main__":
    main()
