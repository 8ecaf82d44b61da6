"""How many independent observations a photo's pixels amount to.

Neighbouring pixels err alike: what the model lacks, a freckled cheek, a beard, a bump, is larger than a pixel. For
errors of variance v and autocorrelation rho(d), N pixels tell as much of a smooth quantity as N / A independent ones,

    A = integral of rho(d) over the plane      px^2, the integral range (Lantuejoul, Geostatistical Simulation, 2002)

It shows in local means: under a Gaussian window of standard deviation s, which averages white noise over 4 pi s^2 px,
the mean of errors with rho(d) = exp(-d^2 / 2 l^2), A = 2 pi l^2, has the variance

    v_s = v l^2 / (l^2 + 2 s^2)      so that      A = A_s / (1 - A_s / (4 pi s^2)),    A_s = 4 pi s^2 v_s / v

A is measured on the residuals at hand: far from the solution, or on a face unlike any of the model's, they are alike
over wide areas and the photo counts for little; where the model explains the photo down to its noise, every pixel
counts. Since a fit takes up part of the errors, residuals show less of them than there was: A is doubled for that
(docs/photometric.md). s is a share of the face's size, so that neither the photo's nor the level's resolution matters.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from .view import View

Array = NDArray[np.float64]

WINDOW = 0.1  # s relative to the face's size
TAKEN_UP = 2.0  # the errors' integral range over that of the residuals which a fit leaves of them
INSIDE = 0.9  # least share of a window that the face must fill for its mean to count


def integral_range(view: View, residual: Array, weight: Array, size: float) -> float:
    """Return A of the errors, px^2, from 1 to the window's 4 pi s^2.

    residual (M, 3); weight (M,) 0-1, how much each sample is to be believed; size: the face's in the level, px.
    """
    shape, s = view.level.photo.shape[:2], WINDOW * size
    values, counts = np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32)
    root = np.sqrt(weight)
    values.reshape(-1, 3)[view.pixels], counts.ravel()[view.pixels] = root[:, None] * residual, 1.0
    means, filled = cv2.GaussianBlur(values, (0, 0), s), cv2.GaussianBlur(counts, (0, 0), s)
    counted = filled.ravel()[view.pixels] >= INSIDE * filled.max()
    local = means.reshape(-1, 3)[view.pixels[counted]] / filled.ravel()[view.pixels[counted], None]
    largest = 4.0 * math.pi * s * s
    share = float(np.mean(local**2) / max(float(np.mean((root[:, None] * residual) ** 2)), 1e-12))
    return min(max(TAKEN_UP * largest * share / max(1.0 - share, 1e-3), 1.0), largest)
