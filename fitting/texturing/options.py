"""What a caller may choose of how a photo is unwrapped."""

from dataclasses import dataclass

from ...models.arrays import is_real_number, is_whole_number
from ...models.errors import InvalidInputError

MIN_SIZE, MAX_SIZE = 256, 4096
"""Texels per side."""

_RANGES = {
    "max_angle": (10.0, 89.0),
    "outline_mm": (0.0, 50.0),
    "loose_outline_mm": (0.0, 50.0),
    "outline_px": (0.0, 1000.0),
    "depth_tolerance": (0.01, 100.0),
}


@dataclass(frozen=True)
class TextureOptions:
    """How a photo is unwrapped."""

    size: int = 1024  # texels per side, 256 to 4096
    max_angle: float = 60.0  # degrees between normal and viewer from which a texel does not count as seen
    outline_mm: float = 5.0  # mm from the fitted silhouette within which the photo is not believed
    loose_outline_mm: float = 10.0  # mm, the same for ears, scalp and neck, whose outline a fit knows less well
    outline_px: float = 2.0  # px of the photo, the same: the larger of the two counts
    depth_tolerance: float = 1.5  # mm behind the nearest surface at which a point still counts as seen
    albedo_ratio: tuple[float, float] = (0.4, 2.5)  # least and greatest albedo relative to the fitted reflectance
    mirror: bool = True  # fill what is not seen from the other side of the face
    threads: int | None = None  # that share the work, None: as many as there are cores; no result depends on it

    def __post_init__(self) -> None:
        """Raise InvalidInputError for a value out of its range."""
        if not is_whole_number(self.size) or not MIN_SIZE <= self.size <= MAX_SIZE:
            raise InvalidInputError(
                f"size: expected a whole number of texels from {MIN_SIZE} to {MAX_SIZE}, got {self.size!r}"
            )
        if self.threads is not None and (not is_whole_number(self.threads) or self.threads < 1):
            raise InvalidInputError(f"threads: expected a whole number from 1 or None, got {self.threads!r}")
        if not isinstance(self.mirror, bool):
            raise InvalidInputError(f"mirror: expected True or False, got {self.mirror!r}")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not is_real_number(value) or not low <= value <= high:
                raise InvalidInputError(f"{name}: expected a number from {low:g} to {high:g}, got {value!r}")
        ratio = self.albedo_ratio
        pair = isinstance(ratio, tuple) and len(ratio) == 2 and all(map(is_real_number, ratio))
        if not (pair and 0.0 < ratio[0] < ratio[1]):
            raise InvalidInputError(f"albedo_ratio: expected two numbers, 0 < least < greatest, got {ratio!r}")
