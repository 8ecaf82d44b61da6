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

import math
from dataclasses import dataclass
from typing import NamedTuple

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
    return _affine(_moments(points, image_points, weights))


def nearest_rotation(matrix: ArrayLike) -> Array:
    """Return the rotation (3, 3) whose first two rows are nearest to the direction of `matrix` (2, 3); det +1."""
    u, _, vt = np.linalg.svd(checked_array("matrix", matrix, (2, 3)), full_matrices=False)
    rows = u @ vt
    return np.vstack([rows, _cross(rows[0], rows[1])])


def fit_scale_and_translation(
    rotation: ArrayLike, points: ArrayLike, image_points: ArrayLike, weights: ArrayLike | None = None
) -> ScaledOrthographic:
    """Return the scaled orthographic camera of a known rotation (3, 3) that fits the points best."""
    matrix = checked_array("rotation", rotation, (3, 3))
    return _scale_and_translation(matrix, _moments(points, image_points, weights))


def fit_scaled_orthographic(
    points: ArrayLike, image_points: ArrayLike, weights: ArrayLike | None = None
) -> ScaledOrthographic:
    """Return the scaled orthographic camera of points (n, 3), mm, and image points (n, 2), px: steps 1-3 and on."""
    moments = _moments(points, image_points, weights)
    return _scale_and_translation(nearest_rotation(_affine(moments).matrix), moments)


class _Moments(NamedTuple):
    """All that the cameras depend on: step 1 of the module's text and the normal equations of step 2."""

    centre: Array  # (3,) mm
    image_centre: Array  # (2,) px
    spread: float  # mm, RMS distance from the centre; 0 where it is mere rounding
    image_spread: float  # px
    gram: Array  # (3, 3) sum w^2 x x^T of the normalised points
    cross: Array  # (3, 2) sum w^2 x u^T of the normalised points and image points


def _moments(points: ArrayLike, image_points: ArrayLike, weights: ArrayLike | None) -> _Moments:
    x = checked_array("points", points, (None, 3))
    u = checked_array("image_points", image_points, (len(x), 2))
    w = np.ones(len(x)) if weights is None else checked_array("weights", weights, (len(x),))
    if (w < 0.0).any():
        raise InvalidInputError("weights: expected non-negative numbers, got a negative one")
    if np.count_nonzero(w) < 4:
        raise DegenerateConfigurationError(f"an affine camera needs four points, got {np.count_nonzero(w)}")
    w = w / w.max()
    root = (w / math.sqrt(w @ w))[:, None]  # the squared weights sum to one
    centre, x, spread = _normalised(x, root)
    image_centre, u, image_spread = _normalised(u, root)
    return _Moments(centre, image_centre, spread, image_spread, x.T @ x, x.T @ u)


def _normalised(points: Array, root: Array) -> tuple[Array, Array, float]:
    """Return the centroid, the weighted points about it over their RMS distance, and that, 0 if it is rounding."""
    centre = ((root * root).T @ points)[0]
    centred = root * (points - centre)
    spread = math.sqrt(np.vdot(centred, centred))
    if spread <= 1e-12 * (1.0 + float(np.abs(centre).max())):
        return centre, np.zeros_like(centred), 0.0
    return centre, centred / spread, spread


def _affine(moments: _Moments) -> AffineCamera:
    if not (moments.spread > 0.0 and moments.image_spread > 0.0):
        raise DegenerateConfigurationError("all points coincide")
    if np.linalg.eigvalsh(moments.gram)[0] < 1e-9:
        raise DegenerateConfigurationError("the model's points lie in a plane")
    normalised = np.asarray(np.linalg.solve(moments.gram, moments.cross).T, dtype=np.float64)
    if _aspect(normalised) < MIN_ASPECT:
        raise DegenerateConfigurationError("the image points lie (nearly) on a line")
    matrix = normalised * np.float64(moments.image_spread / moments.spread)
    return AffineCamera(matrix, moments.image_centre - matrix @ moments.centre)


def _scale_and_translation(rotation: Array, moments: _Moments) -> ScaledOrthographic:
    rows = rotation[:2]
    along = float(np.vdot(rows.T, moments.cross))
    squared = float(np.vdot(rows, rows @ moments.gram))
    if not (along > 0.0 and squared > 1e-24):
        raise DegenerateConfigurationError("no positive scale fits the points")
    scale = along / squared * (moments.image_spread / moments.spread)
    return ScaledOrthographic(rotation, moments.image_centre - scale * (rows @ moments.centre), scale)


def _aspect(matrix: Array) -> float:
    """Return the ratio of the smaller to the larger singular value of (2, 3): the roots of its 2 x 2 Gram matrix."""
    (a, b), (_, c) = (matrix @ matrix.T).tolist()
    middle, radius = 0.5 * (a + c), math.hypot(0.5 * (a - c), b)
    return math.sqrt(max(middle - radius, 0.0) / (middle + radius)) if middle + radius > 0.0 else 0.0


def _cross(u: Array, v: Array) -> Array:
    """Return u x v of two vectors (3,), without the overhead that `numpy.cross` has for one pair."""
    (a, b, c), (d, e, f) = u.tolist(), v.tolist()
    return np.array([b * f - c * e, c * d - a * f, a * e - b * d])
