"""The square of a photo that pictures of a fit show, around the head, and how pixels get from one to the other.

With the window's upper left edge at c (px of the photo) and z panel pixels per photo pixel,

    u' = z (u - c) - 1/2         (pixel (0, 0) is a centre)
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...fitting.detection import View
from ...render.cameras import Camera
from ...render.drawing import BACKGROUND

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

SIDE = 416  # px of a panel
LARGEST = 1024  # px of one in the photo's own resolution
HEAD_CENTRE = (0.0, -14.0, -40.0)  # mm, model frame: what the window is centred on
HEAD_RADIUS = 150.0  # mm from there to the window's sides


@dataclass(frozen=True, eq=False)
class Window:
    """A square of the photo, `side` panel pixels wide."""

    corner: Array  # (2,) px of the photo: its upper left edges
    zoom: float  # panel pixels per photo pixel
    side: int = SIDE  # px of the panel

    @classmethod
    def around(cls, camera: Camera) -> "Window":
        """Return the window around the head that a camera sees, SIDE px wide whatever the face's size."""
        centre, radius = _head(camera)
        return cls(centre - radius, SIDE / (2.0 * radius))

    @classmethod
    def of_pixels(cls, camera: Camera) -> "Window":
        """Return the window around the head that shows the photo's own pixels, unless they are fewer than SIDE or more
        than LARGEST along its sides.
        """
        centre, radius = _head(camera)
        if not SIDE <= 2.0 * radius <= LARGEST:
            side = SIDE if 2.0 * radius < SIDE else LARGEST
            return cls(centre - radius, side / (2.0 * radius), side)
        return cls(np.rint(centre - radius) - 0.5, 1.0, round(2.0 * radius))

    def to_panel(self, points: ArrayLike) -> Array:
        """Map px (..., 2) of the photo to the panel's."""
        return (np.asarray(points, dtype=np.float64) - self.corner) * self.zoom - 0.5

    def camera(self, camera: Camera) -> Camera:
        """Return the camera that shows the panel what `camera` shows the photo."""
        return camera.zoomed(self.zoom, self.to_panel(np.zeros(2)))

    def inside(self, image: Pixels) -> NDArray[np.bool_]:
        """Return the mask (side, side) of the panel's pixels that show the photo, not what lies beside it."""
        centres = (np.arange(self.side) + 0.5) / self.zoom
        x, y = centres + self.corner[0], centres + self.corner[1]
        height, width = image.shape[:2]
        return ((y > -0.5) & (y < height - 0.5))[:, None] & ((x > -0.5) & (x < width - 0.5))

    def resample(self, image: Pixels) -> Pixels:
        """Return the panel (side, side, 3) of an image; BACKGROUND beside the image.

        Reduction averages first, so that time and memory depend on the part of the photo that is seen, and only
        there; the rest of the map is one exact resampling.
        """
        inside, size = self.inside(image), (self.side, self.side)
        if not inside.any():
            return np.full((*size, 3), BACKGROUND, np.uint8)
        corner = np.maximum(np.floor(self.corner), 0.0) - 0.5  # whole pixels of the photo
        opposite = np.minimum(np.ceil(self.corner + self.side / self.zoom) + 0.5, np.array(image.shape[1::-1]) - 0.5)
        view = View.of(image, np.concatenate([corner, opposite]), min(self.zoom, 1.0))
        matrix = np.column_stack([np.diag(view.step * self.zoom), self.to_panel(view.to_image([0.0, 0.0]))])
        panel = cv2.warpAffine(view.pixels, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return np.where(inside[:, :, None], panel, np.array(BACKGROUND, np.uint8))


def _head(camera: Camera) -> tuple[Array, float]:
    """Return where a camera sees the head's centre (2,) and how far from there its sides are, px."""
    centre = camera.project(np.array(HEAD_CENTRE))
    # Its scale there, by a step along the camera's own x axis.
    aside = camera.project(np.array(HEAD_CENTRE) + HEAD_RADIUS * camera.rotation[0])
    return centre[:2], float(aside[0] - centre[0])
