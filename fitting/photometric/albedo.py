"""What colours a face may have: the model's albedo, and how one person's differs from any of its.

    albedo(v) = mean(v) + sum_k b_k mode_k(v) + mean(v) d(v)

d is a smooth random field over the surface, the same in all channels: a Gaussian process of standard deviation s and
squared exponential covariance s^2 exp(-|x - y|^2 / 2 l^2) over the points of the mean shape. Tone differs from brow to
chin by some such amount in every face, and a fit that does not allow for it explains it by shape: with d the error
that the shape keeps is a third smaller than without (docs/photometric.md). d is written in the values at inducing
points z, spread over the face about l apart, in units in which its prior is 1/2 |w|^2:

    d(v) = s k(v, z) L^-T w,    L L^T = k(z, z)

Source: subset of regressors, Quinonero-Candela & Rasmussen, A unifying view of sparse approximate Gaussian process
regression, JMLR 2005, section 5.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from ...models.morphable_model import MorphableModel
from ._kernels import add_modes

Array = NDArray[np.float64]

SKIN = (0.52, 0.33, 0.25)
"""Linear reflectance of a model without colours: of skin in the middle of the range that people have."""

JITTER = 1e-4
"""Added to the diagonal of k(z, z): values that close to one another are the same."""


@dataclass(frozen=True, eq=False)
class AlbedoBasis:
    """Albedo as an affine function of coefficients with unit normal priors."""

    mean: Array  # (N, 3) linear reflectance
    modes: NDArray[np.float32]  # (N, 3, A + D) per unit: the model's A, then those of the deviation
    n_model: int  # A

    @property
    def size(self) -> int:
        """Number of coefficients."""
        return self.modes.shape[2]

    def reflectance(self, coefficients: Array, rows: NDArray[np.intp] | slice = slice(None)) -> Array:
        """Return the albedo (M, 3) of the vertices `rows`, at least MIN_REFLECTANCE."""
        chosen = np.arange(len(self.mean))[rows]
        values = self.mean[chosen]
        add_modes(self.modes, coefficients.astype(np.float32), chosen, values)
        return np.maximum(values, MIN_REFLECTANCE)


MIN_REFLECTANCE = 0.01
"""Darkest linear reflectance of a vertex: the darkest things around have about that."""


def albedo_basis(model: MorphableModel, face: NDArray[np.bool_], deviation: float, length: float) -> AlbedoBasis:
    """Return the albedo of all vertices of a model, with a smooth deviation over those of its `face` (N,).

    deviation: s; length: l, mm.
    """
    count = model.n_vertices
    mean = np.tile(SKIN, (count, 1)) if model.albedo_mean is None else np.asarray(model.albedo_mean, np.float64)
    own = np.zeros((0, count, 3)) if model.albedo is None else model.albedo
    points = np.asarray(model.mean, dtype=np.float64)
    field = _field(points, points[face], length) if deviation > 0.0 else np.zeros((count, 0))
    modes = np.concatenate(
        [np.moveaxis(own, 0, 2).astype(np.float32), (deviation * mean[:, :, None] * field[:, None]).astype(np.float32)],
        axis=2,
    )
    return AlbedoBasis(mean, np.ascontiguousarray(modes), len(own))


def _field(points: Array, face: Array, length: float) -> Array:
    """Return k(points, z) L^-T (N, D): what unit normal weights make of the field at points (N, 3)."""
    inducing = face[_spread(face, length)]

    def covariance(x: Array, y: Array) -> Array:
        square = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2.0 * x @ y.T
        return np.exp(-0.5 * np.maximum(square, 0.0) / length**2)

    factor = np.linalg.cholesky(covariance(inducing, inducing) + JITTER * np.eye(len(inducing)))
    field: Array = solve_triangular(factor, covariance(points, inducing).T, lower=True).T
    return field


def _spread(points: Array, distance: float) -> list[int]:
    """Return indices of points that leave none farther than `distance` from all of them: farthest point sampling."""
    chosen = [int(np.linalg.norm(points - points.mean(axis=0), axis=1).argmin())]
    nearest = np.linalg.norm(points - points[chosen[0]], axis=1)
    while nearest.max() > distance:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return chosen
