"""Small pictures of a dataset's images, read again from where they came from."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ...models.errors import ImageError
from ..export.checks import encoded_jpeg
from .decoding import decode
from .maps import face_window
from .sources import Item, read_item

SIDE = 168
"""px"""

_DOT, _RIM = (90, 255, 120), (0, 60, 20)  # sRGB
_FINE = 3  # bits of a pixel's fraction that OpenCV draws with

_Pixels = NDArray[np.uint8]


def thumbnail(item: Item, landmarks: Sequence[float] | None = None) -> bytes:
    """Return a JPEG of an image, or of the face with these landmarks (136 px), which are drawn into it.

    Raises ImageError where the image cannot be read, or is no picture.
    """
    photo = decode(read_item(item), item.key).pixels
    if landmarks is None:
        return encoded_jpeg(_fitted_in(photo))
    points = np.reshape(np.asarray(landmarks, dtype=np.float64), (68, 2))
    if not np.isfinite(points).all():
        raise ImageError("expected finite landmarks, got others")
    window = face_window(points, *photo.shape[:2])
    picture = window.crop(photo, SIDE)
    places = np.clip(window.points(points, SIDE), -SIDE, 2 * SIDE)
    for x, y in np.rint(places * 2**_FINE).astype(int).tolist():
        for radius, colour in ((1.9, _RIM), (1.2, _DOT)):
            cv2.circle(picture, (x, y), int(radius * 2**_FINE), colour, cv2.FILLED, cv2.LINE_AA, _FINE)
    return encoded_jpeg(picture)


def _fitted_in(photo: _Pixels) -> _Pixels:
    """Return a photo reduced so that it fits into SIDE x SIDE px; a smaller one as it is."""
    height, width = photo.shape[:2]
    factor = SIDE / max(height, width)
    if factor >= 1.0:
        return photo
    size = (max(round(factor * width), 1), max(round(factor * height), 1))
    return np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)
