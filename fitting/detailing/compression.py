"""By how much an expression compresses the skin, per texel.

On the triangle with edges a, b of the person's neutral surface, and a', b' under the expression, the metrics

    g = [a.a  a.b; a.b  b.b],        h = [a'.a'  a'.b'; a'.b'  b'.b']

give the right Cauchy-Green tensor C = F'F of the deformation gradient F in the triangle's plane, in the basis of its
edges: C = g^-1 h. Its eigenvalues are the squares of the principal stretches; neither a rigid motion nor the bending
of the surface changes them. With t = tr C and d = det C = det h / det g, the least one and the compression are

    lambda^2 = 2 d / (t + sqrt(t^2 - 4 d)),        c = max(0, 1 - lambda)        (share of a length)

held at MOST, since the folds of a mesh at lids and lips say nothing of skin. A vertex has its triangles' mean by area,
a texel what its triangle's corners have; then a Gaussian of SMOOTH_MM takes out the creases along the edges, and
carries the values a little beyond the charts' borders.

J. Bonet, R. D. Wood, Nonlinear Continuum Mechanics for Finite Element Analysis, 2nd ed. 2008, ch. 4 (F, C, stretches).
"""

import numpy as np
from numpy.typing import NDArray

from ...models.morphable_model import MorphableModel, UVMap
from ...render.rasterizer import interpolate
from ..texturing.atlas import TextureSpace
from .skin import near_by

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

MOST = 0.5
"""Greatest compression that is believed."""

SMOOTH_MM = 1.5
"""Deviation of the Gaussian."""

LEAST = 1e-5
"""Compression below which it is rounding."""

FLAT = 1e-9
"""Area relative to the product of its edges' lengths below which a triangle is a line: it tells nothing."""


def compression_of_texels(model: MorphableModel, uv: UVMap, size: int, neutral: Array, vertices: Array) -> Floats:
    """Return by how much the skin is compressed, (S, S) 0 to MOST, from neutral to vertices (N, 3) mm, laid out by uv.

    It is zero farther than a few texels from any chart.
    """
    values = compression_of_vertices(neutral, vertices, model.triangles)[:, None]
    space = TextureSpace(uv, size)
    sparse, covered = np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)
    for rows, seen in space.bands():
        sparse[rows] = interpolate(seen, model.triangles, values)[..., 0]
        covered[rows] = seen.covered
    return near_by(sparse, covered, SMOOTH_MM / _texel_width(model, space))


def compression_of_vertices(neutral: Array, vertices: Array, triangles: NDArray[np.int32]) -> Array:
    """Return the mean compression (N,) of the triangles (T, 3) about each vertex, weighted by their neutral areas."""
    values, area = compression_of_triangles(neutral, vertices, triangles)
    corners, count = triangles.ravel(), len(neutral)
    total = np.bincount(corners, np.repeat(values * area, 3), count)
    return np.asarray(total / np.maximum(np.bincount(corners, np.repeat(area, 3), count), 1e-12))


def compression_of_triangles(neutral: Array, vertices: Array, triangles: NDArray[np.int32]) -> tuple[Array, Array]:
    """Return compression and neutral area, mm^2, of triangles (T, 3), both (T,) and 0 for one that is a line."""
    g11, g12, g22, area = _metric(neutral, triangles)
    h11, h12, h22, deformed = _metric(vertices, triangles)
    flat = 2.0 * area <= FLAT * np.sqrt(g11 * g22)
    inverse = 1.0 / np.where(flat, 1.0, 4.0 * area * area)
    trace = np.maximum((g22 * h11 - 2.0 * g12 * h12 + g11 * h22) * inverse, 0.0)
    determinant = 4.0 * deformed * deformed * inverse
    root = np.sqrt(np.maximum(trace * trace - 4.0 * determinant, 0.0))
    squared = 2.0 * determinant / np.maximum(trace + root, 1e-12)
    compression = np.clip(1.0 - np.sqrt(squared), 0.0, MOST)
    return np.where(flat | (compression < LEAST), 0.0, compression), np.where(flat, 0.0, area)


def _metric(points: Array, triangles: NDArray[np.int32]) -> tuple[Array, Array, Array, Array]:
    """Return the metric's entries 11, 12, 22, mm^2, of triangles, and their areas; (T,) each."""
    first, second, third = (points[triangles[:, k]] for k in range(3))
    a, b = second - first, third - first
    area = 0.5 * np.linalg.norm(np.cross(a, b), axis=1)
    return np.einsum("tx,tx->t", a, a), np.einsum("tx,tx->t", a, b), np.einsum("tx,tx->t", b, b), area


def _texel_width(model: MorphableModel, space: TextureSpace) -> float:
    """Return how wide a texel of the mean face is, mm."""
    face = model.regions.get("face")
    chosen = slice(None) if face is None else np.flatnonzero(face[model.triangles].all(axis=1))
    places = np.column_stack([space.texels, np.zeros(len(space.texels))])
    texels = _metric(places, space.uv.triangles[chosen])[3].sum()
    area = _metric(np.asarray(model.mean, np.float64), model.triangles[chosen])[3].sum()
    return float(np.sqrt(max(area, 1e-12) / max(texels, 1e-12)))
