"""Light and albedo: what a face looks like, apart from its shape.

A sample with unit normal n and albedo rho(b) = mean + modes b is displayed as  sRGB(rho(b) * (basis(n) . light)).
The coefficients x = (light, 27 numbers channel by channel; b) have the prior

    1/2 |b|^2  +  1/2 sum_k [ (mean_k / s_k)^2 + |light_k - mean_k|^2 / c_k^2 ]        mean_k over the channels

that is, light is thought near-monochrome and smooth: s_k = BAND_SIGMA by band and c_k = CHROMA_SIGMA, relative to the
ambient light that would shade the face as brightly as the first estimate does. Brightness is left to the light, since
the albedo's prior fixes its own.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...models.colour import srgb_to_linear
from ...render.spherical_harmonics import basis, estimate_lighting
from ._kernels import appearance_design
from .view import View

Array = NDArray[np.float64]

BAND_SIGMA = (10.0, 1.0, 0.5)
CHROMA_SIGMA = (0.45, 0.15, 0.15)

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
    def energies(self) -> dict[str, float]:
        """Priors in nats."""
        x, precision = self.stacked, self.precision
        return {
            "lighting": float(0.5 * x[:27] @ precision[:27, :27] @ x[:27]),
            "albedo": float(0.5 * self.coefficients @ self.coefficients),
        }

    @property
    def energy(self) -> float:
        """Both priors, nats."""
        x = self.stacked
        return float(0.5 * x @ self.precision @ x)

    def moved(self, step: Array) -> "Appearance":
        """Return the appearance at `step` (27 + A,) from this one."""
        return replace(
            self, light=self.light + step[:27].reshape(3, 9).T, coefficients=self.coefficients + step[27:]
        )  # fmt: skip


def first_appearance(view: View) -> Appearance:
    """Return the light that suits the model's mean albedo, robustly."""
    albedo_basis = view.surface.albedo
    coefficients = np.zeros(albedo_basis.size)
    colours = srgb_to_linear(view.colours)
    albedo = view.of_samples(albedo_basis.reflectance(coefficients, view.albedo_rows))
    functions, weights = basis(view.normals), np.ones(len(view))
    for _ in range(3):
        light = estimate_lighting(view.normals, albedo, colours, weights=weights, ridge=1e-2)
        distance = np.linalg.norm(colours - albedo * (functions @ light), axis=1)
        weights = 1.0 / (1.0 + (distance / (1.5 * np.median(distance) + 1e-6)) ** 2)
    return Appearance(light, coefficients, max(float((functions @ light).mean() / functions[0, 0]), 1e-2))


def refined(view: View, appearance: Appearance, weights: Array, *, deviation: bool = True) -> Appearance:
    """Return the appearance after a Gauss-Newton step; weights (M,) of the samples, per sRGB unit squared.

    Without `deviation` a face's own deviation from the model's albedo stays as it is.
    """
    matrix, gradient = appearance_equations(view, appearance, weights)
    moving = len(gradient) if deviation else 27 + view.surface.albedo.n_model
    step = np.zeros(len(gradient))
    step[:moving] = -np.linalg.solve(matrix[:moving, :moving], gradient[:moving])
    return appearance.moved(step)


def appearance_equations(view: View, appearance: Appearance, weights: Array) -> tuple[Array, Array]:
    """Return matrix (27 + A, 27 + A) and gradient (27 + A,) of light and albedo, priors included, at the view's state.

    weights (M,) of the samples, per sRGB unit squared. The matrix is had from `View.sparse`, the gradient from all.
    """
    albedo_basis, rows = view.surface.albedo, view.albedo_rows
    albedo = view.of_samples(albedo_basis.reflectance(appearance.coefficients, rows))
    functions = basis(view.normals)
    shading = functions @ appearance.light
    value, slope = displayed(albedo * shading)
    by_shading, by_albedo = slope * albedo, slope * shading
    residual = weights[:, None] * (value - view.colours)
    at_vertices = view.to_vertices(by_albedo * residual)
    modes = albedo_basis.modes[rows]
    gradient = np.concatenate([
        (functions.T @ (by_shading * residual)).T.ravel(),
        at_vertices.ravel() @ modes.reshape(-1, albedo_basis.size).astype(np.float64),
    ])  # fmt: skip
    chosen, factor = view.sparse
    root = np.sqrt(factor * weights[chosen])[:, None]
    size = 27 + albedo_basis.size
    design = np.empty((len(chosen), 3, size), np.promote_types(modes.dtype, view.basis.dtype))
    appearance_design(
        view.corners[chosen], view.barycentric[chosen], functions[chosen],
        root * by_shading[chosen], root * by_albedo[chosen], modes, design,
    )  # fmt: skip
    stacked, precision = design.reshape(-1, size), appearance.precision
    matrix = (stacked.T @ stacked).astype(np.float64) + precision
    return matrix, gradient + precision @ appearance.stacked


def displayed(linear: Array) -> tuple[Array, Array]:
    """Return sRGB values and their slopes at linear light; below black the straight part of the curve goes on."""
    power = np.maximum(linear, 0.0031308) ** (1.0 / 2.4)
    dark = linear <= 0.0031308
    return (
        np.where(dark, 12.92 * linear, 1.055 * power - 0.055),
        np.where(dark, 12.92, 1.055 * power / (2.4 * np.maximum(linear, 0.0031308))),
    )
