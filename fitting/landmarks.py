"""The 68-point iBUG convention: which index is what, its mirror, and the pairs whose distance is an opening.

Left and right are the subject's. In the image of an unmirrored frontal face the points run from image left to image
right: the jaw from the subject's right ear (0) over the chin (8) to the left ear (16).

Source: Sagonas et al., "300 Faces in-the-Wild Challenge", ICCV Workshops 2013 (the iBUG mark-up).
"""

from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..models.arrays import checked_array, read_only
from ..models.errors import InvalidInputError

Indices = NDArray[np.intp]

COUNT = 68
"""Number of points."""


class LandmarkConvention(StrEnum):
    """What a jaw point means."""

    CONTOUR = "contour"  # the jaw points lie on the visible outline of the face: 2D annotation, dlib
    SEMANTIC = "semantic"  # every point is a fixed point of the face, possibly hidden: 300W-LP, rendered heads


def _indices(*values: int) -> Indices:
    return read_only(np.array(values, dtype=np.intp))


JAW = _indices(*range(17))
RIGHT_BROW = _indices(*range(17, 22))
LEFT_BROW = _indices(*range(22, 27))
NOSE = _indices(*range(27, 36))
RIGHT_EYE = _indices(*range(36, 42))
LEFT_EYE = _indices(*range(42, 48))
MOUTH = _indices(*range(48, 68))
INNER = _indices(*range(17, 68))
"""The 51 points that are not the jaw's: fixed points of the face in both conventions."""

GROUPS: dict[str, Indices] = {
    "jaw": JAW,
    "right_brow": RIGHT_BROW,
    "left_brow": LEFT_BROW,
    "nose": NOSE,
    "right_eye": RIGHT_EYE,
    "left_eye": LEFT_EYE,
    "mouth": MOUTH,
}
"""A partition of the 68 points, in the order of their indices."""

OUTER_EYE_CORNERS = _indices(36, 45)
"""The subject's right, then left, outer eye corner."""

RIGHT_EYELID_PAIRS = read_only(np.array([(37, 41), (38, 40)], dtype=np.intp))
LEFT_EYELID_PAIRS = read_only(np.array([(43, 47), (44, 46)], dtype=np.intp))
LIP_PAIRS = read_only(np.array([(61, 67), (62, 66), (63, 65)], dtype=np.intp))
"""(pairs, 2) upper and lower point; the difference of a pair is the opening of the eye or of the inner lips."""

MIRROR = _indices(
    *(16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),  # jaw
    *(26, 25, 24, 23, 22),  # right brow: the left one's
    *(21, 20, 19, 18, 17),  # left brow: the right one's
    *(27, 28, 29, 30),  # bridge of the nose
    *(35, 34, 33, 32, 31),  # under the nose
    *(45, 44, 43, 42, 47, 46),  # right eye: outer corner, upper lid, inner corner, lower lid
    *(39, 38, 37, 36, 41, 40),  # left eye: inner corner, upper lid, outer corner, lower lid
    *(54, 53, 52, 51, 50, 49, 48),  # outer upper lip
    *(59, 58, 57, 56, 55),  # outer lower lip
    *(64, 63, 62, 61, 60),  # inner upper lip
    *(67, 66, 65),  # inner lower lip
)
"""(68,) the point on the other side: point i of the mirrored face is point MIRROR[i] of the face, mirrored."""


class Polyline(NamedTuple):
    """Points to be joined when the landmarks are drawn."""

    indices: tuple[int, ...]
    closed: bool  # whether the last point is joined to the first


POLYLINES = (
    Polyline(tuple(range(17)), closed=False),  # jaw
    Polyline(tuple(range(17, 22)), closed=False),  # right brow
    Polyline(tuple(range(22, 27)), closed=False),  # left brow
    Polyline(tuple(range(27, 31)), closed=False),  # bridge of the nose
    Polyline(tuple(range(31, 36)), closed=False),  # under the nose
    Polyline(tuple(range(36, 42)), closed=True),  # right eye
    Polyline(tuple(range(42, 48)), closed=True),  # left eye
    Polyline(tuple(range(48, 60)), closed=True),  # outer lips
    Polyline(tuple(range(60, 68)), closed=True),  # inner lips
)
"""The lines of the usual drawing; together they visit each of the 68 points once."""


def face_box(points: ArrayLike) -> tuple[float, float, float, float]:
    """Return (x0, y0, x1, y1), the axis-aligned box of the finite ones among points (n, 2), in their unit.

    Raises InvalidInputError where no point is finite.
    """
    array = checked_array("points", points, (None, 2), finite=False)
    finite = array[np.isfinite(array).all(axis=1)]
    if not len(finite):
        raise InvalidInputError(f"points: expected at least one finite point, got none among {len(array)}")
    (x0, y0), (x1, y1) = finite.min(axis=0), finite.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)


def box_size(points: ArrayLike) -> float:
    """Return the face size sqrt(w h) of the box of points (n, 2), in their unit: the unit of every relative error."""
    x0, y0, x1, y1 = face_box(points)
    return float(np.sqrt(x1 - x0) * np.sqrt(y1 - y0))
