"""The part of the surface that can form the outline of jaw and cheek, per side, ready for the landmark solver."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .arrays import read_only
from .point_basis import PointBasis

Indices = NDArray[np.int32]

BAND_WIDTH = 0.4
"""Half width of the band about the jaw line where no candidates are given, relative to the model's face size.

Wide, since the outline of a turned face wanders from the ear to the cheek bone.
"""
MIN_SIDEWAYS, MIN_FORWARD = 0.1, -0.5
"""Least x (towards the side) and z of the mean's unit normal at a candidate: what faces neither inwards nor back."""


@dataclass(frozen=True, eq=False)
class ContourBand:
    """Vertices of one side with the triangles around them; indices are local to `basis`."""

    basis: PointBasis  # float32; the candidates first, then the ring of vertices around them
    active: Indices  # (Q,) the coefficients that move any of them: those of `basis`
    candidates: int  # how many of the points are candidates
    triangles: Indices  # (T, 3) all triangles that touch a candidate, those between three candidates first
    searched: int  # how many of the triangles lie between three candidates; none where those are a single row


def band_around(
    line: NDArray[np.float64],
    vertices: NDArray[np.floating],
    normals: NDArray[np.float64],
    width: float,
    side: float,
) -> Indices:
    """Return the vertices (N, 3) on one side (sign of x), within `width`, mm, of the polyline `line` (n, 3), that can
    be on an outline by their unit normals (N, 3).
    """
    share = np.linspace(0.0, 1.0, 20)[None, :, None]
    points = (line[:-1, None] * (1.0 - share) + line[1:, None] * share).reshape(-1, 3)
    turned = (side * normals[:, 0] > MIN_SIDEWAYS) & (normals[:, 2] > MIN_FORWARD)
    beside = np.flatnonzero(turned & (side * vertices[:, 0] >= -0.01 * width))
    near = np.zeros(len(beside), dtype=bool)
    for block in np.array_split(np.arange(len(beside)), len(beside) // 1000 + 1):
        away = vertices[beside[block], None] - points
        near[block] = (np.einsum("vpx,vpx->vp", away, away) < width * width).any(axis=1)
    return beside[near].astype(np.int32)


def unit_normals(vertices: NDArray[np.floating], triangles: Indices) -> NDArray[np.float64]:
    """Return area-weighted vertex normals (N, 3) of length one; zero where no triangle has an area."""
    a, b, c = np.moveaxis(np.asarray(vertices, dtype=np.float64)[triangles], 1, 0)
    total = np.zeros(vertices.shape)
    for corner in triangles.T:
        np.add.at(total, corner, np.cross(b - a, c - a))
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.divide(total, length, out=np.zeros_like(total), where=length > 0.0)


def local_topology(candidates: Indices, triangles: Indices) -> tuple[Indices, Indices, int]:
    """Return (vertices, triangles, searched): candidates and their ring, and the mesh about them in local indices.

    The first `searched` triangles lie between three candidates.
    """
    members = np.isin(triangles, candidates).sum(axis=1)
    touching = np.concatenate([triangles[members == 3], triangles[(members > 0) & (members < 3)]])
    ring = np.setdiff1d(touching, candidates)
    chosen = np.concatenate([candidates, ring]).astype(np.int32)
    local = np.full(int(max(triangles.max(initial=0), chosen.max(initial=0))) + 1, -1, dtype=np.int32)
    local[chosen] = np.arange(len(chosen), dtype=np.int32)
    return chosen, read_only(local[touching]), int((members == 3).sum())
