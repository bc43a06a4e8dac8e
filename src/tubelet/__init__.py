"""tubelet: a text-to-video latent diffusion transformer to train, sample, measure and scale.

    from tubelet import VideoPipeline

Importing the package loads nothing; torch arrives with the first name that needs it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tubelet.sampling.pipeline import VideoPipeline

__version__ = "0.1.0"
__all__ = ["VideoPipeline", "__version__"]


def __getattr__(name: str) -> object:
    """The public names, each imported when it is first asked for."""
    if name == "VideoPipeline":
        from tubelet.sampling.pipeline import VideoPipeline

        return VideoPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
