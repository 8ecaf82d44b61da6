"""The part of the surface that can form the outline of jaw and cheek, per side, ready for the landmark solver."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .arrays import read_only
from .point_basis import PointBasis

Indices = NDArray[np.int32]

BAND_WIDTH = 0.13
"""Half width of the band about the jaw line where no candidates are given, relative to the model's face size."""


@dataclass(frozen=True, eq=False)
class ContourBand:
    """Vertices of one side with the triangles around them; indices are local to `basis`."""

    basis: PointBasis  # the candidates first, then the ring of vertices around them
    candidates: int  # how many of the points are candidates
    triangles: Indices  # (T, 3) all triangles that touch a candidate
    edges: Indices  # (E, 2) of the triangles between three candidates; none where those are single rows of vertices


def band_around(line: NDArray[np.float64], vertices: NDArray[np.floating], width: float, side: float) -> Indices:
    """Return the vertices (N, 3) on one side (sign of x) that lie within `width`, mm, of the polyline `line` (n, 3)."""
    share = np.linspace(0.0, 1.0, 20)[None, :, None]
    points = (line[:-1, None] * (1.0 - share) + line[1:, None] * share).reshape(-1, 3)
    near = np.zeros(len(vertices), dtype=bool)
    box = ((vertices > points.min(axis=0) - width) & (vertices < points.max(axis=0) + width)).all(axis=1)
    inside = np.flatnonzero(box & (side * vertices[:, 0] >= -0.05 * width))
    for block in np.array_split(inside, max(1, len(inside) // 2000)):
        distance = np.linalg.norm(vertices[block, None] - points[None], axis=2)
        near[block] = distance.min(axis=1) < width
    return np.flatnonzero(near).astype(np.int32)


def local_topology(candidates: Indices, triangles: Indices) -> tuple[Indices, Indices, Indices]:
    """Return (vertices, triangles, edges): candidates and their ring, and the mesh about them in local indices.

    Edges are those of triangles between candidates only: a single row has none, whether its vertices are joined or not.
    """
    touching = triangles[np.isin(triangles, candidates).any(axis=1)]
    ring = np.setdiff1d(touching, candidates)
    chosen = np.concatenate([candidates, ring]).astype(np.int32)
    local = np.full(int(max(triangles.max(initial=0), chosen.max(initial=0))) + 1, -1, dtype=np.int32)
    local[chosen] = np.arange(len(chosen), dtype=np.int32)
    faces = local[touching]
    inner = faces[(faces < len(candidates)).all(axis=1)]
    edges = np.unique(np.sort(inner[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
    return chosen, read_only(faces), read_only(edges.astype(np.int32))
