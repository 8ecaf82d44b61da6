"""A level of the photo's pyramid: the face, cut out and reduced to a given size.

With f the reduction and (x0, y0) the first pixel of the cut, the pixel (u, v) of the photo lies at

    u' = f (u + 1/2 - x0) - 1/2,    v' likewise

in the level. Reduction averages whole blocks of pixels as far as it can, then blurs by what the rest of it leaves
unresolved and samples, so that it is the same in both directions and for every photo.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...render.cameras import ScaledOrthographic

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

BLUR = 0.6  # px of the level: standard deviation of a last smoothing, which image gradients are taken after


@dataclass(frozen=True, eq=False)
class Level:
    """One level."""

    photo: NDArray[np.float32]  # (H, W, 3) sRGB 0-1
    factor: float  # f
    offset: Array  # (2,) u' - f u, px

    @property
    def window(self) -> tuple[float, float, float, float, float]:
        """What the kernels know of it: f, both offsets, and the coordinates of the last column and row."""
        height, width = self.photo.shape[:2]
        return self.factor, float(self.offset[0]), float(self.offset[1]), float(width - 1), float(height - 1)

    def camera(self, camera: ScaledOrthographic) -> ScaledOrthographic:
        """Return the photo's camera for this level."""
        return camera.zoomed(self.factor, self.offset)


def make_level(image: Pixels, box: Array, factor: float) -> Level | None:
    """Return the part of an image (H, W, 3) uint8 in the box (4,) px: x0, y0, x1, y1, reduced by `factor` <= 1.

    None where the box and the image have no 8 x 8 px of the level in common.
    """
    height, width = image.shape[:2]
    if factor * min(height, width) < 8.0:
        return None
    low = np.clip(np.floor(box[:2]), 0, [width, height]).astype(int)
    high = np.clip(np.ceil(box[2:]) + 1, low, [width, height]).astype(int)
    block = max(math.floor(1.0 / factor), 1)
    counts = (high - low) // block
    if (counts * block * factor < 8.0).any():
        return None
    high = low + counts * block
    part: NDArray[Any] = image[low[1] : high[1], low[0] : high[0]]
    if block > 1:
        part = cv2.resize(part, tuple(counts.tolist()), interpolation=cv2.INTER_AREA)
    part = part.astype(np.float32) / np.float32(255.0)
    rest = factor * block
    if rest < 1.0:
        part = cv2.GaussianBlur(part, (0, 0), 0.5 * math.sqrt(1.0 / rest**2 - 1.0) + 1e-3)
        size = np.maximum((counts * rest).astype(int), 2)
        shift = 0.5 / rest - 0.5  # the level's pixel centres in those of the blocks
        matrix = np.array([[1.0 / rest, 0.0, shift], [0.0, 1.0 / rest, shift]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        part = cv2.warpAffine(part, matrix, tuple(size.tolist()), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    part = cv2.GaussianBlur(part, (0, 0), BLUR)
    return Level(np.ascontiguousarray(part), factor, factor * (0.5 - low) - 0.5)
