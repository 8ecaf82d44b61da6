"""Light and albedo that explain the photo best while pose and shape rest.

A sample with unit normal n and albedo rho(b) = mean + modes b is displayed as  sRGB(rho(b) * (basis(n) . light)).
The coefficients x = (light, 27 numbers channel by channel; b) minimise

    1/2 sum_m w_m |photo_m - displayed_m(x)|^2  +  1/2 |b|^2  +  prior(light)

by Gauss-Newton steps. Light is thought near-monochrome and smooth: in each of the nine functions the mean over the
channels has a standard deviation of BAND_SIGMA (by band), and the channels' deviations from it CHROMA_SIGMA, relative
to the ambient part of the first estimate. Brightness is left to the light, since the albedo's prior fixes its own.

Light and tone vary slowly over the face: SUBSET samples, evenly spread, tell as much as all, with weights to match.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...models.colour import srgb_to_linear
from ...render.spherical_harmonics import basis, estimate_lighting
from .view import View

Array = NDArray[np.float64]

BAND_SIGMA = (10.0, 0.5, 0.25)
CHROMA_SIGMA = (0.45, 0.15, 0.15)

SUBSET = 2000
"""Number of samples that light and albedo are solved from."""

_BANDS = np.repeat([0, 1, 2], [1, 3, 5])


@dataclass(frozen=True, eq=False)
class Appearance:
    """Light, albedo coefficients, and the light's prior."""

    light: Array  # (9, 3) spherical harmonics, camera frame
    coefficients: Array  # (A + D,) of the albedo basis
    ambient: float  # the unit of the light's prior

    @property
    def precision(self) -> Array:
        """Prior precision (27 + A, 27 + A) of the stacked coefficients."""
        size = len(self.coefficients)
        matrix = np.eye(27 + size)
        mean = np.full((3, 3), 1.0 / 3.0)
        for k, band in enumerate(_BANDS):
            rows = np.array([k, 9 + k, 18 + k])
            # The mean m of three numbers contributes (m / sigma)^2: a third of mean @ x / sigma^2.
            tied = mean / (3.0 * (BAND_SIGMA[band] * self.ambient) ** 2)
            matrix[np.ix_(rows, rows)] = tied + (np.eye(3) - mean) / (CHROMA_SIGMA[band] * self.ambient) ** 2
        return matrix

    @property
    def stacked(self) -> Array:
        """(27 + A,) light channel by channel, then albedo."""
        return np.concatenate([self.light.T.ravel(), self.coefficients])

    @property
    def energy(self) -> dict[str, float]:
        """Priors in nats."""
        x, precision = self.stacked, self.precision
        return {
            "lighting": float(0.5 * x[:27] @ precision[:27, :27] @ x[:27]),
            "albedo": float(0.5 * self.coefficients @ self.coefficients),
        }

    def moved(self, step: Array) -> "Appearance":
        """Return the appearance at `step` (27 + A,) from this one."""
        return replace(
            self, light=self.light + step[:27].reshape(3, 9).T, coefficients=self.coefficients + step[27:]
        )  # fmt: skip


def first_appearance(view: View) -> Appearance:
    """Return the light that suits the model's mean albedo, robustly."""
    surface = view.surface
    chosen = _subset(len(view))
    normals, colours = view.normals[chosen], srgb_to_linear(view.colours[chosen])
    coefficients = np.zeros(surface.albedo.size)
    albedo = view.of_samples(surface.albedo.reflectance(coefficients, view.albedo_rows))[chosen]
    functions, weights = basis(normals), np.ones(len(chosen))
    for _ in range(3):
        light = estimate_lighting(normals, albedo, colours, weights=weights, ridge=1e-2)
        distance = np.linalg.norm(colours - albedo * (functions @ light), axis=1)
        weights = 1.0 / (1.0 + (distance / (1.5 * np.median(distance) + 1e-6)) ** 2)
    return Appearance(light, coefficients, max(float(light[0].mean()), 1e-2))


def refined(view: View, appearance: Appearance, weights: Array) -> Appearance:
    """Return the appearance after a Gauss-Newton step; weights (M,) of the samples, per sRGB unit squared."""
    matrix, gradient = _equations(view, appearance, weights)
    return appearance.moved(-np.linalg.solve(matrix, gradient))


def light_matrix(view: View, appearance: Appearance, weights: Array) -> Array:
    """Return the Gauss-Newton matrix (27 + A, 27 + A) of light and albedo."""
    return _equations(view, appearance, weights)[0]


def _equations(view: View, appearance: Appearance, weights: Array) -> tuple[Array, Array]:
    """Return matrix and gradient (27 + A,) of light and albedo, priors included."""
    chosen = _subset(len(view))
    share = np.repeat(weights[chosen] * (len(view) / len(chosen)), 3)[:, None]
    corners, barycentric, rows = view.corners[chosen], view.barycentric[chosen], view.albedo_rows
    albedo_basis = view.surface.albedo
    reflectance = albedo_basis.reflectance(appearance.coefficients, rows)
    albedo = np.einsum("mc,mck->mk", barycentric, reflectance[corners])
    modes = np.einsum("mc,mcka->mka", barycentric.astype(np.float32), albedo_basis.modes[rows[corners]])
    functions = basis(view.normals[chosen])
    shading = functions @ appearance.light
    value, slope = displayed(albedo * shading)
    design = _design(functions, modes, slope * albedo, slope * shading)
    weighted = design * share.astype(np.float32)
    precision = appearance.precision
    matrix = (weighted.T @ design).astype(np.float64) + precision
    difference = (value - view.colours[chosen]).ravel()
    return matrix, weighted.T.astype(np.float64) @ difference + precision @ appearance.stacked


def displayed(linear: Array) -> tuple[Array, Array]:
    """Return sRGB values and their slopes at linear light; below black the straight part of the curve goes on."""
    power = np.maximum(linear, 0.0031308) ** (1.0 / 2.4)
    dark = linear <= 0.0031308
    return (
        np.where(dark, 12.92 * linear, 1.055 * power - 0.055),
        np.where(dark, 12.92, 1.055 * power / (2.4 * np.maximum(linear, 0.0031308))),
    )


def _design(functions: Array, modes: NDArray[np.floating], by_shading: Array, by_albedo: Array) -> NDArray[np.float32]:
    """Return the derivative (3 M, 27 + A) of displayed values by light and albedo coefficients."""
    count = len(functions)
    design = np.zeros((count, 3, 27 + modes.shape[2]), np.float32)
    for k in range(3):
        design[:, k, 9 * k : 9 * k + 9] = by_shading[:, [k]] * functions
    design[:, :, 27:] = by_albedo[:, :, None] * modes
    return design.reshape(3 * count, -1)


def _subset(count: int) -> NDArray[np.intp]:
    """Return the indices of at most SUBSET samples, evenly spread: samples are sorted by triangle, so over the face."""
    return np.unique(np.linspace(0, count - 1, min(count, SUBSET)).astype(np.intp))
