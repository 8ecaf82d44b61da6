"""Bounded ridge regression: the minimum of a strictly convex quadratic within bounds, exactly.

With the camera fixed the landmarks are affine in the coefficients c, and the maximum a posteriori estimate
(Aldrian & Smith, PAMI 2013, section 4; Blanz & Vetter's prior) minimises

    1/2 |J c - r|^2 + 1/2 sum (c / sigma)^2 = 1/2 c^T M c - v^T c + const,        lower <= c <= upper,

with M = J^T J + diag(1/sigma^2), v = J^T r. Without active bounds that is one Cholesky solve, M c = v. Otherwise the
optimum satisfies the KKT conditions: an entry is free with zero gradient (M c - v), or stands at a bound with its
gradient pointing outwards. Block principal pivoting finds which is which in a handful of solves (Judice & Pires,
Computers & Operations Research 1994; Kim & Park, SIAM J. Sci. Comput. 2011): solve with the current guess, move every
entry that violates its condition to the other side, and if that does not lower the number of violations three times
running, move only the last one, which Murty's rule proves to end.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dposv

Array = NDArray[np.float64]

FREE, AT_LOWER, AT_UPPER = 0, -1, 1


def minimise_bounded_quadratic(
    matrix: Array, vector: Array, lower: Array, upper: Array, held: NDArray[np.int8] | None = None
) -> tuple[Array, NDArray[np.int8]]:
    """Return c (n,) that minimises 1/2 c^T matrix c - vector^T c within lower <= c <= upper, and where it is held.

    `matrix` (n, n) symmetric positive definite; `vector`, `lower`, `upper` (n,), infinite bounds allowed; `held` (n,)
    of FREE, AT_LOWER and AT_UPPER is a guess of the active bounds, for instance from the last of a series of similar
    problems. Raises numpy.linalg.LinAlgError where the matrix is not positive definite.
    """
    side = np.zeros(len(vector), dtype=np.int8) if held is None else held.copy()
    fewest, patience = len(vector) + 1, 3
    for _ in range(10 * len(vector) + 10):
        free = side == FREE
        bounded = not free.all()
        c = (
            _solve_free(matrix, vector, np.where(side == AT_LOWER, lower, upper), free)
            if bounded
            else _solve(matrix, vector)
        )
        below, above = free & (c < lower), free & (c > upper)
        wrong = below | above
        if bounded:
            outwards = side * (matrix @ c - vector)
            wrong |= outwards > 0.0
        if not wrong.any():
            break
        indices = np.flatnonzero(wrong)
        if len(indices) < fewest:
            fewest, patience = len(indices), 3
        elif patience > 0:
            patience -= 1
        else:
            indices = indices[-1:]
        target = above.astype(np.int8) - below.astype(np.int8)
        side[indices] = target[indices]
    return np.clip(c, lower, upper), side


def _solve_free(matrix: Array, vector: Array, held: Array, free: NDArray[np.bool_]) -> Array:
    """Return the minimum over the free entries with the others at their value in `held`."""
    c = held.copy()
    if free.any():
        chosen, rest = np.flatnonzero(free), np.flatnonzero(~free)
        rows = matrix[chosen]
        c[chosen] = _solve(rows[:, chosen], vector[chosen] - rows[:, rest] @ held[rest])
    return c


def _solve(matrix: Array, vector: Array) -> Array:
    _, solution, info = dposv(matrix, vector)
    if info:
        raise np.linalg.LinAlgError("the matrix is not positive definite")
    return solution
