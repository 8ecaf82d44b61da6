"""Regions of the head: which vertices are lips, lids, scalp and so on, decided once on the base mesh.

Where the surface itself separates two parts, topology decides: the loop along which the lips meet cuts the bag of the
mouth off the skin, and the socket behind an eyelid is the skin that faces its eyeball. All other borders are outlines
drawn by hand, or through landmarks, on a projection of the base mesh: from the front in (|x|, y), which makes them
symmetric, or from the side in (z, y). Coordinates are those of the landmarks' picks: mm from the midpoint of the
eyeballs. An outline gives a signed distance, so that it serves the masks here and soft edges of paint (`albedo.py`).

Skin, sockets, mouth, eyes and teeth share out all vertices; face, ears, neck and scalp share out the skin; lids, brows,
lips and nose are parts of the face.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ....models.contour import unit_normals
from ....models.morphable_model import LandmarkEmbedding
from .head import Head

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

SIDE: Mapping[str, Array] = {
    "ears": np.array([
        (-74.0, 6.0), (-84.0, 8.5), (-94.0, 5.0), (-100.0, -6.0), (-99.0, -20.0), (-93.0, -34.0), (-85.0, -46.0),
        (-74.0, -49.0), (-70.5, -42.0), (-70.5, -25.0), (-69.5, -10.0), (-70.5, 2.0),
    ]),
    "scalp": np.array([
        (40.0, 66.0), (8.0, 64.0), (-10.0, 57.0), (-19.0, 40.0), (-29.0, 24.0), (-46.0, 16.0), (-54.0, 4.0),
        (-58.0, -17.0), (-67.0, -17.0), (-69.0, 2.0), (-84.0, -2.0), (-92.0, -10.0), (-95.0, -25.0), (-107.0, -50.0),
        (-125.0, -60.0), (-200.0, -60.0), (-200.0, 150.0), (40.0, 150.0),
    ]),
    "neck": np.array([
        (40.0, -111.0), (10.0, -110.5), (-5.0, -103.0), (-25.0, -91.0), (-45.0, -78.0), (-62.0, -62.0), (-72.0, -46.0),
        (-72.0, 0.0), (-200.0, 0.0), (-200.0, -200.0), (40.0, -200.0),
    ]),
}  # fmt: skip
"""Name -> outline in (z, y): ears, what hair covers, and what lies below the jaw's edge and behind the ear."""

NOSE = np.array([
    (0.0, 6.0), (7.0, 3.0), (8.0, -10.0), (10.5, -22.0), (15.0, -30.0), (18.5, -37.0), (18.5, -44.0), (13.0, -49.5),
    (5.0, -51.0), (0.0, -51.5),
])  # fmt: skip
"""Left half of the nose's outline in (x, y)."""

BROW_HALF_WIDTH = ((0.0, 0.08, 0.3, 0.65, 1.0), (1.5, 3.2, 4.2, 3.4, 0.8))
"""Half the height of a brow, mm, at shares of its length from the inner to the outer end."""
BROW_OVERHANG = (3.0, 4.0)
"""How far the hair goes on beyond the landmarks at the inner and the outer end, mm."""
LIP_OVERHANG = 1.5
"""How far the vermilion's corners lie beyond the landmarks, mm: its soft edge then covers the corners of the mouth."""
LID_WIDTH = 5.0
"""How far lids reach from the opening of the eye, mm."""
SOCKET_RADIUS, SOCKET_FACING = 32.0, 0.6
"""A socket lies within this distance of its eyeball's centre, mm; the cosine between its normals and the direction to
the centre is more than the second: the margins of the lids, which stand across, belong to the lids."""
EAR_ROOT_X, FRONT_Z = 52.0, -15.0
"""Ears lie further out than the first; what is seen of the features from the front is further forward than the
second, mm."""


def regions(head: Head, landmarks: LandmarkEmbedding) -> dict[str, Mask]:
    """Return masks (N,) by name; see the module's text for which of them overlap."""
    points = centred_base(head)
    outlines = front_outlines(head, landmarks)
    eyes, teeth, mouth, sockets = head.is_eye, head.is_tooth, mouth_bag(head), eye_sockets(head)
    skin = head.is_skin & ~mouth & ~sockets
    front = skin & (points[:, 2] > FRONT_Z)
    ears = skin & (np.abs(points[:, 0]) > EAR_ROOT_X) & (side_distance(points, SIDE["ears"]) > 0.0)
    scalp = skin & ~ears & (side_distance(points, SIDE["scalp"]) > 0.0)
    neck = skin & ~ears & ~scalp & (side_distance(points, SIDE["neck"]) > 0.0)
    return {
        "face": skin & ~ears & ~scalp & ~neck,
        "skin": skin,
        "eyes": eyes,
        "sockets": sockets,
        "lids": front & (front_distance(points, outlines["eye"]) > -LID_WIDTH),
        "brows": front & (front_distance(points, outlines["brow"]) > 0.0),
        "lips": front & (front_distance(points, outlines["lips"]) > -1e-6),
        "nose": front & (front_distance(points, outlines["nose"]) > 0.0),
        "ears": ears,
        "neck": neck,
        "scalp": scalp,
        "mouth": mouth,
        "teeth": teeth,
    }


def centred_base(head: Head) -> Array:
    """Return the base mesh (N, 3), mm from the midpoint of the eyeballs."""
    return from_eyes(head, head.vertices(head.base))


def from_eyes(head: Head, vertices: Array) -> Array:
    """Return `vertices` (N, 3) of the model, mm, with the midpoint of their eyeballs for an origin."""
    return vertices - vertices[head.is_eye].mean(axis=0)


def eyeball_centre(head: Head) -> Array:
    """Return the centre (3,) of the left eyeball on the centred base mesh, mm: midway between its poles."""
    left = centred_base(head)[head.surfaces : (head.surfaces + head.n_vertices) // 2]
    return 0.5 * (left[0] + left[-1])


def mouth_bag(head: Head) -> Mask:
    """Return the skin (N,) that the loop along which the lips meet cuts off from the rest, without the loop."""
    parts = connected_parts(head, head.is_skin & ~np.isin(np.arange(head.n_vertices), head.lip_ring))
    outside = parts[int(centred_base(head)[:, 2].argmax())]  # the tip of the nose
    return head.is_skin & (parts >= 0) & (parts != outside)


def eye_sockets(head: Head) -> Mask:
    """Return the skin (N,) behind both eyelids: it faces the eyeball."""
    points = centred_base(head)
    to_eye = eyeball_centre(head) - points * np.where(points[:, :1] > 0.0, 1.0, [-1.0, 1.0, 1.0])
    normals = unit_normals(points, head.triangles) * np.where(points[:, :1] > 0.0, 1.0, [-1.0, 1.0, 1.0])
    away = np.linalg.norm(to_eye, axis=1)
    facing = np.einsum("nx,nx->n", to_eye, normals) > SOCKET_FACING * away
    candidates = head.is_skin & facing & (away < SOCKET_RADIUS)
    parts = connected_parts(head, candidates)
    largest = np.argsort(np.bincount(parts[candidates]))[-2:]
    return candidates & np.isin(parts, largest)


def front_outlines(head: Head, landmarks: LandmarkEmbedding) -> dict[str, Array]:
    """Return closed outlines (P, 2) in (x, y): the left `eye` and `brow`, and the whole `lips` and `nose`."""
    vertices = centred_base(head)
    points = np.einsum("lc,lcx->lx", landmarks.weights, vertices[head.triangles[landmarks.triangles]])[:, :2]
    points[[48, 54], 0] *= 1.0 + LIP_OVERHANG / points[54, 0]
    eye = [_curve(points[[42, 43, 44, 45]], 24), _curve(points[[42, 47, 46, 45]], 24)[-2:0:-1]]
    lips = [_curve(points[[*range(48, 55)]], 60), _curve(points[[48, *range(59, 53, -1)]], 60)[-2:0:-1]]
    return {
        "eye": np.concatenate(eye),
        "brow": _brow(points[22:27]),
        "lips": np.concatenate(lips),
        "nose": np.concatenate([NOSE, NOSE[-2:0:-1] * (-1.0, 1.0)]),
    }


def front_distance(points: Array, outline: Array) -> Array:
    """Return how far points (M, 3) are inside an outline seen from the front, mm; both halves count as the left."""
    return signed_distance(np.stack([np.abs(points[:, 0]), points[:, 1]], axis=1), outline)


def side_distance(points: Array, outline: Array) -> Array:
    """Return how far points (M, 3) are inside an outline seen from the side, mm."""
    return signed_distance(points[:, [2, 1]], outline)


def signed_distance(points: Array, outline: Array) -> Array:
    """Return the distance (M,) of points (M, 2) to a closed polygon (P, 2), positive inside, negative outside."""
    nearest = np.full(len(points), np.inf)
    inside = np.zeros(len(points), dtype=bool)
    for a, b in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        edge, away = b - a, points - a
        along = np.clip(away @ edge / (edge @ edge), 0.0, 1.0)
        nearest = np.minimum(nearest, ((away - along[:, None] * edge) ** 2).sum(axis=1))
        if a[1] != b[1]:
            crossing = (a[1] > points[:, 1]) != (b[1] > points[:, 1])
            inside ^= crossing & (points[:, 0] < a[0] + away[:, 1] * edge[0] / edge[1])
    return np.where(inside, 1.0, -1.0) * np.sqrt(nearest)


def _curve(points: Array, count: int) -> Array:
    """Return `count` points on a smooth curve y(x) through points (P, 2) of increasing x (Fritsch & Carlson 1980)."""
    x = np.linspace(points[0, 0], points[-1, 0], count)
    return np.stack([x, PchipInterpolator(points[:, 0], points[:, 1])(x)], axis=1)


def _brow(points: Array) -> Array:
    """Return the outline of the brow whose hair's middle runs through points (5, 2) from the inner to the outer end."""
    middle = _curve(points, 25)
    tangent = np.gradient(middle, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    inner, outer = BROW_OVERHANG
    middle = np.concatenate([middle[:1] - inner * tangent[:1], middle, middle[-1:] + outer * tangent[-1:]])
    tangent = np.concatenate([tangent[:1], tangent, tangent[-1:]])
    share = np.linspace(0.0, 1.0, len(middle))
    offset = np.interp(share, *BROW_HALF_WIDTH)[:, None] * tangent[:, ::-1] * (-1.0, 1.0)
    return np.concatenate([middle + offset, (middle - offset)[::-1]])


def connected_parts(head: Head, chosen: Mask) -> NDArray[np.int32]:
    """Return the number (N,) of the connected part to which each chosen vertex belongs, -1 for the others."""
    edges = head.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    edges = edges[chosen[edges].all(axis=1)]
    graph = coo_matrix((np.ones(len(edges)), tuple(edges.T)), shape=(head.n_vertices,) * 2)
    labels = connected_components(graph, directed=False)[1]
    return np.where(chosen, labels, -1).astype(np.int32)
