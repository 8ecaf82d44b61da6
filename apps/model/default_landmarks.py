"""Where the 68 landmarks lie on MakeHuman's mean head: picked by hand, then cast onto the surface.

A pick is a line parallel to an axis: `front` gives (x, y) and looks along -z, `side` gives (y, z) and looks along -x
from the subject's left. Both in mm from the midpoint of the eyeballs' centres. Only the subject's left half and the
midline are listed; the right half is their mirror image. The places are those of the semantic convention of 300W-LP:
brows along the hair's middle, lids on their margins, the jaw from beside the eye's height down to the chin's front.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ...fitting.landmarks import MIRROR
from ...models.errors import ModelError
from ...models.morphable_model import LandmarkEmbedding

Array = NDArray[np.float64]

FRONT: Mapping[int, tuple[float, float]] = {
    8: (0.0, -101.0), 9: (14.5, -98.5), 10: (28.5, -94.5),
    22: (11.0, 14.5), 23: (22.5, 18.0), 24: (34.0, 18.5), 25: (45.0, 15.5), 26: (52.5, 9.0),
    27: (0.0, 1.0), 28: (0.0, -10.5), 29: (0.0, -22.0), 30: (0.0, -35.0),
    33: (0.0, -47.5), 34: (6.3, -46.8), 35: (12.5, -46.0),
    42: (16.3, -3.9), 43: (25.5, 1.9), 44: (34.5, 2.2), 45: (42.2, -2.0), 46: (34.5, -5.6), 47: (25.5, -5.9),
    51: (0.0, -60.9), 52: (6.3, -60.2), 53: (15.0, -62.8), 54: (23.0, -68.4), 55: (16.0, -73.2),
    56: (9.3, -75.6), 57: (0.0, -76.4),
    62: (0.0, -66.7), 63: (9.0, -66.0), 64: (20.8, -67.6), 65: (9.3, -67.2), 66: (0.0, -67.7),
}  # fmt: skip
"""Landmark -> (x, y) in mm."""

SIDE: Mapping[int, tuple[float, float]] = {
    11: (-89.0, -8.0), 12: (-73.5, -22.0), 13: (-54.5, -31.0), 14: (-37.5, -37.0), 15: (-20.0, -43.0), 16: (0.0, -46.0),
}  # fmt: skip
"""Landmark -> (y, z) in mm."""


def cast_landmarks(vertices: Array, triangles: NDArray[np.int32], mirror: NDArray[np.int32]) -> LandmarkEmbedding:
    """Cast the picks onto the skin's `triangles` (T, 3) of `vertices` (N, 3), mm, and mirror them by `mirror` (N,)."""
    carriers = np.zeros(68, dtype=np.int32)
    weights = np.zeros((68, 3))
    lookup = {frozenset(corners): k for k, corners in enumerate(triangles.tolist())}
    for axis, picks in ((2, FRONT), (0, SIDE)):
        for landmark, pick in picks.items():
            carrier, weights[landmark] = first_hit(vertices, triangles, np.array(pick), axis)
            corners = mirror[triangles[carrier]].tolist()
            twin, opposite = int(MIRROR[landmark]), lookup[frozenset(corners)]
            carriers[landmark] = carrier
            if twin != landmark:
                carriers[twin] = opposite
                weights[twin] = weights[landmark][[corners.index(v) for v in triangles[opposite].tolist()]]
    return LandmarkEmbedding(carriers, weights)


def first_hit(vertices: Array, triangles: NDArray[np.int32], pick: Array, axis: int) -> tuple[int, Array]:
    """Return the triangle first met along -`axis` through `pick`, and the barycentric weights (3,) of the point."""
    corners = vertices[triangles]
    a, b, c = (np.delete(corners[:, k], axis, axis=1) for k in range(3))
    area = _cross(b - a, c - a)
    with np.errstate(divide="ignore", invalid="ignore"):
        wb, wc = _cross(pick - a, c - a) / area, _cross(b - a, pick - a) / area
        weights = np.stack([1.0 - wb - wc, wb, wc], axis=1)
        hit = np.flatnonzero((weights >= -1e-9).all(axis=1))
    if not len(hit):
        raise ModelError(f"landmark pick {pick}: expected the line to meet the skin, got no triangle")
    best = hit[(weights[hit] * corners[hit, :, axis]).sum(axis=1).argmax()]
    return int(best), weights[best]


def _cross(u: Array, v: Array) -> Array:
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]
