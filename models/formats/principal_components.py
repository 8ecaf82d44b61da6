"""Principal components as files store them, brought into the model's conventions.

    mode_k = scale * deviation_k * component_k            mm, or colour, per standard deviation

A file gives components as the columns of a (3 N, K) matrix, coordinates of a vertex next to each other, and either
their variances or their standard deviations.

Colours are sRGB values; the model wants linear reflectance. The map is not linear, so the modes go through its
derivative at the mean,  albedo_k = f'(mean) colour_k,  which is exact to first order in the coefficients (f is sRGB's
decoding, IEC 61966-2-1).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import checked_array
from ..colour import decoding_slope, srgb_to_linear
from ..errors import ModelError
from ..morphable_model import Floats


def vertex_array(field: str, flat: NDArray[Any]) -> NDArray[np.float64]:
    """Return a vector or a one-column matrix of 3 N numbers as (N, 3); ModelError where it is neither."""
    if flat.ndim not in (1, 2) or max(flat.shape, default=0) != flat.size or flat.size % 3:
        raise ModelError(f"{field}: expected 3 N numbers in one column, got shape {flat.shape}")
    return checked_array(field, flat.reshape(-1, 3), (None, 3), error=ModelError)


def standard_deviations(field: str, variances: NDArray[Any]) -> NDArray[np.float64]:
    """Return the square roots (K,) of `variances`, a vector or one column; ModelError for a negative one."""
    values = checked_array(field, variances.ravel(), (None,), error=ModelError)
    if (values < 0.0).any():
        raise ModelError(f"{field}: expected variances, got a negative one")
    return np.sqrt(values)


def scaled_modes(
    field: str, components: NDArray[Any], deviations: NDArray[np.floating], vertices: int, scale: float = 1.0
) -> NDArray[np.float32]:
    """Return the modes (K, N, 3) of `components` (3 N, K) and `deviations` (K,), both times `scale`."""
    columns = checked_array(field, components, (3 * vertices, len(deviations)), np.float32, error=ModelError)
    with np.errstate(over="ignore", invalid="ignore"):  # infinity is refused with the rest of the model
        factors = (scale * deviations).astype(np.float32)
        return np.ascontiguousarray((columns * factors).T).reshape(len(factors), vertices, 3)


def to_frame(scale: float, origin: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the transform (4, 4) that takes source coordinates x to scale (x - origin), mm."""
    transform = np.diag([scale, scale, scale, 1.0])
    with np.errstate(over="ignore"):  # infinity is refused with the rest of the model
        transform[:3, 3] = -scale * origin
    return transform


def linear_albedo(
    mean: NDArray[np.floating], modes: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return the linear reflectance (N, 3) and its modes (A, N, 3) of sRGB colours 0-1 (the mean clipped to that)."""
    colour = np.clip(mean, 0.0, 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        return srgb_to_linear(colour), (modes * decoding_slope(colour)).astype(np.float32)


def vertex_embedding(vertices: NDArray[np.integer], triangles: NDArray[np.integer]) -> tuple[Any, Floats] | None:
    """Return the triangles (M,) and weights (M, 3) that place points on `vertices` (M,); None if one is in none."""
    corners = np.asarray(triangles).ravel()
    carriers = np.full(int(max(corners.max(initial=0), vertices.max(initial=0))) + 1, -1)
    carriers[corners[::-1]] = np.arange(len(corners))[::-1]  # the first corner that a vertex is
    places = carriers[vertices]
    if (places < 0).any():
        return None
    return places // 3, np.eye(3)[places % 3]


def unbounded_expressions(modes: NDArray[np.float32]) -> dict[str, Any]:
    """Return the arguments of a model's expressions that are principal components: modes (E, N, 3), mm."""
    count = len(modes)
    return {
        "expression": modes,
        "expression_names": tuple(f"expression{k:03d}" for k in range(count)),
        "expression_sigma": np.ones(count),
        "expression_lower": np.full(count, -np.inf),
        "expression_upper": np.full(count, np.inf),
    }
