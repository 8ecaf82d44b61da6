"""The head within MakeHuman's base mesh: which of its vertices and quads make the model, and how.

Kept are the skin above a plane through the neck with ears, eye sockets and the bag of the mouth, and the teeth. The
eyeballs are spheres in the place of MakeHuman's helpers, meshed anew in rings about the line of sight, so that pupil
and iris have edges of their own. Vertices come in the order skin, teeth, left eyeball, right eyeball.

The oral fissure of the base mesh gapes by a millimetre or two, and one lip overhangs the other. Since a gap is a
difference of coordinates, closing it is a linear map of the surface: applied to every person of a population, it closes
the lips of every person that the principal components of that population can make.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .makehuman import MakeHuman

Array = NDArray[np.float64]
Indices = NDArray[np.int32]
Mask = NDArray[np.bool_]

NECK_NORMAL, NECK_HEIGHT_MM = np.array([0.0, 0.97, -0.24]), 545.0
"""The head is what lies above a plane that falls towards the front, as the base of the neck does."""
SHOULDER_X_MM, SHOULDER_Y_MM = 68.0, 640.0
"""What lies further out and lower belongs to the shoulders."""
LIP_RING_START = (474, 7229)
"""An edge, in MakeHuman's numbering, of the loop of vertices along which the lips meet; upper lip, from the midline."""
LIP_OVERLAP_MM = 0.3
"""How far closed lips are pressed into each other: a touch without it would leave slits between the vertices."""
LIP_REACH_MM = (4.0, 11.0)
"""Widths of the Gaussians by which the closing is smoothed along the lips and fades away from them."""
EYE_SEGMENTS = 24
EYE_RINGS_DEG = (5.0, 7.5, 15.0, 22.0, 25.0, 36.0, 52.0, 70.0, 90.0, 115.0, 145.0)
"""Polar angles of an eyeball's rings about the line of sight; the pupil ends within the first pair, the iris between
22 and 25 degrees: 11.8 mm across on an eyeball of MakeHuman's size."""


_SIDES = np.array([[1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]])
"""Factors that turn the directions of the left eyeball's vertices into the left's and the right's."""


@dataclass(frozen=True, eq=False)
class Head:
    """The model's vertices as a function of MakeHuman's, and how they hang together."""

    base: Array  # (n, 3) mm, the base mesh at `source`
    source: NDArray[np.intp]  # (n,) MakeHuman's vertices that matter: skin, teeth, then both eyeball helpers
    surfaces: int  # so many of them, skin and teeth, are vertices of the model
    skin: int  # and so many of these, the first, are skin
    helpers: tuple[slice, slice]  # the left and the right eyeball among `source`
    triangles: Indices  # (T, 3) counter-clockwise from outside, of the model
    mirror: Indices  # (N,) each vertex's counterpart
    lip_ring: Indices  # (R,) loop of vertices along which the lips meet, from the upper lip's middle to the left
    closing: Array  # (skin, R) motion of a vertex per gap at a vertex of the ring

    @property
    def n_vertices(self) -> int:
        """Number N of the model's vertices."""
        return len(self.mirror)

    @property
    def is_skin(self) -> Mask:
        """(N,) vertices of the skin, the mouth's bag and the eye sockets included."""
        return np.arange(self.n_vertices) < self.skin

    @property
    def is_eye(self) -> Mask:
        """(N,) vertices of the eyeballs."""
        return np.arange(self.n_vertices) >= self.surfaces

    @property
    def is_tooth(self) -> Mask:
        """(N,) vertices of the teeth."""
        return ~self.is_skin & ~self.is_eye

    def vertices(self, chosen: Array) -> Array:
        """Return the model's vertices (N, 3), mm, where MakeHuman's vertices `source` are at `chosen` (n, 3), mm."""
        eyes = []
        for helper, side in zip(self.helpers, _SIDES, strict=True):
            centre = chosen[helper].mean(axis=0)
            radius = np.linalg.norm(chosen[helper] - centre, axis=1).mean()
            eyes.append(centre + radius * side * _eye_directions())
        return np.concatenate([chosen[: self.surfaces], *eyes])

    def displacement(self, chosen: Array) -> Array:
        """Return the model's displacement (N, 3), mm, where MakeHuman's is `chosen` (n, 3), mm, on the base mesh."""
        return self.vertices(self.base + chosen) - self.vertices(self.base)

    def closed(self, vertices: Array) -> Array:
        """Return `vertices` (N, 3), mm, with the lips brought together: half way each, up or down, back or forward."""
        moved, gaps = vertices.copy(), self._gaps(vertices)
        gaps[:, 0] += LIP_OVERLAP_MM
        moved[: self.skin, 1:] += self.closing @ gaps
        return moved

    def _gaps(self, vertices: Array) -> Array:
        """Return how much higher and further forward (R, 2), mm, the upper lip is than the lower along the ring."""
        return _opposite_lip(self.base, self.lip_ring) @ vertices[self.lip_ring, 1:]


def make_head(source: MakeHuman) -> Head:
    """Choose the head's vertices and quads from MakeHuman's base mesh."""
    skin_quads = _skin(source)
    tooth_quads = np.concatenate([source.quads["helper-upper-teeth"], source.quads["helper-lower-teeth"]])
    parts = [np.unique(quads) for quads in (skin_quads, tooth_quads, *(source.quads[f"helper-{s}-eye"] for s in "lr"))]
    chosen = np.concatenate(parts).astype(np.intp)
    ends = np.cumsum([len(part) for part in parts])
    local = np.full(len(source.vertices), -1, dtype=np.int32)
    local[chosen] = np.arange(len(chosen), dtype=np.int32)
    base, surfaces = source.vertices[chosen], int(ends[1])
    quads = local[np.concatenate([skin_quads, tooth_quads])]
    mirror = _mirror(base[:surfaces], _eye_count())
    eyes = _eye_triangles() + surfaces
    ring = _edge_loop(quads, local[list(LIP_RING_START)])
    return Head(
        base=base,
        source=chosen,
        surfaces=surfaces,
        skin=int(ends[0]),
        helpers=(slice(ends[1], ends[2]), slice(ends[2], ends[3])),
        triangles=np.concatenate([_symmetric_triangles(base, quads, mirror), eyes, mirror[eyes][:, ::-1]]),
        mirror=mirror,
        lip_ring=ring,
        closing=_closing(base[: int(ends[0])], ring),
    )


def _skin(source: MakeHuman) -> Indices:
    """Return the quads above the neck's plane, down to an edge loop."""
    body = source.quads["body"]
    corners = source.vertices[body]
    shoulder = (np.abs(corners[:, :, 0]) > SHOULDER_X_MM) & (corners[:, :, 1] < SHOULDER_Y_MM)
    body = body[((corners @ NECK_NORMAL) > NECK_HEIGHT_MM).all(axis=1) & ~shoulder.any(axis=1)]
    while True:
        edges = np.sort(np.stack([body, np.roll(body, -1, axis=1)], axis=2).reshape(-1, 2), axis=1)
        _, inverse, counts = np.unique(edges, axis=0, return_inverse=True, return_counts=True)
        open_edges = (counts[inverse.reshape(-1, 4)] == 1).sum(axis=1)
        low = source.vertices[body][:, :, 1].mean(axis=1) < SHOULDER_Y_MM
        if not (hanging := low & (open_edges >= 2)).any():
            return body
        body = body[~hanging]  # it hung by a single edge or corner


def _mirror(surface: Array, eye: int) -> Indices:
    """Return each vertex's mirror image in x; the base mesh is exactly symmetric, and so are the eyeballs."""
    distance, index = cKDTree(surface).query(surface * (-1.0, 1.0, 1.0))
    assert distance.max() < 1e-6
    eyes = len(surface) + np.arange(2 * eye).reshape(2, eye)
    return np.concatenate([index, eyes[1], eyes[0]]).astype(np.int32)


def _symmetric_triangles(base: Array, quads: Indices, mirror: Indices) -> Indices:
    """Split the left half's quads along their shorter diagonal and mirror the triangles to the right half."""
    left = quads[base[quads][:, :, 0].mean(axis=1) > 0.0]
    assert 2 * len(left) == len(quads)
    corners = base[left]
    first = np.linalg.norm(corners[:, 0] - corners[:, 2], axis=1)
    second = np.linalg.norm(corners[:, 1] - corners[:, 3], axis=1)
    turned = np.where((first <= second)[:, None], left, np.roll(left, -1, axis=1))
    half = np.concatenate([turned[:, [0, 1, 2]], turned[:, [0, 2, 3]]])
    return np.concatenate([half, mirror[half][:, ::-1]]).astype(np.int32)


def _eye_count() -> int:
    return 2 + len(EYE_RINGS_DEG) * EYE_SEGMENTS


def _eye_directions() -> Array:
    """Return the unit vectors from a left eyeball's centre to its vertices: front pole, rings, back pole."""
    polar = np.radians(EYE_RINGS_DEG)[:, None]
    around = 2.0 * np.pi * np.arange(EYE_SEGMENTS) / EYE_SEGMENTS
    rings = np.stack(
        np.broadcast_arrays(np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)), axis=-1
    )
    return np.concatenate([[[0.0, 0.0, 1.0]], rings.reshape(-1, 3), [[0.0, 0.0, -1.0]]])


def _eye_triangles() -> Indices:
    """Return the triangles (T, 3) of the left eyeball, counter-clockwise from outside."""
    here = np.arange(EYE_SEGMENTS)
    there = np.roll(here, -1)
    last = 1 + (len(EYE_RINGS_DEG) - 1) * EYE_SEGMENTS
    triangles = [np.stack([np.zeros_like(here), 1 + here, 1 + there], axis=1)]
    for first in range(1, last, EYE_SEGMENTS):
        a, b = first + here, first + there
        c, d = a + EYE_SEGMENTS, b + EYE_SEGMENTS
        triangles += [np.stack([a, c, d], axis=1), np.stack([a, d, b], axis=1)]
    triangles.append(np.stack([last + here, np.full_like(here, last + EYE_SEGMENTS), last + there], axis=1))
    return np.concatenate(triangles).astype(np.int32)


def _edge_loop(quads: Indices, start: Indices) -> Indices:
    """Return the closed loop of vertices that goes straight on from the edge `start`: across each quad's far side."""
    beside: dict[int, list[set[int]]] = {}
    for quad in quads.tolist():
        for vertex in quad:
            beside.setdefault(vertex, []).append(set(quad))
    neighbours = {(int(a), int(b)) for a, b in np.stack([quads, np.roll(quads, -1, axis=1)], axis=2).reshape(-1, 2)}
    loop = [int(v) for v in start]
    while True:
        before, here = loop[-2:]
        used = set().union(*(quad for quad in beside[here] if before in quad))
        around = set().union(*beside[here])
        (onward,) = {v for v in around - used if (here, v) in neighbours or (v, here) in neighbours}
        if onward == loop[0]:
            return np.array(loop, dtype=np.int32)
        loop.append(onward)


def _is_upper(base: Array, ring: Indices) -> Mask:
    """Return which vertices of the ring are the upper lip's; the corners are neither's, and count as lower."""
    left, right = (int(position) for position in (base[ring, 0].argmax(), base[ring, 0].argmin()))
    place = np.arange(len(ring))
    return (place < left) | (place > right)


def _opposite_lip(base: Array, ring: Indices) -> Array:
    """Return the matrix (R, R) that takes a coordinate along the ring to gaps: the upper lip's minus the lower's.

    The other lip's coordinate is interpolated linearly in x, as the vertices lie on the base mesh.
    """
    upper = _is_upper(base, ring)
    corners = np.isin(np.arange(len(ring)), [base[ring, 0].argmax(), base[ring, 0].argmin()])
    matrix = np.zeros((len(ring), len(ring)))
    for k in np.flatnonzero(~corners):
        other = np.flatnonzero((upper != upper[k]) | corners)
        other = other[np.argsort(base[ring[other], 0])]
        x = base[ring[other], 0]
        right = int(np.clip(np.searchsorted(x, base[ring[k], 0]), 1, len(other) - 1))
        share = (base[ring[k], 0] - x[right - 1]) / (x[right] - x[right - 1])
        sign = 1.0 if upper[k] else -1.0
        matrix[k, k] += sign
        matrix[k, other[right - 1]] -= sign * (1.0 - share)
        matrix[k, other[right]] -= sign * share
    return matrix


def _closing(surface: Array, ring: Indices) -> Array:
    """Return the motion (V, R) of the surface per gap at each vertex of the ring: half of it, on either lip."""
    upper = _is_upper(surface, ring)
    away = np.linalg.norm(surface[:, None] - surface[ring], axis=2)
    own = away[:, upper].min(axis=1) < away[:, ~upper].min(axis=1)
    smoothing, reach = LIP_REACH_MM
    weight = np.exp(-0.5 * (away / smoothing) ** 2) * (own[:, None] == upper)
    weight[ring] = np.eye(len(ring))
    nearest = away.min(axis=1, keepdims=True)
    total = np.maximum(weight.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    fade = np.exp(-0.5 * (nearest / reach) ** 2) * (nearest < 3.0 * reach)
    return 0.5 * np.where(own[:, None], -1.0, 1.0) * fade * weight / total
