"""All 68 landmarks of a face of which only some are known, carried over from a face of which all are.

The map from the known face to this one is the smoothest that takes each known point to its place: the thin-plate
spline of three dimensions,

    f(x) = A x + b + sum_i w_i |x - x_i|

with its side conditions (F. L. Bookstein, "Principal warps", IEEE TPAMI 1989). The images of all points are then moved
to the surface. This places what lies between known points within a few millimetres; the jaw, which is extrapolated,
less well.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..morphable_model import LandmarkEmbedding

Array = NDArray[np.float64]

# The landmarks of facefit's default model, mm, in the model frame.
# fmt: off
TEMPLATE = np.array([
    (-69.6, 2, -48.1), (-69.6, -17.1, -45.8), (-67.6, -36.2, -41.5), (-63.2, -54.2, -35.6),
    (-56.6, -71.9, -27), (-45.4, -87.2, -15.4), (-33.1, -99, -5.9), (-17.2, -104.5, 9.8),
    (0, -107.5, 13.8), (17.2, -104.5, 9.8), (33.1, -99, -5.9), (45.4, -87.2, -15.4),
    (56.6, -71.9, -27), (63.2, -54.2, -35.6), (67.6, -36.2, -41.5), (69.6, -17.1, -45.8),
    (69.6, 2, -48.1), (-56.4, 11.8, -5.9), (-48.3, 19.3, 5.9), (-36.6, 22.6, 13.9),
    (-24.2, 21.8, 18.1), (-11.8, 18, 19.3), (11.8, 18, 19.3), (24.2, 21.8, 18.1),
    (36.6, 22.6, 13.9), (48.3, 19.3, 5.9), (56.4, 11.8, -5.9), (0, 3.5, 18.5),
    (0, -8.4, 23.3), (0, -21, 31.1), (0, -34.6, 40), (-13.2, -46.9, 17.5),
    (-6.7, -47.8, 23.5), (0, -48.5, 25.9), (6.7, -47.8, 23.5), (13.2, -46.9, 17.5),
    (-45.7, 0, 0), (-37.1, 5.4, 7.6), (-27, 4.8, 7.9), (-16.9, -2, 3.9),
    (-27.1, -4.5, 5.8), (-37.1, -4.7, 4.9), (16.9, -2, 3.9), (27, 4.8, 7.9),
    (37.1, 5.4, 7.6), (45.7, 0, 0), (37.1, -4.7, 4.9), (27.1, -4.5, 5.8),
    (-25.1, -71.2, 9.2), (-16.6, -65.4, 21), (-7, -62.5, 26.1), (0, -63.3, 27.4),
    (7, -62.5, 26.1), (16.6, -65.4, 21), (25.1, -71.2, 9.2), (17.5, -75.3, 16.7),
    (10.1, -77.7, 20.2), (0, -78.6, 22.4), (-10.1, -77.7, 20.2), (-17.5, -75.3, 16.7),
    (-22.3, -70.3, 10), (-10.2, -69.6, 18.5), (0, -70, 19.9), (10.2, -69.6, 18.5),
    (22.3, -70.3, 10), (9.8, -69.4, 18.6), (0, -69.7, 21.2), (-9.8, -69.4, 18.6),
])
# fmt: on
NEAREST = 8
"""How many of the vertices nearest to a point have their triangles searched for the surface's nearest point."""


def transferred_landmarks(
    known: Mapping[tuple[int, ...], Array], mean: NDArray[np.floating], triangles: NDArray[np.integer]
) -> LandmarkEmbedding | None:
    """Return the 68 landmarks of a surface `mean` (N, 3); None where too few are known, or all in one plane.

    `known` maps the middle of some iBUG landmarks (numbered from 0) to its place (3,), in the frame of `mean`.
    """
    from scipy.interpolate import RBFInterpolator

    sources = np.array([TEMPLATE[list(members)].mean(axis=0) for members in known]).reshape(-1, 3)
    targets = np.array(list(known.values()), dtype=np.float64).reshape(-1, 3)
    if any(len(points) < 4 or np.linalg.matrix_rank(points - points.mean(axis=0)) < 3 for points in (sources, targets)):
        return None
    points = RBFInterpolator(sources, targets, kernel="linear", degree=1)(TEMPLATE)
    places = [_nearest_place(point, mean, triangles) for point in points]
    return LandmarkEmbedding(np.array([k for k, _ in places]), np.array([weights for _, weights in places]))


def _nearest_place(point: Array, vertices: NDArray[np.floating], triangles: NDArray[np.integer]) -> tuple[int, Array]:
    """Return the triangle and the barycentric weights (3,) of a point of the surface near `point` (3,).

    That is the nearest of the triangles' orthogonal projections, those outside their triangle moved to its border.
    """
    used = np.unique(triangles)
    away = np.linalg.norm(vertices[used] - point, axis=1)
    around = used[np.argsort(away, kind="stable")[:NEAREST]]
    searched = np.flatnonzero(np.isin(triangles, around).any(axis=1))
    a, b, c = np.moveaxis(vertices[triangles[searched]].astype(np.float64), 1, 0)
    u, v, w = b - a, c - a, point - a
    uu, uv, vv = (u * u).sum(axis=1), (u * v).sum(axis=1), (v * v).sum(axis=1)
    uw, vw, area = (u * w).sum(axis=1), (v * w).sum(axis=1), np.maximum(uu * vv - uv * uv, 1e-12 * (uu * vv) + 1e-30)
    second, third = (vv * uw - uv * vw) / area, (uu * vw - uv * uw) / area
    weights = np.maximum(np.stack([1.0 - second - third, second, third], axis=1), 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    there = weights[:, :1] * a + weights[:, 1:2] * b + weights[:, 2:] * c
    best = int(np.linalg.norm(there - point, axis=1).argmin())
    return int(searched[best]), weights[best]
