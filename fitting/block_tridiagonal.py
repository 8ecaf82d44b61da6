"""A sparse least-squares system of a chain with something in common.

Unknowns are the blocks x_1 .. x_n of a chain, each coupled to its neighbours alone, and z, which all of them share:

    | D_1  U_1                 B_1 | | x_1 |   | r_1 |
    | U_1' D_2  U_2            B_2 | | x_2 |   | r_2 |
    |      U_2' D_3  ...       ... | | ... | = | ... |
    |           ...  ...  U    ... | | ... |   | ... |
    |                U'   D_n  B_n | | x_n |   | r_n |
    | B_1' B_2' ...       B_n' C   | |  z  |   |  s  |

symmetric and positive definite. Block Cholesky, linear in n: with L_k L_k' = D_k - W_{k-1}' W_{k-1},
W_k = L_k^-1 U_k, and the right-hand side and the border alike

    y_k = L_k^-1 (r_k - W_{k-1}' y_{k-1})        Y_k = L_k^-1 (B_k - W_{k-1}' Y_{k-1})

what is left for z is its Schur complement,  (C - sum Y_k' Y_k) z = s - sum Y_k' y_k,  and back through the chain
x_k = L_k^-T (y_k - Y_k z - W_k x_{k+1}).

G. H. Golub, C. F. Van Loan, Matrix computations, 4th ed. 2013, section 4.5.1; bordered: B. Triggs et al., Bundle
adjustment - a modern synthesis, 2000, section 6.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular

Array = NDArray[np.float64]


def solve_bordered(
    diagonal: Iterable[Array],
    upper: Iterable[Array],
    border: Iterable[Array],
    corner: Array,
    right: Sequence[Array],
    shared: Array,
) -> tuple[list[Array], Array]:
    """Return the blocks x_k and z of the module's text.

    diagonal: n blocks D_k (p_k, p_k). upper: n - 1 blocks U_k (p_k, p_{k+1}). border: n blocks B_k (p_k, m). corner
    (m, m), m may be 0. right: n vectors r_k (p_k,). shared: s (m,). What is not finite gives what is not finite, or the
    error: numpy.linalg.LinAlgError where the matrix is not positive definite.
    """
    factors: list[Array] = []
    coupled: list[Array] = []
    solved: list[Array] = []
    schur = np.column_stack([corner, shared])
    above = iter(upper)
    for block, edge, own in zip(diagonal, border, right, strict=True):
        rest, sides = block, np.column_stack([edge, own])
        if factors:
            coupled.append(_divided(factors[-1], next(above)))
            rest, sides = block - coupled[-1].T @ coupled[-1], sides - coupled[-1].T @ solved[-1]
        factors.append(cholesky(rest, lower=True, check_finite=False))
        solved.append(_divided(factors[-1], sides))
        schur -= solved[-1][:, :-1].T @ solved[-1]
    z = np.zeros(0)
    if len(corner):
        z = cho_solve((cholesky(schur[:, :-1], lower=True, check_finite=False), True), schur[:, -1], check_finite=False)
    blocks: list[Array] = []
    for k in range(len(factors) - 1, -1, -1):
        left = solved[k][:, -1] - solved[k][:, :-1] @ z
        if blocks:
            left = left - coupled[k] @ blocks[-1]
        blocks.append(solve_triangular(factors[k], left, lower=True, trans="T", check_finite=False))
    return blocks[::-1], z


def _divided(factor: Array, right: Array) -> Array:
    """Return L^-1 times a right-hand side."""
    return np.asarray(solve_triangular(factor, right, lower=True, check_finite=False))
