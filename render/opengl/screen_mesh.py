"""A mesh as the passes draw it: projected by the camera in double precision and snapped to 1/256 px, on the CPU.

So every renderer starts from the same corners, whatever the precision of its hardware. What decides which triangle is
nearest is a key that is linear over the image, as in ../rasterizer.py, here above 0 and at most 1/2, the nearest:

    ScaledOrthographic   key = 1/2 - (d - d_min) / (4 (d_max - d_min))
    Perspective          key = d_min / (2 d)

d is a vertex's depth in mm, d_min and d_max those of the nearest and farthest vertex. Floats are denser near 0, which
serves the far vertices of the second; keys up to 1 are left for what lies upon the surface.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _kernels
from ..cameras import Camera, Perspective, checked_camera
from ..mesh import checked_mesh

STEP = 2.0**-_kernels.SUBPIXEL_BITS  # px
SMALLEST = float(np.finfo(np.float32).tiny)
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class ScreenMesh:
    """A projected mesh."""

    positions: NDArray[np.float32]  # (N, 4): x, y in px on the grid, depth key, depth in mm
    triangles: NDArray[np.int32]  # (T, 3); those with a corner that has no image are (0, 0, 0) and cover nothing
    perspective: bool

    def box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return the part of an image that the vertices span: left, top, width, height in px, perhaps empty."""
        corners = self.positions[:, :2]
        if not len(self.triangles):
            return 0, 0, 0, 0
        left, top = np.clip(np.floor(corners.min(axis=0)), 0, (width, height)).astype(int)
        right, bottom = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, (width, height)).astype(int)
        return int(left), int(top), max(0, int(right - left)), max(0, int(bottom - top))


def project_mesh(camera: Camera, vertices: ArrayLike, triangles: ArrayLike) -> ScreenMesh:
    """Project a mesh: vertices (N, 3) mm in the model frame, triangles (T, 3)."""
    checked_camera(camera)
    points, faces = checked_mesh(vertices, triangles)
    # Points far off or near the camera's plane may overflow; they come out not finite or off the grid.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        projected = camera.project(points)
    return _snapped(projected, faces, isinstance(camera, Perspective))


def flatten_mesh(coordinates: ArrayLike, triangles: ArrayLike, height: int, width: int) -> ScreenMesh:
    """Lay a mesh out in its own atlas of height x width texels, row 0 at the top.

    coordinates (U, 2) have their origin at the atlas's bottom left; texel (x, y) has its centre at
    ((x + 1/2) / width, 1 - (y + 1/2) / height).
    """
    u, v = np.asarray(coordinates, np.float64).T
    texels = np.column_stack([u * width - 0.5, (1.0 - v) * height - 0.5, np.zeros_like(u)])
    points, faces = checked_mesh(texels, triangles)
    return _snapped(points, faces, perspective=False)


def _snapped(projected: NDArray[np.float64], faces: NDArray[np.int32], perspective: bool) -> ScreenMesh:
    grid = np.empty((len(projected), 2), np.int64)
    _kernels.snap(projected, grid)
    seen = (grid[:, 0] != _kernels.OFF_GRID) & (np.abs(projected[:, 2]) <= LARGEST)
    if perspective:
        seen &= projected[:, 2] >= SMALLEST  # nearer, single precision cannot tell from the centre
    depth = np.where(seen, projected[:, 2], 1.0)
    near, far = (depth[seen].min(), depth[seen].max()) if seen.any() else (1.0, 1.0)
    key = 0.5 * near / depth if perspective else 0.5 - 0.25 * (depth - near) / max(far - near, SMALLEST)
    positions = np.where(seen[:, None], np.column_stack([grid * STEP, key, depth]), 0.0).astype(np.float32)
    drawn = seen[faces].all(axis=1) if len(faces) else np.zeros(0, bool)
    return ScreenMesh(positions, np.where(drawn[:, None], faces, np.int32(0)), perspective)
