"""Baking: from values on the surface to a texture.

Texel (row, column) of a texture of R x R has its centre at u = (column + 1/2) / R, v = 1 - (row + 1/2) / R. A texel
whose centre lies in a chart holds the surface's value there; every other one repeats the nearest such texel, so that
neither bilinear filtering nor a smaller mip level mixes in a colour that the surface does not have.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from ....models.morphable_model import UVMap
from ....render.cameras import ScaledOrthographic
from ....render.rasterizer import Fragments, rasterize

Array = NDArray[np.float64]


def texel_fragments(uv: UVMap, size: int) -> Fragments:
    """Return which triangle of the model each texel's centre shows, and its barycentric weights there."""
    x, y = uv.coordinates.astype(np.float64).T * size
    flat = np.stack([x - 0.5, size - 0.5 - y, np.zeros_like(x)], axis=1)
    return rasterize(ScaledOrthographic(np.eye(3), np.zeros(2), 1.0), flat, uv.triangles, size, size, cull="none")


def with_gutters(texture: Array, covered: NDArray[np.bool_]) -> Array:
    """Return the texture (R, R, C) with the nearest covered texel's value in each that is not `covered` (R, R)."""
    rows, columns = distance_transform_edt(~covered, return_distances=False, return_indices=True)
    return texture[rows, columns]
