"""Where in the texture a texel's mirror image lies: the same barycentrics on the triangle of the mirrored vertices."""

import cv2
import numpy as np
from numpy.typing import NDArray

from ...models.morphable_model import MorphableModel, UVMap
from ..texturing.atlas import TextureSpace

Floats = NDArray[np.float32]


def mirrored_places(model: MorphableModel, uv: UVMap, size: int) -> tuple[Floats, Floats] | None:
    """Return the places x, y (S, S), in texels, of the texels' mirror images, -2 where there is none; or None for a
    model without mirror symmetry.
    """
    if model.mirror is None:
        return None
    space = TextureSpace(uv, size)
    corners = _mirrored_corners(model, uv)
    places = np.append(space.texels, [[-2.0, -2.0]], axis=0)[corners]
    x, y = np.full((size, size), -2.0, np.float32), np.full((size, size), -2.0, np.float32)
    for rows, seen in space.bands():
        there = seen.covered & (corners[seen.triangle, 0] < len(space.texels))
        found = np.einsum("mc,mcx->mx", seen.barycentric[there], places[seen.triangle[there]])
        x[rows][there], y[rows][there] = found.T
    return x, y


def looked_up(image: Floats, places: tuple[Floats, Floats]) -> Floats:
    """Return an image (S, S) at places x, y, linear between texels, 0 outside."""
    return np.asarray(cv2.remap(image, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT), np.float32)


def _mirrored_corners(model: MorphableModel, uv: UVMap) -> NDArray[np.int64]:
    """Return for each corner of each triangle (T, 3) the texture coordinate of its mirror image; the number of
    coordinates where the mirrored triangle is none of the mesh.
    """
    assert model.mirror is not None
    triangles = model.triangles.astype(np.int64)
    images = np.asarray(model.mirror, np.int64)[triangles]
    keys, wanted = _keys(triangles, model.n_vertices), _keys(images, model.n_vertices)
    order = np.argsort(keys, kind="stable")
    found = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    other = order[found]
    there = keys[other] == wanted
    # Which corner of the other triangle is the image of each of ours.
    which = (triangles[other][:, None, :] == images[:, :, None]).argmax(axis=2)
    corners = np.take_along_axis(uv.triangles[other].astype(np.int64), which, axis=1)
    return np.where(there[:, None], corners, len(uv.coordinates))


def _keys(triangles: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return one number (T,) for the set of each triangle's vertices."""
    low, middle, high = np.sort(triangles, axis=1).T
    return (low * count + middle) * count + high
