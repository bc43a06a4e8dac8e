"""What a run may choose of the flat world."""

from dataclasses import dataclass

from tubelet.errors import InputError
from tubelet.worlds import WorldConfig


@dataclass(frozen=True, kw_only=True)
class ShapesConfig(WorldConfig):
    """How clips are rendered and what share of them shows what. The scenes depend on seed and shares alone."""

    kind: str = "shapes"
    two_objects: float = 0.25  # share of scenes
    pan: float = 0.12  # share of scenes with one object

    def __post_init__(self) -> None:
        """Refuse what cannot be rendered."""
        super().__post_init__()
        for name in ("two_objects", "pan"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} {getattr(self, name)} is a share of scenes; give 0 to 1")
