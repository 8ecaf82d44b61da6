"""What a caller may choose of the photometric stage."""

import math
from dataclasses import dataclass

import numpy as np

from ...models.errors import InvalidInputError


@dataclass(frozen=True)
class PhotometricOptions:
    """Options of the photometric stage."""

    face_sizes: tuple[float, ...] = (40.0, 80.0)  # px, the face's size in each level of the pyramid, coarse to fine
    rounds: int = 4  # renderings per level, each followed by a Gauss-Newton step
    tolerance: float = 0.2  # nats: a level ends when a step after a fresh rendering promises less than this
    min_cosine: float = 0.25  # of the angle between normal and view: what is seen more edge-on does not count
    degrees_of_freedom: float = 4.0  # of Student's t distribution of the errors: less is more robust
    albedo_deviation: float = 0.15  # standard deviation of a face's albedo from the model's, relative; 0: none
    albedo_length: float = 30.0  # mm over which that deviation is much the same
    landmark_tolerance: float = 1.3  # the stage is rejected where it raises the landmarks' robust cost by this factor
    threads: int | None = None  # that share the work, None: as many as there are cores; no result depends on it

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be, naming the option."""
        sizes = tuple(float(size) for size in np.atleast_1d(self.face_sizes))
        if not sizes or not all(16.0 <= size < math.inf for size in sizes):
            raise InvalidInputError(f"face_sizes: expected numbers of px from 16, got {self.face_sizes!r}")
        object.__setattr__(self, "face_sizes", sizes)
        for name in ("rounds", *(() if self.threads is None else ("threads",))):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or value < 1:
                raise InvalidInputError(f"{name}: expected a whole number from 1, got {value!r}")
        for name in ("tolerance", "degrees_of_freedom", "albedo_length", "landmark_tolerance"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise InvalidInputError(f"{name}: expected a positive number, got {getattr(self, name)!r}")
        if not 0.0 <= self.albedo_deviation < math.inf:
            raise InvalidInputError(f"albedo_deviation: expected a number from 0, got {self.albedo_deviation!r}")
        if not 0.0 < self.min_cosine < 1.0:
            raise InvalidInputError(f"min_cosine: expected a number between 0 and 1, got {self.min_cosine!r}")
