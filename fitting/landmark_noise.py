"""How far the observed landmarks may lie from where the model puts them.

Each point has isotropic Gaussian noise of standard deviation sigma_i relative to the face's size F (px), so nothing
depends on the photo's resolution. The two points of an eyelid or lip pair are displaced together more than apart (a
detector shifts a whole eye more easily than it opens it): their noise has the correlation rho. Then (upper + lower) /
sqrt 2 has the standard deviation sigma sqrt(1 + rho), the *opening* (upper - lower) / sqrt 2 has sigma sqrt(1 - rho),
and the two are independent, which whitens the pair. rho = 0 is independent noise. That is how the opening of eyes and
lips gets its say without counting a point twice.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..models.arrays import checked_array, read_only
from ..models.errors import InvalidInputError
from .landmarks import COUNT, LEFT_EYELID_PAIRS, LIP_PAIRS, RIGHT_EYELID_PAIRS

Array = NDArray[np.float64]

OPENING_PAIRS = read_only(np.concatenate([RIGHT_EYELID_PAIRS, LEFT_EYELID_PAIRS, LIP_PAIRS]))
"""(7, 2) upper and lower point of each eyelid and inner lip pair."""

MIN_SIGMA = 1e-9
"""Least noise of a point, relative to the face's size; with less, the energy would be made of rounding errors."""


@dataclass(frozen=True, eq=False)
class LandmarkNoise:
    """Noise of the 68 points."""

    sigma: Array  # (68,) relative to the face's size; inf leaves a point out
    opening_correlation: float = 0.0  # rho of the two points of an opening pair, 0 <= rho < 1

    def __post_init__(self) -> None:
        sigma = checked_array("landmark_sigma", self.sigma, (COUNT,), finite=False)
        if not (sigma >= MIN_SIGMA).all():
            raise InvalidInputError(
                f"landmark_sigma: expected positive numbers from {MIN_SIGMA:g} (inf leaves a point out), got others"
            )
        if not 0.0 <= self.opening_correlation < 1.0:
            raise InvalidInputError(f"opening_correlation: expected 0 <= rho < 1, got {self.opening_correlation}")
        object.__setattr__(self, "sigma", read_only(sigma))

    @property
    def pairs(self) -> NDArray[np.intp]:
        """The opening pairs (Q, 2) whose points both count."""
        return OPENING_PAIRS[np.isfinite(self.sigma[OPENING_PAIRS]).all(axis=1)]

    def weights(self, face_size: float) -> Array:
        """Return 1 / (sigma F) (68,), per px, for a face of `face_size` px; zero for points left out."""
        return 1.0 / (self.sigma * face_size)


def expand_sigma(sigma: float | ArrayLike) -> Array:
    """Return (68,) standard deviations from one number or an array of 68."""
    if np.ndim(sigma) == 0:
        return np.full(COUNT, float(checked_array("landmark_sigma", sigma, (), finite=False)))
    return checked_array("landmark_sigma", sigma, (COUNT,), finite=False)
