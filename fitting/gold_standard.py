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
    x, y, w = _checked(points, image_points, weights)
    w2 = (w * w)[:, None] / (w @ w)
    centre, image_centre = (w2 * x).sum(axis=0), (w2 * y).sum(axis=0)
    spread = np.sqrt((w2 * (x - centre) ** 2).sum())
    image_spread = np.sqrt((w2 * (y - image_centre) ** 2).sum())
    if not (spread > 0.0 and image_spread > 1e-12 * (1.0 + np.abs(image_centre).max())):
        raise DegenerateConfigurationError("all points coincide")
    root = np.sqrt(w2)
    design, target = root * (x - centre) / spread, root * (y - image_centre) / image_spread
    gram = design.T @ design
    if np.linalg.eigvalsh(gram)[0] < 1e-9:
        raise DegenerateConfigurationError("the model's points lie in a plane")
    normalised = np.linalg.solve(gram, design.T @ target).T
    singular = np.linalg.svd(normalised, compute_uv=False)
    if singular[1] < MIN_ASPECT * singular[0]:
        raise DegenerateConfigurationError("the image points lie (nearly) on a line")
    matrix = normalised * (image_spread / spread)
    return AffineCamera(matrix, image_centre - matrix @ centre)


def nearest_rotation(matrix: ArrayLike) -> Array:
    """Return the rotation (3, 3) whose first two rows are nearest to the direction of `matrix` (2, 3); det +1."""
    u, _, vt = np.linalg.svd(checked_array("matrix", matrix, (2, 3)), full_matrices=False)
    rows = u @ vt
    return np.vstack([rows, np.cross(rows[0], rows[1])])


def fit_scale_and_translation(
    rotation: ArrayLike, points: ArrayLike, image_points: ArrayLike, weights: ArrayLike | None = None
) -> ScaledOrthographic:
    """Return the scaled orthographic camera of a known rotation (3, 3) that fits the points best."""
    x, y, w = _checked(points, image_points, weights)
    r = checked_array("rotation", rotation, (3, 3))
    w2 = (w * w)[:, None] / (w @ w)
    seen = x @ r[:2].T
    centre, image_centre = (w2 * seen).sum(axis=0), (w2 * y).sum(axis=0)
    seen, y = seen - centre, y - image_centre
    scale = float((w2 * seen * y).sum() / (w2 * seen * seen).sum())
    if not scale > 0.0:
        raise DegenerateConfigurationError("no positive scale fits the points")
    return ScaledOrthographic(r, image_centre - scale * centre, scale)


def fit_scaled_orthographic(
    points: ArrayLike, image_points: ArrayLike, weights: ArrayLike | None = None
) -> ScaledOrthographic:
    """Return the scaled orthographic camera of points (n, 3), mm, and image points (n, 2), px (see the module's text)."""
    affine = fit_affine(points, image_points, weights)
    return fit_scale_and_translation(nearest_rotation(affine.matrix), points, image_points, weights)


def _checked(points: ArrayLike, image_points: ArrayLike, weights: ArrayLike | None) -> tuple[Array, Array, Array]:
    x = checked_array("points", points, (None, 3))
    y = checked_array("image_points", image_points, (len(x), 2))
    w = np.ones(len(x)) if weights is None else checked_array("weights", weights, (len(x),))
    if (w < 0.0).any():
        raise InvalidInputError("weights: expected non-negative numbers, got a negative one")
    if np.count_nonzero(w) < 4:
        raise DegenerateConfigurationError(f"an affine camera needs four points, got {np.count_nonzero(w)}")
    return x, y, w
