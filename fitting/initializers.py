"""The seam for initialisers: what gives the first stage its starting state.

The default starts every face at the mean of the model, under the Gold Standard camera of the points that mean the
same in both conventions. A learned regressor plugs in here by supplying pose, identity and expression from the pixels.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..models.morphable_model import MorphableModel
from .gold_standard import fit_scaled_orthographic
from .landmarks import JAW, LandmarkConvention
from .parameters import FaceParameters

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class InitializerInput:
    """What an initialiser may look at."""

    model: MorphableModel
    image: NDArray[np.uint8] | None  # (H, W, 3) RGB upright; None where only landmarks were given
    box: Array  # (4,) px: x0, y0, x1, y1 of the face
    landmarks: Array  # (68, 2) px, finite where sigma is
    landmark_sigma: Array  # (68,) relative to the face's size; inf where a point is left out
    convention: LandmarkConvention


class Initializer(Protocol):
    """Anything that gives a starting state; it raises DegenerateConfigurationError where there is none to give."""

    @property
    def name(self) -> str:
        """Short name, for provenance."""

    def __call__(self, given: InitializerInput) -> FaceParameters:
        """Return the state from which the first stage starts."""


@dataclass(frozen=True)
class MeanFace:
    """The model's mean at its Gold Standard pose."""

    name: str = "mean"

    def __call__(self, given: InitializerInput) -> FaceParameters:
        """Return zero coefficients and the scaled orthographic camera that fits the mean to the landmarks."""
        sliding = given.convention is LandmarkConvention.CONTOUR
        basis = given.model.contour_landmark_basis if sliding else given.model.semantic_basis
        weights = 1.0 / given.landmark_sigma
        if sliding:
            weights[JAW] = 0.0
        points = np.where((weights > 0.0)[:, None], given.landmarks, 0.0)
        camera = fit_scaled_orthographic(basis.mean, points, weights)
        return FaceParameters(camera, np.zeros(given.model.n_identity), np.zeros(given.model.n_expression))
