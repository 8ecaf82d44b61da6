"""The photo at every resolution, so that a texel averages the pixels that it covers.

Level l holds the means over blocks of 2^l x 2^l pixels; the pixel (i, j) of it has its centre at

    x = 2^l (j + 1/2) - 1/2,      y = 2^l (i + 1/2) - 1/2        in px of the part that was cut out.

A texel whose footprint has an area of A px^2 is sampled at level log2(A) / 2, bilinear in space and linear between
levels. L. Williams, Pyramidal parametrics, SIGGRAPH 1983.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from ...models.colour import srgb_to_linear
from .tables import Pyramid


def make_pyramid(image: NDArray[np.uint8], box: tuple[int, int, int, int]) -> Pyramid:
    """Return the pyramid of the part of a photo (H, W, 3) uint8 that box (left, top, right, bottom) px spans."""
    left, top, right, bottom = box
    levels = [image[top:bottom, left:right]]
    while min(levels[-1].shape[:2]) > 1:
        # A last odd row or column has no block; what is sampled there repeats the one before.
        height, width = levels[-1].shape[0] // 2, levels[-1].shape[1] // 2
        even = levels[-1][: 2 * height, : 2 * width]
        levels.append(np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), np.uint8))
    heights, widths = (np.array([level.shape[axis] for level in levels], np.int64) for axis in (0, 1))
    start = np.concatenate([[0], np.cumsum(heights * widths)])
    pixels = np.empty((start[-1], 3), np.uint8)
    for level, first, last in zip(levels, start, start[1:], strict=False):
        pixels[first:last].reshape(level.shape)[:] = level
    return Pyramid(
        pixels, start[:-1], heights, widths, float(left), float(top), srgb_to_linear(np.arange(256, dtype=np.uint8))
    )


def footprint_levels(
    projected: NDArray[np.float64], triangles: NDArray[np.int32], texels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the pyramid's level (T,) that has one pixel per texel, not below 0.

    projected (N, 2) are the vertices in px of the photo, triangles (T, 3), texels (T, 3, 2) their corners in the
    texture.
    """
    return 0.5 * np.log2(np.maximum(footprints(projected, triangles, texels), 1.0))


def footprints(
    projected: NDArray[np.float64], triangles: NDArray[np.int32], texels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how many pixels one texel of each triangle (T,) covers, at most 2^40; arguments as above."""
    ratio = _areas(projected[triangles]) / np.maximum(_areas(texels), 1e-12)
    return np.clip(np.nan_to_num(ratio, nan=1.0), 0.0, 2.0**40)


def _areas(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return twice the areas (T,) of triangles (T, 3, 2)."""
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    return np.asarray(np.abs(ax * by - ay * bx))
