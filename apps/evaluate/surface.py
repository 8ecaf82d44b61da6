"""The closest points of a triangle mesh, exactly, through a balanced tree of bounding boxes.

The triangles are sorted by splitting them again and again at the median of their centroids, along the axis in which
those spread most, until a leaf holds a handful. Every node keeps the box of its triangles, so a search may skip a node
whose box is farther away than the best point found so far: the answer is that of a search through all triangles.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...models.arrays import checked_array, checked_indices
from ...models.errors import InvalidInputError
from . import _kernels

Array = NDArray[np.float64]

TRIANGLES_PER_LEAF = 4


@dataclass(frozen=True, eq=False)
class ClosestPoints:
    """Where a surface is closest to each of n points."""

    points: Array  # (n, 3) on the surface, in the mesh's units
    distances: Array  # (n,) unsigned, in the mesh's units
    triangles: NDArray[np.int64]  # (n,) the triangle each closest point lies on


@dataclass(frozen=True, eq=False)
class Surface:
    """A triangle mesh that answers closest-point queries."""

    vertices: Array  # (N, 3)
    triangles: NDArray[np.integer[Any]]  # (T, 3)
    _order: NDArray[np.int64] = field(init=False, repr=False)  # (T,) triangles as the leaves hold them
    _starts: NDArray[np.int64] = field(init=False, repr=False)  # (leaves + 1,) where each leaf starts in that order
    _lower: Array = field(init=False, repr=False)  # (nodes, 3) least corner of each node's box
    _upper: Array = field(init=False, repr=False)  # (nodes, 3) greatest corner

    def __post_init__(self) -> None:
        vertices = checked_array("vertices", self.vertices, (None, 3))
        triangles = checked_indices("triangles", self.triangles, (None, 3), len(vertices))
        if not len(triangles):
            raise InvalidInputError("triangles: expected at least one, got none")
        corners = vertices[triangles]
        depth = max(0, int(np.log2(len(triangles) / TRIANGLES_PER_LEAF)))
        order = _median_order(corners.mean(axis=1), depth)
        starts = _node_edges(len(triangles), depth)
        for name, value in {"vertices": vertices, "triangles": triangles, "_order": order, "_starts": starts}.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_lower", _node_bounds(np.minimum, corners.min(axis=1)[order], starts))
        object.__setattr__(self, "_upper", _node_bounds(np.maximum, corners.max(axis=1)[order], starts))

    def closest(self, points: ArrayLike) -> ClosestPoints:
        """Return the closest points of the surface to `points` (n, 3), in the mesh's frame and units."""
        asked = checked_array("points", points, (None, 3))
        corners = self.vertices[self.triangles[self._order]]
        found, leaf_order = _kernels.closest_points(asked, corners, self._starts, self._lower, self._upper)
        return ClosestPoints(found, np.linalg.norm(asked - found, axis=1), self._order[leaf_order])


def _node_edges(count: int, level: int) -> NDArray[np.int64]:
    """Return (2^level + 1,): where the nodes of one level start among `count` sorted triangles."""
    return np.arange(2**level + 1, dtype=np.int64) * count // 2**level


def _median_order(centroids: Array, depth: int) -> NDArray[np.int64]:
    order = np.arange(len(centroids))
    for level in range(depth):
        for start, end in pairwise(_node_edges(len(order), level)):
            node = order[start:end]
            axis = np.ptp(centroids[node], axis=0).argmax()
            order[start:end] = node[centroids[node, axis].argsort(kind="stable")]
    return order


def _node_bounds(extreme: np.ufunc, leaf_triangles: Array, starts: NDArray[np.int64]) -> Array:
    """Return (nodes, 3), the bounds of every node in heap order, from those of the sorted triangles."""
    levels = [extreme.reduceat(leaf_triangles, starts[:-1], axis=0)]
    while len(levels[-1]) > 1:
        levels.append(extreme(levels[-1][0::2], levels[-1][1::2]))
    return np.concatenate(levels[::-1])
