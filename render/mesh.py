"""The check that every function of this package makes of a mesh: vertices (N, 3) and triangles (T, 3)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..models.arrays import checked_array, checked_indices


def checked_triangles(triangles: ArrayLike, vertex_count: int) -> NDArray[np.int32]:
    """Return triangles (T, 3) as contiguous int32, or raise InvalidInputError where an index is not a vertex's."""
    return np.ascontiguousarray(checked_indices("triangles", triangles, (None, 3), vertex_count))


def checked_mesh(vertices: ArrayLike, triangles: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Return vertices (N, 3) as contiguous float64 and triangles (T, 3) as contiguous int32.

    Raises InvalidInputError for wrong shapes, numbers that are not finite and indices that are not a vertex's.
    """
    points = np.ascontiguousarray(checked_array("vertices", vertices, (None, 3)))
    return points, checked_triangles(triangles, len(points))
