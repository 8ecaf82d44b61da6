"""Tangents of a surface along its texture coordinates, and the mesh whose vertices they belong to.

From the derivatives of the position by u and v over a triangle with edges e1, e2 and (du, dv):

    T = (dv2 e1 - dv1 e2) / det,    B = (du1 e2 - du2 e1) / det,    det = du1 dv2 - du2 dv1

A vertex's are their unit vectors, summed over its triangles by their corner angles; the tangent is then orthogonalised
against the normal N, and w = sign((N x T) . B), v up: MikkTSpace's rule, but for its splitting of vertices where the
mapping is mirrored. Vertices on a seam of the texture have a tangent on each side of it.

M. Mikkelsen, Simulation of wrinkled surfaces revisited, 2008.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..models.arrays import checked_array, checked_indices
from ..models.errors import InvalidInputError
from ..models.morphable_model import UVMap
from .normals import normalised

Array = NDArray[np.float64]
Indices = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class SplitMesh:
    """A mesh whose vertices are doubled along the seams of its texture: corner by corner, one index for all."""

    vertex: NDArray[np.intp]  # (M,) which vertex of the mesh each one is
    coordinates: Array  # (M, 2) its texture coordinates, v up
    triangles: Indices  # (T, 3) indices into both


def checked_uv(uv: UVMap, triangle_count: int) -> tuple[Array, Indices]:
    """Return coordinates (U, 2), v up, and triangles (T, 3) of a map that belongs to `triangle_count` triangles."""
    if not isinstance(uv, UVMap):
        raise InvalidInputError(f"uv: expected a UVMap, got {type(uv).__name__}")
    coordinates = checked_array("uv.coordinates", uv.coordinates, (None, 2))
    return coordinates, checked_indices("uv.triangles", uv.triangles, (triangle_count, 3), len(coordinates))


def same_layout(one: UVMap, other: UVMap) -> bool:
    """Whether two maps give every corner of every triangle the same texture coordinate."""
    return one is other or (
        np.array_equal(one.triangles, other.triangles) and np.array_equal(one.coordinates, other.coordinates)
    )


def split_at_seams(triangles: Indices, uv: UVMap) -> SplitMesh:
    """Return the mesh with one vertex for each pair of a vertex and a texture coordinate that its corners use.

    Vertices of no triangle are left out. InvalidInputError where `uv` is not of these triangles (T, 3).
    """
    coordinates, corners = checked_uv(uv, len(triangles))
    pairs = triangles.astype(np.int64) * len(coordinates) + corners
    kept, place = np.unique(pairs, return_inverse=True)
    vertex, texel = np.divmod(kept, len(coordinates))
    return SplitMesh(vertex, coordinates[texel], place.reshape(-1, 3).astype(np.int32))


def surface_derivatives(points: Array, places: Array) -> tuple[Array, Array]:
    """Return the derivatives (T, 3) of corners (T, 3, 3) of triangles by the two coordinates of their places (T, 3, 2).

    They are zero where the places span no area.
    """
    (e1, e2), (d1, d2) = (np.moveaxis(table[:, 1:] - table[:, :1], 1, 0) for table in (points, places))
    det = d1[:, 0] * d2[:, 1] - d2[:, 0] * d1[:, 1]
    inverse = np.divide(1.0, det, out=np.zeros_like(det), where=np.abs(det) > np.finfo(np.float32).tiny)[:, None]
    along_first = (d2[:, 1:] * e1 - d1[:, 1:] * e2) * inverse
    return along_first, (d1[:, :1] * e2 - d2[:, :1] * e1) * inverse


def vertex_tangents(points: Array, normals: Array, mesh: SplitMesh) -> Array:
    """Return tangents (M, 4) of split vertices `points` (M, 3) with unit `normals` (M, 3): a unit vector and a sign.

    A vertex without a usable texture coordinate gets any direction that is at right angles to its normal.
    """
    corners = points[mesh.triangles]
    along_u, along_v = map(normalised, surface_derivatives(corners, mesh.coordinates[mesh.triangles]))
    sides = [normalised(np.roll(corners, -k, axis=1) - corners) for k in (1, 2)]
    angles = np.arccos(np.clip(np.einsum("tcx,tcx->tc", *sides), -1.0, 1.0))
    tangent, bitangent = np.zeros_like(points), np.zeros_like(points)
    for k in range(3):
        np.add.at(tangent, mesh.triangles[:, k], angles[:, k, None] * along_u)
        np.add.at(bitangent, mesh.triangles[:, k], angles[:, k, None] * along_v)
    tangent = normalised(_across(tangent, normals))
    lost = (tangent == 0.0).all(axis=1)
    tangent[lost] = normalised(_across(np.eye(3)[np.abs(normals[lost]).argmin(axis=1)], normals[lost]))
    right_handed = np.einsum("mx,mx->m", np.cross(normals, tangent), bitangent) >= 0.0
    return np.column_stack([tangent, np.where(right_handed, 1.0, -1.0)])


def _across(vectors: Array, normals: Array) -> Array:
    """Return the part of vectors (M, 3) at right angles to unit normals (M, 3)."""
    return vectors - np.einsum("mx,mx->m", vectors, normals)[:, None] * normals
