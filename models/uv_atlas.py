"""Texture coordinates for a model that has none: its mean surface, cut into charts and packed into the unit square.

The cutting, the flattening (least-squares conformal maps) and the packing are xatlas's, whose charts are within a
bound of stretch; each keeps a gutter to its neighbours. B. Levy et al., Least squares conformal maps for automatic
texture atlas generation, SIGGRAPH 2002; J. Young, xatlas.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from .arrays import checked_array, checked_indices
from .errors import InvalidInputError, MissingDependencyError
from .morphable_model import MorphableModel, UVMap

RESOLUTION = 1024
"""Texels per side for which the charts are packed."""

GUTTER = 4
"""Texels between charts, at that resolution."""


def make_atlas(vertices: ArrayLike, triangles: ArrayLike) -> UVMap:
    """Return texture coordinates of a surface, vertices (N, 3) mm and triangles (T, 3), within the unit square.

    The same surface gives the same atlas. Raises MissingDependencyError without the package xatlas, and
    InvalidInputError for a malformed surface or one without any area.
    """
    points = checked_array("vertices", vertices, (None, 3))
    faces = checked_indices("triangles", triangles, (None, 3), len(points))
    try:
        import xatlas
    except ImportError:
        raise MissingDependencyError(
            "a texture for a model without texture coordinates needs xatlas: pip install facefit[texture]"
        ) from None
    atlas = xatlas.Atlas()
    atlas.add_mesh(points.astype(np.float32), faces.astype(np.uint32))
    packing = xatlas.PackOptions()
    packing.resolution, packing.padding, packing.bilinear = RESOLUTION, GUTTER, True
    atlas.generate(pack_options=packing)
    if atlas.atlas_count == 0:
        raise InvalidInputError("triangles: expected a surface with an area, got none")
    sources, corners, coordinates = atlas[0]
    if len(corners) != len(faces) or not np.array_equal(sources[corners], faces):
        raise InvalidInputError("triangles: expected a surface that can be cut into charts, got one that cannot")
    return UVMap(np.clip(coordinates, 0.0, 1.0).astype(np.float32), corners.astype(np.int32))


def model_atlas(model: MorphableModel) -> UVMap:
    """Return the model's texture coordinates, or an atlas made for it where it has none within the unit square."""
    if has_own_atlas(model):
        assert model.uv is not None
        return model.uv
    return _made_atlas(model)


@lru_cache(maxsize=2)
def _made_atlas(model: MorphableModel) -> UVMap:
    """Return the atlas made for a model; kept for the last two, since detail and texture ask for the same."""
    return make_atlas(model.mean, model.triangles)


def has_own_atlas(model: MorphableModel) -> bool:
    """Whether the model has texture coordinates, all of them within the unit square."""
    return model.uv is not None and bool(model.uv.coordinates.min() >= 0.0 and model.uv.coordinates.max() <= 1.0)
