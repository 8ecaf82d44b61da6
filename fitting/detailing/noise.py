"""What the photo's colours may differ by from what slopes explain: pixel noise, and skin that is not of one colour.

Errors of the log of a cell's colour have a covariance (3, 3) per mm^2 of surface, so that the same photo tells the same
whatever the texture's size:

    C = area / pixels diag(sigma_k^2)  +  GRAIN^2 [ s_m^2 m m' + s_h^2 h h' + s_g^2 1 1' ]

sigma_k is the pixels' noise sigma, in sRGB values, times the slope of the log of linear light there. m and h are the
directions in which melanin and haemoglobin darken skin (log-RGB; extinction at about 610, 545, 465 nm, unit RMS): most
spots of a face lie along them, so that a freckle's brown counts for little and a wrinkle's grey for much. s_g is what
is left: gloss, shadow, dirt and the shape's own errors. The weight of a cell's residual is area C^-1.

S. Jacques, Optical properties of biological tissues: a review, PMB 2013 (melanin's extinction ~ wavelength^-3.3); N.
Tsumura et al., Image-based skin color and texture analysis/synthesis, SIGGRAPH 2003 (the two directions); J. Immerkaer,
Fast noise variance estimation, CVIU 1996 (the mask, here with a median).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from ..texturing.fitted_face import FittedFace
from ..texturing.visibility import face_box
from . import _kernels
from .observation import Cells

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

MELANIN = (0.56, 0.90, 1.36)
HAEMOGLOBIN = (0.21, 1.31, 1.12)
DEVIATIONS = (0.10, 0.06, 0.10)
"""s_m, s_h, s_g."""

GRAIN = 1.0
"""mm over which a spot is of one colour."""

LEAST_NOISE = 0.004
"""sRGB values: about the rounding of a photo to 8 bits, and of a JPEG that looks clean."""

USUAL_NOISE = 0.01
"""sRGB values, where no part of the photo tells."""

TELLING = (0.002, 0.008, 0.90, 0.97)
"""Linear light: outside the outer two a channel tells nothing, between the inner two all it can."""

LAPLACIAN_DIFFERENCE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


def precision(cells: Cells, noise: float) -> Floats:
    """Return the weights (6, S, S) of the cells' residuals: entries 11, 12, 13, 22, 23, 33; 0 where nothing is seen."""
    spots = np.zeros((3, 3))
    for direction, deviation in zip((MELANIN, HAEMOGLOBIN, (1.0, 1.0, 1.0)), DEVIATIONS, strict=True):
        spots += (GRAIN * deviation) ** 2 * np.outer(direction, direction)
    weights = np.zeros((6, cells.size, cells.size), np.float32)
    _kernels.precision(cells.colours, cells.area, cells.shares, cells.seen, spots, noise, TELLING, weights)
    return weights


def measured_noise(face: FittedFace) -> float:
    """Return the standard deviation of the pixels' noise, sRGB 0-1, from differences that no smooth picture has."""
    region = face.model.regions.get("face", np.ones(face.model.n_vertices, dtype=bool))
    box = face_box(face.projected[region], *face.photo.shape[:2])
    if box is None or box.right - box.left < 8 or box.bottom - box.top < 8:
        return USUAL_NOISE
    part = face.photo[box.top : box.bottom, box.left : box.right].astype(np.float32) / 255.0
    difference = cv2.filter2D(part, -1, LAPLACIAN_DIFFERENCE)[1:-1, 1:-1]
    return max(1.4826 * float(np.median(np.abs(difference))) / 6.0, LEAST_NOISE)
