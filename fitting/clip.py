"""A whole video at once: what later frames say of earlier ones, too, and one identity from all of them.

Forward tracking (`tracking.py`) leaves for each person a state in every frame, and an identity. From there PASSES
Gauss-Newton steps on the energy of the whole clip, each of which goes through the frames once for what they say of it
and solves for all states and the identity together (`clip_problem.py`).

Frames of one video err alike (`keyframes.py`), so F of them count for one photo's identity: its prior counts F times.
Points, though, whose noise is CORRELATED times a photo's already (`track.py`), have lost that factor's square before,
while pixels have not: the prior counts F / CORRELATED times, between the two.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..models.errors import InvalidInputError
from ..models.morphable_model import MorphableModel
from ..render.cameras import ScaledOrthographic
from ._kernels import rotated
from .clip_problem import ClipProblem, Evidence
from .detection import FaceDetector
from .gold_standard import DegenerateConfigurationError
from .landmark_problem import POSE
from .landmark_task import JawMatching, state_of
from .parameters import FaceParameters
from .photometric.appearance import Appearance
from .process_noise import FRAME, process_variance
from .state_prior import PoseAndShape
from .threads import single_threaded_blas
from .track import CORRELATED, Follower, camera_of, correlated_task
from .tracking import TrackedFace, Tracker, TrackerOptions

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Frames = Callable[[], Iterable[tuple[Pixels, float]]]

ACCELERATION = 0.4
"""Deviation of a second difference, relative to that of a step by process noise."""

PASSES = 3
"""Gauss-Newton steps."""

PAUSE = 4.0 * FRAME
"""s: a longer one between two frames says nothing of how the face moved."""


@dataclass(eq=False)
class Strand:
    """One track's frames, by their numbers."""

    identity: Array  # (K,)
    faces: dict[int, TrackedFace] = field(default_factory=dict)  # as tracked, but for their vertices
    states: dict[int, PoseAndShape] = field(default_factory=dict)  # expression alone
    evidence: dict[int, Evidence] = field(default_factory=dict)
    appearance: Appearance | None = None  # of the frame before

    def add(self, number: int, face: TrackedFace) -> None:
        """Take a frame in; the identity is the last frame's."""
        result = face.result
        assert result.identity is not None and result.expression is not None
        assert isinstance(result.camera, ScaledOrthographic)
        self.identity = result.identity
        self.states[number] = state_of(FaceParameters(result.camera, np.zeros(0), result.expression))
        self.faces[number] = replace(face, result=replace(result, vertices=None, vertices_image=None))

    def look(self, number: int, frame: Pixels, shared: Follower) -> None:
        """Take what a frame says of a step; nothing where it does not show the face."""
        state, landmarks = self.states[number], self.faces[number].result.landmarks
        assert landmarks is not None
        whole = state._replace(coefficients=np.concatenate([self.identity, state.coefficients]))
        task = correlated_task(shared, shared.model, landmarks, identity_prior=0.0)
        try:
            if shared.photometric is None:
                problem = task.problem(whole.scale, JawMatching().again(task, whole).match)
                equations = problem.normal_equations(whole)
            else:
                found = shared.photometric.equations(frame, whole, task, self.appearance)
                if found is None:
                    return
                equations, self.appearance = found
        except (DegenerateConfigurationError, InvalidInputError, np.linalg.LinAlgError):
            return
        self.evidence[number] = Evidence.of_equations(equations, len(self.identity))

    def step(self, model: MorphableModel) -> None:
        """Take the step that all evidence together asks for, and forget the evidence; none where that is too little."""
        numbers = list(self.evidence)
        if not numbers:
            return
        states = [self.states[number] for number in numbers]
        problem = ClipProblem(
            states=states,
            evidence=list(self.evidence.values()),
            weights=_weights(states, np.array([self.faces[number].seconds for number in numbers]), model),
            identity=self.identity,
            identity_prior=max(len(numbers) / CORRELATED, 1.0),
            lower=model.expression_lower,
            upper=model.expression_upper,
        )
        self.evidence, self.appearance = {}, None
        try:
            steps, turn = problem.steps()
        except np.linalg.LinAlgError:
            return
        if np.isfinite(steps).all() and np.isfinite(turn).all():
            self.identity = self.identity + turn
            for number, state, step in zip(numbers, states, steps, strict=True):
                self.states[number] = _stepped(state, step)

    def face(self, number: int, model: MorphableModel) -> TrackedFace:
        """Return the face of a frame as it is now."""
        face, state = self.faces[number], self.states[number]
        camera, vertices = camera_of(state), model.vertices(self.identity, state.coefficients)
        result = replace(
            face.result,
            camera=camera,
            identity=self.identity,
            expression=state.coefficients,
            vertices=vertices,
            vertices_image=camera.project(vertices),
            landmarks_semantic=camera.project(model.landmark_positions(vertices))[:, :2],
            message="tracked, and fitted to the whole clip",
        )
        return replace(face, result=result)


def track_clip(
    frames: Frames,
    model: MorphableModel | None = None,
    options: TrackerOptions | None = None,
    detector: FaceDetector | None = None,
) -> Iterator[list[TrackedFace]]:
    """Return the faces of each frame of a clip, fitted to all of it.

    `frames()` yields pixels (H, W, 3) uint8 RGB and the time in seconds of each, anew whenever it is called: the clip
    is gone through PASSES times after tracking. While it works, memory grows by some 0.4 MB a frame and face.
    """
    chosen = replace(TrackerOptions() if options is None else options, background=False)
    strands: dict[int, Strand] = {}
    count = 0
    with Tracker(model, chosen, detector) as tracker:
        shared = tracker.shared
        for pixels, seconds in frames():
            for face in tracker.track(pixels, seconds):
                strands.setdefault(face.track, Strand(np.zeros(0))).add(count, face)
            count += 1
    with single_threaded_blas():
        for _ in range(PASSES):
            for number, (pixels, _) in enumerate(frames()):
                for strand in strands.values():
                    if number in strand.faces:
                        strand.look(number, pixels, shared)
            for strand in strands.values():
                strand.step(shared.model)
    return (
        [strand.face(number, shared.model) for strand in strands.values() if number in strand.faces]
        for number in range(count)
    )


def _weights(states: list[PoseAndShape], seconds: Array, model: MorphableModel) -> Array:
    """Return the inverse variances (F, 6 + E) of the states' second differences; none beside a pause."""
    weights = np.zeros((len(states), POSE + model.n_expression))
    passed = np.diff(seconds)
    for t in range(1, len(states) - 1):
        if max(passed[t - 1], passed[t]) < PAUSE:
            variance = process_variance(model, states[t].scale, 0.5 * (passed[t - 1] + passed[t]))
            weights[t] = 1.0 / (ACCELERATION**2 * variance)
    return weights


def _stepped(state: PoseAndShape, step: Array) -> PoseAndShape:
    """Return the state at a step (6 + E,)."""
    return PoseAndShape(
        rotated(state.rotation, step[:3]),
        state.translation + step[3:5],
        state.scale * float(np.exp(step[5])),
        state.coefficients + step[6:],
    )
