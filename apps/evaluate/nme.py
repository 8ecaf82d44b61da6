"""Normalised mean error of landmarks.

    size = sqrt(w h)   of the axis-aligned box of an image's 68 true points
    NME  = mean over the points of |predicted - true| / size

Errors here are fractions; reports print them in per cent. The normalisation and the yaw bins are those of AFLW2000-3D
(Zhu et al., "Face Alignment Across Large Poses", CVPR 2016). They say nothing about who found the points: an error is
only worth quoting beside the name of the detector.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...fitting.landmarks import COUNT, INNER, box_size
from ...models.arrays import checked_array
from ...models.errors import InvalidInputError

Array = NDArray[np.float64]

POINT_SETS = {
    "all": np.arange(COUNT),
    "inner": INNER,
    "even": np.arange(0, COUNT, 2),
    "odd": np.arange(1, COUNT, 2),
}
"""Which of the 68 points an error is averaged over."""

YAW_BINS = ("0-30", "30-60", "60-90")
"""|yaw| in degrees: [0, 30], (30, 60], beyond 60."""

_YAW_EDGES = (30.0, 60.0)


def yaw_bin(yaw: float) -> str:
    """Return the one of YAW_BINS in which an angle in degrees falls, of either sign."""
    if not np.isfinite(yaw):
        raise InvalidInputError(f"yaw: expected a finite number of degrees, got {yaw}")
    return YAW_BINS[int(np.searchsorted(_YAW_EDGES, abs(yaw)))]


def face_sizes(truth: ArrayLike) -> Array:
    """Return (n,): sqrt(w h), px, of the box of each row of true points (n, 68, 2)."""
    points = checked_array("truth", truth, (None, COUNT, 2))
    sizes = np.array([box_size(face) for face in points])
    if not (sizes > 0.0).all():
        raise InvalidInputError("truth: expected points that span a box, got an image whose points lie on a line")
    return sizes


def relative_errors(predicted: ArrayLike, truth: ArrayLike) -> Array:
    """Return (n, 68): the distance of each predicted point (n, 68, 2) from the true one, over the face's size."""
    true, found = _pairs(predicted, truth)
    return np.linalg.norm(found - true, axis=2) / face_sizes(true)[:, None]


def nme(predicted: ArrayLike, truth: ArrayLike, points: str = "all") -> Array:
    """Return (n,): each image's NME over one of POINT_SETS, as a fraction; predicted and truth are (n, 68, 2) px."""
    return relative_errors(predicted, truth)[:, POINT_SETS[points]].mean(axis=1)


def without_constant_offset(predicted: ArrayLike, truth: ArrayLike) -> Array:
    """Return the predicted points (n, 68, 2), px, less each point's mean displacement over the images.

    Two mark-ups put the same landmark at slightly different places of the face. The displacement that all images share,
    relative to the face's size and along the image's axes, tells of that; what is left tells of the fit.
    """
    true, found = _pairs(predicted, truth)
    sizes = face_sizes(true)[:, None, None]
    return found - sizes * ((found - true) / sizes).mean(axis=0)


def _pairs(predicted: ArrayLike, truth: ArrayLike) -> tuple[Array, Array]:
    true = checked_array("truth", truth, (None, COUNT, 2))
    if not len(true):
        raise InvalidInputError("truth: expected at least one image, got none")
    return true, checked_array("predicted", predicted, true.shape)
