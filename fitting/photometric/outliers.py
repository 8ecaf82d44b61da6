"""Which pixels do not show the modelled skin: hair, hands, glasses, beards, and whatever is behind the face.

A pixel of residual r (3 channels, sRGB) and colour c shows skin with the posterior probability

    gamma = pi p(r) / (pi p(r) + (1 - pi) q(c))

p is Student's t of the present residuals, pi the vertex' prior (`surface.py`), and q the density of the colours around
the head in the same photo, a smoothed histogram, mixed with the uniform density for what comes from elsewhere. Whatever
covers a face covers connected parts of it: log p / q, clipped, is averaged over a neighbourhood first.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .view import View

Array = NDArray[np.float64]
Floats = NDArray[np.floating]

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


@dataclass(frozen=True, eq=False)
class SkinMixture:
    """What a view's pixels may show, skin or anything else; all that does not change with the fit is had once."""

    view: View
    degrees: float  # of freedom of p
    log_odds: Array  # (M,) log pi / (1 - pi)
    log_other: Array  # (M,) log q of each sample's pixel
    radius: float  # px, standard deviation of the neighbourhood
    neighbours: Floats  # (M,) how much of each sample's neighbourhood is sampled

    def probability(self, square: Floats, sigma: float) -> Array:
        """Return gamma (M,) from the samples' |r|^2 (M,), sRGB units squared, and a channel's sigma."""
        ratio = np.clip(self._log_skin(square, sigma) - self.log_other, -CLIP, CLIP)
        odds = self.log_odds + _blurred(self.view, ratio, self.radius) / self.neighbours
        return 1.0 / (1.0 + np.exp(-odds))

    def energy(self, square: Floats, sigma: float) -> Array:
        """Return log(p(0) / (pi p(r) + (1 - pi) q(c))) (M,), nats: what each sample costs, skin or not.

        Unlike the solver's energy it does not fall by calling more pixels outliers, so that states can be compared.
        """
        best = self._log_skin(np.zeros(1), sigma)
        log_skin = self._log_skin(square, sigma) - np.logaddexp(0.0, -self.log_odds)
        cost: Any = best - np.logaddexp(log_skin, self.log_other - np.logaddexp(0.0, self.log_odds))
        return cost

    def _log_skin(self, square: Floats, sigma: float) -> Floats:
        """Return log p (M,): Student's t in three dimensions (Kotz & Nadarajah, Multivariate t Distributions, 2004)."""
        nu = self.degrees
        scale = math.lgamma(0.5 * (nu + 3.0)) - math.lgamma(0.5 * nu) - 1.5 * math.log(nu * math.pi)
        density: Floats = scale - 3.0 * math.log(sigma) - 0.5 * (nu + 3.0) * np.log1p(square / (nu * sigma**2))
        return density


def skin_mixture(view: View, degrees: float, density: Array, size: float) -> SkinMixture:
    """Return the mixture of a view.

    degrees: of freedom of p; density: q as `background_density` gives it; size: the face's in the level, px.
    """
    prior = view.of_samples(view.surface.prior[view.vertices])
    log_odds = np.log(prior / (1.0 - prior))
    log_other = np.log(density).ravel()[_bins(view.level.photo.reshape(-1, 3)[view.pixels])]
    neighbours = np.maximum(_blurred(view, np.ones(len(view), np.float32), SMOOTHNESS * size), 1e-6)
    return SkinMixture(view, degrees, log_odds, log_other, SMOOTHNESS * size, neighbours)


def _blurred(view: View, values: Floats, sigma: float) -> Floats:
    """Return values (M,) at the samples' pixels, zero elsewhere, after a Gaussian blur."""
    image = np.zeros(view.level.photo.shape[:2], np.float32)
    image.ravel()[view.pixels] = values
    blurred: Any = cv2.GaussianBlur(image, (0, 0), sigma)
    near: Floats = blurred.ravel()[view.pixels]
    return near


def _bins(colours: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the flat bin (n,) of colours (n, 3) 0-1."""
    index = np.clip((colours * BINS).astype(np.intp), 0, BINS - 1)
    return (index[:, 0] * BINS + index[:, 1]) * BINS + index[:, 2]
