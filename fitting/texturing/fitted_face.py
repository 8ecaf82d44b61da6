"""A fitted face and the photo that shows it, ready for the loops over texels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...models.arrays import checked_array
from ...models.errors import InvalidInputError
from ...models.morphable_model import MorphableModel
from ...models.uv_atlas import has_own_atlas
from ...render.cameras import Camera, Perspective, checked_camera
from ...render.normals import vertex_normals
from ...render.spherical_harmonics import basis, estimate_lighting
from ..results import FitResult
from . import _kernels
from .atlas import TextureSpace
from .layers import triangle_kinds
from .options import TextureOptions
from .pyramid import footprint_levels, make_pyramid
from .tables import Lens, Limits, Mesh, Scene
from .visibility import PhotoBox, empty_view, face_box, make_depth_view, pixels_per_mm

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

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
class FittedFace:
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
        if self.drawable and model.albedo_mean is not None:
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
    def drawable(self) -> bool:
        """Whether the model's albedo texture is laid out by its own atlas."""
        return self.model.albedo_texture is not None and has_own_atlas(self.model)

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


def checked_face(photo: Pixels, result: FitResult, model: MorphableModel) -> FittedFace:
    """Return the face of a result; InvalidInputError where it has no geometry or another model's."""
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
    return FittedFace(photo, model, camera, vertices, reflectance, lighting, camera.project(vertices)[:, :2])


def _lens(camera: Camera) -> Lens:
    if isinstance(camera, Perspective):
        return Lens(True, camera.focal, *map(float, camera.principal_point))
    return Lens(False, camera.scale, *map(float, camera.translation))
