"""What is made of a map of heights: a normal map in the surface's tangent space, and the mesh with the relief on it.

The gradient g of the heights D lies in the plane of the smooth normal n. Over a triangle with derivatives P_x, P_y of
its points by the texture's x and y, and the normal n_f of P_x and P_y,

    g_f = (D_x (P_y x n_f) + D_y (n_f x P_x)) / |P_x x P_y|,     g = g_f turned by the rotation that takes n_f to n

as the stage itself turns its frames (`observation.py`). The normal n - g, normalised, is stored by its parts along the
tangent t (rising u), the bitangent s = w n x t (rising v) and n, t and w being those of `render/tangents.py`, which
are written to files beside it:

    (r, g, b) = 255 (m + 1) / 2,     m = normalised(-g . t, -g . s, 1)

which is glTF's convention, and shaders/relief.glsl's. D_x is the mean of the differences to both neighbours, where a
chart has both.

J. F. Blinn, Simulation of wrinkled surfaces, SIGGRAPH 1978; Khronos, glTF 2.0 Specification, 3.9.3.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...models.errors import InvalidInputError
from ...models.morphable_model import UVMap
from ...render.mesh import checked_mesh
from ...render.normals import normalised, vertex_normals
from ...render.rasterizer import Fragments
from ...render.tangents import checked_uv, split_at_seams, surface_derivatives, vertex_tangents
from ...render.tessellation import FineMesh, relief_mesh
from ..detail_map import DetailMap
from ..results import FitResult
from ..texturing.atlas import TextureSpace, fill_gutters

Array = NDArray[np.float64]

FLAT = (128, 128, 255)
"""Colour of the surface's own normal."""


def detailed_mesh(result: FitResult, values: ArrayLike | None = None, uv: UVMap | None = None) -> FineMesh:
    """Return the fitted surface with its relief, cut as fine as the heights are (`render/tessellation.py`).

    values (N, C) of the fitted vertices go along. The mesh's map is cut from `uv`, by default the heights' layout.
    Raises InvalidInputError for a result without a face or detail.
    """
    if result.vertices is None or result.triangles is None or result.detail is None:
        raise InvalidInputError(f"result: expected one with detail, got none: {result.status.name}: {result.message}")
    return relief_mesh(result.vertices, result.triangles, result.detail, values, uv)


def normal_map(detail: DetailMap, vertices: ArrayLike, triangles: ArrayLike) -> NDArray[np.uint8]:
    """Return the normal map (S, S, 3) of the heights over a surface, vertices (N, 3) mm and triangles (T, 3).

    Texels between the charts repeat the nearest one. Raises InvalidInputError for a malformed mesh, or one of other
    triangles than the map's.
    """
    points, faces = checked_mesh(vertices, triangles)
    checked_uv(detail.uv, len(faces))
    frames, space = _Frames.of(points, faces, detail), TextureSpace(detail.uv, detail.size)
    covered, bands = np.zeros(detail.displacement.shape, bool), list(space.bands())
    for rows, seen in bands:
        covered[rows] = seen.covered
    slopes = _slopes(detail.displacement, covered)
    picture = np.empty((*covered.shape, 3), np.uint8)
    picture[:] = FLAT
    for rows, seen in bands:
        there = seen.covered
        picture[rows][there] = _encoded(frames.slopes_along(seen, slopes[:, rows][:, there]))
    fill_gutters(covered, picture)
    return picture


def _slopes(heights: NDArray[np.float32], covered: NDArray[np.bool_]) -> Array:
    """Return the slopes (2, S, S) of heights along x and y, mm per texel, 0 where no neighbour is covered."""
    slopes = np.zeros((2, *heights.shape))
    for k, (values, there) in enumerate(((heights, covered), (heights.T, covered.T))):
        step, both = np.diff(values.astype(np.float64), axis=1), there[:, 1:] & there[:, :-1]
        total, count = np.zeros(values.shape), np.zeros(values.shape)
        for side in (slice(1, None), slice(None, -1)):
            total[:, side] += np.where(both, step, 0.0)
            count[:, side] += both
        mean = total / np.maximum(count, 1.0)
        slopes[k] = mean if k == 0 else mean.T
    return slopes


def _encoded(slopes: Array) -> NDArray[np.uint8]:
    """Return the colours (M, 3) of normals whose surface rises by slopes (M, 2) along tangent and bitangent."""
    normals = normalised(np.column_stack([-slopes, np.ones(len(slopes))]))
    return np.rint(127.5 * (normals + 1.0)).astype(np.uint8)


class _Frames:
    """Smooth normals, tangents and derivatives of a surface, to be looked up by what each texel shows."""

    def __init__(self, normals: Array, along: tuple[Array, Array], tangents: Array, signs: Array) -> None:
        self.normals = normals  # (T, 3, 3) unit, of the corners
        self.along_x, self.along_y = along  # (T, 3) mm per texel
        self.tangents = tangents  # (T, 3, 3) unit, of the corners
        self.signs = signs  # (T, 3) of the corners' bitangents

    @classmethod
    def of(cls, points: Array, faces: NDArray[np.int32], detail: DetailMap) -> "_Frames":
        """Return those of a surface under the map of its heights."""
        texels = TextureSpace(detail.uv, detail.size).texels
        along = surface_derivatives(points[faces], texels[detail.uv.triangles])
        split, normals = split_at_seams(faces, detail.uv), vertex_normals(points, faces)
        tangents = vertex_tangents(points[split.vertex], normals[split.vertex], split)[split.triangles]
        return cls(normals[faces], along, tangents[..., :3], tangents[..., 3])

    def slopes_along(self, seen: Fragments, slopes: Array) -> Array:
        """Return the slopes (M, 2), mm per mm, along tangent and bitangent, of slopes (2, M) in mm per texel."""
        there = seen.covered
        owner, weights = seen.triangle[there], seen.barycentric[there]
        along_x, along_y = self.along_x[owner], self.along_y[owner]
        across = np.cross(along_x, along_y)
        flat, area = normalised(across), np.sqrt(np.einsum("mx,mx->m", across, across))
        rise = slopes[0, :, None] * np.cross(along_y, flat) + slopes[1, :, None] * np.cross(flat, along_x)
        gradient = np.divide(rise, area[:, None], out=np.zeros_like(rise), where=area[:, None] > 0.0)
        normal = normalised(np.einsum("mc,mcx->mx", weights, self.normals[owner]))
        gradient = _turned(gradient, flat, normal)
        tangent = normalised(np.einsum("mc,mcx->mx", weights, self.tangents[owner]))
        sign = np.where(np.einsum("mc,mc->m", weights, self.signs[owner]) >= 0.0, 1.0, -1.0)
        bitangent = sign[:, None] * np.cross(normal, tangent)
        return np.column_stack([np.einsum("mx,mx->m", gradient, side) for side in (tangent, bitangent)])


def _turned(vectors: Array, start: Array, end: Array) -> Array:
    """Return vectors (M, 3) in the planes of unit normals `start` (M, 3), turned by the shortest way that takes these,
    or their opposites, to `end`.
    """
    start = np.where(np.einsum("mx,mx->m", start, end)[:, None] < 0.0, -start, start)
    axis, cosine = np.cross(start, end), np.einsum("mx,mx->m", start, end)[:, None]
    along = np.einsum("mx,mx->m", axis, vectors)[:, None]
    return np.asarray(vectors * cosine + np.cross(axis, vectors) + axis * along / (1.0 + cosine))
