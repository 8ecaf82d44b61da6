"""Drawn pixels over a photo, with a smooth outline.

A picture drawn `factor` times finer is averaged over factor x factor blocks, which turns coverage into fractional
alpha; what is averaged is colour times alpha, so that uncovered pixels do not darken the outline. `over` is the
operator of that name: photo (1 - a) + colour a. Both work on display values (sRGB), as image viewers do.

T. Porter, T. Duff, Compositing digital images, SIGGRAPH 1984.
"""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..models.errors import InvalidInputError
from .cameras import Camera


def magnified(camera: Camera, factor: int) -> Camera:
    """Return the camera of the same view with `factor` pixels for each pixel, in x and in y.

    With centres of pixels at whole numbers, u becomes factor * u + (factor - 1) / 2.
    """
    return camera.zoomed(factor, (factor - 1) / 2.0)


def reduced(picture: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Return a picture (factor H, factor W, 4) averaged to (H, W, 4), its alpha straight.

    Colour and alpha are 0-1; the fine picture is zero where alpha is zero and opaque elsewhere.
    """
    height, width = picture.shape[0] // factor, picture.shape[1] // factor
    mean = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.float32)
    outline = (mean[..., 3] > 0.0) & (mean[..., 3] < 1.0)
    mean[outline, :3] /= mean[outline, 3:]
    return mean


def over(photo: ArrayLike, drawn: ArrayLike, opacity: float = 1.0) -> NDArray[np.uint8]:
    """Lay a drawn picture (H, W, 4) uint8 RGBA over a photo (H, W, 3) uint8 RGB; `opacity` 0-1 scales its alpha.

    Alpha is straight: the drawn colour is not multiplied by it. Raises InvalidInputError for other shapes or types.
    """
    below, above = checked_photo(photo), np.asarray(drawn)
    if above.shape != (*below.shape[:2], 4) or above.dtype != np.uint8:
        raise InvalidInputError(
            f"drawn: expected {(*below.shape[:2], 4)} uint8 to fit the photo, got {above.shape} {above.dtype}"
        )
    checked_opacity(opacity)
    rows, columns = np.nonzero(above[..., 3])
    alpha = above[rows, columns, 3:] * (opacity / 255.0)
    picture = below.copy()
    mixed = (1.0 - alpha) * below[rows, columns] + alpha * above[rows, columns, :3]
    picture[rows, columns] = np.rint(mixed).astype(np.uint8)
    return picture


def checked_photo(photo: ArrayLike) -> NDArray[np.uint8]:
    """Return a photo (H, W, 3) uint8, or raise InvalidInputError for another shape or type."""
    pixels = np.asarray(photo)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise InvalidInputError(f"photo: expected (H, W, 3) uint8, got {pixels.shape} {pixels.dtype}")
    return pixels


def checked_opacity(opacity: float) -> float:
    """Return an opacity, or raise InvalidInputError where it is not from 0 to 1."""
    if not 0.0 <= opacity <= 1.0:
        raise InvalidInputError(f"opacity: expected a number from 0 to 1, got {opacity!r}")
    return opacity
