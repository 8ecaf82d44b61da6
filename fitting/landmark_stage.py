"""The landmark stage: pose, identity and expression from 68 points.

 1. From a starting shape, the Gold Standard camera alternates with closed-form ridges for expression (bounded) and
    identity (`gold_standard.py`, `ridge.py`). In the contour convention only the 51 inner points take part, since the
    jaw's points have no fixed counterpart yet. This is a start, not the estimate: alternating blocks stops early along
    directions in which pose and shape trade off.
 2. A joint damped Gauss-Newton finish over pose and all coefficients within their bounds (`landmark_problem.py`). With
    sliding jaw points (`contour.py`) matching and single steps take turns until a step promises next to nothing.
 3. The posterior standard deviation of each coefficient from the inverse of the Gauss-Newton matrix at the end: the
    Laplace approximation, marginal over the pose and the other coefficients.

The unit of noise, the face's size F in px, is the scale of the last Gold Standard camera times the model's
`face_size`; it stays fixed while the energy is minimised, so that a larger face is not a cheaper one.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotri

from ..models.errors import InvalidInputError
from ..models.morphable_model import MorphableModel
from .gauss_newton import GaussNewtonOptions, NormalEquations, Outcome, minimise
from .gold_standard import DegenerateConfigurationError, fit_scaled_orthographic
from .landmark_noise import LandmarkNoise
from .landmark_problem import POSE, LandmarkProblem
from .landmark_task import JawMatching, LandmarkTask, energy_terms, landmark_task, parameters_of, state_of
from .landmarks import JAW, LandmarkConvention
from .parameters import FaceParameters
from .ridge import minimise_bounded_quadratic
from .state_prior import PoseAndShape
from .status import FitStatus

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LandmarkStageOptions:
    """Options of the landmark stage."""

    alternations: int = 1  # rounds of camera (after the first), expression, identity before the joint finish
    max_matchings: int = 12  # rounds of matching the jaw's outline and solving
    identity_prior: float = 1.0  # weight of 1/2 |identity|^2; 1 is the model's own prior
    expression_prior: float = 1.0  # weight of 1/2 sum (expression / sigma)^2
    solver: GaussNewtonOptions = field(default_factory=GaussNewtonOptions)

    def __post_init__(self) -> None:
        """Refuse numbers of rounds and weights that cannot be, naming the option."""
        for name, least in (("alternations", 0), ("max_matchings", 1)):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or value < least:
                raise InvalidInputError(f"{name}: expected a whole number from {least}, got {value!r}")
        for name in ("identity_prior", "expression_prior"):
            value = getattr(self, name)
            if not 0.0 < value < math.inf:
                raise InvalidInputError(f"{name}: expected a positive number, got {value!r}")


@dataclass(frozen=True, eq=False)
class LandmarkFit:
    """What the landmark stage found."""

    parameters: FaceParameters
    status: FitStatus
    message: str  # one sentence
    iterations: int  # Gauss-Newton solves
    initial_energy: dict[str, float]  # nats by term, at the start
    final_energy: dict[str, float]  # nats by term
    covariance: Array  # (6 + K + E, 6 + K + E) of a step, see landmark_problem
    landmarks: Array  # (68, 2) px, the model's points as matched: on the outline where they slide
    task: LandmarkTask  # what was fitted, for the stages that follow

    @property
    def landmark_energy(self) -> float:
        """The landmarks' part of the final energy, nats."""
        return self.final_energy["landmarks"]


MAX_AVERTED = 0.2
"""Largest R_33 of a plausible pose: -1 is frontal, 0 a profile."""

MAX_IDENTITY = 8.0
"""Largest identity coefficient, in standard deviations, of something that may still be called a face."""

MAX_ERROR = 0.08
"""Largest RMS landmark error of a fit, relative to the face's size; five times the assumed noise if that is more."""

MATCHING_TOLERANCE = 2e-3
"""Promised fall of energy, in nats, right after a matching, at which matching and solving end."""


def fit_landmark_stage(
    model: MorphableModel,
    observed: Array,
    start: FaceParameters,
    noise: LandmarkNoise,
    convention: LandmarkConvention,
    options: LandmarkStageOptions,
    deadline: float = math.inf,
) -> LandmarkFit:
    """Fit pose, identity and expression to `observed` (68, 2) px, finite where `noise.sigma` is.

    `deadline` is in seconds on the clock of time.perf_counter; past it the fit ends with status TIMEOUT.

    DegenerateConfigurationError where the points do not determine a pose, or show a face from behind.
    """
    task = landmark_task(model, observed, noise, convention, options.identity_prior, options.expression_prior)
    state = state_of(start)
    initial = energy_terms(task.problem(state.scale), state, model.n_identity)
    _require_facing(state)
    state, held = _alternate(task, state, options.alternations)
    outcome, problem, iterations = _finish(task, state, held, options, deadline)
    equations = outcome.equations
    if not isinstance(equations, NormalEquations):
        equations = problem.normal_equations(outcome.state)
    landmarks = problem.projected(outcome.state)
    implausible = _implausible(outcome.state, landmarks, task)
    return LandmarkFit(
        parameters=parameters_of(outcome.state, model.n_identity),
        status=FitStatus.DEGENERATE if implausible else outcome.status,
        message=implausible or outcome.status.value,
        iterations=iterations,
        initial_energy=initial,
        final_energy=energy_terms(problem, outcome.state, model.n_identity),
        covariance=inverse_positive_definite(equations.matrix),
        landmarks=landmarks,
        task=task,
    )


def _alternate(task: LandmarkTask, state: PoseAndShape, alternations: int) -> tuple[PoseAndShape, NDArray[np.int8]]:
    """Take turns between closed-form ridges for expression and identity and the Gold Standard camera.

    The state comes with its camera, and the joint finish moves it: rounds begin and end with the ridges. Returns also
    the bounds (6 + P,) that hold, see ridge.py.
    """
    weights = task.noise.weights(1.0)
    if task.sliding:
        weights[JAW] = 0.0
    split, held = task.model.n_identity, np.zeros(POSE + len(task.precision), dtype=np.int8)
    for alternation in range(alternations):
        c = state.coefficients.copy()
        if alternation:
            camera = fit_scaled_orthographic(task.basis.positions(c), task.observed, weights)
            state = PoseAndShape(camera.rotation, camera.translation, camera.scale, c)
        problem = task.problem(state.scale, counted=weights > 0.0)
        equations = problem.normal_equations(state)
        # E is quadratic in c: with gradient g and matrix H at c, the minimum over a block solves H c' = H c - g.
        matrix = equations.matrix[POSE:, POSE:]
        vector = matrix @ c - equations.gradient[POSE:]
        for block, other in ((slice(split, None), slice(0, split)), (slice(0, split), slice(split, None))):
            rest = vector[block] - matrix[block, other] @ c[other]
            lower, upper = problem.lower[block], problem.upper[block]
            c[block], held[POSE:][block] = minimise_bounded_quadratic(matrix[block, block], rest, lower, upper)
        state = state._replace(coefficients=c)
    return state, held


def _finish(
    task: LandmarkTask,
    state: PoseAndShape,
    held: NDArray[np.int8] | None,
    options: LandmarkStageOptions,
    deadline: float,
) -> tuple[Outcome[PoseAndShape], LandmarkProblem, int]:
    """Minimise jointly, from bounds thought to hold; returns also the problem solved and the number of solves.

    Where the jaw slides, one step follows each matching, until a fresh matching leaves nothing to gain.
    """
    scale, solver = state.scale, options.solver
    if not task.sliding:
        problem = task.problem(scale)
        outcome = minimise(problem, state, solver, deadline, held)
        return outcome, problem, outcome.iterations
    step = replace(solver, max_iterations=1, tolerance=MATCHING_TOLERANCE)
    matching, iterations = JawMatching(), 0
    for _ in range(options.max_matchings):
        matching = matching.again(task, state)
        problem = task.problem(scale, matching.match)
        outcome = minimise(problem, state, step, deadline, held)
        state, held, iterations = outcome.state, outcome.held, iterations + outcome.iterations
        if outcome.status is not FitStatus.MAX_ITERATIONS:
            return outcome, problem, iterations
    # The matching has not settled: its last state is kept, and its optimum is close to the answer but not it.
    outcome = minimise(problem, state, solver, deadline, held)
    status = FitStatus.MAX_ITERATIONS if outcome.status is FitStatus.CONVERGED else outcome.status
    return replace(outcome, status=status), problem, iterations + outcome.iterations


def _require_facing(state: PoseAndShape) -> None:
    """Refuse a pose seen from behind: landmarks that are mirrored, or in another order than iBUG's."""
    if state.rotation[2, 2] > MAX_AVERTED:
        raise DegenerateConfigurationError("the points show a face from behind: they are mirrored or in another order")


def _implausible(state: PoseAndShape, landmarks: Array, task: LandmarkTask) -> str | None:
    """Return a sentence where the optimum is no face: a shape far outside the model, or points far from any shape."""
    largest = float(np.abs(state.coefficients[: task.model.n_identity]).max(initial=0.0))
    if largest > MAX_IDENTITY:
        return f"{FitStatus.DEGENERATE.value}: the best shape lies {largest:.0f} standard deviations from the mean"
    size = state.scale * task.model.face_size
    used = np.isfinite(task.noise.sigma)
    relative = np.linalg.norm((landmarks - task.observed)[used], axis=1) / size
    error, noise = np.sqrt(np.mean(relative**2)), np.sqrt(np.mean(2.0 * task.noise.sigma[used] ** 2))
    if error > max(MAX_ERROR, 5.0 * noise):
        return (
            f"{FitStatus.DEGENERATE.value}: the points lie {100 * error:.0f} % of the face's size from the nearest face"
        )
    return None


def inverse_positive_definite(matrix: Array) -> Array:
    """Return the inverse of a symmetric positive definite matrix by its Cholesky factor."""
    factor, info = dpotrf(matrix, lower=0)
    if info:
        raise DegenerateConfigurationError("the landmarks leave a direction of the pose undetermined")
    inverse, _ = dpotri(factor, lower=0)  # its upper triangle; below stand the factor's zeros
    full: Array = inverse + inverse.T
    full.flat[:: len(full) + 1] *= 0.5
    return full
