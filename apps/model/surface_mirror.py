"""The mirror image of points of a surface whose triangles mirror onto triangles."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class SurfaceMirror:
    """Mirrors barycentric points of a mesh: triangles (T, 3), and each vertex's counterpart `mirror` (N,)."""

    def __init__(self, triangles: NDArray[np.int32], mirror: NDArray[np.int32]) -> None:
        """Index the triangles by their corners."""
        self._triangles, self._mirror = triangles, mirror
        self._lookup = {frozenset(corners): k for k, corners in enumerate(triangles.tolist())}

    def mirrored(self, triangle: int, weights: Array) -> tuple[int, Array]:
        """Return the triangle and the barycentric weights (3,) of a point's mirror image."""
        images = self._mirror[self._triangles[triangle]].tolist()
        opposite = self._lookup[frozenset(images)]
        return opposite, weights[[images.index(corner) for corner in self._triangles[opposite].tolist()]]
