"""Compiled loop of the read-back: one pass over the words of shaders/geometry.frag."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int32]


@njit(cache=True, error_model="numpy")
def unpack_geometry(
    words: Indices,
    numbers: NDArray[np.float32],
    left: int,
    top: int,
    triangle: Indices,
    barycentric: Floats,
    depth: Floats,
) -> None:
    """Spread the words (h, w, 4) of a part of the image over the whole image's arrays of `rasterizer.Fragments`.

    The part's first pixel is (left, top); beyond the part nothing is seen. `numbers` are the same words as float32: the
    first word is the triangle, the second and third are barycentrics of its corners b and c, the fourth is the depth.
    The first barycentric is what the others leave of 1.
    """
    triangle[:] = -1
    barycentric[:] = 0.0
    depth[:] = np.inf
    for y in range(words.shape[0]):
        for x in range(words.shape[1]):
            if words[y, x, 0] >= 0:
                b, c = np.float64(numbers[y, x, 1]), np.float64(numbers[y, x, 2])
                triangle[top + y, left + x] = words[y, x, 0]
                barycentric[top + y, left + x, 0] = 1.0 - b - c
                barycentric[top + y, left + x, 1] = b
                barycentric[top + y, left + x, 2] = c
                depth[top + y, left + x] = numbers[y, x, 3]
