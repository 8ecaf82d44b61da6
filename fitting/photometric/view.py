"""Which points of the surface the photo shows: one *sample* per pixel, on the triangle that is nearest there.

Samples stay on their points of the surface while the optimiser moves these; a new view is made after that. Normals are
the smooth surface's when the view is made. From then on a sample's normal moves as its triangle's does,

    n = normalised(n_start + n_triangle - n_triangle,start)

which depends on the three corners alone and agrees with the smooth normal's change where the surface bends alike.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...render.normals import vertex_normals
from ...render.rasterizer import rasterize
from ...render.spherical_harmonics import basis
from ..mesh_assembly._kernels import stable_order
from ..mesh_assembly.equations import MeshPattern
from ..state_prior import PoseAndShape
from ._kernels import sample_normals, triangle_normals
from .levels import Level
from .surface import Surface

Array = NDArray[np.float64]

RANGES, RANGE = 8, 4000
"""Most ranges of triangles that threads share, and the samples of one: fewer are not worth a thread's attention."""


class Centres(NamedTuple):
    """One point per triangle (T,), for what varies slowly over the face."""

    barycentric: Array  # (T, 3)
    normals: Array  # (T, 3) unit, camera frame
    functions: Array  # (T, 9) the shading's, render/spherical_harmonics.py


@dataclass(frozen=True, eq=False)
class View:
    """The samples (M,) of a level, their triangles (T,) and the vertices (V,) of these."""

    surface: Surface
    level: Level
    vertices: NDArray[np.intp]  # (V,) among the surface's
    triangles: NDArray[np.int32]  # (T, 3) among `vertices`
    first: NDArray[np.int64]  # (T + 1,) the samples of triangle t are first[t] to first[t + 1]
    pixels: NDArray[np.intp]  # (M,) flat index of each sample's pixel in the level
    barycentric: Array  # (M, 3)
    normals: Array  # (M, 3) unit, camera frame, smooth
    triangle_normals: Array  # (T, 3) unit, camera frame
    basis: NDArray[np.floating] = field(repr=False)  # (V, 3, P) of the vertices
    # Coefficients and points of the last `model_points`.
    _last: list[Array] = field(default_factory=list, init=False, repr=False)

    def __len__(self) -> int:
        """Number of samples M."""
        return len(self.pixels)

    @cached_property
    def corners(self) -> NDArray[np.int32]:
        """(M, 3) the corners of each sample's triangle, among `vertices`."""
        return np.repeat(self.triangles, np.diff(self.first), axis=0)

    @cached_property
    def albedo_rows(self) -> NDArray[np.intp]:
        """(V,) the vertices among the model's."""
        return self.surface.chosen[self.vertices]

    @cached_property
    def pattern(self) -> MeshPattern:
        """Where the triangles land in the normal equations."""
        return MeshPattern.from_triangles(self.triangles, len(self.vertices))

    @cached_property
    def colours(self) -> Array:
        """(M, 3) the photo at the samples' pixels, sRGB 0-1."""
        return self.level.photo.reshape(-1, 3)[self.pixels].astype(np.float64)

    @cached_property
    def mesh(self) -> tuple[Any, ...]:
        """What the kernels know of the triangles."""
        return self.triangles, self.first, self.triangle_normals

    @cached_property
    def samples(self) -> tuple[Any, ...]:
        """What the kernels know of the samples."""
        return self.barycentric, self.normals

    @cached_property
    def centres(self) -> "Centres":
        """The middle of each triangle's samples."""
        counts = np.diff(self.first)[:, None]
        normals = np.add.reduceat(self.normals, self.first[:-1], axis=0)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        return Centres(np.add.reduceat(self.barycentric, self.first[:-1], axis=0) / counts, normals, basis(normals))

    def of_centres(self, values: Array) -> Array:
        """Return values (V, ...) of the vertices, interpolated in the middle of each triangle's samples (T, ...)."""
        return np.einsum("tc,tc...->t...", self.centres.barycentric, values[self.triangles])

    @cached_property
    def appearance_modes(self) -> NDArray[np.floating]:
        """(V, 3, A) the albedo's modes at the vertices, in the precision of the equations."""
        return self.surface.albedo.modes[self.albedo_rows].astype(self.basis.dtype, copy=False)

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Yield ranges of triangles with about as many samples each."""
        count = min(max(len(self) // RANGE, 1), RANGES)
        ends = np.searchsorted(self.first, np.linspace(0, len(self), count + 1)[1:-1]).tolist()
        edges = [0, *ends, len(self.triangles)]
        yield from ((a, b) for a, b in pairwise(edges) if b > a)

    def model_points(self, coefficients: Array) -> Array:
        """Return the vertices (V, 3), mm, model frame."""
        # Energy and derivatives are asked for at the same state, and the basis is megabytes to read.
        if not self._last or not np.array_equal(self._last[0], coefficients):
            points = self.surface.mean[self.vertices] + self.basis @ coefficients.astype(self.basis.dtype)
            points.flags.writeable = False
            self._last[:] = coefficients.copy(), points
        return self._last[1]

    def of_samples(self, values: Array) -> Array:
        """Return values (V, ...) of the vertices, interpolated at the samples (M, ...)."""
        return np.einsum("mc,mc...->m...", self.barycentric, values[self.corners])

    def to_vertices(self, values: Array) -> Array:
        """Return the sums (V, K) at the vertices of values (T, 3, K) at the triangles' corners."""
        corners, count = self.triangles.ravel(), len(self.vertices)
        columns = values.reshape(len(corners), -1).T
        return np.stack([np.bincount(corners, column, count) for column in columns], axis=1)


def make_view(surface: Surface, level: Level, state: PoseAndShape, min_cosine: float) -> View:
    """Return what a level shows of the surface in a state; what is seen more edge-on than `min_cosine` is left out."""
    points = surface.points(state.coefficients)
    camera = state.camera
    height, width = level.photo.shape[:2]
    seen = rasterize(level.camera(camera), points, surface.triangles, height, width)
    smooth = vertex_normals(points, surface.triangles) @ state.rotation.T
    covered = seen.covered
    covered[-1], covered[:, -1] = False, False  # the last row and column have no neighbour to be interpolated with
    pixels = np.flatnonzero(covered)
    owner, barycentric = seen.triangle.ravel()[pixels], seen.barycentric.reshape(-1, 3)[pixels]
    normals = np.empty_like(barycentric)
    sample_normals(surface.triangles, owner, barycentric, smooth, normals)
    order = stable_order(owner, np.flatnonzero(normals[:, 2] <= -min_cosine), len(surface.triangles))
    owner = owner[order]
    first = np.flatnonzero(np.diff(owner, prepend=-1, append=-2))
    corners = surface.triangles[owner[first[:-1]]]
    used = np.zeros(len(points), dtype=bool)
    used[corners] = True
    vertices = np.flatnonzero(used)
    triangles = (np.cumsum(used, dtype=np.int32) - np.int32(1))[corners]
    flat = np.empty((len(triangles), 3))
    triangle_normals(state.scale * points[vertices] @ state.rotation.T, triangles, flat)
    return View(
        surface=surface,
        level=level,
        vertices=vertices,
        triangles=triangles,
        first=first,
        pixels=pixels[order],
        barycentric=np.ascontiguousarray(barycentric[order]),
        normals=np.ascontiguousarray(normals[order]),
        triangle_normals=flat,
        basis=surface.basis[vertices],
    )
