"""Which pixels do not show the modelled skin: hair, hands, glasses, beards, and whatever is behind the face.

A pixel of residual r (3 channels, sRGB) and colour c shows skin with the posterior probability

    gamma = pi p(r) / (pi p(r) + (1 - pi) q(c))

p is Student's t of the present residuals, pi the vertex' prior (`surface.py`), and q the density of the colours around
the head in the same photo, a smoothed histogram, mixed with the uniform density for what comes from elsewhere. Whatever
covers a face covers connected parts of it: log p / q, clipped, is averaged over a neighbourhood first.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from .view import View

Array = NDArray[np.float64]

BINS = 16  # of the histogram, per channel
UNIFORM = 0.5  # share of the uniform density in q
SMOOTHNESS = 0.02  # standard deviation of the neighbourhood, relative to the face's size
CLIP = 6.0  # largest |log p / q| of a single pixel


def background_density(view: View, margin: float) -> Array:
    """Return q (BINS, BINS, BINS), per unit of sRGB cubed, of the pixels beyond `margin` px of the surface."""
    photo = view.level.photo
    seen = np.ones(photo.shape[:2], np.uint8)
    seen.ravel()[view.pixels] = 0
    outside = cv2.distanceTransform(seen, cv2.DIST_L2, 3) > margin
    counts = np.zeros(BINS**3)
    if outside.any():
        counts = np.bincount(_bins(photo[outside]), minlength=BINS**3).astype(np.float64)
    histogram = counts.reshape(BINS, BINS, BINS)
    for axis in range(3):
        padded = np.concatenate([np.take(histogram, [0], axis), histogram, np.take(histogram, [-1], axis)], axis)
        parts = [np.take(padded, np.arange(BINS) + k, axis) for k in range(3)]
        histogram = 0.25 * parts[0] + 0.5 * parts[1] + 0.25 * parts[2]
    density = histogram / max(histogram.sum(), 1e-300) * BINS**3
    return UNIFORM + (1.0 - UNIFORM) * density


def skin_probability(view: View, residual: Array, sigma: float, degrees: float, density: Array, size: float) -> Array:
    """Return gamma (M,) of the samples.

    residual (M, 3), sRGB units; sigma: of a channel; degrees: of freedom of p; density: q as above; size: the face's
    in the level, px.
    """
    prior = view.of_samples(view.surface.prior[view.vertices])
    ratio = np.clip(_log_skin(residual, sigma, degrees) - _log_other(view, density), -CLIP, CLIP)
    odds = np.log(prior / (1.0 - prior)) + _smoothed(view, ratio, SMOOTHNESS * size)
    return 1.0 / (1.0 + np.exp(-odds))


def mixture_energy(view: View, residual: Array, sigma: float, degrees: float, density: Array) -> Array:
    """Return log(p(0) / (pi p(r) + (1 - pi) q(c))) (M,), nats: what each sample costs, skin or not.

    Unlike the solver's energy it does not fall by calling more pixels outliers, so that states can be compared.
    """
    prior = view.of_samples(view.surface.prior[view.vertices])
    log_skin, log_other = _log_skin(residual, sigma, degrees), _log_other(view, density)
    best = _log_skin(np.zeros((1, 3)), sigma, degrees)
    return best - np.logaddexp(np.log(prior) + log_skin, np.log(1.0 - prior) + log_other)


def _log_skin(residual: Array, sigma: float, degrees: float) -> Array:
    """Return log p (M,): Student's t in three dimensions (Kotz & Nadarajah, Multivariate t Distributions, 2004)."""
    scale = math.lgamma(0.5 * (degrees + 3.0)) - math.lgamma(0.5 * degrees) - 1.5 * math.log(degrees * math.pi)
    square = np.einsum("mk,mk->m", residual, residual) / sigma**2
    log_density: Array = scale - 3.0 * math.log(sigma) - 0.5 * (degrees + 3.0) * np.log1p(square / degrees)
    return log_density


def _log_other(view: View, density: Array) -> Array:
    """Return log q (M,) of the samples' pixels."""
    log_density: Array = np.log(density).ravel()[_bins(view.level.photo.reshape(-1, 3)[view.pixels])]
    return log_density


def _smoothed(view: View, values: Array, sigma: float) -> Array:
    """Return the mean of values (M,) over each sample's neighbourhood of other samples."""
    shape = view.level.photo.shape[:2]
    sums, counts = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    sums.ravel()[view.pixels], counts.ravel()[view.pixels] = values, 1.0
    near = cv2.GaussianBlur(sums, (0, 0), sigma).ravel()[view.pixels]
    number = cv2.GaussianBlur(counts, (0, 0), sigma).ravel()[view.pixels]
    return (near / np.maximum(number, 1e-6)).astype(np.float64)


def _bins(colours: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the flat bin (n,) of colours (n, 3) 0-1."""
    index = np.clip((colours * BINS).astype(np.intp), 0, BINS - 1)
    return (index[:, 0] * BINS + index[:, 1]) * BINS + index[:, 2]
