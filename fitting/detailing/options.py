"""What a caller may choose of the detail stage."""

import math
from dataclasses import dataclass

from ...models.arrays import is_real_number, is_whole_number
from ...models.errors import InvalidInputError

MIN_SIZE, MAX_SIZE = 64, 1024
"""Texels per side."""

_POSITIVE = ("deviation", "length", "albedo_length", "outlier", "contrast", "mirror_deviation")

_RANGES = {"max_angle": (10.0, 89.0), "outline_mm": (0.0, 50.0), "tolerance": (0.0, 1.0)}


@dataclass(frozen=True)
class DetailOptions:
    """Options of the detail stage."""

    size: int = 256  # texels per side of the displacement map, 64 to 1024
    deviation: float = 0.4  # mm, standard deviation of heights before the photo is looked at
    length: float = 2.0  # mm, their length scale: 1 / 2 pi of the wavelength where their spectrum begins to fall
    noise: float | None = None  # standard deviation of the photo's pixels, sRGB 0-1; None: measured in the photo
    albedo_length: float = (
        6.0  # mm over which albedo and light may differ from the fitted: what varies slower is theirs
    )
    outlier: float = 0.3  # log of the shading beyond which a difference is no wrinkle's
    contrast: float = 0.15  # log of the shading: local contrast from which a surface is taken for hair
    max_angle: float = 65.0  # degrees between normal and viewer from which the photo does not count
    outline_mm: float = 4.0  # mm from the fitted silhouette within which it does not count
    mirror_deviation: float | None = (
        0.1  # mm by which the two halves of a face differ where one is unseen; None: freely
    )
    rounds: int = 3  # per level: light, albedo and weights anew, then a Gauss-Newton step
    steps: int = 40  # of conjugate gradients for each, at most
    tolerance: float = 0.01  # residual of the conjugate gradients, relative, at which they end

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be, naming the option."""
        if not is_whole_number(self.size) or not MIN_SIZE <= self.size <= MAX_SIZE:
            raise InvalidInputError(
                f"size: expected a whole number of texels from {MIN_SIZE} to {MAX_SIZE}, got {self.size!r}"
            )
        for name in ("rounds", "steps"):
            if not is_whole_number(getattr(self, name)) or getattr(self, name) < 1:
                raise InvalidInputError(f"{name}: expected a whole number from 1, got {getattr(self, name)!r}")
        for name in (*_POSITIVE, *(() if self.noise is None else ("noise",))):
            value = getattr(self, name)
            if name == "mirror_deviation" and value is None:
                continue
            if not is_real_number(value) or not 0.0 < value < math.inf:
                raise InvalidInputError(f"{name}: expected a positive number, got {value!r}")
        for name, (low, high) in {
            "max_angle": (10.0, 89.0),
            "outline_mm": (0.0, 50.0),
            "tolerance": (0.0, 1.0),
        }.items():
            value = getattr(self, name)
            if not is_real_number(value) or not low <= value <= high:
                raise InvalidInputError(f"{name}: expected a number from {low:g} to {high:g}, got {value!r}")
