"""Textured meshes in software: the texture's colour where each pixel meets the surface, under light or as it is.

Each fragment's barycentrics b interpolate the texture coordinates of its triangle's own corners, so that seams need no
care, and the texture is read there, linear between its texels' centres:

    (u, v) = sum_i b_i uv_i         x = u W - 1/2,   y = (1 - v) H - 1/2        (row 0 is the image's top, v = 1)

in linear light. A texture much finer than the picture is first reduced by a power of two, one for the whole picture:
the largest that leaves the median fragment a texel or more wide. What is drawn is that colour as it is (a
texture that holds the photo's light), or times the light on the surface's smooth normals (one that is albedo).

L. Williams, Pyramidal parametrics, SIGGRAPH 1983 (reduced textures).
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..models.arrays import checked_array, checked_indices
from ..models.colour import linear_to_srgb, srgb_to_linear, to_uint8
from ..models.errors import InvalidInputError
from ..models.morphable_model import UVMap
from . import spherical_harmonics
from .cameras import Camera, checked_camera
from .compositing import magnified, reduced
from .mesh import checked_mesh
from .normals import given_normals, normalised
from .rasterizer import Fragments, checked_size, interpolate, rasterize
from .renderer import NumbaRenderer, Shading

Array = NDArray[np.float64]
Mesh = tuple[Array, NDArray[np.int32]]

OVERSAMPLING = 2
"""A picture is drawn this many times finer in x and y, then averaged."""

FINEST = 8
"""The most that can be asked for."""

BAND = 2**18
"""Pixels of a picture that are drawn at once: a covered one takes about 1 kB on the way."""

SHEET = 1024
"""Pixels looked up per row of the sheet that OpenCV is given."""


@dataclass(frozen=True, eq=False)
class TexturedRenderer(NumbaRenderer):
    """Draws meshes under one texture, in software: a `Renderer` whose pictures are `draw_textured`'s.

    Without lighting its pictures show the texture as it is. Colours per vertex, where a call gives them, take the
    texture's place, as in any renderer.
    """

    uv: UVMap  # of the meshes to be drawn
    texture: NDArray[np.uint8]  # (H, W, 3) sRGB, laid out by uv

    def draw(
        self,
        camera: Camera,
        vertices: ArrayLike,
        triangles: ArrayLike,
        height: int,
        width: int,
        *,
        colours: ArrayLike | None = None,
        lighting: ArrayLike | None = None,
        shading: Shading = "sh",
        normals: ArrayLike | None = None,
    ) -> NDArray[np.uint8]:
        """Return a picture (height, width, 4) of the mesh (see `Renderer.draw`); `shading` is "sh"."""
        if colours is not None or shading != "sh":
            look: dict[str, Any] = {"colours": colours, "lighting": lighting, "shading": shading, "normals": normals}
            return super().draw(camera, vertices, triangles, height, width, **look)
        return draw_textured(
            camera,
            vertices,
            triangles,
            self.uv,
            self.texture,
            height,
            width,
            lighting=lighting,
            oversampling=self.oversampling,
            normals=normals,
        )


def draw_textured(
    camera: Camera,
    vertices: ArrayLike,
    triangles: ArrayLike,
    uv: UVMap,
    texture: ArrayLike,
    height: int,
    width: int,
    *,
    lighting: ArrayLike | None = None,
    oversampling: int = OVERSAMPLING,
    normals: ArrayLike | None = None,
) -> NDArray[np.uint8]:
    """Return a picture (height, width, 4), RGBA with straight alpha and a smooth outline, of a textured mesh.

    vertices (N, 3) mm in the model frame, triangles (T, 3) counter-clockwise from outside; `uv` has one row per
    triangle; texture (H, W, 3) uint8 sRGB. lighting (9, 3): spherical harmonics in the camera frame, under which the
    texture is reflectance; None shows it as it is. `oversampling`: fine pixels per pixel, in x and in y. normals
    (N, 3): unit, model frame, None for the mesh's own.
    Raises InvalidInputError for a malformed mesh, map, texture, light or size.
    """
    mesh = checked_mesh(vertices, triangles)
    surface = given_normals(normals, *mesh)
    height, width = checked_size(height, width)
    if not isinstance(oversampling, int) or not 1 <= oversampling <= FINEST:
        raise InvalidInputError(f"oversampling: expected an integer from 1 to {FINEST}, got {oversampling!r}")
    fine = magnified(checked_camera(camera), oversampling)
    paint = _Paint.checked(fine, mesh, uv, texture, lighting)
    picture = np.empty((height, width, 4), np.uint8)
    rows = max(1, BAND // width)
    for top in range(0, height, rows):
        part = picture[top : top + rows]
        view = fine.zoomed(1.0, np.array([0.0, -oversampling * top]))
        fragments = rasterize(view, *mesh, oversampling * len(part), oversampling * width)
        part[:] = to_uint8(reduced(_painted(fragments, surface @ view.rotation.T, mesh[1], paint), oversampling))
    return picture


@dataclass(frozen=True, eq=False)
class _Paint:
    """What covers a mesh, checked and ready to be looked up."""

    coordinates: Array  # (U, 2) x, y of the image: texels, a centre at whole numbers
    corners: NDArray[np.int32]  # (T, 3) indices into coordinates
    image: NDArray[np.float32]  # (H, W, 3) linear
    lighting: Array | None  # (9, 3)

    @classmethod
    def checked(
        cls,
        camera: Camera,
        mesh: Mesh,
        uv: UVMap,
        texture: ArrayLike,
        lighting: ArrayLike | None,
    ) -> "_Paint":
        """Check all that `draw_textured` is given, and reduce the texture to what the camera's pixels can show."""
        points = checked_array("uv.coordinates", uv.coordinates, (None, 2)) * (1.0, -1.0) + (0.0, 1.0)
        corners = np.ascontiguousarray(checked_indices("uv.triangles", uv.triangles, (len(mesh[1]), 3), len(points)))
        given = checked_array("texture", texture, (None, None, 3), np.uint8)
        if not given.size:
            raise InvalidInputError(f"texture: expected at least one pixel, got {given.shape}")
        decoding = srgb_to_linear(np.arange(256, dtype=np.uint8)).astype(np.float32)
        image = np.asarray(cv2.LUT(given, decoding), np.float32)
        factor = _reduction(camera, mesh, points * image.shape[1::-1], corners)
        if factor > 1:
            size = (max(image.shape[1] // factor, 1), max(image.shape[0] // factor, 1))
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)
        light = None if lighting is None else checked_array("lighting", lighting, (9, 3))
        return cls(points * image.shape[1::-1] - 0.5, corners, image, light)


def _painted(fragments: Fragments, surface: Array, triangles: NDArray[np.int32], paint: _Paint) -> NDArray[np.float32]:
    """Return the picture (H, W, 4) of fragments: sRGB 0-1 and coverage 0 or 1, all zero where nothing is seen.

    `surface` (N, 3) is the vertices' normals in the camera frame.
    """
    picture = np.zeros((*fragments.triangle.shape, 4), np.float32)
    covered = fragments.covered
    if not covered.any():
        return picture
    places = interpolate(fragments, paint.corners, paint.coordinates)[covered]
    radiance: Array | NDArray[np.float32] = _looked_up(paint.image, places)
    if paint.lighting is not None:
        normals = interpolate(fragments, triangles, surface)[covered]
        radiance = spherical_harmonics.shade(normalised(normals), radiance, paint.lighting)
    picture[covered, :3] = linear_to_srgb(radiance)
    picture[covered, 3] = 1.0
    return picture


def _looked_up(image: NDArray[np.float32], places: Array) -> NDArray[np.float32]:
    """Return the colours (P, 3) of an image at places (P, 2), x and y, linear between texels and held at the border."""
    sheet = np.zeros((2, -(-len(places) // SHEET), SHEET), np.float32)  # OpenCV takes no picture with a side of 2^15 px
    sheet.reshape(2, -1)[:, : len(places)] = places.T
    colours = cv2.remap(image, sheet[0], sheet[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(colours, np.float32).reshape(-1, 3)[: len(places)]


def _reduction(camera: Camera, mesh: Mesh, texels: Array, corners: NDArray[np.int32]) -> int:
    """Return the power of two by which to reduce a texture: the module's text says which.

    What counts are all triangles that face the camera, hidden or not, so that parts of a picture agree.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # points near a perspective camera's plane
        drawn = -_doubled_areas(camera.project(mesh[0])[:, :2], mesh[1])  # y points down: outside is clockwise
    facing = np.flatnonzero(np.isfinite(drawn) & (drawn > 0.0))
    if not len(facing):
        return 1
    share = np.abs(_doubled_areas(texels, corners[facing])) / drawn[facing]
    order = np.argsort(share)
    total = np.cumsum(drawn[facing][order])
    side = np.sqrt(share[order[np.searchsorted(total, 0.5 * total[-1])]])  # of the median fragment, texels
    return int(2 ** np.floor(np.log2(side))) if side > 1.0 else 1


def _doubled_areas(points: Array, triangles: NDArray[np.int32]) -> Array:
    """Return twice the signed areas (T,) of triangles of the plane."""
    a, b, c = np.moveaxis(points[triangles], 1, 0)
    (x, y), (z, w) = (b - a).T, (c - a).T
    return x * w - y * z
