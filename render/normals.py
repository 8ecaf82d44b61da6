"""Normals of a triangle mesh, pointing out where triangles run counter-clockwise seen from outside.

A triangle's normal is (b - a) x (c - a), normalised. A vertex's is the normalised sum of these cross products over
its triangles, so each triangle counts by its area: the sum needs no division and no angle, and its derivative with
respect to the vertices is bilinear.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..models.arrays import checked_array
from . import _kernels
from .mesh import checked_mesh

Array = NDArray[np.float64]


def triangle_normals(vertices: ArrayLike, triangles: ArrayLike) -> Array:
    """Return the unit normals (T, 3) of triangles (T, 3) over vertices (N, 3); zero where a triangle has no area."""
    points, faces = checked_mesh(vertices, triangles)
    a, b, c = (points[faces[:, i]] for i in range(3))
    return normalised(np.cross(b - a, c - a))


def vertex_normals(vertices: ArrayLike, triangles: ArrayLike) -> Array:
    """Return the area-weighted unit normals (N, 3); zero at a vertex without a triangle that has an area."""
    points, faces = checked_mesh(vertices, triangles)
    total = np.zeros_like(points)
    _kernels.accumulate_normals(points, faces, total)
    return normalised(total)


def given_normals(normals: ArrayLike | None, vertices: Array, triangles: NDArray[np.int32]) -> Array:
    """Return the normals (N, 3) that a caller gives for a checked mesh, or its own where that is None."""
    return vertex_normals(vertices, triangles) if normals is None else checked_array("normals", normals, vertices.shape)


def normalised(vectors: Array) -> Array:
    """Return vectors (..., 3) scaled to length one; those of length zero stay zero."""
    length = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))[..., None]
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0.0)
