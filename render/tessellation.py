"""Finer meshes: triangles cut at the middles of their sides, on a surface that is smooth where the coarse one bends.

The middle m of an edge a, b with unit normals n_a, n_b moves towards the planes that touch the surface at its ends,

    m + ALPHA / 2 [ ((a - m) . n_a) n_a + ((b - m) . n_b) n_b ],      normal  normalised(n_a + n_b)

which rounds what was flat without moving a vertex of the coarse mesh; with ALPHA = 1/2 short arcs of a circle stay so.
`tessellated` cuts every triangle into four. `relief_mesh` cuts the triangles that heights are over, until no side of
theirs is longer than LONGEST texels of the heights' map, and then moves the vertices along the smooth normals. A
triangle's neighbours share its sides' middles, so nothing comes apart: with one, two or three sides cut it becomes two,
three or four.

A cut surface still bends more at the coarse mesh's edges than between them. That must not look like wrinkles, so the
normals of a mesh with relief are not its triangles' but those of the smooth surface under its heights h: with n the
interpolated normal, and grad h the mean over a vertex's triangles, by area, in the plane of n,

    normalised(n - grad h)

T. Boubekeur, M. Alexa, Phong tessellation, SIGGRAPH Asia 2008 (eq. 2 at an edge's middle, where alpha = 1/2 is that of
A. Vlachos et al., Curved PN triangles, I3D 2001); R. E. Bank, A. H. Sherman, A. Weiser, Some refinement algorithms and
data structures for regular local mesh refinement, 1983; R. L. Cook, Shade trees, SIGGRAPH 1984 (heights along the
normal); J. F. Blinn, Simulation of wrinkled surfaces, SIGGRAPH 1978.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..models.arrays import checked_array
from ..models.errors import InvalidInputError
from ..models.morphable_model import UVMap
from .cameras import ScaledOrthographic
from .mesh import checked_mesh
from .normals import normalised, vertex_normals
from .rasterizer import rasterize
from .tangents import checked_uv, same_layout

Array = NDArray[np.float64]
Indices = NDArray[np.int32]
Mask = NDArray[np.bool_]

ALPHA = 0.5
MOST = 6
"""Times that triangles are cut, at most: by then each has become 4096."""

LONGEST = 2.0
"""Texels of the heights' map that a side spans at most, where there are heights: about 1.5 on average."""

LARGEST = 400_000
"""Triangles of a mesh with relief, at most: sides that would give more are not cut, the shortest of them."""

LEAST = 0.02
"""Height, mm, from which a triangle counts as having any."""

PIECES = {
    0: ((0, 1, 2),),
    1: ((0, 3, 2), (3, 1, 2)),
    2: ((3, 1, 4), (0, 3, 4), (0, 4, 2)),
    3: ((0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)),
}
"""Triangles by the number of sides that are cut: of corners 0, 1, 2 and middles 3 (of 0 1), 4 (of 1 2), 5 (of 2 0)."""


class Relief(Protocol):
    """Heights over a surface, such as `facefit.fitting.detail_map.DetailMap`."""

    @property
    def displacement(self) -> NDArray[np.float32]:
        """(S, S) mm along the smooth normal, row 0 at the top (v = 1)."""

    @property
    def uv(self) -> UVMap:
        """How they are laid out."""


@dataclass(frozen=True, eq=False)
class FineMesh:
    """A mesh whose coarse triangles have been cut, the pieces of each after those of the one before."""

    vertices: Array  # (N, 3) mm; the first ones are the coarse mesh's, moved by their heights in a mesh with relief
    normals: Array  # (N, 3) unit
    triangles: Indices  # (T, 3)
    values: Array  # (N, C) whatever the coarse vertices carried, interpolated
    uv: UVMap | None  # of the triangles


def tessellated(
    vertices: ArrayLike, triangles: ArrayLike, times: int, values: ArrayLike | None = None, uv: UVMap | None = None
) -> FineMesh:
    """Cut triangles (T, 3) over vertices (N, 3) mm into four, `times` times; values (N, C) and texture coordinates go
    along.

    Raises InvalidInputError for a malformed mesh, values or map, and for `times` that is not from 0 to MOST.
    """
    mesh = _Cut.of(vertices, triangles, values, () if uv is None else (uv,))
    if not isinstance(times, int | np.integer) or isinstance(times, bool) or not 0 <= times <= MOST:
        raise InvalidInputError(f"times: expected a whole number from 0 to {MOST}, got {times!r}")
    for _ in range(times):
        mesh = mesh.cut(np.ones(mesh.faces.shape, dtype=bool))
    return mesh.result(None if uv is None else 0)


def relief_mesh(
    vertices: ArrayLike,
    triangles: ArrayLike,
    relief: Relief,
    values: ArrayLike | None = None,
    uv: UVMap | None = None,
) -> FineMesh:
    """Return a mesh, vertices (N, 3) mm and triangles (T, 3), with relief: cut where there are heights, and moved by
    them; values (N, C) go along.

    Its normals are those of the displaced surface; its map is cut from `uv`, another layout of the same triangles, or
    the relief's own. Raises InvalidInputError for a malformed mesh, map or values, and for heights that are not finite
    numbers (S, S').
    """
    heights = checked_array("displacement", relief.displacement, (None, None), np.float32)
    if not heights.size:
        raise InvalidInputError(f"displacement: expected at least one texel, got {heights.shape}")
    own = uv is None or same_layout(uv, relief.uv)
    mesh = _Cut.of(vertices, triangles, values, (relief.uv,) if uv is None or own else (relief.uv, uv))
    rough = _has_heights(mesh, heights)
    owner = np.arange(len(mesh.faces))
    for _ in range(MOST):
        sides = np.where(rough[owner][:, None], mesh.side_lengths(0, heights.shape[::-1]), 0.0)
        sides = _longer(mesh.faces, sides)
        split, room = sides > LONGEST, LARGEST - len(owner)
        if split.sum() > room > 0:
            split = sides > np.partition(sides.ravel(), -room)[-room]
        if not split.any() or split.sum() > room:
            break
        mesh, owner = mesh.cut(split), np.repeat(owner, 1 + split.sum(axis=1))
    moved, found = _heights_at(mesh.result(0), heights), mesh.result(0 if own else 1)
    points = mesh.points + moved[:, None] * mesh.normals
    return FineMesh(points, _tilted(mesh, moved), mesh.faces, mesh.table, found.uv)


def displaced(mesh: FineMesh, heights: NDArray[np.floating]) -> Array:
    """Return the vertices (N, 3) moved along their normals by heights (H, W), mm, laid out by the mesh's map.

    A vertex on a seam, which has several places in the map, takes the mean.
    """
    return mesh.vertices + _heights_at(mesh, heights)[:, None] * mesh.normals


def looked_up(image: NDArray[np.floating], coordinates: NDArray[np.floating]) -> Array:
    """Return an image (H, W) at texture coordinates (C, 2), linear between its texels' centres, held at the border."""
    height, width = image.shape
    x = np.clip(coordinates[:, 0] * width - 0.5, 0.0, width - 1.0)
    y = np.clip((1.0 - coordinates[:, 1]) * height - 0.5, 0.0, height - 1.0)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    fx, fy = x - left, y - top
    upper = (1.0 - fx) * image[top, left] + fx * image[top, right]
    lower = (1.0 - fx) * image[bottom, left] + fx * image[bottom, right]
    return np.asarray((1.0 - fy) * upper + fy * lower)


@dataclass(frozen=True, eq=False)
class _Cut:
    """A mesh on its way, and the maps that are cut with it."""

    points: Array  # (N, 3)
    normals: Array  # (N, 3)
    table: Array  # (N, C)
    faces: Indices  # (T, 3)
    maps: tuple[tuple[Array, Indices], ...]  # coordinates (U, 2) and triangles (T, 3) of each

    @classmethod
    def of(cls, vertices: ArrayLike, triangles: ArrayLike, values: ArrayLike | None, uvs: tuple[UVMap, ...]) -> "_Cut":
        """Check what is given."""
        points, faces = checked_mesh(vertices, triangles)
        table = np.zeros((len(points), 0)) if values is None else checked_array("values", values, (len(points), None))
        return cls(points, vertex_normals(points, faces), table, faces, tuple(checked_uv(uv, len(faces)) for uv in uvs))

    def cut(self, split: Mask) -> "_Cut":
        """Return the mesh with the sides `split` (T, 3) cut: of corners 0 1, 1 2, 2 0. Neighbours must agree."""
        edges, faces = _cut(self.faces, len(self.points), split)
        (a, b), (na, nb) = np.moveaxis(self.points[edges], 1, 0), np.moveaxis(self.normals[edges], 1, 0)
        half = 0.5 * (b - a)
        lift = np.einsum("ex,ex->e", half, nb)[:, None] * nb - np.einsum("ex,ex->e", half, na)[:, None] * na
        maps = []
        for places, corners in self.maps:
            sides, pieces = _cut(corners, len(places), split)
            maps.append((np.concatenate([places, places[sides].mean(axis=1)]), pieces))
        return _Cut(
            np.concatenate([self.points, 0.5 * (a + b) + 0.5 * ALPHA * lift]),
            np.concatenate([self.normals, normalised(na + nb)]),
            np.concatenate([self.table, self.table[edges].mean(axis=1)]),
            faces, tuple(maps),
        )  # fmt: skip

    def side_lengths(self, chosen: int, size: tuple[int, ...]) -> Array:
        """Return the lengths (T, 3) of the triangles' sides in a map of size (width, height), texels."""
        places, corners = self.maps[chosen]
        texels = (places * size)[corners]
        return np.asarray(np.sqrt(((np.roll(texels, -1, axis=1) - texels) ** 2).sum(axis=2)))

    def result(self, chosen: int | None) -> FineMesh:
        """Return the mesh with one of its maps, or none."""
        uv = None if chosen is None else UVMap(*self.maps[chosen])
        return FineMesh(self.points, self.normals, self.faces, self.table, uv)


def _heights_at(mesh: FineMesh, heights: NDArray[np.floating]) -> Array:
    """Return the heights (N,) at a mesh's vertices: see `displaced`."""
    if mesh.uv is None:
        raise InvalidInputError("mesh: expected texture coordinates, got none")
    corners = mesh.triangles.ravel()
    at_places = looked_up(heights, mesh.uv.coordinates)[mesh.uv.triangles.ravel()]
    count = np.bincount(corners, minlength=len(mesh.vertices))
    total = np.bincount(corners, at_places, minlength=len(mesh.vertices))
    return np.asarray(total / np.maximum(count, 1))


def _tilted(mesh: _Cut, heights: Array) -> Array:
    """Return the normals (N, 3) of a smooth surface under heights (N,) of its vertices."""
    a, b, c = (mesh.points[mesh.faces[:, k]] for k in range(3))
    across = np.cross(b - a, c - a)
    rise = sum(heights[mesh.faces[:, k], None] * np.cross(across, side) for k, side in enumerate((c - b, a - c, b - a)))
    double = np.sqrt(np.einsum("tx,tx->t", across, across))[:, None]
    # The gradient is rise / double^2; a triangle counts by its area.
    share = np.divide(rise, double, out=np.zeros_like(across), where=double > 0.0)
    gradient = np.empty_like(mesh.points)
    for axis in range(3):
        gradient[:, axis] = np.bincount(mesh.faces.ravel(), np.repeat(share[:, axis], 3), len(gradient))
    gradient /= np.maximum(np.bincount(mesh.faces.ravel(), np.repeat(double, 3), len(gradient)), 1e-12)[:, None]
    gradient -= np.einsum("nx,nx->n", gradient, mesh.normals)[:, None] * mesh.normals
    return normalised(mesh.normals - gradient)


def _has_heights(mesh: _Cut, heights: NDArray[np.float32]) -> Mask:
    """Return (T,) which triangles of a mesh have heights over them, in its first map."""
    (places, corners), (height, width) = mesh.maps[0], heights.shape
    x, y = places[:, 0] * width - 0.5, (1.0 - places[:, 1]) * height - 0.5
    flat = np.column_stack([x, y, np.zeros(len(places))])
    camera = ScaledOrthographic(np.eye(3), np.zeros(2), 1.0)
    owner = rasterize(camera, flat, corners, height, width, cull="none").triangle
    found = owner[(np.abs(heights) > LEAST) & (owner >= 0)]
    return np.asarray(np.bincount(found, minlength=len(corners)) > 0)


def _longer(triangles: Indices, lengths: Array) -> Array:
    """Return for each side (T, 3) the greatest of its lengths (T, 3), which its two triangles may see differently."""
    _, edge = np.unique(_side_keys(triangles, int(triangles.max(initial=0)) + 1), return_inverse=True)
    longest = np.zeros(int(edge.max(initial=-1)) + 1)
    np.maximum.at(longest, edge.ravel(), lengths.ravel())
    return longest[edge].reshape(lengths.shape)


def _side_keys(triangles: Indices, count: int) -> NDArray[np.int64]:
    """Return one number for each side (T, 3) of triangles over `count` vertices, the same for both directions."""
    first, second = triangles.astype(np.int64), np.roll(triangles, -1, axis=1).astype(np.int64)
    return np.minimum(first, second) * count + np.maximum(first, second)


def _cut(triangles: Indices, count: int, split: Mask) -> tuple[NDArray[np.int64], Indices]:
    """Return the edges (E, 2) whose middles are new vertices, from `count` on, and the triangles' pieces in order."""
    unique, inverse = np.unique(_side_keys(triangles, count)[split], return_inverse=True)
    middles = np.full(triangles.shape, -1, np.int32)
    middles[split] = count + inverse.ravel()
    number = split.sum(axis=1)
    # Turned so that one cut side is the first, of two cut sides the other the second: as PIECES has them.
    turn = np.where(number == 1, split.argmax(axis=1), np.where(number == 2, split.argmin(axis=1) + 1, 0))
    order = (turn[:, None] + np.arange(3)) % 3
    corners = np.hstack([np.take_along_axis(table, order, axis=1) for table in (triangles, middles)])
    start = np.cumsum(1 + number) - (1 + number)
    pieces = np.empty((len(triangles) + int(number.sum()), 3), np.int32)
    for cuts, kinds in PIECES.items():
        mine = number == cuts
        for k, kind in enumerate(kinds):
            pieces[start[mine] + k] = corners[mine][:, kind]
    return np.stack([unique // count, unique % count], axis=1), pieces
