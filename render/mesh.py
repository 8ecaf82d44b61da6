"""The check that every function of this package makes of a mesh: vertices (N, 3) and triangles (T, 3)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..models.arrays import checked_array
from ..models.errors import InvalidInputError


def checked_triangles(triangles: ArrayLike, vertex_count: int) -> NDArray[np.int32]:
    """Return triangles (T, 3) as contiguous int32, or raise InvalidInputError where an index is not a vertex's."""
    given = np.asarray(triangles)
    if given.size and given.dtype.kind not in "iu":
        raise InvalidInputError(f"triangles: expected integer vertex indices, got {given.dtype}")
    if given.size and (given.min() < 0 or given.max() >= vertex_count):
        raise InvalidInputError(
            f"triangles: expected indices from 0 to {vertex_count - 1}, got {given.min()} to {given.max()}"
        )
    return np.ascontiguousarray(checked_array("triangles", given, (None, 3), np.int32))


def checked_mesh(vertices: ArrayLike, triangles: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Return vertices (N, 3) as contiguous float64 and triangles (T, 3) as contiguous int32.

    Raises InvalidInputError for wrong shapes, numbers that are not finite and indices that are not a vertex's.
    """
    points = np.ascontiguousarray(checked_array("vertices", vertices, (None, 3)))
    return points, checked_triangles(triangles, len(points))
