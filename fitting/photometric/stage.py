"""The photometric stage: what the pixels add to the landmarks' fit.

On each level of a pyramid tied to the face's size (`levels.py`), a few rounds of

 1. what is seen: samples on the visible skin (`view.py`), jaw points on the outline;
 2. the scale of the errors, from their median absolute value, which pixels show skin at all (`outliers.py`), and which
    landmarks agree with the rest;
 3. one damped Gauss-Newton step on pose, identity, expression, light and albedo together (`problem.py`).

One step per rendering, since normals follow their triangles' only for short ways. Before the first step, light and
albedo are found for the landmarks' pose and shape. The eyelids are measured in the photo (`eyelids.py`), and these
measurements stand in for the landmarks' lids. The posterior standard deviations at the end are marginal over light and
albedo as over everything else.

The result is kept only where it is credible: the photo is explained better than at the start, the landmarks' robust
cost did not grow beyond a tolerance, and the shape is that of a possible face. Else the stage reports STALLED, and the
landmarks' fit stands.
"""

import math
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..gauss_newton import GaussNewtonOptions, minimise
from ..gold_standard import DegenerateConfigurationError
from ..landmark_problem import POSE
from ..landmark_stage import MAX_IDENTITY, inverse_positive_definite
from ..landmark_task import JawMatching, LandmarkTask, energy_terms, parameters_of, state_of
from ..parameters import FaceParameters
from ..state_prior import PoseAndShape
from ..status import FitStatus
from .appearance import Appearance, refined
from .levels import make_level
from .options import PhotometricOptions
from .refinement import DAMPING, LANDMARK_DEGREES, Refinement, Round
from .surface import skin_surface

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

FINAL_COUNT = 5.0
"""How much more the sure pixels count for the light and albedo that are reported than for the shape."""


@dataclass(frozen=True, eq=False)
class PhotometricFit:
    """What the photometric stage found; where it was rejected, parameters and what goes with them are its start's."""

    accepted: bool
    parameters: FaceParameters
    status: FitStatus  # of the stage
    iterations: int  # Gauss-Newton solves
    initial_energy: dict[str, float]  # nats by term, before: photometric with the errors' final scale
    final_energy: dict[str, float]  # nats by term
    covariance: Array | None = None  # (6 + K + E, 6 + K + E) of a step, marginal over light and albedo
    lighting: Array | None = None  # (9, 3)
    albedo: Array | None = None  # (A,) of the model's modes
    reflectance: Array | None = None  # (N, 3) linear, of every vertex of the model
    landmarks: Array | None = None  # (68, 2) px, the model's points as matched
    landmark_energy: float = 0.0  # nats, of the points as they were observed, without what the eyelids told
    agreement: float = 0.0  # -1 to 1, of the photo with the face as rendered at `parameters`; see agreement.py


def fit_photometric_stage(
    image: Pixels,
    start: FaceParameters,
    task: LandmarkTask,
    options: PhotometricOptions,
    deadline: float = math.inf,
) -> PhotometricFit:
    """Refine `start` on an image (H, W, 3) uint8; `task` holds the landmarks that it was fitted to.

    `deadline` is in seconds on the clock of time.perf_counter; past it the stage ends with status TIMEOUT and the last
    accepted step.
    """
    surface = skin_surface(task.model, options.albedo_deviation, options.albedo_length)
    pose = state_of(start)
    with _executor(options.threads) as executor:
        run = Refinement.of(image, pose, surface, task, options, executor)
        last, status, iterations = _descend(run, pose, deadline)
        if last is None:
            return PhotometricFit(False, start, FitStatus.STALLED, 0, {}, {})
        return _judged(run, task, start, last, status, iterations)


def _descend(run: Refinement, pose: PoseAndShape, deadline: float) -> tuple[Round | None, FitStatus, int]:
    """Run all levels; return a last rendering of where that led, how it ended, and the number of solves."""
    matching, appearance, last = JawMatching(), None, None
    status, iterations, held = FitStatus.MAX_ITERATIONS, 0, None
    solver = GaussNewtonOptions(1, run.options.tolerance, DAMPING)
    for factor in run.factors():
        level = make_level(run.image, run.box(pose), factor)
        for step in range(run.options.rounds + 1):
            matching = matching.again(run.task, pose)
            found = None if level is None else run.render(level, pose, matching, appearance)
            if found is None:
                break
            last = found
            if step == run.options.rounds:
                break  # this rendering only shows where the level led
            outcome = minimise(last.problem, last.state, solver, deadline, held)
            (pose, appearance), held = outcome.state, outcome.held
            status, iterations = outcome.status, iterations + outcome.iterations
            if status is not FitStatus.MAX_ITERATIONS:
                break
        if status in (FitStatus.TIMEOUT, FitStatus.DIVERGED):
            break
    return last, status, iterations


@contextmanager
def _executor(threads: int | None) -> Iterator[Executor | None]:
    """Yield the threads that share the work; None for one."""
    count = threads or os.cpu_count() or 1
    if count == 1:
        yield None
        return
    with ThreadPoolExecutor(count) as pool:
        yield pool


def _judged(
    run: Refinement, task: LandmarkTask, start: FaceParameters, last: Round, status: FitStatus, iterations: int
) -> PhotometricFit:
    """Return the fit where it is credible, else the start."""
    split, pose, before = task.model.n_identity, last.state.pose, state_of(start)
    first = run.render(last.problem.view.level, before, JawMatching().again(run.task, before), None)
    initial = {} if first is None else _energies(last, first, split)
    final = _energies(last, last, split)
    judged = task.problem(run.scale, JawMatching().again(task, pose).match)
    earlier = task.problem(run.scale, JawMatching().again(task, before).match)
    # Below what noise makes likely, a rise means nothing.
    usual = max(earlier.robust_cost(before, LANDMARK_DEGREES), float(np.isfinite(task.noise.sigma).sum()))
    covariance = _covariance(last)
    credible = (
        final["photometric"] <= initial.get("photometric", math.inf)
        and judged.robust_cost(pose, LANDMARK_DEGREES) <= run.options.landmark_tolerance * usual
        and float(np.abs(pose.coefficients[:split]).max(initial=0.0)) <= MAX_IDENTITY
        and status is not FitStatus.DIVERGED
    )
    if not credible or covariance is None:
        agreement = 0.0 if first is None else run.agreement(first)
        return PhotometricFit(False, start, FitStatus.STALLED, iterations, initial, final, agreement=agreement)
    albedo, appearance = run.surface.albedo, _final_appearance(last)
    return PhotometricFit(
        accepted=True,
        parameters=parameters_of(pose, split),
        status=status,
        iterations=iterations,
        initial_energy=initial,
        final_energy=final,
        covariance=covariance,
        lighting=appearance.light,
        albedo=appearance.coefficients[: albedo.n_model].copy(),
        reflectance=np.clip(albedo.reflectance(appearance.coefficients), 0.0, 1.0),
        landmarks=judged.projected(pose),
        landmark_energy=energy_terms(judged, pose, split)["landmarks"],
        agreement=run.agreement(last),
    )


def _final_appearance(last: Round) -> Appearance:
    """Return light and albedo as they repeat the photo best, now that the shape can no longer take after them.

    That is, with every pixel that shows skin beyond doubt counted for FINAL_COUNT of the independent ones.
    """
    gamma, state = last.problem.weight / last.problem.weight.max(), last.state
    problem = replace(last.problem, weight=np.where(gamma > 0.8, FINAL_COUNT, 1.0) * last.problem.weight)
    for _ in range(2):
        weights = problem.sample_weights(problem.residual(state))
        state = state._replace(appearance=refined(problem.view, state.appearance, weights))
    return state.appearance


def _energies(last: Round, there: Round, split: int) -> dict[str, float]:
    """Return all terms in nats; the photometric one as if the errors' scale and number were the last round's."""
    problem, (pose, appearance) = last.problem, there.state
    residual = there.problem.residual(there.state)
    cost = there.mixture.energy(np.einsum("mk,mk->m", residual, residual), problem.sigma)
    photometric = problem.weight.max(initial=0.0) * len(problem.view) * float(cost.mean())
    return {"photometric": photometric} | energy_terms(there.problem.landmarks, pose, split) | appearance.energies


def _covariance(last: Round) -> Array | None:
    """Return the covariance (6 + P, 6 + P) of a step in pose and shape; None where it is not determined."""
    equations = last.problem.normal_equations(last.state)
    size = POSE + len(last.state.pose.coefficients)
    try:
        return inverse_positive_definite(equations.matrix)[:size, :size]
    except DegenerateConfigurationError:
        return None
