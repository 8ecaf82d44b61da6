"""The face's texture: the photo, unwrapped onto the model's atlas, whole.

Every texel is a point of the fitted surface. In execution order:

    1. A depth map from the photo's camera tells which points the photo shows, and how well (`texturing/visibility`).
    2. A texel that is seen takes the mean of the photo's pixels that it covers (`texturing/pyramid`); one that is not
       takes that of its mirror image, relit by the estimated light; what is left, the model's colour under that light
       (`texturing/layers`).
    3. The three are joined without a seam by a membrane over the surface (`texturing/membrane`), then feathered.
    4. Texels between the charts repeat the nearest one (`texturing/atlas`).

With the light taken out, a texel's albedo is its linear light divided by the shading, which is held above a share of
what the face receives on average, and kept within a factor of the fitted reflectance: a cast shadow or a highlight
that the nine numbers of the lighting do not hold must not become black or glowing skin.

The point, its shading and its colour are evaluated per texel in bands of rows, so a large texture needs little memory
beyond its own.

M. Levoy et al., The Digital Michelangelo project, SIGGRAPH 2000 (weights by angle and distance to silhouettes);
A. Baumberg, Blending images for texturing 3D models, BMVC 2002.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..models.errors import InvalidInputError
from ..models.morphable_model import MorphableModel, UVMap, require_model
from ..models.uv_atlas import model_atlas
from ..render.compositing import checked_photo
from .results import FitResult
from .texturing.atlas import TextureSpace, fill_gutters
from .texturing.fitted_face import FittedFace, checked_face
from .texturing.layers import COARSE_SIZE, Layers, clear_of_lashes
from .texturing.options import TextureOptions
from .texturing.tables import Scene
from .threads import single_threaded_blas

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Texture:
    """A face's texture of S x S texels, row 0 at the top (v = 1); see `TextureSpace` for the texels' places."""

    photographed: Pixels  # (S, S, 3) sRGB, as photographed, filled where nothing was seen
    albedo: Pixels  # (S, S, 3) sRGB, the estimated light taken out
    confidence: Pixels  # (S, S) 0-255: how well a texel was seen; 0 where filled
    uv: UVMap  # the model's, or the atlas made for it


def make_texture(
    image: ArrayLike, result: FitResult, model: MorphableModel, options: TextureOptions | None = None
) -> Texture:
    """Unwrap a photo (H, W, 3) uint8 RGB onto the atlas of the model that was fitted to it.

    The light is the result's, or estimated from the texels that are seen. The result's camera is that of the photo at
    its full resolution. A model without texture coordinates gets an atlas (`models/uv_atlas.py`, which needs xatlas).
    Raises InvalidInputError for another kind of image, and where the result has no geometry or another model's.
    """
    photo, options = checked_photo(image), TextureOptions() if options is None else options
    if not isinstance(options, TextureOptions):
        raise InvalidInputError(f"options: expected TextureOptions, got {type(options).__name__}")
    face = checked_face(photo, result, require_model(model))
    uv = model_atlas(model)
    space = TextureSpace(uv, options.size)
    with ThreadPoolExecutor(options.threads or os.cpu_count() or 1) as workers, single_threaded_blas():
        coarse = TextureSpace(uv, min(COARSE_SIZE, options.size))
        scene = face.scene(options, face.mesh(coarse, options))
        offsets = _layers(face, coarse, scene, options).offsets(coarse, workers)
        layers = _layers(face, space, scene, options)
        shape = (space.size, space.size)
        photographed, albedo = np.zeros((*shape, 3), np.uint8), np.zeros((*shape, 3), np.uint8)
        confidence, covered = np.zeros(shape, np.uint8), np.zeros(shape, bool)

        def fill(band: Any) -> None:
            rows, seen = band
            covered[rows] = seen.covered
            layers.blend(rows, seen, offsets, photographed, albedo, confidence)

        list(workers.map(fill, space.bands()))
    fill_gutters(covered, photographed, albedo)
    return Texture(photographed, albedo, confidence, uv)


def _layers(face: FittedFace, space: TextureSpace, scene: Scene, options: TextureOptions) -> Layers:
    """Return the layers of the texture in `space`."""
    drawn = np.zeros((space.size, space.size, 3), np.uint8)
    if face.drawable:
        given = face.model.albedo_texture
        assert given is not None
        method = cv2.INTER_AREA if max(given.shape[:2]) > space.size else cv2.INTER_CUBIC
        drawn = np.asarray(cv2.resize(given, (space.size, space.size), interpolation=method), np.uint8)
    return Layers(face.mesh(space, options), scene, drawn, clear_of_lashes(face.model, face.vertices))
