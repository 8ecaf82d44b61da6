"""The energy of the landmark stage, jointly over pose, identity and expression.

    E(R, t, s, c) = 1/2 sum_i |L_i (s R_2 p_i(c) + t - x_i)|^2 + 1/2 sum_k (c_k / sigma_k)^2

with p_i(c) = mean_i + sum_k c_k basis_ki (mm), x_i the observed points (px), R_2 the first two rows of R, and L_i the
whitening (2, 2) of point i, 1/px: I / (sigma_i F) for a fixed point of the face, and for a point that slides along the
outline one row across it and a weaker one along it (`contour.py`). Pairs of lids and lips are decorrelated after that
(`landmark_noise.py`). All is in nats.

The tangent space has the entries (omega, dt, d log s, dc): R <- exp([omega]) R with omega in radians about the camera's
axes, t <- t + dt, s <- s exp(d log s), c <- c + dc. With q = s R p the derivatives of (u, v) are

    d/d omega = (0, -q_z), (q_z, 0), (-q_y, q_x) as columns of (du, dv)      d/dt = I      d/d log s = q_xy
    d/dc_k    = s R_2 basis_k

Pose has no prior: its six columns stay in the system, so the posterior of c is marginal over the pose, which an
alternation between pose and coefficients would hold fixed and thereby overstate what the photo says.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ._kernels import whitened_jacobian, whitened_residual
from .gauss_newton import NormalEquations
from .state_prior import PoseAndShape, StatePrior

Array = NDArray[np.float64]

POSE = 6
"""Number of pose entries at the head of a step."""


@dataclass(frozen=True, eq=False)
class LandmarkProblem:
    """A `gauss_newton.Problem` over PoseAndShape."""

    mean: Array  # (M, 3) mm
    basis: NDArray[np.floating]  # (P, M, 3) mm per unit
    observed: Array  # (M, 2) px
    whitening: Array  # (M, 2, 2) 1/px
    pairs: NDArray[np.intp]  # (Q, 2) indices of correlated points
    correlation: float
    precision: Array  # (P,) 1 / sigma_k^2
    lower: Array  # (P,)
    upper: Array  # (P,)
    prior: StatePrior | None = None  # what else is known of pose and shape

    def points(self, coefficients: Array) -> Array:
        """Return the model's points (M, 3), mm."""
        return self.mean + (coefficients @ self.basis.reshape(len(self.basis), self.mean.size)).reshape(-1, 3)

    def projected(self, state: PoseAndShape) -> Array:
        """Return the model's points in the image (M, 2), px."""
        return state.scale * self.points(state.coefficients) @ state.rotation[:2].T + state.translation

    def residual(self, state: PoseAndShape) -> Array:
        """Return the whitened landmark residual (2 M,), without the priors'."""
        return self._residual(state, self.points(state.coefficients))

    def jacobian(self, state: PoseAndShape) -> Array:
        """Return the derivative (2 M, 6 + P) of `residual` with respect to a step."""
        return self._jacobian_transposed(state, self.points(state.coefficients)).T

    def energy(self, state: PoseAndShape) -> float:
        """Return E in nats."""
        residual = self.residual(state)
        c = state.coefficients
        own = 0.0 if self.prior is None else self.prior.energy(state)
        return float(0.5 * (residual @ residual) + 0.5 * (self.precision @ (c * c))) + own

    def normal_equations(self, state: PoseAndShape) -> NormalEquations:
        """Return energy, gradient (6 + P,) and Gauss-Newton matrix at `state`."""
        points = self.points(state.coefficients)
        residual = self._residual(state, points)
        transposed = self._jacobian_transposed(state, points)
        gradient, matrix = transposed @ residual, transposed @ transposed.T
        c = state.coefficients
        gradient[POSE:] += self.precision * c
        matrix.flat[POSE * (len(matrix) + 1) :: len(matrix) + 1] += self.precision
        energy = float(0.5 * (residual @ residual) + 0.5 * (self.precision @ (c * c)))
        if self.prior is None:
            return NormalEquations(energy, gradient, matrix)
        own, slope, stiffness = self.prior.equations(state)
        return NormalEquations(energy + own, gradient + slope, matrix + stiffness)

    def step_bounds(self, state: PoseAndShape) -> tuple[Array, Array]:
        """Return how far each entry may move; the pose is free."""
        free = np.full(POSE, np.inf)
        c = state.coefficients
        return np.concatenate([-free, self.lower - c]), np.concatenate([free, self.upper - c])

    def retract(self, state: PoseAndShape, step: Array) -> PoseAndShape:
        """Return the state at `step` (6 + P,) from `state`; coefficients land exactly on bounds they reach."""
        moved = state.stepped(step)
        return moved._replace(coefficients=np.clip(moved.coefficients, self.lower, self.upper))

    def robust(self, state: PoseAndShape, degrees: float) -> "LandmarkProblem":
        """Return the problem in which a point counts by how well it agrees with `state`.

        The weights are those of iteratively reweighted least squares for errors of Student's t distribution in two
        dimensions, (nu + 2) / (nu + |r_i|^2) with nu = `degrees`.
        """
        weight = (degrees + 2.0) / (degrees + self.squares(state))
        return replace(self, whitening=np.sqrt(weight)[:, None, None] * self.whitening)

    def robust_cost(self, state: PoseAndShape, degrees: float) -> float:
        """Return the energy of the points, without priors, under that distribution, nats."""
        return float(0.5 * (degrees + 2.0) * np.log1p(self.squares(state) / degrees).sum())

    def squares(self, state: PoseAndShape) -> Array:
        """Return each point's |r_i|^2 (M,), without the correlation of pairs."""
        apart = np.einsum("mij,mj->mi", self.whitening, self.projected(state) - self.observed)
        square: Array = np.einsum("mi,mi->m", apart, apart)
        return square

    def _residual(self, state: PoseAndShape, points: Array) -> Array:
        return whitened_residual(
            state.rotation, state.translation, state.scale, points,
            self.observed, self.whitening, self.pairs, self.correlation,
        )  # fmt: skip

    def _jacobian_transposed(self, state: PoseAndShape, points: Array) -> Array:
        return whitened_jacobian(
            state.rotation, state.scale, points, self.basis, self.whitening, self.pairs, self.correlation
        )
