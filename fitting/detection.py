"""The seam for face detectors, and what every detector needs to keep to the pixel convention.

A detector looks at resampled copies of the photo. `View` keeps the exact map between their pixels and the photo's.
Pixel (0, 0) is a *centre*, so a window whose left edge is x0 (the photo's own left edge is -1/2) and whose pixels
measure `step` photo pixels has

    x = x0 + (x' + 1/2) step        x' = (x - x0) / step - 1/2
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from ..models.arrays import checked_array
from ..models.errors import InvalidInputError
from .images import Pixels
from .landmarks import LandmarkConvention

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Detection:
    """One face found in an image; every number is finite."""

    box: Array  # (4,) x0, y0, x1, y1 in px: the detector's own square, not the box of the landmarks
    score: float  # the detector's confidence, in its own unit; 0 for a box that was given
    landmarks: Array  # (68, 2) px; may lie outside the image
    detector: str  # what found it


class FaceDetector(Protocol):
    """Anything that finds faces and their 68 points."""

    @property
    def name(self) -> str:
        """Short name, for provenance."""

    @property
    def landmark_convention(self) -> LandmarkConvention:
        """What the detector's jaw points mean."""

    @property
    def landmark_sigma(self) -> Array:
        """(68,) standard deviation of each coordinate of each point, relative to sqrt(w h) of the points' box."""

    @property
    def opening_correlation(self) -> float:
        """Correlation, 0 to 1, of the errors of the upper and the lower point of a lid or lip pair."""

    def detect(self, image: Pixels) -> list[Detection]:
        """Return the faces of an image (H, W, 3), uint8 RGB, the largest box first; an empty list where none is."""


@dataclass(frozen=True, eq=False)
class View:
    """A resampled window of an image."""

    pixels: Pixels  # (h, w, 3) C-contiguous
    corner: Array  # (2,) px of the image: the window's upper left edges
    step: Array  # (2,) px of the image per pixel of the view, x and y

    @classmethod
    def of(cls, image: Pixels, window: ArrayLike, scale: float) -> Self:
        """Resample the part of an image that lies in a window, at `scale` view pixels per image pixel.

        `window` is x0, y0, x1, y1 in px, edges, and is clipped to the image. The size is rounded to whole pixels, so
        x and y have each their own exact step. Reduction averages (no aliasing), enlargement is bilinear. Raises
        InvalidInputError for a window that does not overlap the image.
        """
        height, width = image.shape[:2]
        # The image's own edges lie half a pixel outside the outer pixels' centres.
        edges = checked_array("window", window, (4,))
        x0, y0, x1, y1 = np.clip(edges + 0.5, 0.0, [width, height, width, height])
        if not (x1 > x0 and y1 > y0):
            raise InvalidInputError(f"window: expected an overlap with the {width} x {height} image, got {edges}")
        size = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
        left, top = int(x0), int(y0)
        part = Image.fromarray(image[top : int(np.ceil(y1)), left : int(np.ceil(x1))])
        resized = part.resize(size, Image.Resampling.BILINEAR, box=(x0 - left, y0 - top, x1 - left, y1 - top))
        step = np.array([x1 - x0, y1 - y0]) / size
        return cls(np.ascontiguousarray(resized), np.array([x0, y0]) - 0.5, step)

    @classmethod
    def of_whole(cls, image: Pixels, scale: float) -> Self:
        """Resample the whole image."""
        return cls.of(image, (-0.5, -0.5, image.shape[1] - 0.5, image.shape[0] - 0.5), scale)

    def to_image(self, points: ArrayLike) -> Array:
        """Map pixel coordinates (..., 2) of the view to the image's."""
        return self.corner + (np.asarray(points, dtype=np.float64) + 0.5) * self.step

    def from_image(self, points: ArrayLike) -> Array:
        """Map pixel coordinates (..., 2) of the image to the view's."""
        return (np.asarray(points, dtype=np.float64) - self.corner) / self.step - 0.5


def distinct(boxes: Sequence[Array], scores: Sequence[float]) -> list[int]:
    """Return which boxes to keep, best score first, where two share more than half of the smaller one's area.

    Greedy non-maximum suppression. The smaller area, rather than the union, also drops a box inside a larger one.
    """
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(_shared(boxes[i], boxes[j]) <= 0.5 * min(_area(boxes[i]), _area(boxes[j])) for j in kept):
            kept.append(i)
    return kept


def intersection_over_union(a: Array, b: Array) -> float:
    """Return the shared area of two boxes x0, y0, x1, y1 over that of their union, 0-1."""
    shared = _shared(a, b)
    return shared / (_area(a) + _area(b) - shared)


def _area(box: Array) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _shared(a: Array, b: Array) -> float:
    width, height = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0.0)
    return float(width * height)
