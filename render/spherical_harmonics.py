"""Diffuse shading under distant light: nine numbers per colour channel.

Light from far away is a function L(w) over directions. In real spherical harmonics Y_lm it has coefficients L_lm. A
Lambertian surface of albedo rho and normal n sends out

    radiance(n) = rho / pi * integral of L(w) max(n.w, 0) dw  =  rho * sum_lm  (A_l / pi) Y_lm(n)  L_lm

because the clamped cosine is a convolution kernel over the sphere: A_0 = pi, A_1 = 2 pi / 3, A_2 = pi / 4. Bands 0-2
hold at least 98 % of what any such light does. `basis` returns the nine functions (A_l / pi) Y_lm, so lighting is
the light itself: L = 1 from everywhere is (sqrt(4 pi), 0, ..., 0) and gives radiance = rho.

Order: 1, y, z, x, xy, yz, 3z^2 - 1, xz, x^2 - y^2, with n = (x, y, z) in the camera frame (x right, y down, z away
from the viewer). In a y-up frame that looks along -z the functions y, z, xy and xz have the opposite sign.

R. Ramamoorthi, P. Hanrahan, An efficient representation for irradiance environment maps, SIGGRAPH 2001 (A_l, Y_lm);
R. Basri, D. Jacobs, Lambertian reflectance and linear subspaces, PAMI 2003 (the bound).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..models.arrays import checked_array
from ..models.errors import InvalidInputError

Array = NDArray[np.float64]

LAMBERT = np.array([1.0] + [2.0 / 3.0] * 3 + [1.0 / 4.0] * 5)  # A_l / pi: the clamped cosine's part of the basis
_NORM = np.sqrt(np.array([1.0, 3.0, 3.0, 3.0, 15.0, 15.0, 5.0 / 4.0, 15.0, 15.0 / 4.0]) / (4.0 * np.pi))
FACTORS = LAMBERT * _NORM


def basis(normals: ArrayLike) -> Array:
    """Return the shading basis (..., 9) at unit normals (..., 3) in the camera frame."""
    n = np.asarray(normals, dtype=np.float64)
    if n.ndim == 0 or n.shape[-1] != 3:
        raise InvalidInputError(f"normals: expected shape (..., 3), got {n.shape}")
    x, y, z = n[..., 0], n[..., 1], n[..., 2]
    polynomials = [np.ones_like(x), y, z, x, x * y, y * z, 3.0 * z * z - 1.0, x * z, x * x - y * y]
    return np.stack(polynomials, axis=-1) * FACTORS


def shade(normals: ArrayLike, albedo: ArrayLike, lighting: ArrayLike) -> Array:
    """Return the linear radiance (..., 3) of surfaces with unit normals (..., 3) under `lighting` (9, 3).

    `albedo` is linear reflectance, (..., 3) or what broadcasts to it. The result is linear in albedo and in lighting,
    and so may be slightly negative where the light is nearly one-sided: clip it for display, not for fitting.
    """
    light = checked_array("lighting", lighting, (9, 3))
    return np.asarray(albedo, dtype=np.float64) * (basis(normals) @ light)


def estimate_lighting(
    normals: ArrayLike, albedo: ArrayLike, radiance: ArrayLike, *, weights: ArrayLike | None = None, ridge: float = 1e-3
) -> Array:
    """Return the lighting (9, 3) under which surfaces best show the given radiance, channel by channel:

        minimise  sum_i w_i (radiance_i - albedo_i basis(n_i) . l)^2  +  ridge * sum_i w_i albedo_i^2 * |l_{1..8}|^2

    normals (M, 3) in the camera frame, albedo and radiance (M, 3) linear, weights (M,) >= 0 (default 1). The ridge
    pulls towards ambient light what one side of a face cannot tell apart; 0 leaves plain least squares, of
    least norm where samples are too few.
    """  # fmt: skip
    n = checked_array("normals", normals, (None, 3))
    reflectance = checked_array("albedo", albedo, (len(n), 3))
    seen = checked_array("radiance", radiance, (len(n), 3))
    w = np.ones(len(n)) if weights is None else checked_array("weights", weights, (len(n),))
    if (w < 0.0).any() or not ridge >= 0.0:
        raise InvalidInputError("weights and ridge: expected numbers >= 0, got a negative one")
    root, functions = np.sqrt(w)[:, None], basis(n)
    lighting = np.zeros((9, 3))
    for channel in range(3):
        rho = root * reflectance[:, [channel]]
        damping = np.sqrt(ridge * np.vdot(rho, rho)) * np.eye(9)[1:]
        rows = np.vstack([rho * functions, damping])
        target = np.concatenate([root[:, 0] * seen[:, channel], np.zeros(8)])
        lighting[:, channel] = np.linalg.lstsq(rows, target, rcond=None)[0]
    return lighting
