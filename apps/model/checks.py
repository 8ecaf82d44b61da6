"""What `check` measures of a model beyond its being valid: are its modes orthogonal, in order, and of sane size?

With B_k the k-th mode, (N, 3) mm per standard deviation, its size is the RMS displacement |B_k| / sqrt(N), and the
cosine of two is <B_k, B_l> / (|B_k| |B_l|). Principal components have cosines of 0 and sizes that fall; modes that were
changed afterwards need not. A reader that mixes up rows and columns, or standard deviations and variances, shows here.
"""

import numpy as np
from numpy.typing import NDArray

from ...models.morphable_model import LandmarkEmbedding, MorphableModel

Array = NDArray[np.float64]


def measures_text(model: MorphableModel) -> str:
    """Return the measures line by line. That all numbers are finite the model has made sure of."""
    lines = [("hash", model.hash), ("numbers", "all finite")]
    for name, basis, unit in (("identity", model.identity, "mm"), ("albedo", model.albedo, "of reflectance")):
        if basis is not None and len(basis):
            lines.append((f"{name} modes", _modes_text(basis, unit)))
    if model.n_expression:
        sigma, size = model.expression_sigma, mode_sizes(model.expression)
        lines.append(("expression", f"sigma {sigma.min():.3g} to {sigma.max():.3g}, {_range(size)} mm RMS per unit"))
    for name, given in (("landmarks", model.landmarks), ("contour landmarks", model.landmarks_contour)):
        if given is not None:
            lines.append((name, _landmarks_text(given)))
    return "\n".join(f"  {name:<18} {text}" for name, text in lines)


def mode_sizes(basis: NDArray[np.floating]) -> Array:
    """Return the RMS displacement (K,) of each mode of a basis (K, N, 3), in its unit."""
    flat, peak = _scaled(basis)
    return peak * np.linalg.norm(flat, axis=1) / np.sqrt(basis.shape[1])


def largest_cosine(basis: NDArray[np.floating]) -> float:
    """Return the largest absolute cosine between two different modes of a basis (K, N, 3)."""
    flat, _ = _scaled(basis)
    gram = flat @ flat.T
    length = np.sqrt(np.diagonal(gram))
    cosines = np.divide(gram, np.outer(length, length), out=np.zeros_like(gram), where=np.outer(length, length) > 0.0)
    np.fill_diagonal(cosines, 0.0)
    return float(np.abs(cosines).max(initial=0.0))


def largest_difference(model: MorphableModel, other: MorphableModel) -> float:
    """Return how far, mm, the mean or a mode of one model moves a vertex away from where the other's does."""
    pairs = ((getattr(model, name), getattr(other, name)) for name in ("mean", "identity", "expression"))
    return max(float(np.abs(a.astype(np.float64) - b).max(initial=0.0)) for a, b in pairs)


def _scaled(basis: NDArray[np.floating]) -> tuple[Array, Array]:
    """Return the modes (K, 3 N), each divided by its peak (K,), so that no square overflows."""
    flat = basis.reshape(len(basis), 3 * basis.shape[1]).astype(np.float64)
    peak = np.abs(flat).max(axis=1, initial=0.0)
    return np.divide(flat, peak[:, None], out=np.zeros_like(flat), where=peak[:, None] > 0.0), peak


def _modes_text(basis: NDArray[np.floating], unit: str) -> str:
    size = mode_sizes(basis)
    falling = "falling" if (np.diff(size) <= 1e-6 * size[:-1]).all() else "not falling"
    return f"{_range(size)} {unit} RMS per SD, {falling}; largest cosine {largest_cosine(basis):.2g}"


def _range(values: Array) -> str:
    return f"{values.max():.3g} to {values.min():.3g}"


def _landmarks_text(embedding: LandmarkEmbedding) -> str:
    if embedding.sigma is None:
        return "68, sigma not stated"
    low, high = 100.0 * embedding.sigma.min(), 100.0 * embedding.sigma.max()
    return f"68, sigma {low:.2g} to {high:.2g} % of the face's size"
