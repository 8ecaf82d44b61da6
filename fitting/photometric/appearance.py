"""Light and albedo: what a face looks like, apart from its shape.

A sample with unit normal n and albedo rho(b) = mean + modes b is displayed as  sRGB(rho(b) * (basis(n) . light)).
The coefficients x = (light, 27 numbers channel by channel; b) have the prior

    1/2 |b|^2  +  1/2 sum_k [ (mean_k / s_k)^2 + |light_k - mean_k|^2 / c_k^2 ]        mean_k over the channels

that is, light is thought near-monochrome and smooth: s_k = BAND_SIGMA by band and c_k = CHROMA_SIGMA, relative to the
ambient light that would shade the face as brightly as the first estimate does. Brightness is left to the light, since
the albedo's prior fixes its own.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ...models.arrays import read_only
from ...models.colour import srgb_to_linear
from ...render.spherical_harmonics import estimate_lighting
from ._kernels import appearance_design, appearance_sums
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
    def light_precision(self) -> Array:
        """Prior precision (27, 27) of the light."""
        return _light_precision() / self.ambient**2

    @property
    def precision(self) -> Array:
        """Prior precision (27 + A, 27 + A) of the stacked coefficients."""
        matrix = np.eye(27 + len(self.coefficients))
        matrix[:27, :27] = self.light_precision
        return matrix

    @property
    def stacked(self) -> Array:
        """(27 + A,) light channel by channel, then albedo."""
        return np.concatenate([self.light.T.ravel(), self.coefficients])

    @property
    def energies(self) -> dict[str, float]:
        """Priors in nats."""
        light = self.light.T.ravel()
        return {
            "lighting": float(0.5 * light @ self.light_precision @ light),
            "albedo": float(0.5 * self.coefficients @ self.coefficients),
        }

    @property
    def energy(self) -> float:
        """Both priors, nats."""
        return sum(self.energies.values())

    def moved(self, step: Array) -> "Appearance":
        """Return the appearance at `step` (27 + A,) from this one."""
        return replace(
            self, light=self.light + step[:27].reshape(3, 9).T, coefficients=self.coefficients + step[27:]
        )  # fmt: skip


@cache
def _light_precision() -> Array:
    """Return the prior precision (27, 27) of a light whose ambient part is one."""
    matrix, mean = np.zeros((27, 27)), np.full((3, 3), 1.0 / 3.0)
    for k, band in enumerate(_BANDS):
        rows = np.array([k, 9 + k, 18 + k])
        # The mean m of three numbers contributes (m / sigma)^2: a third of mean @ x / sigma^2.
        tied = mean / (3.0 * BAND_SIGMA[band] ** 2)
        matrix[np.ix_(rows, rows)] = tied + (np.eye(3) - mean) / CHROMA_SIGMA[band] ** 2
    return read_only(matrix)


def first_appearance(view: View) -> Appearance:
    """Return the light that suits the model's mean albedo, robustly, from the triangles' mean colours."""
    albedo_basis, (_, normals, functions) = view.surface.albedo, view.centres
    coefficients, counts = np.zeros(albedo_basis.size), np.diff(view.first).astype(np.float64)
    albedo = view.of_centres(albedo_basis.reflectance(coefficients, view.albedo_rows))
    colours = np.add.reduceat(srgb_to_linear(view.colours), view.first[:-1], axis=0) / counts[:, None]
    weights = counts
    for _ in range(3):
        light = estimate_lighting(normals, albedo, colours, weights=weights, ridge=1e-2)
        distance = np.linalg.norm(colours - albedo * (functions @ light), axis=1)
        weights = counts / (1.0 + (distance / (1.5 * np.median(distance) + 1e-6)) ** 2)
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

    weights (M,) of the samples, per sRGB unit squared. The gradient is exact; the matrix takes shading functions and
    albedo from the middle of each triangle's samples.
    """
    albedo_basis, modes, count = view.surface.albedo, view.appearance_modes, len(view.triangles)
    reflectance = albedo_basis.reflectance(appearance.coefficients, view.albedo_rows)
    by_light, by_corner, squares = np.empty((count, 3, 9)), np.empty((count, 3, 3)), np.empty((count, 3))
    appearance_sums(
        (0, count), view.mesh, view.samples, view.colours, reflectance, appearance.light, weights,
        (by_light, by_corner, squares),
    )  # fmt: skip
    at_vertices = view.to_vertices(by_corner)
    gradient = np.concatenate([
        by_light.sum(axis=0).ravel(),
        at_vertices.ravel().astype(modes.dtype) @ modes.reshape(at_vertices.size, albedo_basis.size),
    ])  # fmt: skip
    root = np.sqrt(squares)
    by_shading, by_albedo = linear_slopes(view, appearance.light, reflectance)
    size = 27 + albedo_basis.size
    design = np.empty((count, 3, size), modes.dtype)
    appearance_design(
        view.triangles, view.centres.barycentric, view.centres.functions, root * by_shading, root * by_albedo, modes,
        design,
    )  # fmt: skip
    stacked, precision = design.reshape(-1, size), appearance.precision
    matrix = (stacked.T @ stacked).astype(np.float64) + precision
    return matrix, gradient + precision @ appearance.stacked


def linear_slopes(view: View, light: Array, reflectance: Array) -> tuple[Array, Array]:
    """Return the derivatives (T, 3) of linear values by shading and by albedo, midway among a triangle's samples.

    reflectance (V, 3): of the view's vertices.
    """
    return view.of_centres(reflectance), view.centres.functions @ light


def displayed(linear: Array) -> tuple[Array, Array]:
    """Return sRGB values and their slopes at linear light; below black the straight part of the curve goes on."""
    power = np.maximum(linear, 0.0031308) ** (1.0 / 2.4)
    dark = linear <= 0.0031308
    return (
        np.where(dark, 12.92 * linear, 1.055 * power - 0.055),
        np.where(dark, 12.92, 1.055 * power / (2.4 * np.maximum(linear, 0.0031308))),
    )
