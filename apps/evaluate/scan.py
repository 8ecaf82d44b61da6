"""Scan-to-mesh distance: how far a true face surface lies from a predicted one.

A prediction from one photo has no absolute size or place, so it is moved onto the scan by a similarity before
distances are taken (as the NoW benchmark does; Sanyal et al., CVPR 2019):

1. Umeyama's similarity between eight landmarks of prediction and scan.
2. ICP with scale: every scan point p takes the closest point c of the predicted surface; the 90 % closest pairs give
   the next similarity; repeat until it rests (Besl & McKay, PAMI 1992; trimmed as in Chetverikov et al., ICPR 2002).
3. The distances of *all* scan points from the surface, in the scan's millimetres.

The similarity always minimises  sum |s R c + t - p|²  with the scan p fixed. The other direction, which fits the scan
into the prediction, lowers its cost by shrinking the scan; this one cannot.

Umeyama's solution (S. Umeyama, PAMI 13(4), 1991, equations 40-42), with centred points c', p' and the covariance
mean(p' c'ᵀ) = U diag(d) Vᵀ:

    R = U diag(1, 1, det U det V) Vᵀ      s = (d1 + d2 + d3 det U det V) / mean |c'|²      t = mean p - s R mean c
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...models.arrays import checked_array
from ...models.errors import InvalidInputError
from .surface import Surface

Array = NDArray[np.float64]

ALIGNMENT_LANDMARKS = np.array([36, 39, 42, 45, 30, 33, 48, 54])
"""The eight of the 68 landmarks that start the alignment: eye corners, nose tip and base, mouth corners."""

KEPT_FRACTION = 0.9  # of the scan points, the closest ones, that ICP aligns


@dataclass(frozen=True, eq=False)
class Similarity:
    """x -> scale R x + translation."""

    scale: float
    rotation: Array  # (3, 3), det +1
    translation: Array  # (3,)

    def apply(self, points: Array) -> Array:
        """Map points (..., 3)."""
        return self.scale * (points @ self.rotation.T) + self.translation

    def inverse(self) -> "Similarity":
        """Return the similarity that undoes this one."""
        return Similarity(1.0 / self.scale, self.rotation.T, -(self.translation @ self.rotation) / self.scale)


IDENTITY = Similarity(1.0, np.eye(3), np.zeros(3))


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where ICP ended."""

    similarity: Similarity  # from the surface's frame to the scan's
    iterations: int
    converged: bool  # whether it came to rest before the iterations ran out


@dataclass(frozen=True, eq=False)
class ScanDistances:
    """How far the points of a scan lie from the aligned predicted surface."""

    distances: Array  # (n,) mm, unsigned
    alignment: Alignment

    @property
    def median(self) -> float:
        """Median distance, mm."""
        return float(np.median(self.distances))

    @property
    def mean(self) -> float:
        """Mean distance, mm."""
        return float(np.mean(self.distances))


def umeyama(source: ArrayLike, target: ArrayLike) -> Similarity:
    """Return the similarity that maps `source` (n, 3) onto `target` (n, 3) with least squared error.

    Raises InvalidInputError where it is not determined: fewer than three points, or all on one line.
    """
    moved = checked_array("source", source, (None, 3))
    fixed = checked_array("target", target, (len(moved), 3))
    if len(moved) < 3:
        raise InvalidInputError(f"source: expected at least 3 points for a similarity, got {len(moved)}")
    moved_mean, fixed_mean = moved.mean(axis=0), fixed.mean(axis=0)
    centred = moved - moved_mean
    U, d, Vt = np.linalg.svd((fixed - fixed_mean).T @ centred / len(moved))
    if d[1] <= 1e-12 * d[0]:
        raise InvalidInputError("source, target: expected points that span a plane, got points on a line")
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(U) * np.linalg.det(Vt))])
    rotation = (U * signs) @ Vt
    scale = float(d @ signs / np.mean(np.sum(centred**2, axis=1)))
    return Similarity(scale, rotation, fixed_mean - scale * rotation @ moved_mean)


def align_icp(
    scan: ArrayLike,
    surface: Surface,
    start: Similarity = IDENTITY,
    *,
    max_iterations: int = 200,
    tolerance: float = 0.01,
) -> Alignment:
    """Return the similarity from the surface's frame to the scan's that trimmed ICP reaches from `start`.

    scan: (n, 3) points in mm. tolerance: mm; ICP rests when a step moves no matched point farther. (On faces, 0.01 mm
    takes some 50 iterations, and the mean distance then changes by less than 0.001 mm.)
    """
    points = checked_array("scan", scan, (None, 3))
    kept = max(3, round(KEPT_FRACTION * len(points)))
    placement = start
    for iteration in range(1, max_iterations + 1):
        # The surface stays in its own frame, so its tree is built once; a similarity keeps the closest points.
        match = surface.closest(placement.inverse().apply(points))
        best = np.argsort(match.distances, kind="stable")[:kept]
        updated = umeyama(match.points[best], points[best])
        moved = np.linalg.norm(updated.apply(match.points) - placement.apply(match.points), axis=1).max()
        placement = updated
        if moved <= tolerance:
            return Alignment(placement, iteration, converged=True)
    return Alignment(placement, max_iterations, converged=False)


def scan_to_surface(scan: ArrayLike, surface: Surface, placement: Similarity = IDENTITY) -> Array:
    """Return the distances (n,), mm, of the scan points (n, 3) from the surface placed by `placement`."""
    points = checked_array("scan", scan, (None, 3))
    return surface.closest(placement.inverse().apply(points)).distances * placement.scale


def score_scan(
    scan: ArrayLike, scan_landmarks: ArrayLike, surface: Surface, surface_landmarks: ArrayLike
) -> ScanDistances:
    """Align a predicted surface to a scan, by landmarks and then ICP, and return the scan's distances from it.

    scan: (n, 3) mm. scan_landmarks, surface_landmarks: (68, 3) in the frames of the scan and of the surface.
    """
    fixed = checked_array("scan_landmarks", scan_landmarks, (68, 3))
    moved = checked_array("surface_landmarks", surface_landmarks, (68, 3))
    start = umeyama(moved[ALIGNMENT_LANDMARKS], fixed[ALIGNMENT_LANDMARKS])
    alignment = align_icp(scan, surface, start)
    return ScanDistances(scan_to_surface(scan, surface, alignment.similarity), alignment)
