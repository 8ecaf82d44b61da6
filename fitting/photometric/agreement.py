"""Whether a photo shows the rendered face at all: brows, nostrils and lips where the rendering has them.

Light and a smooth albedo explain whatever is smooth, a wall as well as a cheek, so small residuals prove little. What
they cannot make up is a face's own features. With h(v) the values less their local mean,

    h(v) = v - (G * w v) / (G * w)          G: a Gaussian window; w: how likely a sample shows the face's skin
    agreement = sum w h(photo) . h(rendering) / sqrt(sum w |h(photo)|^2  sum w |h(rendering)|^2)

is the correlation, -1 to 1, of photo and rendering after a high-pass, over all channels: normalised cross-correlation,
as in template matching (Lewis, Fast normalized cross-correlation, Vision Interface 1995). Neither brightness nor
contrast matters to it. Fits to photos of faces have some 0.4 to 0.8, those to walls and to other parts of a face about
zero.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from .view import View

Array = NDArray[np.float64]

WINDOW = 0.06
"""Standard deviation of G relative to the face's size: a brow's height. Twice as much told failures apart less well."""

FAINT = 1e-6
"""Least mean square, sRGB units squared, of features that can be compared: far below a step of a photo's values."""


def feature_agreement(view: View, residual: Array, weight: Array, size: float) -> float:
    """Return the agreement, 0 where photo or rendering is flat.

    residual (M, 3): photo - rendering, sRGB values; weight (M,): w, in any unit; size: the face's in the level, px.
    """
    total = float(weight.sum())
    if total <= 0.0:
        return 0.0
    share = weight / total
    photo = _high_pass(view, view.colours, share, WINDOW * size)
    rendering = _high_pass(view, view.colours - residual, share, WINDOW * size)
    one, other = (float(share @ np.einsum("mk,mk->m", part, part)) for part in (photo, rendering))
    if min(one, other) <= FAINT:
        return 0.0
    both = float(share @ np.einsum("mk,mk->m", photo, rendering))
    return min(max(both / float(np.sqrt(one * other)), -1.0), 1.0)


def _high_pass(view: View, values: Array, share: Array, sigma: float) -> Array:
    """Return values (M, 3) less their weighted local mean under a window of `sigma` px."""
    shape = view.level.photo.shape[:2]
    image = np.zeros((*shape, 4), np.float32)
    relative = (share / share.max())[:, None]
    image.reshape(-1, 4)[view.pixels] = np.hstack([relative * values, relative])
    blurred = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.float64).reshape(-1, 4)[view.pixels]
    # Where next to nothing counts, nothing is taken off: such a sample hardly counts itself.
    mean: Array = blurred[:, :3] / np.maximum(blurred[:, 3:], 1e-6)
    return values - mean
