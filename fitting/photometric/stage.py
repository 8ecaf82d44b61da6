"""The photometric stage: what the pixels add to the landmarks' fit.

On each level of a pyramid tied to the face's size (`levels.py`), a few rounds of

 1. what is seen: samples on the visible skin (`view.py`), jaw points on the outline;
 2. light and albedo, for the pose and shape at hand (`appearance.py`);
 3. the scale of the errors, from their median absolute value, and which pixels show skin at all (`outliers.py`);
 4. damped Gauss-Newton steps on pose, identity and expression (`problem.py`).

Light and albedo take turns with the rest: eliminating them in every step as well (variable projection) led to the same
faces at twice the work (docs/photometric.md). The eyelids are measured in the photo first (`eyelids.py`), and these
measurements stand in for the landmarks' lids.

At the end the posterior standard deviations are marginal over pose, light and albedo: with H the Gauss-Newton matrix of
pose and shape, C its coupling to light and albedo and A their own, H - C A^-1 C^T.

The result is kept only where it is credible: the photometric energy fell, the landmarks' RMS error did not grow beyond
a tolerance, and the shape is that of a possible face. Else the stage reports STALLED, and the landmarks' fit stands.
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
from ..gauss_newton import GaussNewtonOptions, Outcome, minimise
from ..gold_standard import DegenerateConfigurationError
from ..landmark_problem import LandmarkProblem, PoseAndShape
from ..landmark_stage import MAX_IDENTITY, inverse_positive_definite
from ..landmark_task import JawMatching, LandmarkTask, energy_terms, parameters_of, state_of
from ..parameters import FaceParameters
from ..status import FitStatus
from .appearance import Appearance, first_appearance, light_matrix, refined
from .levels import Level, make_level
from .options import PhotometricOptions
from .outliers import background_density, skin_probability
from .problem import PhotometricProblem
from .surface import Surface, skin_surface
from .view import View, make_view

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

MIN_SAMPLES = 300
"""Fewer visible pixels than this on a level are not worth a stage."""

MIN_SIGMA = 0.004
"""Least scale of the errors in sRGB values: a photo's values are multiples of that."""

MARGIN = 0.1
"""Around the head, relative to the face's size: where the photo is cut, and where what is behind it begins."""

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


@dataclass(frozen=True, eq=False)
class _Round:
    """One round's problem and what it was made from."""

    problem: PhotometricProblem
    appearance: Appearance
    residual: Array  # (M, 3) at the round's start


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
    state = state_of(start)
    lids = _with_eyelids(task, image, start)
    with _executor(options.threads) as executor:
        run = _Run(image, surface, lids, options, state.scale, deadline, executor)
        rounds, outcome = run.descend(state)
        if not rounds or outcome is None:
            return PhotometricFit(False, start, FitStatus.STALLED, 0, {}, {})
        return _judged(run, task, start, rounds, outcome)


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

    def descend(self, state: PoseAndShape) -> tuple[list[_Round], Outcome[PoseAndShape] | None]:
        """Run all levels; return each round, and how the last one ended with the iterations of all."""
        matching, appearance, rounds = JawMatching(), None, list[_Round]()
        outcome: Outcome[PoseAndShape] | None = None
        solver = GaussNewtonOptions(self.options.steps, self.options.tolerance, DAMPING)
        iterations, held = 0, None
        for factor in self._factors():
            level = make_level(self.image, self._box(state), factor)
            if level is None:
                continue
            density = None
            for _ in range(self.options.rounds):
                view = make_view(self.surface, level, state, self.options.min_cosine)
                if len(view) < MIN_SAMPLES:
                    break
                if density is None:
                    density = background_density(view, MARGIN * self._size(level))
                matching = matching.again(self.task, state)
                current = self._round(view, state, matching, appearance, density)
                appearance = current.appearance
                rounds.append(current)
                outcome = minimise(current.problem, state, solver, self.deadline, held)
                state, held, iterations = outcome.state, outcome.held, iterations + outcome.iterations
                if outcome.status is not FitStatus.MAX_ITERATIONS:
                    break
            if outcome is not None and outcome.status in (FitStatus.TIMEOUT, FitStatus.DIVERGED):
                break
        return rounds, None if outcome is None else replace(outcome, iterations=iterations)

    def again(self, last: _Round, state: PoseAndShape) -> _Round:
        """Return a round at another state on the level of `last`, with light and albedo of its own."""
        level = last.problem.view.level
        view = make_view(self.surface, level, state, self.options.min_cosine)
        density = background_density(view, MARGIN * self._size(level))
        return self._round(view, state, JawMatching().again(self.task, state), None, density)

    def _factors(self) -> list[float]:
        """Return the reductions of the pyramid's levels: none is larger than the photo, none comes twice."""
        size = self.scale * self.task.model.face_size
        return list(dict.fromkeys(min(wanted / size, 1.0) for wanted in self.options.face_sizes))

    def _size(self, level: Level) -> float:
        """Return the face's size in a level, px."""
        return level.factor * self.scale * self.task.model.face_size

    def _box(self, state: PoseAndShape) -> Array:
        """Return the part of the photo (4,) px that the head is in, with a margin."""
        camera = ScaledOrthographic(state.rotation, state.translation, state.scale)
        places = camera.project(self.surface.points(state.coefficients))[:, :2]
        margin = 4.0 * MARGIN * self.scale * self.task.model.face_size
        return np.concatenate([places.min(axis=0) - margin, places.max(axis=0) + margin])

    def _round(
        self,
        view: View,
        state: PoseAndShape,
        matching: JawMatching,
        appearance: Appearance | None,
        density: NDArray[np.float32],
    ) -> _Round:
        """Return the problem at hand: light and albedo, the errors' scale, and the pixels' weights."""
        options, size = self.options, self._size(view.level)
        kappa = min(1.0, 1.0 / (2.0 * math.pi * (options.correlation_length * size) ** 2))
        landmarks = self.task.problem(self.scale, matching.match)
        fresh = appearance is None
        appearance = first_appearance(view) if appearance is None else appearance
        problem = self._problem(view, landmarks, appearance, np.full(len(view), kappa), MIN_SIGMA)
        for _ in range(2 if fresh else 1):
            residual = problem.residual(state)
            problem = replace(problem, sigma=_scale(residual, problem.weight / kappa))
            gamma = skin_probability(
                view, problem.square(residual), problem.sigma, options.degrees_of_freedom, density, size
            )  # fmt: skip
            problem = replace(problem, weight=kappa * gamma)
            appearance = refined(view, appearance, problem.sample_weights(residual))
            problem = replace(problem, albedo=self._albedo(view, appearance), light=appearance.light)
        residual = problem.residual(state)
        return _Round(replace(problem, sigma=_scale(residual, gamma)), appearance, residual)

    def _problem(
        self, view: View, landmarks: LandmarkProblem, appearance: Appearance, weight: Array, sigma: float
    ) -> PhotometricProblem:
        albedo = self._albedo(view, appearance)
        degrees = self.options.degrees_of_freedom
        return PhotometricProblem(view, landmarks, albedo, appearance.light, weight, sigma, degrees, self.executor)

    def _albedo(self, view: View, appearance: Appearance) -> Array:
        return self.surface.albedo.reflectance(appearance.coefficients, view.albedo_rows)


def _scale(residual: Array, probability: Array) -> float:
    """Return the scale of a channel's errors from the median absolute residual of the samples likely to be skin."""
    likely = probability > 0.5
    chosen = residual[likely] if likely.sum() >= MIN_SAMPLES // 2 else residual
    return max(1.4826 * float(np.median(np.abs(chosen))), MIN_SIGMA)


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
    run: _Run, task: LandmarkTask, start: FaceParameters, rounds: list[_Round], outcome: Outcome[PoseAndShape]
) -> PhotometricFit:
    """Return the fit where it is credible, else the start."""
    last, state, split = rounds[-1], outcome.state, task.model.n_identity
    problem, appearance = last.problem, last.appearance
    residual = problem.residual(state)
    before, after = state_of(start), state
    first = run.again(last, before)
    initial = _energies(last, first.residual, energy_terms(problem.landmarks, before, split), first.appearance)
    final = _energies(last, residual, energy_terms(problem.landmarks, after, split), appearance)
    judged, observed = _landmarks_alone(run, task, state)
    _, observed_before = _landmarks_alone(run, task, before)
    # Below what noise makes likely, a rise means nothing.
    worse = observed / max(observed_before, 0.5 * np.isfinite(task.noise.sigma).sum())
    try:
        covariance = _posterior(run, last, state)
    except (DegenerateConfigurationError, np.linalg.LinAlgError):
        covariance = None
    credible = (
        final["photometric"] <= initial["photometric"]
        and worse <= run.options.landmark_tolerance**2
        and float(np.abs(state.coefficients[:split]).max(initial=0.0)) <= MAX_IDENTITY
        and covariance is not None
        and outcome.status is not FitStatus.DIVERGED
    )
    if not credible:
        return PhotometricFit(False, start, FitStatus.STALLED, outcome.iterations, initial, final)
    albedo = run.surface.albedo
    return PhotometricFit(
        accepted=True,
        parameters=parameters_of(state, split),
        status=outcome.status,
        iterations=outcome.iterations,
        initial_energy=initial,
        final_energy=final,
        covariance=covariance,
        lighting=appearance.light,
        albedo=appearance.coefficients[: albedo.n_model].copy(),
        reflectance=np.clip(albedo.reflectance(appearance.coefficients), 0.0, 1.0),
        landmarks=judged.projected(state),
        landmark_energy=observed,
    )


def _landmarks_alone(run: _Run, task: LandmarkTask, state: PoseAndShape) -> tuple[LandmarkProblem, float]:
    """Return the problem of the landmarks as observed, matched at `state`, and their energy, nats."""
    problem = task.problem(run.scale, JawMatching().again(task, state).match)
    return problem, energy_terms(problem, state, task.model.n_identity)["landmarks"]


def _energies(last: _Round, residual: Array, landmarks: dict[str, float], appearance: Appearance) -> dict[str, float]:
    """Return all terms in nats; the photometric one as if its residuals were as many as the last round's."""
    problem = last.problem
    cost = np.log1p(problem.square(residual) / problem.degrees).mean()
    photometric = 0.5 * (problem.degrees + 3.0) * problem.weight.sum() * float(cost)
    return {"photometric": photometric} | landmarks | appearance.energy


def _posterior(run: _Run, last: _Round, state: PoseAndShape) -> Array:
    """Return the covariance (6 + P, 6 + P) of a step, marginal over light and albedo."""
    problem, view = last.problem, last.problem.view
    modes = run.surface.albedo.modes[view.albedo_rows].astype(view.basis.dtype)
    matrix, coupling = problem.coupled_matrices(state, modes)
    own = light_matrix(view, last.appearance, problem.sample_weights(problem.residual(state)))
    return inverse_positive_definite(matrix - coupling @ np.linalg.solve(own, coupling.T))
