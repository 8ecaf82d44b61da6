"""The energy of the photometric stage over pose, identity and expression, light and albedo at rest.

    E(x) = kappa sum_m gamma_m (nu + 3) / 2 log(1 + |r_m|^2 / (nu sigma^2))  +  E_landmarks(x)

Sample m (`view.py`) is a point sum_i b_i v_i of the surface. With q_i the corners in the camera frame (px, depth scaled
like the image), u = sum_i b_i q_i its place in the image and n its normal,

    r_m = photo(u) - sRGB(rho * (basis(n) . light))        3 channels, sRGB values 0-1

photo(u) is bilinear, on a level of a pyramid (`levels.py`); rho the albedo, interpolated from the vertices; the light
is spherical harmonics (render/spherical_harmonics.py). E_landmarks holds the landmarks, the eyelids' openings and the
priors of `landmark_problem.py`, and shares its tangent space. Residuals are compared in sRGB values, whose noise is
about the same in light and shade: on rendered heads the fitted surface was nearer the truth than with linear light, by
1 to 2 % (docs/photometric.md).

Robustness. The errors are Student's t in three dimensions with nu degrees of freedom and scale sigma, from the median
absolute residual: weights w = (nu + 3) / (nu + |r|^2 / sigma^2) by iteratively reweighted least squares; gamma is the
probability that the pixel shows skin at all (`outliers.py`).

Correlation. Neighbouring pixels err alike: what the model lacks, a freckled cheek, a beard, a bump, is larger than a
pixel. For errors of autocorrelation exp(-d^2 / 2 l^2), N pixels tell as much of a smooth quantity as N kappa
independent ones,

    1 / kappa = integral of exp(-d^2 / 2 l^2) over the plane = 2 pi l^2      px^2

(the integral range; Lantuejoul, Geostatistical Simulation, 2002, chapter 4). l is a share of the face's size, so that
the photo's and the level's resolution cancel: a face of 80 px has l = 4.8 px and kappa = 0.007, one of 45 px (4,000
pixels) 0.022.

Derivative. d r = grad photo . du - slope rho d(basis . light)/dn . dn, all of it through the nine numbers q_i, since
n moves as its triangle's normal: so the normal equations are had through the mesh (`mesh_assembly`).
"""

from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..gauss_newton import NormalEquations
from ..landmark_problem import LandmarkProblem, PoseAndShape
from ..mesh_assembly.equations import ProjectedEquations, TriangleSums, project
from . import _kernels
from .view import View

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PhotometricProblem:
    """A `gauss_newton.Problem` over PoseAndShape."""

    view: View
    landmarks: LandmarkProblem
    albedo: Array  # (V, 3) linear reflectance of the view's vertices
    light: Array  # (9, 3)
    weight: Array  # (M,) kappa gamma
    sigma: float  # sRGB units, per channel
    degrees: float  # nu
    executor: Executor | None = field(default=None, repr=False)

    def residual(self, state: PoseAndShape) -> Array:
        """Return photo - model (M, 3) in sRGB values, not weighted."""
        residual = np.empty((len(self.view), 3))
        points = self._camera_points(state, self.view.model_points(state.coefficients))
        self._share(_kernels.residuals, points, residual)
        return residual

    def square(self, residual: Array) -> Array:
        """Return |r|^2 / sigma^2 (M,)."""
        square: Array = np.einsum("mk,mk->m", residual, residual) / self.sigma**2
        return square

    def photometric_energy(self, residual: Array) -> float:
        """Return the energy of a residual (M, 3), nats."""
        cost = np.log1p(self.square(residual) / self.degrees)
        return float(0.5 * (self.degrees + 3.0) * (self.weight @ cost))

    def energy(self, state: PoseAndShape) -> float:
        """Return E in nats."""
        return self.photometric_energy(self.residual(state)) + self.landmarks.energy(state)

    def sample_weights(self, residual: Array) -> Array:
        """Return each sample's weight (M,) in the normal equations, per sRGB unit squared."""
        return self.weight * (self.degrees + 3.0) / (self.degrees + self.square(residual)) / self.sigma**2

    def normal_equations(self, state: PoseAndShape) -> NormalEquations:
        """Return energy, gradient (6 + P,) and Gauss-Newton matrix at `state`."""
        photo, energy = self._projected(state, None)
        points = self.landmarks.normal_equations(state)
        return NormalEquations(
            energy + points.energy, photo.gradient + points.gradient, photo.matrix + points.matrix
        )  # fmt: skip

    def coupled_matrices(self, state: PoseAndShape, modes: NDArray[np.floating]) -> tuple[Array, Array]:
        """Return the Gauss-Newton matrix (6 + P, 6 + P) and its coupling (6 + P, 27 + A) to light and albedo.

        modes (V, 3, A): the albedo's change per unit of each coefficient.
        """
        photo, _ = self._projected(state, modes)
        assert photo.cross is not None
        return photo.matrix + self.landmarks.normal_equations(state).matrix, photo.cross

    def step_bounds(self, state: PoseAndShape) -> tuple[Array, Array]:
        """Return how far each entry may move."""
        return self.landmarks.step_bounds(state)

    def retract(self, state: PoseAndShape, step: Array) -> PoseAndShape:
        """Return the state at `step` (6 + P,) from `state`."""
        return self.landmarks.retract(state, step)

    def _projected(self, state: PoseAndShape, modes: NDArray[np.floating] | None) -> tuple[ProjectedEquations, float]:
        """Return the photo's part of the normal equations, with its coupling to light and albedo if asked for."""
        view, dtype = self.view, self.view.basis.dtype
        model_points = view.model_points(state.coefficients)
        points = self._camera_points(state, model_points)
        residual = np.empty((len(view), 3))
        self._share(_kernels.residuals, points, residual)
        weight = self.sample_weights(residual)
        count = len(view.triangles)
        blocks, vectors, cross = np.empty((count, 45), dtype), np.empty((count, 9), dtype), None
        self._share(_kernels.triangle_sums, points, weight, blocks, vectors)
        if modes is not None:
            cross = np.empty((count, 9, 27 + modes.shape[2]), dtype)
            self._share(_kernels.triangle_cross, points, weight, modes, cross)
        sums = TriangleSums(blocks, vectors, cross)
        equations = project(
            view.pattern, sums, view.basis, model_points, state.rotation, state.scale, self.executor
        )  # fmt: skip
        return equations, self.photometric_energy(residual)

    def _camera_points(self, state: PoseAndShape, points: Array) -> Array:
        """Return the view's vertices (V, 3) in the camera frame, px."""
        seen: Array = state.scale * points @ state.rotation.T
        seen[:, :2] += state.translation
        return seen

    def _share(self, kernel: Any, points: Array, *rest: Any) -> None:
        """Run a kernel over all triangles, shared among the executor's threads."""
        view, level = self.view, self.view.level

        def run(part: tuple[int, int]) -> None:
            kernel(
                part, level.photo, level.window, points, view.mesh, view.samples, self.albedo, self.light, *rest
            )  # fmt: skip

        parts: Iterable[tuple[int, int]] = view.ranges()
        list(self.executor.map(run, parts) if self.executor else map(run, parts))
