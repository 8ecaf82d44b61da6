"""Bounded ridge regression: the minimum of a strictly convex quadratic within bounds, exactly.

With the camera fixed the landmarks are affine in the coefficients c, and the maximum a posteriori estimate
(Aldrian & Smith, PAMI 2013, section 4; Blanz & Vetter's prior) minimises

    1/2 |J c - r|^2 + 1/2 sum (c / sigma)^2 = 1/2 c^T M c - v^T c + const,        lower <= c <= upper,

with M = J^T J + diag(1/sigma^2), v = J^T r. Without active bounds that is one Cholesky solve, M c = v. Otherwise the
optimum satisfies the KKT conditions: an entry is free with zero gradient (M c - v), or stands at a bound with its
gradient pointing outwards. Block principal pivoting finds which is which in a handful of solves (Judice & Pires,
Computers & Operations Research 1994; Kim & Park, SIAM J. Sci. Comput. 2011): solve with the current guess and move
every entry that violates its condition to the other side.

Where that does not lower the number of violations four times running, as happens with strongly coupled entries, a
primal active-set method takes over (Nocedal & Wright, Numerical Optimization, 2nd ed., section 16.5):

 1. Solve for the free entries.
 2. Where some leave their bounds, hold them there: project if the quadratic falls by it, else go only as far as the
    first bound. Repeat from 1.
 3. Free every held entry whose gradient points inwards and repeat from 1; if there is none, this is the optimum.

Between two visits of step 3 the held entries only grow in number, and from visit to visit the quadratic falls, so no
choice of held entries comes twice, and the method ends.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dposv

from ._kernels import AT_LOWER, AT_UPPER, FREE, kkt_violations, reduced_system

Array = NDArray[np.float64]

ROUNDING = 1e-14
"""Relative size of a gradient that is mere rounding."""


def minimise_bounded_quadratic(
    matrix: Array, vector: Array, lower: Array, upper: Array, held: NDArray[np.int8] | None = None
) -> tuple[Array, NDArray[np.int8]]:
    """Return c (n,) that minimises 1/2 c^T matrix c - vector^T c within lower <= c <= upper, and where it is held.

    `matrix` (n, n) symmetric positive definite; `vector`, `lower`, `upper` (n,), infinite bounds allowed; `held` (n,)
    of FREE, AT_LOWER and AT_UPPER is a guess of the active bounds, for instance from the last of a series of similar
    problems; by default the entries that stand at a bound at c = 0 and would not leave it inwards. Raises
    numpy.linalg.LinAlgError where the matrix is not positive definite.
    """
    if held is None:
        side = np.zeros(len(vector), dtype=np.int8)
        side[(lower >= 0.0) & (vector <= 0.0)] = AT_LOWER
        side[(upper <= 0.0) & (vector >= 0.0)] = AT_UPPER
    else:
        side = held.copy()
    target = np.empty_like(side)
    fewest, patience = len(vector) + 1, 3
    while True:
        free, reduced, right = reduced_system(matrix, vector, lower, upper, side)
        solution = _solve(reduced, right) if len(free) else right
        c, violations = kkt_violations(matrix, vector, lower, upper, side, free, solution, target)
        if not violations:
            return c, side
        if violations < fewest:
            fewest, patience = violations, 3
        elif patience > 0:
            patience -= 1
        else:
            return _active_set(matrix, vector, lower, upper, side)
        side[:] = target


def _active_set(
    matrix: Array, vector: Array, lower: Array, upper: Array, side: NDArray[np.int8]
) -> tuple[Array, NDArray[np.int8]]:
    """Do what `minimise_bounded_quadratic` does from the guess `side`, more slowly, but sure to end."""
    c, side = None, side.copy()
    while True:
        free, reduced, right = reduced_system(matrix, vector, lower, upper, side)
        target = np.where(side == AT_LOWER, lower, upper)
        target[free] = _solve(reduced, right) if len(free) else right
        nearest = np.clip(target, lower, upper)
        leaving = nearest != target
        if leaving.any():
            if c is None or _fall(matrix, vector, c, nearest) > 0.0:
                c = nearest
            else:
                share = np.ones(len(c))
                share[leaving] = (nearest[leaving] - c[leaving]) / (target[leaving] - c[leaving])
                leaving &= share <= share.min()
                c = np.where(leaving, nearest, c + share.min() * (target - c))
            side[leaving] = np.where(target < lower, AT_LOWER, AT_UPPER)[leaving]
            continue
        c = target
        rounding = ROUNDING * (np.abs(matrix) @ np.abs(c) + np.abs(vector))
        inwards = side * (matrix @ c - vector) > rounding
        if not inwards.any():
            return c, side
        side[inwards] = FREE


def _fall(matrix: Array, vector: Array, start: Array, end: Array) -> float:
    """Return by how much the quadratic falls from `start` to `end`."""
    step = end - start
    return float(step @ (vector - matrix @ (start + 0.5 * step)))


def _solve(matrix: Array, vector: Array) -> Array:
    """Return the solution for a symmetric matrix of which the upper triangle is given; `matrix` is overwritten."""
    # The transpose is the column-major array that LAPACK wants, without a copy; the upper triangle becomes the lower.
    _, solution, info = dposv(matrix.T, vector, lower=True, overwrite_a=True)
    if info:
        raise np.linalg.LinAlgError("the matrix is not positive definite")
    return solution
