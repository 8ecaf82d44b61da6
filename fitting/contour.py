"""The jaw's points in the contour convention: they slide along the visible outline of the face.

A 2D annotator (or a detector trained on such annotations) puts the jaw points where the face ends *in the picture*. On
the side that is turned away that is the occluding boundary, which moves over the surface with the pose; within
FRONTAL_DEGREES of frontal both sides are outlines. On the near side of a turned face the points stay where the model's
contour embedding puts them.

The outline on a mesh (Bas et al., "Fitting a 3D Morphable Model to Edges", ACCV Workshops 2016): where the interpolated
vertex normal is perpendicular to the viewing direction, n_z = 0, on an edge (i, j) between a facing and an averted
vertex, at p = (1 - a) p_i + a p_j. Only convex crossings can be seen (Koenderink 1984): the facing end is nearer. Where
a model names a single row of candidate vertices instead, each candidate is a point of the outline (as in Huber et al.,
VISAPP 2016).

Each sliding landmark is matched to the nearest such point in the image. The surface normal there is perpendicular to
the line of sight, so its image direction n is the outline's normal and the residual is whitened as

    L = [ n^T ; slack t^T ] / (sigma F),        t perpendicular to n, slack = 1/3:

across the outline the point counts in full, along it only weakly, since where along the jaw a point was put means
little. Points farther than GATE times the face's size from any outline stay fixed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..models.contour import ContourBand
from ..models.morphable_model import MorphableModel
from ..models.point_basis import PointBasis
from ..render.cameras import yaw_degrees
from ._kernels import blended_points, nearest_outline_points, occluding_boundary, place_on_outline
from .landmark_problem import PoseAndShape

Array = NDArray[np.float64]

FRONTAL_DEGREES = 7.5
GATE = 0.1
SLACK = 1.0 / 3.0
RIGHT_JAW, LEFT_JAW = np.arange(0, 8), np.arange(9, 17)
CHIN = 8


@dataclass(frozen=True, eq=False)
class ContourMatch:
    """Points of the outline for the landmarks that slide."""

    landmarks: NDArray[np.intp]  # (S,) which of the 68
    mean: Array  # (S, 3) mm
    basis: Array  # (P, S, 3) mm per unit
    normals: Array  # (S, 2) unit normals of the outline in the image


def match_contour(model: MorphableModel, state: PoseAndShape, observed: Array) -> ContourMatch:
    """Match the jaw landmarks that slide at this pose to the model's outline; `observed` (68, 2) px."""
    yaw = yaw_degrees(state.rotation)
    parts = []
    for band, jaw, averted in zip(model.contour_bands, (RIGHT_JAW, LEFT_JAW), (yaw <= 0.0, yaw > 0.0), strict=True):
        if averted or abs(yaw) <= FRONTAL_DEGREES:
            landmarks = np.append(jaw, CHIN) if averted else jaw
            parts.append(_match_side(band, state, observed, landmarks, GATE * state.scale * model.face_size))
    if len(parts) == 1:
        return parts[0]
    return ContourMatch(
        np.concatenate([part.landmarks for part in parts]),
        np.concatenate([part.mean for part in parts]),
        np.concatenate([part.basis for part in parts], axis=1),
        np.concatenate([part.normals for part in parts]),
    )


def on_outline(basis: PointBasis, match: ContourMatch, weights: Array) -> tuple[Array, Array, Array]:
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
    band: ContourBand, state: PoseAndShape, observed: Array, landmarks: NDArray[np.intp], gate: float
) -> ContourMatch:
    points = band.basis.positions(state.coefficients) @ state.rotation.T
    first, second, share, normals = _outline(band, points)
    found = nearest_outline_points(
        points, first, second, share, observed[landmarks], state.scale, state.translation, gate
    )  # fmt: skip
    landmarks, found = landmarks[found >= 0], found[found >= 0]
    mean, basis = blended_points(band.basis.mean, band.basis.basis, first[found], second[found], share[found])
    return ContourMatch(landmarks, mean, basis, normals[found])


def _outline(band: ContourBand, points: Array) -> tuple[NDArray[np.int32], NDArray[np.int32], Array, Array]:
    """Return the outline as (first, second, share of the second, image normal), one entry per point."""
    if len(band.edges):
        crossing, share, normals = occluding_boundary(points, band.triangles, band.edges)
        edges = band.edges[crossing]
        return edges[:, 0], edges[:, 1], share[crossing], normals[crossing]
    candidates = np.arange(band.candidates, dtype=np.int32)
    ends = points[np.minimum(candidates + 1, band.candidates - 1), :2] - points[np.maximum(candidates - 1, 0), :2]
    normals = np.stack([ends[:, 1], -ends[:, 0]], axis=1)
    return candidates, candidates, np.zeros(len(candidates)), normals / np.linalg.norm(normals, axis=1)[:, None]
