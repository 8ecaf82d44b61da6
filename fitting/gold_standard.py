"""Cameras from point correspondences: the Gold Standard affine camera and the scaled orthographic camera in it.

Given model points X_i (mm) and image points x_i (px) with weights w_i, the affine camera x = A X + b that minimises
sum w_i^2 |A X_i + b - x_i|^2 is linear least squares (Hartley & Zisserman, Multiple View Geometry, 2nd ed.,
algorithm 7.2: with isotropic image noise the algebraic error of an affine camera is its geometric error):

 1. Normalise: subtract the weighted centroids, divide by the RMS distances. At the optimum the centroids
    correspond, which removes b.
 2. Solve [X_i]^T A^T = [x_i]^T in the least-squares sense.
 3. Undo the normalisation.

A scaled orthographic camera has A = s R_2 with the two rows of R orthonormal. The nearest one in the Frobenius norm
comes from the singular value decomposition A = U diag(d1, d2) V^T:  R_2 = U V^T; the third row is the cross product of
the first two, so that det R = +1. With R known the optimal scale and translation are closed-form again,

    s = sum w^2 (R_2 X_i)^T x_i / sum w^2 |R_2 X_i|^2      (centred),        t = centroid(x) - s R_2 centroid(X),

and they must be re-solved: the affine camera's own b belongs to A, not to s R_2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..models.arrays import checked_array
from ..models.errors import InvalidInputError
from ..render.cameras import ScaledOrthographic

Array = NDArray[np.float64]

MIN_ASPECT = 0.05
"""Smallest ratio of the singular values of A that still says anything about the rotation; 1 for an exact camera."""


class DegenerateConfigurationError(ValueError):
    """The points do not determine a camera: too few, all equal, or on a line. Turned into a status by the pipeline."""


@dataclass(frozen=True, eq=False)
class AffineCamera:
    """x = matrix X + translation."""

    matrix: Array  # (2, 3) px/mm
    translation: Array  # (2,) px


def fit_affine(points: ArrayLike, image_points: ArrayLike, weights: ArrayLike | None = None) -> AffineCamera:
    """Return the Gold Standard affine camera of points (n, 3), mm, and image points (n, 2), px.

    `weights` (n,) are 1/sigma of each image point; None stands for ones. Fewer than four points of positive weight,
    model points in a plane or image points on a line raise DegenerateConfigurationError.
    """
    return _affine(*_checked(points, image_points, weights))


def nearest_rotation(matrix: ArrayLike) -> Array:
    """Return the rotation (3, 3) whose first two rows are nearest to the direction of `matrix` (2, 3); det +1."""
    u, _, vt = np.linalg.svd(checked_array("matrix", matrix, (2, 3)), full_matrices=False)
    rows = u @ vt
    return np.vstack([rows, np.cross(rows[0], rows[1])])


def fit_scale_and_translation(
    rotation: ArrayLike, points: ArrayLike, image_points: ArrayLike, weights: ArrayLike | None = None
) -> ScaledOrthographic:
    """Return the scaled orthographic camera of a known rotation (3, 3) that fits the points best."""
    matrix = checked_array("rotation", rotation, (3, 3))
    return _scale_and_translation(matrix, *_checked(points, image_points, weights))


def fit_scaled_orthographic(
    points: ArrayLike, image_points: ArrayLike, weights: ArrayLike | None = None
) -> ScaledOrthographic:
    """Return the scaled orthographic camera of points (n, 3), mm, and image points (n, 2), px: steps 1-3 and on."""
    x, y, w2 = _checked(points, image_points, weights)
    return _scale_and_translation(nearest_rotation(_affine(x, y, w2).matrix), x, y, w2)


def _affine(x: Array, y: Array, w2: Array) -> AffineCamera:
    centre, x, spread = _centred(x, w2)
    image_centre, y, image_spread = _centred(y, w2)
    if not (spread > 0.0 and image_spread > 0.0):
        raise DegenerateConfigurationError("all points coincide")
    root = np.sqrt(w2)
    design, target = root * x / spread, root * y / image_spread
    gram = design.T @ design
    if np.linalg.eigvalsh(gram)[0] < 1e-9:
        raise DegenerateConfigurationError("the model's points lie in a plane")
    normalised = np.linalg.solve(gram, design.T @ target).T
    singular = np.linalg.svd(normalised, compute_uv=False)
    if singular[1] < MIN_ASPECT * singular[0]:
        raise DegenerateConfigurationError("the image points lie (nearly) on a line")
    matrix = normalised * np.float64(image_spread / spread)
    return AffineCamera(matrix, image_centre - matrix @ centre)


def _scale_and_translation(rotation: Array, x: Array, y: Array, w2: Array) -> ScaledOrthographic:
    centre, seen, spread = _centred(x @ rotation[:2].T, w2)
    image_centre, y, _ = _centred(y, w2)
    scale = float((w2 * seen * y).sum() / spread**2) if spread > 0.0 else 0.0
    if not scale > 0.0:
        raise DegenerateConfigurationError("no positive scale fits the points")
    return ScaledOrthographic(rotation, image_centre - scale * centre, scale)


def _checked(points: ArrayLike, image_points: ArrayLike, weights: ArrayLike | None) -> tuple[Array, Array, Array]:
    """Return points, image points and the squared weights (n, 1), which sum to one."""
    x = checked_array("points", points, (None, 3))
    y = checked_array("image_points", image_points, (len(x), 2))
    w = np.ones(len(x)) if weights is None else checked_array("weights", weights, (len(x),))
    if (w < 0.0).any():
        raise InvalidInputError("weights: expected non-negative numbers, got a negative one")
    if np.count_nonzero(w) < 4:
        raise DegenerateConfigurationError(f"an affine camera needs four points, got {np.count_nonzero(w)}")
    w2 = np.square(w / w.max())[:, None]
    return x, y, w2 / w2.sum()


def _centred(points: Array, w2: Array) -> tuple[Array, Array, float]:
    """Return the weighted centroid, the points relative to it, and their RMS distance, 0 where it is mere rounding."""
    centre = (w2 * points).sum(axis=0)
    centred = points - centre
    spread = float(np.sqrt((w2 * centred**2).sum()))
    return centre, centred, spread if spread > 1e-12 * (1.0 + float(np.abs(centre).max())) else 0.0
