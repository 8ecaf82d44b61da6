"""A few points of the surface as an affine function of the coefficients, in float64: what the landmark solvers read.

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

    mean: Array  # (M, 3) mm
    basis: Array  # (P, M, 3) mm per unit of each coefficient

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
        return self.mean + (coefficients @ self.basis.reshape(len(self.basis), -1)).reshape(-1, 3)
