"""Where the 68 landmarks lie on MakeHuman's base mesh in the semantic convention, as 300W-LP uses it: picked by hand.

A pick is a line parallel to an axis that is cast onto the skin: FRONT gives (x, y) and looks along -z, SIDE gives
(y, z) and looks along -x from the subject's left. Both in mm from the midpoint of the eyeballs' centres. The points of
the inner lips lie where the lips meet: LIPS gives x on the upper or the lower half of that line. Only the subject's
left half and the midline are listed; the right half is their mirror image. Brows are picked along the hair's middle,
lids on their margins, the jaw at equal steps along the outline that a frontal view shows, from the eye's height down to
the chin.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ....fitting.landmarks import MIRROR
from ....models.errors import ModelError
from ....models.morphable_model import LandmarkEmbedding
from ..surface_mirror import SurfaceMirror
from .head import Head

Array = NDArray[np.float64]

FRONT: Mapping[int, tuple[float, float]] = {
    8: (0.0, -102.2), 9: (17.0, -98.7), 10: (32.6, -91.6),
    22: (11.5, 16.9), 23: (23.6, 20.1), 24: (35.6, 19.9), 25: (46.1, 16.3), 26: (54.4, 9.4),
    27: (0.0, 5.8), 28: (0.0, -6.2), 29: (0.0, -17.8), 30: (0.0, -31.6),
    33: (0.0, -47.9), 34: (5.7, -47.2), 35: (12.1, -46.2),
    42: (17.5, -1.7), 43: (27.1, 3.9), 44: (36.6, 5.0), 45: (44.2, 0.2), 46: (36.3, -4.0), 47: (27.1, -4.0),
    51: (0.0, -59.7), 52: (6.7, -57.8), 53: (16.3, -60.0), 54: (25.1, -67.5), 55: (16.9, -73.1),
    56: (8.9, -76.1), 57: (0.0, -77.2),
}  # fmt: skip
"""Landmark -> (x, y) in mm."""

SIDE: Mapping[int, tuple[float, float]] = {
    11: (-78.4, -13.0), 12: (-64.6, -24.9), 13: (-48.9, -33.8), 14: (-32.4, -40.6), 15: (-15.2, -44.8),
    16: (2.2, -46.1),
}  # fmt: skip
"""Landmark -> (y, z) in mm."""

LIPS: Mapping[int, tuple[float, bool]] = {
    62: (0.0, True), 63: (7.0, True), 64: (22.5, True), 65: (7.0, False), 66: (0.0, False),
}  # fmt: skip
"""Landmark -> (x in mm, whether on the upper lip)."""


def semantic_landmarks(head: Head) -> LandmarkEmbedding:
    """Cast the picks onto the base mesh of `head` and mirror them."""
    vertices = head.vertices(head.base)
    vertices -= vertices[head.is_eye].mean(axis=0)
    skin = np.flatnonzero(head.is_skin[head.triangles].all(axis=1))
    carriers, weights = np.zeros(68, dtype=np.int32), np.zeros((68, 3))
    for axis, picks in ((2, FRONT), (0, SIDE)):
        for landmark, pick in picks.items():
            hit, weights[landmark] = first_hit(vertices, head.triangles[skin], np.array(pick), axis)
            carriers[landmark] = skin[hit]
    for landmark, (x, upper) in LIPS.items():
        carriers[landmark], weights[landmark] = _on_lip(vertices, head, x, upper)
    return symmetric_embedding(LandmarkEmbedding(carriers, weights), head.triangles, head.mirror)


def symmetric_embedding(
    left: LandmarkEmbedding, triangles: NDArray[np.int32], mirror: NDArray[np.int32]
) -> LandmarkEmbedding:
    """Return `left` with the landmarks of the right half replaced by the mirror images of the left half's."""
    carriers, weights = left.triangles.copy(), left.weights.copy()
    surface = SurfaceMirror(triangles, mirror)
    for landmark in sorted({*FRONT, *SIDE, *LIPS}):
        if (twin := int(MIRROR[landmark])) != landmark:
            carriers[twin], weights[twin] = surface.mirrored(int(carriers[landmark]), weights[landmark])
    return LandmarkEmbedding(carriers, weights)


def _on_lip(vertices: Array, head: Head, x: float, upper: bool) -> tuple[int, Array]:
    """Return a triangle, with weights (3,), that holds the point at `x` >= 0 of the line along which the lips meet."""
    ring = head.lip_ring
    corner = int(vertices[ring, 0].argmax())
    arc = ring[: corner + 1] if upper else ring[len(ring) // 2 : corner - 1 : -1]  # from the middle to the left corner
    k = int(np.clip(np.searchsorted(vertices[arc, 0], x), 1, len(arc) - 1))
    a, b = int(arc[k - 1]), int(arc[k])
    share = (x - vertices[a, 0]) / (vertices[b, 0] - vertices[a, 0])
    carrier = int(np.flatnonzero(np.isin(head.triangles, [a, b]).sum(axis=1) == 2)[0])
    corners = head.triangles[carrier].tolist()
    weights = np.zeros(3)
    weights[[corners.index(a), corners.index(b)]] = 1.0 - share, share
    return carrier, weights


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
