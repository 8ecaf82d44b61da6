"""sRGB display values and linear light (IEC 61966-2-1). Light adds and scales in linear values only.

linear = s / 12.92                        where s <= 0.04045,      ((s + 0.055) / 1.055)^2.4   elsewhere
s      = 12.92 linear                     where linear <= 0.0031308,   1.055 linear^(1/2.4) - 0.055   elsewhere
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def srgb_to_linear(srgb: ArrayLike) -> Array:
    """Return linear values 0-1 of sRGB values of any shape: uint8 0-255, or floats 0-1 (clipped to that)."""
    given = np.asarray(srgb)
    if given.dtype == np.uint8:
        return _decoded(np.arange(256) / 255.0)[given]
    return _decoded(np.clip(given.astype(np.float64), 0.0, 1.0))


def decoding_slope(srgb: ArrayLike) -> Array:
    """Return the derivative of `srgb_to_linear` at values 0-1 of any shape."""
    value = np.asarray(srgb, dtype=np.float64)
    return np.where(value <= 0.04045, 1.0 / 12.92, 2.4 / 1.055 * ((value + 0.055) / 1.055) ** 1.4)


def linear_to_srgb(linear: ArrayLike) -> Array:
    """Return sRGB values 0-1 of linear values of any shape; clipped to 0-1 first."""
    value = np.clip(np.asarray(linear, dtype=np.float64), 0.0, 1.0)
    return np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1.0 / 2.4) - 0.055)


def to_uint8(unit: ArrayLike) -> NDArray[np.uint8]:
    """Return values 0-1 (clipped) as the nearest uint8 0-255."""
    return np.rint(np.clip(np.asarray(unit), 0.0, 1.0) * 255.0).astype(np.uint8)


def _decoded(value: Array) -> Array:
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
