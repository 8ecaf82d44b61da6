"""A whole video at once: what later frames say of earlier ones, too, and one identity from all of them.

Forward tracking (`tracking.py`) leaves for each track a state in every frame, and an identity. From there PASSES
Gauss-Newton steps on the energy of the whole clip, each of which goes through the frames once for what they say of it
and solves for all states and the identity together (`clip_problem.py`). A frame that does not look like the face says
nothing: its state comes from its neighbours.

The deviations of a frame's acceleration are ACCELERATION times those of its motion (`process_noise.py`). Heads nod and
jaws drop, so the second differences are Student's t, block by block, by iteratively reweighted least squares.

Frames of one video err alike (`keyframes.py`), so F of them count for one photo's identity: its prior counts F times.
Points, though, whose noise is CORRELATED times a photo's already (`track.py`), have lost that factor's square before:
F / CORRELATED^2 with points alone; with pixels, which have not, F / CORRELATED, between the two.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..models.errors import InvalidInputError
from ..models.morphable_model import MorphableModel
from ..render.cameras import ScaledOrthographic
from .clip_problem import ClipProblem, Evidence, paces, second_differences, split_equations
from .gauss_newton import NormalEquations
from .gold_standard import DegenerateConfigurationError
from .images import checked_image
from .landmark_problem import POSE
from .landmark_task import JawMatching, LandmarkTask, state_of
from .parameters import FaceParameters
from .photometric.appearance import Appearance
from .process_noise import FRAME, ProcessNoise
from .state_prior import PoseAndShape
from .status import FitStatus
from .threads import single_threaded_blas
from .track import CORRELATED, LOST_AGREEMENT, TrackingSetup, correlated_task, face_box
from .tracking import FaceFollower, TrackedFace, Tracker, TrackerOptions

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Frames = Callable[[], Iterable[tuple[Pixels, float]]]

ACCELERATION = 0.4
"""Deviation of a second difference, relative to that of a step by process noise."""

DEGREES = 4.0
"""Degrees of freedom of the second differences: most are small, and a few large."""

PASSES = 3
"""Gauss-Newton steps."""

PAUSE = 4.0
"""Times the clip's usual interval, and at least times FRAME: a longer one between two frames says nothing of how the
face moved."""


@dataclass(eq=False)
class Tracklet:
    """One track's frames, by their numbers."""

    setup: TrackingSetup
    identity: Array  # (K,)
    faces: dict[int, TrackedFace] = field(default_factory=dict)  # as tracked, without what every vertex has
    states: dict[int, PoseAndShape] = field(default_factory=dict)  # expression alone
    looks: dict[int, Appearance] = field(default_factory=dict)  # where pixels tell
    evidence: dict[int, Evidence] = field(default_factory=dict)
    shared: NormalEquations | None = None  # (K) of the identity's step, the sum over the frames
    appearance: Appearance | None = None  # of the frame before

    def add(self, number: int, face: TrackedFace) -> None:
        """Take a frame in; the identity is the last frame's."""
        result = face.result
        assert result.identity is not None and result.expression is not None
        assert isinstance(result.camera, ScaledOrthographic)
        self.identity = result.identity
        self.states[number] = state_of(FaceParameters(result.camera, np.zeros(0), result.expression))
        bare = replace(result, vertices=None, vertices_image=None, reflectance=None)
        self.faces[number] = replace(face, result=bare)

    def observe(self, number: int, frame: Pixels) -> None:
        """Take what a frame says of a step."""
        split, state = len(self.identity), self.states[number]
        evidence = Evidence.nothing(POSE + len(state.coefficients), split)
        equations = self._equations(number, frame)
        if equations is not None and np.isfinite(equations.matrix).all() and np.isfinite(equations.gradient).all():
            evidence, own = split_equations(equations, split)
            before = self.shared or NormalEquations(0.0, np.zeros(split), np.zeros((split, split)))
            self.shared = NormalEquations(0.0, before.gradient + own.gradient, before.matrix + own.matrix)
        self.evidence[number] = evidence

    def step(self) -> None:
        """Take the step that all evidence together asks for, and forget the evidence; none where that is not finite."""
        if self.shared is None:
            self.evidence = {}
            return
        numbers, model = list(self.evidence), self.setup.model
        states = [self.states[number] for number in numbers]
        seconds = np.array([self.faces[number].seconds for number in numbers])
        correlated = CORRELATED**2 if self.setup.photometric is None else CORRELATED
        problem = ClipProblem(
            states=states,
            evidence=list(self.evidence.values()),
            seconds=seconds,
            weights=smoothness_weights(states, seconds, model),
            shared=self.shared,
            identity=self.identity,
            identity_prior=max(len(numbers) / correlated, 1.0),
            lower=model.expression_lower,
            upper=model.expression_upper,
        )
        self.evidence, self.shared, self.appearance = {}, None, None
        try:
            steps, identity_step = problem.steps()
        except np.linalg.LinAlgError:
            return
        if np.isfinite(steps).all() and np.isfinite(identity_step).all():
            self.identity = self.identity + identity_step
            for number, state, step in zip(numbers, states, steps, strict=True):
                self.states[number] = state.stepped(step)

    def face(self, number: int) -> TrackedFace:
        """Return the face of a frame as it is now."""
        face, state, model = self.faces[number], self.states[number], self.setup.model
        vertices, whole = model.vertices(self.identity, state.coefficients), self._whole(state)
        task, look, refiner = self._task(number), self.looks.get(number), self.setup.photometric
        result = replace(
            face.result,
            status=FitStatus.CONVERGED,
            message="tracked, and fitted to the whole clip",
            camera=state.camera,
            identity=self.identity,
            expression=state.coefficients,
            reflectance=None if look is None or refiner is None else refiner.reflectance(look),
            lighting=None if look is None else look.light,
            identity_std=None,
            expression_std=None,
            landmarks_fitted=task.problem(state.scale, JawMatching().again(task, whole).match).projected(whole),
            landmarks_semantic=state.camera.project(model.landmark_positions(vertices))[:, :2],
            vertices=vertices,
            vertices_image=state.camera.project(vertices),
            box=face_box(state, model.face_size),
            quality=None,
            stages=(),
        )
        return replace(face, result=result)

    def _equations(self, number: int, frame: Pixels) -> NormalEquations | None:
        """Return a frame's equations in pose, identity and expression; None where it does not look like the face."""
        state, task = self._whole(self.states[number]), self._task(number)
        try:
            if self.setup.photometric is not None:
                found = self.setup.photometric.equations(frame, state, task, self.appearance)
                if found is None or found[2] < LOST_AGREEMENT:
                    return None
                self.appearance = self.looks[number] = found[1]
                return found[0]
            if self.faces[number].doubtful:
                return None
            matching = JawMatching().again(task, state)
            return task.problem(state.scale, matching.match).normal_equations(state)
        except (DegenerateConfigurationError, InvalidInputError, np.linalg.LinAlgError):
            return None

    def _task(self, number: int) -> LandmarkTask:
        landmarks = self.faces[number].result.landmarks
        assert landmarks is not None
        return correlated_task(self.setup, self.setup.model, landmarks, identity_prior=0.0)

    def _whole(self, state: PoseAndShape) -> PoseAndShape:
        return state._replace(coefficients=np.concatenate([self.identity, state.coefficients]))


def track_clip(
    frames: Frames,
    model: MorphableModel | None = None,
    options: TrackerOptions | None = None,
    detector: FaceFollower | None = None,
) -> Iterator[list[TrackedFace]]:
    """Return the faces of each frame of a clip, fitted to all of it.

    `frames()` yields pixels (H, W, 3) uint8 RGB and the time in seconds of each, the same whenever it is called: the
    clip is gone through PASSES times after tracking. Somebody who is lost and found again is another track, with an
    identity of its own. While it works, memory grows by some 0.3 MB a frame and face. Raises InvalidInputError for
    frames that cannot be tracked, and where they are not the same every time.
    """
    if not callable(frames):
        raise InvalidInputError(f"frames: expected a function that yields the frames, got {type(frames).__name__}")
    chosen = TrackerOptions() if options is None else options
    if not isinstance(chosen, TrackerOptions):
        raise InvalidInputError(f"options: expected TrackerOptions, got {type(chosen).__name__}")
    tracklets: dict[int, Tracklet] = {}
    clip: list[tuple[tuple[int, ...], float]] = []  # each frame's shape and time
    with Tracker(model, replace(chosen, background=False), detector) as tracker:
        for pixels, seconds in frames():
            for face in tracker.track(pixels, seconds):
                tracklets.setdefault(face.track, Tracklet(tracker.setup, np.zeros(0))).add(len(clip), face)
            clip.append((np.shape(pixels), seconds))
    with single_threaded_blas():
        for _ in range(PASSES):
            for number, pixels in enumerate(_again(frames, clip)):
                for tracklet in tracklets.values():
                    if number in tracklet.faces:
                        tracklet.observe(number, pixels)
            for tracklet in tracklets.values():
                tracklet.step()
    return (
        [tracklet.face(number) for tracklet in tracklets.values() if number in tracklet.faces]
        for number in range(len(clip))
    )


def _again(frames: Frames, clip: list[tuple[tuple[int, ...], float]]) -> Iterator[Pixels]:
    """Yield the frames' pixels once more, as checked as the first time."""
    number = 0
    for pixels, seconds in frames():
        if number >= len(clip) or (np.shape(pixels), seconds) != clip[number]:
            break
        yield checked_image(np.asarray(pixels))
        number += 1
    else:
        if number == len(clip):
            return
    raise InvalidInputError(f"frames: expected the same {len(clip)} frames at every call, got others from {number} on")


def smoothness_weights(states: list[PoseAndShape], seconds: Array, model: MorphableModel) -> Array:
    """Return the weights (F, 6 + E) of the states' second differences; none beside a pause.

    Student's t, so the inverse variance times (nu + n) / (nu + |W d|^2) for a block of n.
    """
    usual, passed, pace = ProcessNoise.usual(model), np.diff(seconds), paces(seconds)
    weights, second = np.zeros((len(states), POSE + model.n_expression)), second_differences(states, seconds)
    longest = PAUSE * max(float(np.median(passed)) if len(passed) else 0.0, FRAME)
    for t in range(1, len(states) - 1):
        if max(passed[t - 1], passed[t]) < longest:
            # A random walk's second difference, uneven times considered: that of even ones at a longer interval.
            interval = 0.25 * (passed[t - 1] + passed[t]) * float(pace[t].sum())
            variance = ACCELERATION**2 * usual.variance(states[t].scale * model.face_size, interval)
            square = usual.sums(second[t] ** 2 / variance)
            weights[t] = ((DEGREES + usual.sizes) / (DEGREES + square))[usual.blocks] / variance
    return weights
