"""One face in one image, rendered and compared: what every step of the photometric stage begins with."""

from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..eyelids import EYELID_PAIRS, measure_eyelid_openings
from ..landmark_task import JawMatching, LandmarkTask, parameters_of
from ..state_prior import PoseAndShape
from .agreement import feature_agreement
from .appearance import Appearance, first_appearance, refined
from .correlation import integral_range
from .levels import Level
from .options import PhotometricOptions
from .outliers import SkinMixture, background_density, skin_mixture
from .problem import FaceState, PhotometricProblem
from .surface import Surface
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

DAMPING = 1e-3
"""The steps' initial damping: the photo is far less linear than the landmarks."""

LANDMARK_DEGREES = 4.0
"""Degrees of freedom of the landmarks' errors, Student's t in two dimensions: some detected points are just wrong."""


@dataclass(frozen=True, eq=False)
class Round:
    """One rendering: the problem to take a step on, and the state that it was made at."""

    problem: PhotometricProblem
    state: FaceState
    mixture: SkinMixture


@dataclass(frozen=True, eq=False)
class Refinement:
    """What does not change while one face in one image is refined."""

    image: Pixels
    surface: Surface
    task: LandmarkTask
    options: PhotometricOptions
    scale: float  # px/mm at the start: the unit of all that is relative to the face's size
    executor: Executor | None  # threads that share the work; None: one does it all

    @classmethod
    def of(
        cls,
        image: Pixels,
        start: PoseAndShape,
        surface: Surface,
        task: LandmarkTask,
        options: PhotometricOptions,
        executor: Executor | None = None,
    ) -> Self:
        """Return the refinement of a face (of the model of `surface` and `task`) from where it starts.

        The lids are measured in the photo, and these measurements stand in for the landmarks'.
        """
        return cls(image, surface, _with_eyelids(task, image, start), options, start.scale, executor)

    def render(
        self, level: Level, pose: PoseAndShape, matching: JawMatching, appearance: Appearance | None
    ) -> Round | None:
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
        return Round(problem, state, mixture)

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

    def agreement(self, there: Round) -> float:
        """Return how far a rendering's features are the photo's, see agreement.py."""
        problem, view = there.problem, there.problem.view
        weight = problem.weight * view.of_samples(view.surface.prior[view.vertices])
        size = view.level.factor * self.scale * self.task.model.face_size
        return feature_agreement(view, problem.residual(there.state), weight, size)

    def factors(self) -> list[float]:
        """Return the reductions of the pyramid's levels: none is larger than the photo, none comes twice."""
        size = self.scale * self.task.model.face_size
        return list(dict.fromkeys(min(wanted / size, 1.0) for wanted in self.options.face_sizes))

    def box(self, state: PoseAndShape) -> Array:
        """Return the part of the photo (4,) px that the head is in, with a margin."""
        places = state.camera.project(self.surface.points(state.coefficients))[:, :2]
        margin = 4.0 * MARGIN * self.scale * self.task.model.face_size
        return np.concatenate([places.min(axis=0) - margin, places.max(axis=0) + margin])


def _scale(absolute: Floats, probability: Array) -> float:
    """Return the scale of a channel's errors from their median absolute value (M, 3) where skin is likely."""
    likely = probability > 0.5
    chosen = (absolute[likely] if likely.sum() >= MIN_SAMPLES // 2 else absolute).ravel()
    middle = len(chosen) // 2
    return max(1.4826 * float(np.partition(chosen, middle)[middle]), MIN_SIGMA)


def _with_eyelids(task: LandmarkTask, image: Pixels, start: PoseAndShape) -> LandmarkTask:
    """Return the task with the lids where the photo shows them: across the eye only, along it the lids have no ends."""
    model, parameters = task.model, parameters_of(start, task.model.n_identity)
    camera, vertices = parameters.camera, model.vertices(parameters.identity, parameters.expression)
    points = camera.project(model.landmark_positions(vertices))[:, :2]
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
