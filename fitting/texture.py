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

from ..models.arrays import checked_array
from ..models.errors import InvalidInputError
from ..models.morphable_model import MorphableModel, UVMap, require_model
from ..models.uv_atlas import make_atlas
from ..render.cameras import Camera, Perspective, checked_camera
from ..render.compositing import checked_photo
from ..render.normals import vertex_normals
from ..render.spherical_harmonics import basis, estimate_lighting
from .results import FitResult
from .texturing import _kernels
from .texturing.atlas import TextureSpace, fill_gutters
from .texturing.layers import COARSE_SIZE, Layers, clear_of_lashes, triangle_kinds
from .texturing.pyramid import footprint_levels, make_pyramid
from .texturing.tables import Lens, Limits, Mesh, Scene
from .texturing.visibility import PhotoBox, empty_view, face_box, make_depth_view, pixels_per_mm
from .threads import single_threaded_blas

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

MIN_SIZE, MAX_SIZE = 256, 4096
"""Texels per side."""

SKIN_REFLECTANCE = (0.38, 0.22, 0.15)
"""Linear reflectance of a model without albedo: about the mean of the default model's face."""

LEAST_SHADING = 0.15
"""Share of the mean shading of what faces the camera, below which no shading is believed."""

GRAZING_FADE = 0.1
"""Cosine over which the weight of a texel rises from 0 at the greatest angle to 1."""

OUTLINE_FADE_MM = 4.0
"""The same, from the silhouette's margin inwards."""

RIM_MM = 0.5
"""Distance to where eyes, teeth and skin meet at which the weight is 0; at twice that it is 1."""

OCCLUSION_FADE_MM = (6.0, 3.0)
"""Depth behind the nearest surface near by from which the weight is 0, and up to which it is 1: what slopes by 60
degrees is 5 mm deeper at the corners of that neighbourhood, and may lose some of its weight."""

LEAST_SEEN = 30
"""Vertices that must be seen before lighting is estimated from them; with fewer it is white and ambient."""


@dataclass(frozen=True, eq=False)
class Texture:
    """A face's texture of S x S texels, row 0 at the top (v = 1); see `TextureSpace` for the texels' places."""

    photographed: Pixels  # (S, S, 3) sRGB, as photographed, filled where nothing was seen
    albedo: Pixels  # (S, S, 3) sRGB, the estimated light taken out
    confidence: Pixels  # (S, S) 0-255: how well a texel was seen; 0 where filled
    uv: UVMap  # the model's, or the atlas made for it


_RANGES = {
    "max_angle": (10.0, 89.0),
    "outline_mm": (0.0, 50.0),
    "loose_outline_mm": (0.0, 50.0),
    "outline_px": (0.0, 1000.0),
    "depth_tolerance": (0.01, 100.0),
}


@dataclass(frozen=True)
class TextureOptions:
    """How a photo is unwrapped."""

    size: int = 1024  # texels per side, 256 to 4096
    max_angle: float = 60.0  # degrees between normal and viewer from which a texel does not count as seen
    outline_mm: float = 5.0  # mm from the fitted silhouette within which the photo is not believed
    loose_outline_mm: float = 10.0  # mm, the same for ears, scalp and neck, whose outline a fit knows less well
    outline_px: float = 2.0  # px of the photo, the same: the larger of the two counts
    depth_tolerance: float = 1.5  # mm behind the nearest surface at which a point still counts as seen
    albedo_ratio: tuple[float, float] = (0.4, 2.5)  # least and greatest albedo relative to the fitted reflectance
    mirror: bool = True  # fill what is not seen from the other side of the face
    threads: int | None = None  # that share the work, None: as many as there are cores; no result depends on it

    def __post_init__(self) -> None:
        """Raise InvalidInputError for a value out of its range."""
        if not _whole(self.size) or not MIN_SIZE <= self.size <= MAX_SIZE:
            raise InvalidInputError(
                f"size: expected a whole number of texels from {MIN_SIZE} to {MAX_SIZE}, got {self.size!r}"
            )
        if self.threads is not None and (not _whole(self.threads) or self.threads < 1):
            raise InvalidInputError(f"threads: expected a whole number from 1 or None, got {self.threads!r}")
        if not isinstance(self.mirror, bool):
            raise InvalidInputError(f"mirror: expected True or False, got {self.mirror!r}")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not _real(value) or not low <= value <= high:
                raise InvalidInputError(f"{name}: expected a number from {low:g} to {high:g}, got {value!r}")
        ratio = self.albedo_ratio
        if not (isinstance(ratio, tuple) and len(ratio) == 2 and all(map(_real, ratio)) and 0.0 < ratio[0] < ratio[1]):
            raise InvalidInputError(f"albedo_ratio: expected two numbers, 0 < least < greatest, got {ratio!r}")


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
    face = _checked_face(photo, result, require_model(model))
    uv = model_atlas(model)
    space = TextureSpace(uv, options.size)
    with ThreadPoolExecutor(options.threads or os.cpu_count() or 1) as workers, single_threaded_blas():
        coarse = TextureSpace(uv, min(COARSE_SIZE, options.size))
        scene = face.scene(options, face.mesh(coarse, options))
        offsets = face.layers(coarse, scene, options).offsets(coarse, workers)
        layers = face.layers(space, scene, options)
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


def model_atlas(model: MorphableModel) -> UVMap:
    """Return the model's texture coordinates, or an atlas made for it where it has none within the unit square."""
    if has_own_atlas(model):
        assert model.uv is not None
        return model.uv
    return make_atlas(model.mean, model.triangles)


def has_own_atlas(model: MorphableModel) -> bool:
    """Whether the model has texture coordinates, all of them within the unit square."""
    return model.uv is not None and bool(model.uv.coordinates.min() >= 0.0 and model.uv.coordinates.max() <= 1.0)


@dataclass(frozen=True, eq=False)
class _Face:
    """A fitted face and the photo that shows it."""

    photo: Pixels
    model: MorphableModel
    camera: Camera
    vertices: Array  # (N, 3) mm, model frame
    reflectance: Array  # (N, 3) linear
    lighting: Array | None  # (9, 3)
    projected: Array  # (N, 2) px

    def mesh(self, space: TextureSpace, options: TextureOptions) -> Mesh:
        """Return the surface for the kernels; its levels are those for the texels of `space`."""
        model, textured = self.model, np.zeros((0, 3))
        if self._drawable and model.albedo_mean is not None:
            textured = np.array(model.albedo_mean, np.float64)
        mirror = np.zeros(0, np.int32) if model.mirror is None or not options.mirror else np.array(model.mirror)
        corners = space.texels[space.uv.triangles]
        triangles = [model.triangles] + ([mirror[model.triangles]] if len(mirror) else [model.triangles])
        level = np.stack([footprint_levels(self.projected, faces, corners) for faces in triangles])
        normals = vertex_normals(self.vertices, model.triangles) @ self.camera.rotation.T
        return Mesh(
            np.array(model.triangles), triangle_kinds(model)[0], self.camera.to_camera(self.vertices),
            normals, self.reflectance, textured, mirror, level,
        )  # fmt: skip

    @property
    def _drawable(self) -> bool:
        return self.model.albedo_texture is not None and has_own_atlas(self.model)

    def layers(self, space: TextureSpace, scene: Scene, options: TextureOptions) -> Layers:
        """Return the layers of the texture in `space`."""
        drawn = np.zeros((space.size, space.size, 3), np.uint8)
        if self._drawable:
            assert self.model.albedo_texture is not None
            given = self.model.albedo_texture
            finer = max(given.shape[:2]) > space.size
            method = cv2.INTER_AREA if finer else cv2.INTER_CUBIC
            drawn = np.asarray(cv2.resize(given, (space.size, space.size), interpolation=method), np.uint8)
        return Layers(self.mesh(space, options), scene, drawn, clear_of_lashes(self.model, self.vertices))

    def scene(self, options: TextureOptions, mesh: Mesh) -> Scene:
        """Return what the texels are looked up in; lighting that the result lacks is estimated."""
        box = face_box(self.projected, *self.photo.shape[:2])
        view = empty_view() if box is None else make_depth_view(
            self.camera, self.vertices, mesh.triangles, mesh.kinds, box
        )  # fmt: skip
        pyramid = make_pyramid(self.photo, box or PhotoBox(0, 0, 1, 1))
        unlit = Scene(
            _lens(self.camera), pyramid, view, self._limits(options), np.zeros((9, 3)), np.zeros(3),
            (float(options.albedo_ratio[0]), float(options.albedo_ratio[1])),
        )  # fmt: skip
        light = self._estimated_light(mesh, unlit) if self.lighting is None else self.lighting
        facing = mesh.normals[mesh.normals[:, 2] < -0.5]
        mean = (basis(facing) @ light).mean(axis=0) if len(facing) else np.ones(3)
        return unlit._replace(light=light, shadow=np.maximum(LEAST_SHADING * np.maximum(mean, 0.5 * mean.mean()), 1e-3))

    def _limits(self, options: TextureOptions) -> Limits:
        scale = pixels_per_mm(self.camera, self.vertices)
        outline, loose = (
            max(options.outline_px, length * scale) for length in (options.outline_mm, options.loose_outline_mm)
        )
        fade = max(1.0, OUTLINE_FADE_MM * scale)
        rim = max(0.75, RIM_MM * scale)
        least = float(np.cos(np.radians(options.max_angle)))
        return Limits(
            (least, least + GRAZING_FADE), (outline, outline + fade), (loose, loose + fade),
            (rim, rim + max(0.5, RIM_MM * scale)), OCCLUSION_FADE_MM, float(options.depth_tolerance),
        )  # fmt: skip

    def _estimated_light(self, mesh: Mesh, scene: Scene) -> Array:
        """Return the lighting (9, 3) that best explains the vertices the photo shows."""
        observed = np.zeros((len(self.vertices), 4))
        kinds = triangle_kinds(self.model)[1]
        kinds = np.where(kinds == _kernels.SKIN, kinds, np.uint8(_kernels.HIDDEN))
        _kernels.observe_vertices(mesh, scene, kinds, float(np.median(mesh.level[0])), observed)
        seen = observed[:, 3] > 0.5
        if seen.sum() < LEAST_SEEN:
            ambient = np.zeros((9, 3))
            ambient[0] = np.sqrt(4.0 * np.pi)
            return ambient
        return estimate_lighting(
            mesh.normals[seen], self.reflectance[seen], observed[seen, :3], weights=observed[seen, 3], ridge=0.02
        )


def _checked_face(photo: Pixels, result: FitResult, model: MorphableModel) -> _Face:
    if not isinstance(result, FitResult):
        raise InvalidInputError(f"result: expected a FitResult, got {type(result).__name__}")
    if result.camera is None or result.vertices is None:
        raise InvalidInputError(
            f"result: expected a camera and vertices, got none: its status is {result.status.name} ({result.message})"
        )
    vertices = checked_array("result.vertices", result.vertices, (model.n_vertices, 3))
    given = model.reflectance(result.albedo) if result.reflectance is None else result.reflectance
    if given is None:
        given = np.broadcast_to(SKIN_REFLECTANCE, vertices.shape)
    reflectance = np.array(checked_array("result.reflectance", given, vertices.shape))
    lighting = result.lighting
    if lighting is not None:
        lighting = np.array(checked_array("result.lighting", lighting, (9, 3)))
    camera = checked_camera(result.camera)
    return _Face(photo, model, camera, vertices, reflectance, lighting, camera.project(vertices)[:, :2])


def _lens(camera: Camera) -> Lens:
    if isinstance(camera, Perspective):
        return Lens(True, camera.focal, *map(float, camera.principal_point))
    return Lens(False, camera.scale, *map(float, camera.translation))


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _real(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
