"""The energy of the photometric stage, jointly over pose, identity, expression, light and albedo.

    E(x) = kappa sum_m gamma_m (nu + 3) / 2 log(1 + |r_m|^2 / (nu sigma^2))  +  E_landmarks(x)  +  E_appearance(x)

Sample m (`view.py`) is a point sum_i b_i v_i of the surface. With q_i the corners in the camera frame (px, depth scaled
like the image), u = sum_i b_i q_i its place in the image and n its normal,

    r_m = photo(u) - sRGB(rho * (basis(n) . light))        3 channels, sRGB values 0-1

photo(u) is bilinear, on a level of a pyramid (`levels.py`); rho the albedo, interpolated from the vertices; the light
is spherical harmonics (render/spherical_harmonics.py). E_landmarks holds the landmarks, the eyelids' openings and the
priors of `landmark_problem.py`, E_appearance the priors of light and albedo (`appearance.py`). The tangent space is
that of `landmark_problem.py` with the 27 numbers of the light and those of the albedo after it. Residuals are compared
in sRGB values, whose noise is about the same in light and shade: on rendered heads the fitted surface was nearer the
truth than with linear light, by 1 to 2 % (docs/photometric.md).

Robustness. The errors are Student's t in three dimensions with nu degrees of freedom and scale sigma, from the median
absolute residual: weights w = (nu + 3) / (nu + |r|^2 / sigma^2) by iteratively reweighted least squares; gamma is the
probability that the pixel shows skin at all (`outliers.py`).

Correlation. Neighbouring pixels err alike, so N of them tell as much as N kappa independent ones: 1 / kappa is the
errors' integral range, measured on the residuals of the photo at hand (`correlation.py`).

Derivative. d r = grad photo . du - slope rho d(basis . light)/dn . dn, all of it through the nine numbers q_i, since
n moves as its triangle's normal: so the normal equations of pose and shape, and their coupling to light and albedo, are
had through the mesh (`mesh_assembly`). Light and albedo are solved for together with the rest, which is the same as
eliminating them (variable projection; Golub & Pereyra, Inverse Problems 2003): taking turns with them was measured to
need some eight times the steps. Since shading functions and albedo vary slowly over the face, their part of the matrix
takes them from the middle of each triangle's samples: with tau the slope of the displayed value,

    dr/d light = -tau rho_t f_t        dr/d b = -tau (f_t . light) modes_t

so that sums per triangle of w tau g and of w tau^2 suffice. All parts of the matrix come from these same rows, which
keeps it positive definite; energy and gradient are exact.
"""

from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..gauss_newton import NormalEquations
from ..landmark_problem import POSE, LandmarkProblem
from ..mesh_assembly.equations import ProjectedEquations, TriangleSums, project
from ..state_prior import PoseAndShape
from . import _kernels
from .appearance import Appearance, appearance_equations, linear_slopes
from .view import View

Array = NDArray[np.float64]


class FaceState(NamedTuple):
    """A state of the solver."""

    pose: PoseAndShape
    appearance: Appearance


@dataclass(frozen=True, eq=False)
class PhotometricProblem:
    """A `gauss_newton.Problem` over FaceState. Its derivatives are those at the state that the view was made at."""

    view: View
    landmarks: LandmarkProblem
    weight: Array  # (M,) kappa gamma
    sigma: float  # sRGB units, per channel
    degrees: float  # nu
    executor: Executor | None = field(default=None, repr=False)

    def residual(self, state: FaceState) -> Array:
        """Return photo - model (M, 3) in sRGB values, not weighted."""
        return self._residual(state, self._camera_points(state.pose))

    def square(self, residual: Array) -> Array:
        """Return |r|^2 / sigma^2 (M,)."""
        square: Array = np.einsum("mk,mk->m", residual, residual) / self.sigma**2
        return square

    def photometric_energy(self, residual: Array) -> float:
        """Return the energy of a residual (M, 3), nats."""
        cost = np.log1p(self.square(residual) / self.degrees)
        return float(0.5 * (self.degrees + 3.0) * (self.weight @ cost))

    def energy(self, state: FaceState) -> float:
        """Return E in nats."""
        photometric = self.photometric_energy(self.residual(state))
        return photometric + self.landmarks.energy(state.pose) + state.appearance.energy

    def sample_weights(self, residual: Array) -> Array:
        """Return each sample's weight (M,) in the normal equations, per sRGB unit squared."""
        return self.weight * (self.degrees + 3.0) / (self.degrees + self.square(residual)) / self.sigma**2

    def normal_equations(self, state: FaceState) -> NormalEquations:
        """Return energy, gradient (6 + P + 27 + A,) and Gauss-Newton matrix at `state`."""
        pose, appearance = state
        residual = self.residual(state)
        weight = self.sample_weights(residual)
        if self.executor:
            other = self.executor.submit(appearance_equations, self.view, appearance, weight)
            photo, (own, slope) = self._projected(state, weight), other.result()
        else:
            photo, (own, slope) = self._projected(state, weight), appearance_equations(self.view, appearance, weight)
        assert photo.cross is not None
        points = self.landmarks.normal_equations(pose)
        matrix = np.block([[photo.matrix + points.matrix, photo.cross], [photo.cross.T, own]])
        gradient = np.concatenate([photo.gradient + points.gradient, slope])
        energy = self.photometric_energy(residual) + points.energy + appearance.energy
        return NormalEquations(energy, gradient, matrix)

    def step_bounds(self, state: FaceState) -> tuple[Array, Array]:
        """Return how far each entry may move; light and albedo are free."""
        lower, upper = self.landmarks.step_bounds(state.pose)
        free = np.full(len(state.appearance.stacked), np.inf)
        return np.concatenate([lower, -free]), np.concatenate([upper, free])

    def retract(self, state: FaceState, step: Array) -> FaceState:
        """Return the state at `step` (6 + P + 27 + A,) from `state`."""
        split = POSE + len(state.pose.coefficients)
        return FaceState(self.landmarks.retract(state.pose, step[:split]), state.appearance.moved(step[split:]))

    def _projected(self, state: FaceState, weight: Array) -> ProjectedEquations:
        """Return the photo's part of the normal equations of pose and shape, and their coupling to the appearance."""
        view, dtype, (pose, appearance) = self.view, self.view.basis.dtype, state
        points, modes, count = self._camera_points(pose), view.appearance_modes, len(view.triangles)
        blocks, vectors = np.empty((count, 45), dtype), np.empty((count, 9), dtype)
        pulls, cross = np.empty((count, 3, 9)), np.empty((count, 9, 27 + modes.shape[2]), dtype)
        self._share(_kernels.triangle_sums, state, points, weight, (blocks, vectors, pulls))
        reflectance = view.surface.albedo.reflectance(appearance.coefficients, view.albedo_rows)
        slopes = linear_slopes(view, appearance.light, reflectance)
        centres = view.centres.barycentric, view.centres.functions
        _kernels.triangle_cross((0, count), pulls, view.triangles, centres, *slopes, modes, cross)
        return project(
            view.pattern, TriangleSums(blocks, vectors, cross), view.basis, view.model_points(pose.coefficients),
            pose.rotation, pose.scale, self.executor,
        )  # fmt: skip

    def _residual(self, state: FaceState, points: Array) -> Array:
        residual = np.empty((len(self.view), 3))
        self._share(_kernels.residuals, state, points, residual)
        return residual

    def _camera_points(self, state: PoseAndShape) -> Array:
        """Return the view's vertices (V, 3) in the camera frame, px."""
        seen: Array = state.scale * self.view.model_points(state.coefficients) @ state.rotation.T
        seen[:, :2] += state.translation
        return seen

    def _share(self, kernel: Any, state: FaceState, points: Array, *rest: Any) -> None:
        """Run a kernel over all triangles, shared among the executor's threads."""
        view, level, light = self.view, self.view.level, state.appearance.light
        albedo = view.surface.albedo.reflectance(state.appearance.coefficients, view.albedo_rows)

        def run(part: tuple[int, int]) -> None:
            kernel(
                part, level.photo, level.window, points, view.mesh, view.samples, albedo, light, *rest
            )  # fmt: skip

        parts: Iterable[tuple[int, int]] = view.ranges()
        list(self.executor.map(run, parts) if self.executor else map(run, parts))
