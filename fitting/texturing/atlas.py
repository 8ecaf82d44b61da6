"""The texture's side of the work: what each texel shows, in bands of rows, and what lies between the charts.

Texel (row, column) of a texture of S x S has its centre at u = (column + 1/2) / S, v = 1 - (row + 1/2) / S. Drawing
the texture coordinates as a flat mesh tells its triangle and its barycentric weights, which are those of the surface.
A texel that no chart covers repeats the nearest one that is covered, so that neither bilinear filtering nor a smaller
mip level mixes in a colour that the surface does not have.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from ...models.morphable_model import UVMap
from ...render.cameras import ScaledOrthographic
from ...render.rasterizer import Fragments, rasterize

BAND = 2**17
"""Texels that are worked on at once."""


@dataclass(frozen=True, eq=False)
class TextureSpace:
    """A texture of size x size texels laid out by `uv`."""

    uv: UVMap
    size: int

    @cached_property
    def texels(self) -> NDArray[np.float64]:
        """(U, 2) the texture coordinates in texels: x to the right, y down, whole numbers at the texels' centres."""
        u, v = self.uv.coordinates.astype(np.float64).T * self.size
        return np.stack([u - 0.5, self.size - 0.5 - v], axis=1)

    def bands(self) -> Iterator[tuple[slice, Fragments]]:
        """Yield ranges of rows and what each of their texels shows; where charts overlap, the first triangle."""
        flat = np.column_stack([self.texels, np.zeros(len(self.texels))])
        count = max(1, BAND // self.size)
        for top in range(0, self.size, count):
            rows = slice(top, min(top + count, self.size))
            camera = ScaledOrthographic(np.eye(3), np.array([0.0, -float(top)]), 1.0)
            height = rows.stop - rows.start
            yield rows, rasterize(camera, flat, self.uv.triangles, height, self.size, cull="none")


def fill_gutters(covered: NDArray[np.bool_], *textures: NDArray[np.uint8]) -> None:
    """Overwrite what is not `covered` (S, S) in textures (S, S, C) by the nearest covered texel's colour."""
    if covered.all() or not covered.any():
        return
    _, labels = cv2.distanceTransformWithLabels(
        (~covered).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    own = np.flatnonzero(covered)
    nearest = np.empty(len(own) + 1, np.intp)
    nearest[labels.ravel()[own]] = own
    empty = np.flatnonzero(~covered)
    source = nearest[labels.ravel()[empty]]
    for texture in textures:
        flat = texture.reshape(covered.size, -1)
        flat[empty] = flat[source]
