"""The jaw's points in the contour convention: they slide along the visible outline of the face.

A 2D annotator (or a detector trained on such annotations) puts the jaw points where the face ends *in the picture*. On
the side that is turned away that is the occluding boundary, which moves over the surface with the pose; within
FRONTAL_DEGREES of frontal both sides are outlines. On the near side of a turned face the points stay where the model's
contour embedding puts them.

The outline on a mesh (Bas et al., "Fitting a 3D Morphable Model to Edges", ACCV Workshops 2016; the smooth version of
Hertzmann & Zorin, SIGGRAPH 2000): with the vertex normals interpolated linearly, n_z = 0 is a segment in each triangle
that has facing and averted corners. Only convex folds can be seen (Koenderink 1984): n_z must grow along the line of
sight. Where a model names a single row of candidate vertices instead, that polyline is the outline (as in Huber et al.,
VISAPP 2016). Whether something nearer hides a fold, such as the nose the far cheek, is not looked at.

Each sliding landmark is matched to the nearest point of the outline in the image. The surface normal there is
perpendicular to the line of sight, so its image direction n is the outline's normal and the residual is whitened as

    L = [ n^T ; slack t^T ] / (sigma F),        t perpendicular to n, slack = 1/3:

across the outline the point counts in full, along it only weakly, since where along the jaw a point was put means
little. Points farther than GATE times the face's size from any outline stay fixed, and so do those that lie beyond its
end, where the ear or the hair takes over. Matching and solving take turns, and three rules make them settle: a point
that has slid goes on sliding up to STICKY_GATE, or it would come and go; one that has slid off all the same is left
fixed for good; and so is, after FREE_MATCHINGS rounds, one that still jumps by more than JUMP times the face's size,
from one branch of the outline to another and back.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..models.contour import ContourBand
from ..models.morphable_model import MorphableModel
from ..models.point_basis import PointBasis
from ..render.cameras import yaw_degrees
from ._kernels import blended_points, nearest_outline_points, occluding_boundary, place_on_outline
from .state_prior import PoseAndShape

Array = NDArray[np.float64]

FRONTAL_DEGREES = 7.5
"""Largest yaw at which both sides of the face are outlines (the value of Huber et al.)."""

GATE, STICKY_GATE = 0.1, 0.3
"""Largest distance, relative to the face's size, at which a point starts to slide, and goes on sliding."""

END = 0.2
"""How far, relative to its gate, a point may lie beyond the end of an outline that it slides on."""

SLACK = 1.0 / 3.0
"""Weight of a sliding point along the outline relative to that across it."""

FREE_MATCHINGS, JUMP = 6, 0.01
"""Rounds after which a point that still jumps by more than JUMP, relative to the face's size, is left fixed."""

QUARTER_TURN = np.array([[0.0, -1.0], [1.0, 0.0]])

RIGHT_JAW, LEFT_JAW = np.arange(0, 8), np.arange(9, 17)
RIGHT_JAW_AND_CHIN, LEFT_JAW_AND_CHIN = np.arange(0, 9), np.arange(8, 17)


@dataclass(frozen=True, eq=False)
class ContourMatch:
    """Points of the outline for the landmarks that slide."""

    landmarks: NDArray[np.intp]  # (S,) which of the 68
    mean: Array  # (S, 3) mm
    basis: Array  # (P, S, 3) mm per unit
    normals: Array  # (S, 2) unit normals of the outline in the image


def match_contour(
    model: MorphableModel,
    state: PoseAndShape,
    observed: Array,
    before: ContourMatch | None = None,
    allowed: NDArray[np.bool_] | None = None,
) -> ContourMatch:
    """Match the jaw landmarks that slide at this pose to the model's outline; `observed` (68, 2) px.

    `before` is the matching of the round before, `allowed` (68,) says which landmarks may slide; None: all of the jaw.
    """
    yaw, face_px = yaw_degrees(state.rotation), state.scale * model.face_size
    gates = np.full(len(observed), GATE * face_px)
    if before is not None:
        gates[before.landmarks] = STICKY_GATE * face_px
    # The averted side first, with the chin; the other one only near frontal.
    sides = [(1, LEFT_JAW_AND_CHIN), (0, RIGHT_JAW)] if yaw > 0.0 else [(0, RIGHT_JAW_AND_CHIN), (1, LEFT_JAW)]
    parts = []
    for side, landmarks in sides if abs(yaw) <= FRONTAL_DEGREES else sides[:1]:
        chosen = landmarks if allowed is None else landmarks[allowed[landmarks]]
        parts.append(_match_side(model.contour_bands[side], state, observed, chosen, gates[chosen]))
    if len(parts) == 1:
        return parts[0]
    return ContourMatch(
        np.concatenate([part.landmarks for part in parts]),
        np.concatenate([part.mean for part in parts]),
        np.concatenate([part.basis for part in parts], axis=1),
        np.concatenate([part.normals for part in parts]),
    )


def jumping(before: ContourMatch, after: ContourMatch, state: PoseAndShape, face_size: float) -> NDArray[np.intp]:
    """Return the landmarks whose places in two matchings lie more than JUMP times `face_size`, mm, apart."""
    common, i, j = np.intersect1d(before.landmarks, after.landmarks, assume_unique=True, return_indices=True)
    apart = before.mean[i] - after.mean[j]
    apart += np.tensordot(state.coefficients, before.basis[:, i] - after.basis[:, j], axes=1)
    return common[np.linalg.norm(apart @ state.rotation[:2].T, axis=1) > JUMP * face_size]


def on_outline(basis: PointBasis, match: ContourMatch, weights: Array) -> tuple[Array, Array, NDArray[np.floating]]:
    """Return whitening (68, 2, 2), mean (68, 3) and basis (P, 68, 3) with the matched landmarks on the outline.

    `weights` (68,) are 1 / (sigma F) per px. See the module's text for the whitening.
    """
    mean, coefficients = basis.mean.copy(), basis.basis.copy()
    whitening = np.zeros((len(weights), 2, 2))
    whitening[:, 0, 0] = whitening[:, 1, 1] = weights
    place_on_outline(
        match.landmarks, match.mean, match.basis, match.normals, SLACK, weights, mean, coefficients, whitening
    )  # fmt: skip
    return whitening, mean, coefficients


def _match_side(
    band: ContourBand, state: PoseAndShape, observed: Array, landmarks: NDArray[np.intp], gates: Array
) -> ContourMatch:
    points = band.basis.positions(state.coefficients[band.active]) @ state.rotation.T
    corners, ends, normals = _outline(band, points)
    found, weights, directions = nearest_outline_points(
        points, corners, ends, normals, observed[landmarks], state.scale, state.translation, gates
    )  # fmt: skip
    kept = np.flatnonzero(found >= 0)
    places = np.einsum("sc,scx->sx", weights[kept], points[corners[found[kept]]][:, :, :2])
    along = (observed[landmarks[kept]] - state.scale * places - state.translation) @ QUARTER_TURN
    kept = kept[np.abs((along * directions[kept]).sum(axis=1)) <= END * gates[kept]]
    mean, active = blended_points(band.basis.mean, band.basis.basis, corners[found[kept]], weights[kept])
    basis = np.zeros((len(state.coefficients), *mean.shape))
    basis[band.active] = active
    return ContourMatch(landmarks[kept], mean, basis, directions[kept])


def _outline(band: ContourBand, points: Array) -> tuple[NDArray[np.int32], Array, Array]:
    """Return the outline's segments as (corners, weights of the ends, their normals), see `occluding_boundary`."""
    if band.searched:
        return occluding_boundary(points, band.triangles, band.searched)
    # A row of candidates: its own polyline, with normals perpendicular to the chord between a vertex's neighbours.
    row = np.arange(band.candidates, dtype=np.int32)
    chord = points[np.minimum(row + 1, len(row) - 1), :2] - points[np.maximum(row - 1, 0), :2]
    length = np.linalg.norm(chord, axis=1, keepdims=True)
    normals = np.divide(chord[:, ::-1] * (1.0, -1.0), length, out=np.zeros_like(chord), where=length > 0.0)
    corners = np.stack([row[:-1], row[1:], row[:-1]], axis=1)
    ends = np.tile(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), (len(corners), 1, 1))
    return corners, ends, np.stack([normals[:-1], normals[1:]], axis=1)
