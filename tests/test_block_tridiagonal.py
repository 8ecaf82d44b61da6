"""The bordered block-tridiagonal solver against a dense one."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from facefit.fitting.block_tridiagonal import solve_bordered

Array = NDArray[np.float64]


def system(rng: np.random.Generator, sizes: list[int], shared: int) -> tuple[Array, list[slice]]:
    """A random positive definite matrix with the pattern of a chain and a border; and where its blocks are."""
    edges = np.cumsum([0, *sizes, shared])
    parts = [slice(int(a), int(b)) for a, b in pairwise(edges)]
    near = np.zeros((edges[-1], edges[-1]), dtype=bool)
    for k, part in enumerate(parts[:-1]):
        near[part, part] = near[part, parts[-1]] = near[parts[-1], part] = True
        if k + 1 < len(sizes):
            near[part, parts[k + 1]] = near[parts[k + 1], part] = True
    near[parts[-1], parts[-1]] = True
    matrix = np.where(near, rng.standard_normal((edges[-1], edges[-1])), 0.0)
    matrix += matrix.T
    return matrix + (0.1 - np.linalg.eigvalsh(matrix)[0]) * np.eye(edges[-1]), parts


def solved(matrix: Array, parts: list[slice], right: Array) -> Array:
    *chain, shared = parts
    blocks, z = solve_bordered(
        [matrix[part, part] for part in chain],
        [matrix[part, after] for part, after in pairwise(chain)],
        [matrix[part, shared] for part in chain],
        matrix[shared, shared],
        [right[part] for part in chain],
        right[shared],
    )
    return np.concatenate([*blocks, z])


@pytest.mark.parametrize("sizes", [[4], [3, 3], [2, 5, 1, 4], [6] * 9])
@pytest.mark.parametrize("shared", [0, 1, 5])
def test_it_is_the_dense_solution(rng, sizes, shared):
    matrix, parts = system(rng, sizes, shared)
    right = rng.standard_normal(len(matrix))
    np.testing.assert_allclose(solved(matrix, parts, right), np.linalg.solve(matrix, right), rtol=1e-8, atol=1e-9)


def test_what_is_given_is_left_as_it_was(rng):
    matrix, parts = system(rng, [3, 3, 2], 4)
    before, right = matrix.copy(), rng.standard_normal(len(matrix))
    solved(matrix, parts, right)
    np.testing.assert_array_equal(matrix, before)


@pytest.mark.parametrize("block", [0, 2, 3])
def test_a_matrix_that_is_not_positive_definite_is_refused(rng, block):
    matrix, parts = system(rng, [3, 3, 3], 3)
    matrix[parts[block], parts[block]] -= 50.0 * np.eye(3)
    with pytest.raises(np.linalg.LinAlgError):
        solved(matrix, parts, np.ones(len(matrix)))
