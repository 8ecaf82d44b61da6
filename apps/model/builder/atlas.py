r"""The UV atlas of the default model: one square, face upright in its middle, exactly mirror symmetric in u = 1/2.

    +---------------------------+     skin     one chart, cut down the back of the head from the crown to the neck;
    | eye  ,---- crown ----.  e |              the lids and the lips are the rims of three holes
    |    /                  \   |     eye      front of an eyeball, back of an eyeball, eye socket behind the lids
    |   |   o          o     |  |     mouth    half of the bag behind the lips; half of the upper and of the lower
    |   |         ^          |  |              teeth, cut at the midline
    |    \       ===        /   |
    | mouth `---- neck ----' m  |     The subject's left is on the right, as in a frontal view.
    +---------------------------+

Everything with u > 1/2 but the skin is laid out once, for the subject's left, and mirrored. Charts that are not
spheres are flattened onto superellipses |x / a|^p + |y / b|^p = 1 (`parametrization`), the skin with a density that
gives the face most of the square. Its holes are filled during that by fans, so that lids and lips cannot fold over.
Which triangles form a chart is read off the base mesh; how they are stretched is measured on the given shape.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....models.morphable_model import UVMap
from .head import Head
from .parametrization import boundary_loops, flatten
from .regions import centred_base, connected_parts, from_eyes

Array = NDArray[np.float64]
Indices = NDArray[np.int32]
Mask = NDArray[np.bool_]

DESIGN_SIZE = 512.0
"""Side of the square, in texels, in which the layout below is written."""

SKIN, EYE_FRONT, EYE_BACK, SOCKET, MOUTH, UPPER_TEETH, LOWER_TEETH = range(7)
"""Kinds of charts: the skin is one, of every other kind there is a left and a right one."""

CROWN_BEHIND_EYES_MM = 84.0
"""The seam runs down the midline of what lies farther behind the eyes than this."""

EYE_PROFILE_DEG, EYE_PROFILE = (0.0, 36.0, 90.0), (0.0, 0.66, 1.0)
"""Polar angle about the line of sight -> share of the chart's radius: twice as dense about the iris."""

FACE_PIVOT_MM = np.array([0.0, -20.0, -60.0])
"""Point within the head, from between the eyes, that sees the face within an ellipse of directions:"""
FACE_HALF_WIDTH_DEG, FACE_HALF_HEIGHT_DEG, FACE_ELEVATION_DEG, FACE_EXPONENT = 76.0, 46.0, -5.0, 3.0
FACE_FADE = 0.28
"""Share of that ellipse's size over which the density falls off around it."""
BUMPS_DEG = {"nose": (0.0, -12.0, 16.0, 14.0, 0.25), "ear": (108.0, 0.0, 10.0, 18.0, 0.7)}
"""What sticks out and is dense in shape: azimuth, elevation, their spreads, and the density to add as a share."""
FACE_DENSITY, REST_DENSITY = 2.6, 0.5
"""Wanted texels per mm; what comes out is less, as the square is full."""
FACE_WEIGHT = 8.0
"""Weight of the face's distortion, at equal area in the atlas, relative to the rest's."""
HOLE_WEIGHT = 0.1


@dataclass(frozen=True)
class Outline:
    """The superellipse that a chart's boundary is laid on; one part of the boundary has a place of its own."""

    centre: tuple[float, float]  # texels from the bottom left
    half: tuple[float, float]  # texels, half width and half height
    exponent: float
    part: float  # share of the outline's length for the part
    towards: float  # degrees, counter-clockwise from +u: where the part's middle lies

    def points(self, share: Array) -> Array:
        """Return the points (n, 2), texels, at shares (n,) of the outline's length, counter-clockwise from the part."""
        angle = np.linspace(0.0, 2.0 * np.pi, 4097)
        circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        curve = circle * (np.abs(circle) ** self.exponent).sum(axis=1, keepdims=True) ** (-1.0 / self.exponent)
        curve *= self.half
        length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
        length /= length[-1]
        middle = np.interp(np.radians(self.towards), angle, length)
        at = (share + middle - 0.5 * self.part) % 1.0
        return np.stack([np.interp(at, length, curve[:, k]) for k in (0, 1)], axis=1) + self.centre


OUTLINES = {
    SKIN: Outline((256.0, 256.0), (252.0, 252.0), 2.5, 0.30, 270.0),  # the part is the rim of the neck
    SOCKET: Outline((498.0, 425.0), (9.5, 9.5), 2.0, 0.5, 0.0),  # its lateral half
    MOUTH: Outline((489.0, 70.0), (18.0, 22.0), 2.5, 0.5, 180.0),  # of these the part is the midline
    UPPER_TEETH: Outline((468.0, 33.0), (36.0, 8.0), 8.0, 0.09, 180.0),
    LOWER_TEETH: Outline((468.0, 12.0), (36.0, 8.0), 8.0, 0.09, 180.0),
}
EYE_DISCS = {EYE_FRONT: (474.0, 474.0, 34.0), EYE_BACK: (425.0, 498.0, 9.5)}
"""Centre and radius in texels."""


def make_atlas(head: Head, shape: Array) -> UVMap:
    """Return the atlas of the model that `head` makes; distortion is measured on `shape` (N, 3), mm, its mean.

    Every triangle gets a positive area, no two overlap, charts stay 4 texels of 512 apart, and the mirror image of the
    coordinates of a triangle's corners, (1 - u, v), are those of the mirrored triangle's.
    """
    base = centred_base(head)
    shape = from_eyes(head, 0.5 * (shape + shape[head.mirror] * (-1.0, 1.0, 1.0)))
    kind, right = chart_kinds(head), base[head.triangles][:, :, 0].mean(axis=1) < 0.0
    # Each copy of a vertex has a key: its chart, 2 kind + right, and itself. The skin is one chart but for its seam.
    sided = (kind != SKIN)[:, None] | _seam(head, base)[head.triangles]
    keys, corners = np.unique(
        (2 * kind + right)[:, None] * sided * head.n_vertices + head.triangles, return_inverse=True
    )
    triangles = corners.reshape(-1, 3).astype(np.int32)
    chart, vertex = np.divmod(keys, head.n_vertices)

    texels = np.zeros((len(keys), 2))
    for k, (*centre, radius) in EYE_DISCS.items():
        placed = np.flatnonzero(chart == 2 * k)
        texels[placed] = centre + radius * _eye_disc(head, vertex[placed], k == EYE_BACK)
    for k, outline in OUTLINES.items():
        placed, local = np.unique(triangles[(kind == k) & ~(right & (k != SKIN))], return_inverse=True)
        own = vertex[placed]
        texels[placed] = _flattened(k, outline, local.reshape(-1, 3).astype(np.int32), base[own], shape[own])
    mirrored = texels[_twins(chart, vertex, head)] * (-1.0, 1.0) + (DESIGN_SIZE, 0.0)
    texels[chart % 2 == 1] = mirrored[chart % 2 == 1]
    skin = chart < 2
    texels[skin] = 0.5 * (texels + mirrored)[skin]  # symmetric but for rounding
    return UVMap((texels / DESIGN_SIZE).astype(np.float32), triangles)


def chart_kinds(head: Head) -> NDArray[np.intp]:
    """Return which kind of chart each triangle (T,) belongs to, a number from SKIN to LOWER_TEETH.

    What lies inside an eyeball, together with the lips' ring, cuts the bags of the eyes and the mouth off the skin.
    """
    base, triangles = head.vertices(head.base), head.triangles
    directions = np.stack([_from_eyeball(head, base, side) for side in (0, 1)])
    in_eyeball = head.is_skin & (np.linalg.norm(directions, axis=2) < 1.0).any(axis=0)
    ring = np.isin(np.arange(head.n_vertices), head.lip_ring)
    part = connected_parts(head, head.is_skin & ~ring & ~in_eyeball)
    top = np.where(head.is_skin, base[:, 1], -np.inf).argmax()
    bag = head.is_skin & ~ring & (part != part[top])
    part = connected_parts(head, bag)
    socket = bag & np.isin(part, part[in_eyeball])

    kind = np.full(len(triangles), SKIN)
    kind[bag[triangles].any(axis=1)] = MOUTH
    kind[socket[triangles].any(axis=1)] = SOCKET
    tooth, eye = head.is_tooth[triangles[:, 0]], head.is_eye[triangles[:, 0]]
    part = connected_parts(head, head.is_tooth)
    upper = part == part[np.where(head.is_tooth, base[:, 1], -np.inf).argmax()]
    kind[tooth] = np.where(upper[triangles[tooth, 0]], UPPER_TEETH, LOWER_TEETH)
    side = (base[triangles[eye, 0], 0] < 0.0).astype(int)
    front = directions[side[:, None], triangles[eye], 2].min(axis=1) > -1e-6
    kind[eye] = np.where(front, EYE_FRONT, EYE_BACK)
    return kind


def _from_eyeball(head: Head, base: Array, side: int) -> Array:
    """Return all vertices (N, 3) of the base mesh as seen from the centre of an eyeball, in units of its radius."""
    helper = head.base[head.helpers[side]]
    centre = helper.mean(axis=0)
    return (base - centre) / np.linalg.norm(helper - centre, axis=1).mean()


def _seam(head: Head, base: Array) -> Mask:
    """Return which vertices (N,) the cut down the back of the head splits: those below the crown, where it begins."""
    behind = head.is_skin & (head.mirror == np.arange(head.n_vertices)) & (base[:, 2] < -CROWN_BEHIND_EYES_MM)
    behind[np.where(behind, base[:, 1], -np.inf).argmax()] = False
    return behind


def _twins(chart: Indices, vertex: Indices, head: Head) -> Indices:
    """Return the index of each copy's mirror image: on the other side's chart if it has one, else on its own."""
    index = {copy: k for k, copy in enumerate(zip(chart.tolist(), vertex.tolist(), strict=True))}
    mirrored = head.mirror[vertex].tolist()
    return np.array(
        [index.get((c ^ 1, v), index.get((c, v), -1)) for c, v in zip(chart.tolist(), mirrored, strict=True)]
    )


def _eye_disc(head: Head, vertices: Indices, back: bool) -> Array:
    """Return where vertices (n,) of the left eyeball lie in the unit disc about the front or the back pole."""
    x, y, z = _from_eyeball(head, head.vertices(head.base)[vertices], 0).T
    if back:
        x, z = -x, -z
    radius = np.interp(np.degrees(np.arccos(np.clip(z, -1.0, 1.0))), EYE_PROFILE_DEG, EYE_PROFILE)
    return np.stack([x, y], axis=1) * (radius / np.maximum(np.hypot(x, y), 1e-9))[:, None]


def _flattened(kind: int, outline: Outline, triangles: Indices, base: Array, shape: Array) -> Array:
    """Return the texels (n, 2) of the vertices of a chart, given both surfaces (n, 3), mm from the eyes."""
    loop, *holes = boundary_loops(triangles)
    corners, count = shape[triangles], len(shape)
    for k, hole in enumerate(holes):  # the lips gape on the base mesh only
        rim = np.stack([np.roll(hole, -1), hole], axis=1)
        fan = np.concatenate([base[rim], np.broadcast_to(base[hole].mean(axis=0), (len(hole), 1, 3))], axis=1)
        corners = np.concatenate([corners, fan])
        triangles = np.concatenate([triangles, np.insert(rim, 2, count + k, axis=1)])
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    if kind == SKIN:
        face, bump = _face_and_bumps(corners.mean(axis=1))
        density = REST_DENSITY * (FACE_DENSITY / REST_DENSITY) ** face * (1.0 + bump)
        weight = area * density**2 * (1.0 + (FACE_WEIGHT - 1.0) * face)
        weight[len(weight) - sum(map(len, holes)) :] *= HOLE_WEIGHT
    else:
        weight, density = area, np.full(len(area), np.sqrt(4.0 * np.prod(outline.half) / area.sum()))
    return flatten(corners, triangles, *_on_outline(kind, outline, loop, base), density, weight)[:count]


def _on_outline(kind: int, outline: Outline, loop: Indices, base: Array) -> tuple[Indices, Array]:
    """Return the boundary (B,), starting with the outline's part, and its places (B, 2), by the edges' length."""
    ends = base[np.stack([loop, np.roll(loop, -1)], axis=1)]
    midline = (np.abs(ends[:, :, 0]) < 1e-6).all(axis=1)
    lateral = ends[:, :, 0].mean(axis=1) > base[loop, 0].mean()
    part = {SKIN: ~midline, SOCKET: lateral}.get(kind, midline)
    (first,) = np.flatnonzero(part & ~np.roll(part, 1))
    part, loop = np.roll(part, -first), np.roll(loop, -first)
    length = np.roll(np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1), -first)
    length *= np.where(part, outline.part / length[part].sum(), (1.0 - outline.part) / length[~part].sum())
    return loop, outline.points(np.cumsum(length) - length)


def _face_and_bumps(points: Array) -> tuple[Array, Array]:
    """Return how far, from 0 to 1, points (n, 3), mm from the eyes, belong to the face, and the bumps' density."""
    x, y, z = (points - FACE_PIVOT_MM).T
    azimuth, elevation = np.degrees(np.arctan2(np.abs(x), z)), np.degrees(np.arctan2(y, np.hypot(x, z)))
    off = np.abs([azimuth / FACE_HALF_WIDTH_DEG, (elevation - FACE_ELEVATION_DEG) / FACE_HALF_HEIGHT_DEG])
    outside = (off**FACE_EXPONENT).sum(axis=0) ** (1.0 / FACE_EXPONENT)
    fade = np.clip(1.0 - (outside - 1.0) / FACE_FADE, 0.0, 1.0)
    bump = np.zeros(len(points))
    for at, height, wide, high, share in BUMPS_DEG.values():
        bump += share * np.exp(-0.5 * (((azimuth - at) / wide) ** 2 + ((elevation - height) / high) ** 2))
    return fade**2 * (3.0 - 2.0 * fade), bump
