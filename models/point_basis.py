"""A few points of the surface as an affine function of the coefficients: what the landmark solvers read.

p_i(c) = mean_i + sum_k c_k basis_ki,        c = (identity, expression)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .arrays import read_only

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PointBasis:
    """M points, P = K + E coefficients."""

    mean: Array  # (M, 3) mm, float64
    basis: NDArray[np.floating]  # (P, M, 3) mm per unit of each coefficient, float64 or float32

    @classmethod
    def blended(
        cls,
        mean: NDArray[np.floating],
        bases: Sequence[NDArray[np.floating]],
        corners: NDArray[np.integer],
        weights: NDArray[np.floating],
    ) -> "PointBasis":
        """Return the basis of the points sum_c weights[:, c] * vertex[corners[:, c]]."""
        stacked = np.concatenate([basis[:, corners].astype(np.float64) for basis in bases])
        blend = np.asarray(weights, dtype=np.float64)
        return cls(
            read_only(np.einsum("mc,mcx->mx", blend, np.asarray(mean, dtype=np.float64)[corners])),
            read_only(np.einsum("mc,pmcx->pmx", blend, stacked)),
        )

    def positions(self, coefficients: Array) -> Array:
        """Return the points (M, 3), mm, at `coefficients` (P,)."""
        weights = coefficients.astype(self.basis.dtype, copy=False)
        return self.mean + (weights @ self.basis.reshape(len(self.basis), self.mean.size)).reshape(-1, 3)

    def single_precision(self) -> "PointBasis":
        """Return the same with a float32 basis: exact to 1e-5 mm, and twice as fast where there are many points."""
        return PointBasis(self.mean, read_only(self.basis.astype(np.float32)))

    def without_idle(self) -> tuple["PointBasis", NDArray[np.int32]]:
        """Return the same without the coefficients that move no point, and the indices (Q,) of the others."""
        active = read_only(np.flatnonzero(self.basis.any(axis=(1, 2))).astype(np.int32))
        return PointBasis(self.mean, read_only(self.basis[active])), active
