"""The damped Gauss-Newton loop that every optimiser of facefit shares.

A problem states an energy E(x) = 1/2 |r(x)|^2 in nats (residuals are whitened, priors are residuals too) on a manifold
of states. Per iteration, with gradient g = J^T r and Gauss-Newton matrix H = J^T J:

 1. Scale H by its diagonal and damp it, H + lambda diag H (Marquardt's scaling, so nothing depends on units).
 2. The step d minimises the damped quadratic model g^T d + 1/2 d^T (H + lambda diag H) d within the bounds, exactly
    (`ridge.py`); without active bounds that is one Cholesky solve. Retract.
 3. Accept if the energy fell; then lambda shrinks by how well the quadratic model predicted the fall (Nielsen's rule;
    Madsen, Nielsen & Tingleff, Methods for Non-Linear Least Squares Problems, 2004, algorithm 3.16), else it grows.

Converged: the fall of energy that the quadratic model still promises is below `tolerance` nats. Half the squared
distance to the optimum in posterior standard deviations, that number means the same for every problem and unit.
"""

import math
import time
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..models.errors import InvalidInputError
from .ridge import minimise_bounded_quadratic
from .status import FitStatus

Array = NDArray[np.float64]
State = TypeVar("State")


class Equations(Protocol):
    """An energy's Gauss-Newton model at a state."""

    @property
    def energy(self) -> float:
        """E in nats."""

    @property
    def finite(self) -> bool:
        """Whether energy and derivatives are finite."""

    def damped_step(
        self, damping: float, lower: Array, upper: Array, held: NDArray[np.int8] | None
    ) -> tuple[Array, NDArray[np.int8] | None]:
        """Return the step (P,) that minimises the damped model within the bounds, and the bounds that it meets."""

    def promised(self, step: Array) -> float:
        """Return the fall of energy, nats, that the undamped model promises for a step (P,)."""


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """Energy and its Gauss-Newton model at a state, as a matrix."""

    energy: float  # nats
    gradient: Array  # (P,) J^T r
    matrix: Array  # (P, P) J^T J, symmetric

    @property
    def finite(self) -> bool:
        """Whether all is finite; the diagonal of J^T J shows what is not in any column of J."""
        parts = (self.energy, self.gradient, self.matrix.diagonal())
        return all(bool(np.isfinite(part).all()) for part in parts)

    def damped_step(
        self, damping: float, lower: Array, upper: Array, held: NDArray[np.int8] | None
    ) -> tuple[Array, NDArray[np.int8]]:
        """Return the minimum of the damped quadratic model within the bounds, and the bounds that it meets.

        Where rounding leaves the matrix indefinite, the damping grows until it is not.
        """
        matrix = self.matrix.copy()
        diagonal = np.maximum(matrix.diagonal(), 1e-300)
        while True:
            matrix.flat[:: len(matrix) + 1] = diagonal * (1.0 + damping)
            try:
                return minimise_bounded_quadratic(matrix, -self.gradient, lower, upper, held)
            except np.linalg.LinAlgError:
                damping = max(10.0 * damping, 1e-12)

    def promised(self, step: Array) -> float:
        """Return the fall of energy, nats, that the undamped model promises for a step (P,)."""
        return -float(self.gradient @ step + 0.5 * step @ (self.matrix @ step))


class Problem(Protocol[State]):
    """What the loop needs to know; steps live in the tangent space (P,) of the state."""

    def energy(self, state: State) -> float:
        """Return E(state) in nats."""

    def normal_equations(self, state: State) -> Equations:
        """Return energy, gradient and Gauss-Newton model at `state`."""

    def step_bounds(self, state: State) -> tuple[Array, Array]:
        """Return the smallest and largest step (P,) that each entry may take from `state`; infinite where unbounded."""

    def retract(self, state: State, step: Array) -> State:
        """Return the state that lies at `step` (P,) from `state`."""


@dataclass(frozen=True)
class GaussNewtonOptions:
    """When the loop stops and how it damps."""

    max_iterations: int = 50  # solves, accepted or not
    tolerance: float = 1e-7  # nats: promised fall of energy below which the loop has converged
    initial_damping: float = 1e-6  # relative to the diagonal of H; small, for starts that are good

    def __post_init__(self) -> None:
        """Refuse limits that the loop would never reach."""
        if not isinstance(self.max_iterations, int | np.integer) or self.max_iterations < 0:
            raise InvalidInputError(f"max_iterations: expected a whole number from 0, got {self.max_iterations!r}")
        if not 0.0 < self.tolerance < math.inf:
            raise InvalidInputError(f"tolerance: expected a positive number of nats, got {self.tolerance!r}")
        if not 0.0 <= self.initial_damping < math.inf:
            raise InvalidInputError(f"initial_damping: expected a number from 0, got {self.initial_damping!r}")


@dataclass(frozen=True, eq=False)
class Outcome(Generic[State]):
    """Where the loop ended. `state` is the last accepted one, whatever the status."""

    state: State
    energy: float  # nats, at `state`
    equations: Equations | None  # at `state`, where the loop has come to compute them
    last: Equations  # the last that were computed, at `state` or one step before
    held: NDArray[np.int8] | None  # (P,) bounds that the last step met, see ridge.py
    status: FitStatus
    iterations: int
    initial_energy: float  # nats


MAX_DAMPING = 1e10
"""Damping at which the loop gives up."""

LIGHT_DAMPING = 1e-3
"""Damping up to which the damped step still promises about what the undamped one does."""


def minimise(
    problem: Problem[State],
    start: State,
    options: GaussNewtonOptions | None = None,
    deadline: float = math.inf,
    held: NDArray[np.int8] | None = None,
) -> Outcome[State]:
    """Minimise the problem's energy from `start` (see the module's text).

    Status: CONVERGED; MAX_ITERATIONS; STALLED where no step, however damped, lowers the energy while the model still
    promises a fall; DIVERGED where the energy at the start, or a derivative, is not finite; TIMEOUT past `deadline`,
    in seconds on the clock of time.perf_counter.
    """
    options = options or GaussNewtonOptions()
    equations: Equations | None
    state, equations = start, problem.normal_equations(start)
    last, initial = equations, equations.energy
    energy = initial
    damping, growth = options.initial_damping, 2.0
    status, iterations = FitStatus.MAX_ITERATIONS, 0
    while True:
        last = equations = equations or problem.normal_equations(state)
        if not equations.finite:
            status = FitStatus.DIVERGED
            break
        step, held = equations.damped_step(damping, *problem.step_bounds(state), held)
        promised = equations.promised(step)
        if damping <= LIGHT_DAMPING and promised <= options.tolerance:
            status = FitStatus.CONVERGED
            break
        if iterations == options.max_iterations:
            break
        if time.perf_counter() > deadline:
            status = FitStatus.TIMEOUT
            break
        iterations += 1
        trial = problem.retract(state, step)
        trial_energy = problem.energy(trial)
        if np.isfinite(trial_energy) and trial_energy < energy:
            ratio = (energy - trial_energy) / max(promised, 1e-300)
            damping, growth = damping * max(0.1, 1.0 - (2.0 * ratio - 1.0) ** 3), 2.0
            state, energy, equations = trial, trial_energy, None
            if iterations == options.max_iterations:
                break
        elif promised <= max(options.tolerance, 1e-13 * abs(energy)):
            # The model promises less than rounding lets the energy show: this is the bottom, unless the promise is
            # only that small because the step was damped away.
            status = FitStatus.CONVERGED if damping <= LIGHT_DAMPING else FitStatus.STALLED
            break
        else:
            damping, growth = max(damping, 1e-6) * growth, 2.0 * growth
            if damping > MAX_DAMPING:
                status = FitStatus.STALLED
                break
    return Outcome(state, energy, equations, last, held, status, iterations, initial)
