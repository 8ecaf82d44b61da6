"""The energy of the detail stage at one level, as a `gauss_newton.Problem` over heights; its terms are in `detail.py`.

Its Gauss-Newton matrix is never formed: conjugate gradients with the diagonal as preconditioner need its products with
heights only (`_kernels.apply`),

    H = G' (A + bending) G + prior,      G = W grad the slopes, A the cells' J'PJ, 2 x 2.

J. Nocedal, S. Wright, Numerical Optimization, 2006, algorithm 5.3 and section 7.1 (inexact Newton steps).
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from . import _kernels
from .observation import Cells

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

MAX_HEIGHT = 10.0
"""mm: no height is larger."""


@dataclass(frozen=True, eq=False)
class MatrixFreeEquations:
    """Energy and its Gauss-Newton model at some heights; steps are flat (S * S,)."""

    energy: float
    gradient: Floats  # (S, S)
    cells: Floats  # (S, 9, S), see `_kernels.apply`
    prior: Floats  # (S, S)
    steps: int  # of conjugate gradients, at most
    tolerance: float  # of their residual's square, relative

    @property
    def finite(self) -> bool:
        """Whether energy and gradient are finite."""
        return bool(np.isfinite(self.energy) and np.isfinite(self.gradient).all())

    def damped_step(
        self, damping: float, lower: Array, upper: Array, held: NDArray[np.int8] | None
    ) -> tuple[Array, NDArray[np.int8] | None]:
        """Return the step that nearly minimises the damped model; the problem has no bounds within reach of a step."""
        diagonal = np.zeros_like(self.prior)
        _kernels.add_diagonal(self.cells, self.prior, diagonal)
        diagonal = np.maximum(diagonal, np.float32(1e-12))
        prior = self.prior + np.float32(damping) * diagonal
        solution = np.empty_like(self.prior)
        inverse = np.float32(1.0) / (np.float32(1.0 + damping) * diagonal)
        _kernels.conjugate_gradients(self.cells, prior, inverse, -self.gradient, self.steps, self.tolerance, solution)
        return solution.ravel().astype(np.float64), held

    def promised(self, step: Array) -> float:
        """Return the fall of energy that the model promises for a step."""
        heights = step.reshape(self.prior.shape).astype(np.float32)
        curvature = product(self.cells, self.prior, heights)[1]
        return -float(np.vdot(self.gradient, heights.astype(np.float64))) - 0.5 * curvature


@dataclass(frozen=True, eq=False)
class DetailProblem:
    """A `gauss_newton.Problem` over heights (S, S), mm, single precision."""

    cells: Cells
    light: Array  # (9, 3)
    floor: Array  # (3,) the least shading that is believed
    target: Floats  # (3, S, S) what the log of the shading should be
    precision: Floats  # (6, S, S) the weight of its errors: entries 11, 12, 13, 22, 23, 33
    ties: Floats  # (3, S, S) bending weights to the cells on the left and below, and of the twist
    prior: Floats  # (S, S) the diagonal's other part
    anchor: Floats  # (S, S) the pull towards given heights
    steps: int
    tolerance: float
    _rest: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Build the table of cells without the data's part."""
        object.__setattr__(self, "_rest", self._table(np.zeros((3, *self.prior.shape), np.float32)))

    def energy(self, state: Floats) -> float:
        """Return E in nats, but for a constant."""
        return sum(self.energies(state).values())

    def energies(self, state: Floats) -> dict[str, float]:
        """Return the terms of E in nats: the photo's, and the prior's with the mirror but for a constant."""
        return {"shading": self._linearised(state)[0], "prior": self._own(state)[0]}

    def normal_equations(self, state: Floats) -> MatrixFreeEquations:
        """Return energy, gradient and the model's parts at `state`."""
        data, curvature, pull = self._linearised(state)
        own, gradient = self._own(state)
        _kernels.add_adjoint(pull[0], pull[1], self.cells.frames, gradient)
        return MatrixFreeEquations(data + own, gradient, self._table(curvature), self.prior, self.steps, self.tolerance)

    def step_bounds(self, state: Floats) -> tuple[Array, Array]:
        """Return no bounds: `retract` keeps heights within MAX_HEIGHT, which no wrinkle comes near."""
        free = np.full(state.size, np.inf)
        return -free, free

    def retract(self, state: Floats, step: Array) -> Floats:
        """Return the heights at `step` (S * S,) from `state`."""
        moved = state + step.reshape(state.shape).astype(np.float32)
        return np.clip(moved, np.float32(-MAX_HEIGHT), np.float32(MAX_HEIGHT))

    def _linearised(self, state: Floats) -> tuple[float, Floats, Floats]:
        """Return the data's energy, and each cell's curvature (3, S, S) and pull (2, S, S) in its slopes."""
        first, second = slopes(state, self.cells)
        curvature, pull = np.zeros((3, *state.shape), np.float32), np.zeros((2, *state.shape), np.float32)
        energy = _kernels.linearise(
            first, second, self.cells.normals, self.cells.axes, self.light, self.floor, self.target, self.precision,
            curvature, pull,
        )  # fmt: skip
        return float(energy), curvature, pull

    def _own(self, state: Floats) -> tuple[float, Floats]:
        """Return energy and gradient (S, S) of the prior and the anchor."""
        image, square = product(self._rest, self.prior, state)
        return 0.5 * square - float(np.vdot(self.anchor, state)), image - self.anchor

    def _table(self, curvature: Floats) -> Floats:
        return np.ascontiguousarray(
            np.concatenate([self.cells.frames, curvature, self.ties]).transpose(1, 0, 2), np.float32
        )


def product(cells: Floats, prior: Floats, heights: Floats) -> tuple[Floats, float]:
    """Return H heights (S, S) and heights . H heights; cells and prior as in `_kernels.apply`."""
    size = len(heights)
    result = np.empty_like(heights)
    ring, pulls = np.zeros((3, 3, size + 1), np.float32), np.zeros((2, 3, size + 1), np.float32)
    square = _kernels.apply(cells, prior, heights, result, ring, pulls)
    return result, float(square)


def slopes(heights: Floats, cells: Cells) -> tuple[Floats, Floats]:
    """Return the slopes of heights (S, S) in the cells, (S, S) each."""
    first, second = np.zeros_like(heights), np.zeros_like(heights)
    _kernels.slopes(heights, cells.frames, first, second)
    return first, second


def excess(cells: Cells, light: Array, floor: Array, heights: Floats) -> Floats:
    """Return by what the log of the colours exceeds albedo and shading at heights, (3, S, S), where a cell is seen."""
    left = np.zeros_like(cells.logs)
    _kernels.write_excess(
        cells.logs, cells.seen, *slopes(heights, cells), cells.normals, cells.axes, light, floor, left
    )  # fmt: skip
    return left
