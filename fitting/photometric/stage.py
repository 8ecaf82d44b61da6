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

from ...render.cameras import ScaledOrthographic
from ..eyelids import EYELID_PAIRS, measure_eyelid_openings
from ..gauss_newton import GaussNewtonOptions, NormalEquations, minimise
from ..gold_standard import DegenerateConfigurationError
from ..landmark_problem import POSE
from ..landmark_stage import MAX_IDENTITY, inverse_positive_definite
from ..landmark_task import JawMatching, LandmarkTask, energy_terms, parameters_of, state_of
from ..parameters import FaceParameters
from ..state_prior import PoseAndShape
from ..status import FitStatus
from .agreement import feature_agreement
from .appearance import Appearance, first_appearance, refined
from .correlation import integral_range
from .levels import Level, make_level
from .options import PhotometricOptions
from .outliers import SkinMixture, background_density, skin_mixture
from .problem import FaceState, PhotometricProblem
from .surface import Surface, skin_surface
from .view import make_view

Array = NDArray[np.float64]
Floats = NDArray[np.floating]
Pixels = NDArray[np.uint8]

MIN_SAMPLES = 300
"""Fewer visible pixels than this on a level are not worth a stage."""

MIN_SIGMA = 0.002
"""Least scale of the errors in sRGB values: half the step of a photo's values."""

MARGIN = 0.1
"""Around the head, relative to the face's size: where the photo is cut, and where what is behind it begins."""

EXPECTATIONS = 4
"""Rounds between the errors' scale and the pixels that it is taken from."""

FINAL_COUNT = 5.0
"""How much more the sure pixels count for the light and albedo that are reported than for the shape."""

LANDMARK_DEGREES = 4.0
"""Degrees of freedom of the landmarks' errors, Student's t in two dimensions: some detected points are just wrong."""

DAMPING = 1e-3
"""The steps' initial damping: the photo is far less linear than the landmarks."""


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


@dataclass(frozen=True, eq=False)
class FrameFit:
    """What the pixels of one frame of a video add."""

    pose: PoseAndShape
    appearance: Appearance
    information: Array  # (6 + P, 6 + P) of a step in pose and shape, marginal over light and albedo
    agreement: float  # -1 to 1: whether the frame shows the rendered face at all, see agreement.py


@dataclass(frozen=True, eq=False)
class _Round:
    """One rendering: the problem to take a step on, and the state that it was made at."""

    problem: PhotometricProblem
    state: FaceState
    mixture: SkinMixture


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
        run = _Run(image, surface, _with_eyelids(task, image, start), options, pose.scale, deadline, executor)
        last, status, iterations = run.descend(pose)
        if last is None:
            return PhotometricFit(False, start, FitStatus.STALLED, 0, {}, {})
        return _judged(run, task, start, last, status, iterations)


def refine_frame(
    image: Pixels,
    start: PoseAndShape,
    task: LandmarkTask,
    options: PhotometricOptions,
    appearance: Appearance | None,
) -> FrameFit | None:
    """Take the steps of one level from a state near the answer, as the next frame of a video has it; None where too
    little skin is seen, or no step lowers the energy.

    The light and albedo of the frame before are the start, found anew if None. The prior of `task` is what that frame
    says of this one. There is no guard: what the caller carries on decides whether it is lost. One thread does it all:
    the few pixels of a level are not worth a second.
    """
    surface = skin_surface(task.model, options.albedo_deviation, options.albedo_length)
    began = parameters_of(start, task.model.n_identity)
    run = _Run(image, surface, _with_eyelids(task, image, began), options, start.scale, math.inf, None)
    level = make_level(image, run.box(start), run.factors()[-1])
    pose, matching, held, last, outcome = start, JawMatching(), None, None, None
    solver = GaussNewtonOptions(1, options.tolerance, DAMPING)
    for _ in range(options.rounds):
        matching = matching.again(run.task, pose)
        found = None if level is None else run.render(level, pose, matching, appearance)
        if found is None:
            break
        last, outcome = found, minimise(found.problem, found.state, solver, held=held)
        (pose, appearance), held = outcome.state, outcome.held
        if outcome.status is not FitStatus.MAX_ITERATIONS:
            break
    if last is None or outcome is None or level is None or appearance is None:
        return None
    assert isinstance(outcome.last, NormalEquations)
    size = level.factor * start.scale * task.model.face_size
    problem = last.problem
    agreement = feature_agreement(problem.view, problem.residual(last.state), problem.weight, size)
    return FrameFit(pose, appearance, _marginal(outcome.last.matrix, POSE + len(pose.coefficients)), agreement)


def _marginal(matrix: Array, size: int) -> Array:
    """Return the information (size, size) of the first entries of a step when the others are not known."""
    own, cross, rest = matrix[:size, :size], matrix[:size, size:], matrix[size:, size:]
    marginal: Array = own - cross @ np.linalg.solve(rest, cross.T)
    return 0.5 * (marginal + marginal.T)


@dataclass(frozen=True, eq=False)
class _Run:
    """One face's constants."""

    image: Pixels
    surface: Surface
    task: LandmarkTask
    options: PhotometricOptions
    scale: float  # px/mm at the start: the unit of all that is relative to the face's size
    deadline: float
    executor: Executor | None

    def descend(self, pose: PoseAndShape) -> tuple[_Round | None, FitStatus, int]:
        """Run all levels; return a last rendering of where that led, how it ended, and the number of solves."""
        matching, appearance, last = JawMatching(), None, None
        status, iterations, held = FitStatus.MAX_ITERATIONS, 0, None
        solver = GaussNewtonOptions(1, self.options.tolerance, DAMPING)
        for factor in self.factors():
            level = make_level(self.image, self.box(pose), factor)
            for step in range(self.options.rounds + 1):
                matching = matching.again(self.task, pose)
                found = None if level is None else self.render(level, pose, matching, appearance)
                if found is None:
                    break
                last = found
                if step == self.options.rounds:
                    break  # this rendering only shows where the level led
                outcome = minimise(last.problem, last.state, solver, self.deadline, held)
                (pose, appearance), held = outcome.state, outcome.held
                status, iterations = outcome.status, iterations + outcome.iterations
                if status is not FitStatus.MAX_ITERATIONS:
                    break
            if status in (FitStatus.TIMEOUT, FitStatus.DIVERGED):
                break
        return last, status, iterations

    def render(
        self, level: Level, pose: PoseAndShape, matching: JawMatching, appearance: Appearance | None
    ) -> _Round | None:
        """Return the problem at a state, with light and albedo found for it if None; None where too little is seen."""
        view = make_view(self.surface, level, pose, self.options.min_cosine)
        if len(view) < MIN_SAMPLES:
            return None
        size = level.factor * self.scale * self.task.model.face_size
        degrees = self.options.degrees_of_freedom
        mixture = skin_mixture(view, degrees, background_density(view, MARGIN * size), size)
        landmarks = self.task.problem(self.scale, matching.match).robust(pose, LANDMARK_DEGREES)
        problem = PhotometricProblem(view, landmarks, np.ones(len(view)), MIN_SIGMA, degrees, self.executor)
        state = FaceState(pose, appearance or first_appearance(view))
        problem = self._weighted(problem, problem.residual(state), mixture, size)
        # The first time, hair and hands must be known for what they are before the face's own tone takes after them.
        for deviation in (False, False, True) if appearance is None else ():
            weights = problem.sample_weights(problem.residual(state))
            state = FaceState(pose, refined(view, state.appearance, weights, deviation=deviation))
            problem = self._weighted(problem, problem.residual(state), mixture, size)
        return _Round(problem, state, mixture)

    def _weighted(
        self, problem: PhotometricProblem, residual: Array, mixture: SkinMixture, size: float
    ) -> PhotometricProblem:
        """Return the problem with the scale and weights of the errors of a residual (M, 3), found in turns."""
        view, degrees, absolute = problem.view, problem.degrees, np.abs(residual.astype(np.float32))
        square = np.einsum("mk,mk->m", absolute, absolute)
        gamma = np.ones(len(view))
        for _ in range(EXPECTATIONS):
            sigma = _scale(absolute, gamma)
            gamma = mixture.probability(square, sigma)
        kappa = 1.0 / integral_range(view, residual, gamma * degrees / (degrees + square / sigma**2), size)
        return replace(problem, sigma=sigma, weight=kappa * gamma)

    def factors(self) -> list[float]:
        """Return the reductions of the pyramid's levels: none is larger than the photo, none comes twice."""
        size = self.scale * self.task.model.face_size
        return list(dict.fromkeys(min(wanted / size, 1.0) for wanted in self.options.face_sizes))

    def box(self, state: PoseAndShape) -> Array:
        """Return the part of the photo (4,) px that the head is in, with a margin."""
        camera = ScaledOrthographic(state.rotation, state.translation, state.scale)
        places = camera.project(self.surface.points(state.coefficients))[:, :2]
        margin = 4.0 * MARGIN * self.scale * self.task.model.face_size
        return np.concatenate([places.min(axis=0) - margin, places.max(axis=0) + margin])


def _scale(absolute: Floats, probability: Array) -> float:
    """Return the scale of a channel's errors from their median absolute value (M, 3) where skin is likely."""
    likely = probability > 0.5
    chosen = (absolute[likely] if likely.sum() >= MIN_SAMPLES // 2 else absolute).ravel()
    middle = len(chosen) // 2
    return max(1.4826 * float(np.partition(chosen, middle)[middle]), MIN_SIGMA)


def _with_eyelids(task: LandmarkTask, image: Pixels, start: FaceParameters) -> LandmarkTask:
    """Return the task with the lids where the photo shows them: across the eye only, along it the lids have no ends."""
    camera, model = start.camera, task.model
    points = camera.project(model.landmark_positions(model.vertices(start.identity, start.expression)))[:, :2]
    lids = measure_eyelid_openings(image, points, camera.scale)
    found = np.flatnonzero(np.isfinite(lids.sigma))
    # A point the caller left out stays out.
    found = found[np.isfinite(task.noise.sigma[EYELID_PAIRS[found]]).all(axis=1)]
    axes = np.empty((len(EYELID_PAIRS), 2))
    for k, (nasal, temporal) in enumerate(((39, 36), (39, 36), (42, 45), (42, 45))):
        along = points[temporal] - points[nasal]
        axes[k] = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-9)
    whitening = np.zeros((len(EYELID_PAIRS), 2, 2))
    # An opening's error is that of two points, each with sigma / sqrt 2; but the pairs of an eye share most of it, so
    # each point counts as one of half as many: sigma.
    whitening[:, 0] = axes / lids.sigma[:, None]
    order = np.concatenate([EYELID_PAIRS[found, 0], EYELID_PAIRS[found, 1]])
    observed = np.concatenate([lids.upper[found], lids.lower[found]])
    return task.with_measured(order, observed, np.concatenate([whitening[found]] * 2))


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
    run: _Run, task: LandmarkTask, start: FaceParameters, last: _Round, status: FitStatus, iterations: int
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
        agreement = 0.0 if first is None else _agreement(first, run)
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
        agreement=_agreement(last, run),
    )


def _agreement(there: _Round, run: _Run) -> float:
    """Return how far a rendering's features are the photo's."""
    problem, view = there.problem, there.problem.view
    weight = problem.weight * view.of_samples(view.surface.prior[view.vertices])
    size = view.level.factor * run.scale * run.task.model.face_size
    return feature_agreement(view, problem.residual(there.state), weight, size)


def _final_appearance(last: _Round) -> Appearance:
    """Return light and albedo as they repeat the photo best, now that the shape can no longer take after them.

    That is, with every pixel that shows skin beyond doubt counted for FINAL_COUNT of the independent ones.
    """
    gamma, state = last.problem.weight / last.problem.weight.max(), last.state
    problem = replace(last.problem, weight=np.where(gamma > 0.8, FINAL_COUNT, 1.0) * last.problem.weight)
    for _ in range(2):
        weights = problem.sample_weights(problem.residual(state))
        state = state._replace(appearance=refined(problem.view, state.appearance, weights))
    return state.appearance


def _energies(last: _Round, there: _Round, split: int) -> dict[str, float]:
    """Return all terms in nats; the photometric one as if the errors' scale and number were the last round's."""
    problem, (pose, appearance) = last.problem, there.state
    residual = there.problem.residual(there.state)
    cost = there.mixture.energy(np.einsum("mk,mk->m", residual, residual), problem.sigma)
    photometric = problem.weight.max(initial=0.0) * len(problem.view) * float(cost.mean())
    return {"photometric": photometric} | energy_terms(there.problem.landmarks, pose, split) | appearance.energies


def _covariance(last: _Round) -> Array | None:
    """Return the covariance (6 + P, 6 + P) of a step in pose and shape; None where it is not determined."""
    equations = last.problem.normal_equations(last.state)
    size = POSE + len(last.state.pose.coefficients)
    try:
        return inverse_positive_definite(equations.matrix)[:size, :size]
    except DegenerateConfigurationError:
        return None
