"""Rasterisation: which triangle each pixel sees, where on it, and how far away.

Vertices are projected, snapped to a grid of 1/256 px, and drawn with exact integer edge functions under the top-left
rule into a z-buffer (see `_kernels`). Pixel (0, 0)'s centre is at (0, 0). What is linear over the image within a
triangle decides which one is nearest, and how barycentrics l_i of the image become barycentrics b_i of the surface:

    ScaledOrthographic   depth d = sum l_i d_i            b_i = l_i
    Perspective          1/d = sum l_i / d_i              b_i = (l_i / d_i) / sum_j (l_j / d_j)

The point sum b_i v_i of the snapped triangle projects to the pixel's centre exactly, that of the mesh to within
1/512 px in x and in y.

A triangle with a vertex at or behind a perspective camera's centre, or more than 2^21 px from the image's origin, is
left out as a whole: a fitted face has none, and clipping would invent vertices that the mesh does not have.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..models.arrays import checked_array
from ..models.errors import InvalidInputError
from . import _kernels
from .cameras import Camera, Perspective, checked_camera
from .mesh import checked_mesh, checked_triangles

Cull = Literal["back", "none"]
"""Whether triangles seen from inside (clockwise) are left out."""

MAX_SIDE = 2**20  # px; half the guard range of the kernels


@dataclass(frozen=True, eq=False)
class Fragments:
    """What each pixel of an image of H x W sees of a mesh."""

    triangle: NDArray[np.int32]  # (H, W) index of the nearest triangle, -1 where there is none
    barycentric: NDArray[np.float64]  # (H, W, 3) of the pixel's centre on that triangle, sum 1; 0 where there is none
    depth: NDArray[np.float64]  # (H, W) mm in the camera frame; +inf where there is none

    @property
    def covered(self) -> NDArray[np.bool_]:
        """Mask (H, W) of the pixels that see the mesh."""
        return self.triangle >= 0


def rasterize(
    camera: Camera,
    vertices: ArrayLike,
    triangles: ArrayLike,
    height: int,
    width: int,
    *,
    cull: Cull = "back",
) -> Fragments:
    """Rasterise a mesh: vertices (N, 3) mm in the model frame, triangles (T, 3) counter-clockwise from outside.

    The nearest triangle wins, the lower index at equal depth. The result depends on nothing else, and drawing a part
    of the image (the camera shifted by whole pixels) gives that part of the whole.
    Raises InvalidInputError for a malformed mesh, size or `cull`.
    """
    checked_camera(camera)
    points, faces = checked_mesh(vertices, triangles)
    shape = checked_size(height, width)
    if cull not in get_args(Cull):
        raise InvalidInputError(f"cull: expected one of {', '.join(get_args(Cull))}, got {cull!r}")
    # Points far off or near the camera's plane may overflow; they come out not finite, and the kernel skips them.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        projected = camera.project(points)
        perspective = isinstance(camera, Perspective)
        weight = 1.0 / projected[:, 2] if perspective else np.ones(len(projected))
    if perspective:
        projected[:, 2] = -weight

    grid = np.empty((len(projected), 2), np.int64)
    triangle = np.full(shape, -1, np.int32)
    depth = np.full(shape, np.inf)
    barycentric = np.zeros((*shape, 3))
    _kernels.snap(projected, grid)
    _kernels.fill_z_buffer(grid, projected[:, 2].copy(), faces, cull == "back", triangle, depth)
    _kernels.fill_barycentrics(grid, weight, faces, triangle, barycentric)
    if perspective:
        np.divide(-1.0, depth, out=depth, where=triangle >= 0)
    return Fragments(triangle, barycentric, depth)


def interpolate(fragments: Fragments, triangles: ArrayLike, values: ArrayLike) -> NDArray[np.float64]:
    """Interpolate values (N, C), one row per vertex, over the image: (H, W, C), zero where no triangle is seen.

    `triangles` are those that the fragments were made with. Raises InvalidInputError where they are too few.
    """
    table = np.ascontiguousarray(checked_array("values", values, (None, None)))
    faces = checked_triangles(triangles, len(table))
    highest = int(fragments.triangle.max(initial=-1))
    if highest >= len(faces):
        raise InvalidInputError(f"triangles: expected more than {highest}, as the fragments have, got {len(faces)}")
    image = np.zeros((*fragments.triangle.shape, table.shape[1]))
    _kernels.interpolate(fragments.triangle, fragments.barycentric, faces, table, image)
    return image


def checked_size(height: int, width: int) -> tuple[int, int]:
    """Return the image size, or raise InvalidInputError where it is not two integers from 1 to MAX_SIDE."""
    for name, value in (("height", height), ("width", width)):
        if not isinstance(value, int | np.integer) or not 1 <= value <= MAX_SIDE:
            raise InvalidInputError(f"{name}: expected an integer from 1 to {MAX_SIDE} px, got {value!r}")
    return int(height), int(width)
