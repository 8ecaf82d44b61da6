"""One person through a video.

Per frame, from the state of the frame before:

 1. predict the state and its uncertainty (`process_noise.py`); the face's box is that of the predicted state;
 2. the 68 points in that box;
 3. a solve for pose and expression of the points with the prediction as a prior inside it (`state_prior.py`), the
    identity held: its model is the person's own, whose mean is the person's neutral face;
 4. where asked for, the photometric steps under the same prior, with light and albedo carried along
    (`photometric/frame.py`);
 5. the posterior's covariance, for the next prediction.

That is an iterated extended Kalman filter in information form: nothing is smoothed afterwards, so nothing lags but what
the noise of the points makes uncertain. B. Bell, F. Cathey, The iterated Kalman filter update as a Gauss-Newton method,
IEEE TAC 1993.

Lost is a face whose points lie far from any face, whose pose is turned away or out of the frame, or whose picture no
longer looks like what was followed: its correlation with a template that follows it slowly, in a patch that turns and
scales with the face.
"""

import time
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..models.errors import InvalidInputError
from ..models.morphable_model import MorphableModel
from .gauss_newton import GaussNewtonOptions, NormalEquations, minimise
from .gold_standard import DegenerateConfigurationError
from .keyframes import Keyframe, is_new, shared_identity
from .landmark_noise import LandmarkNoise
from .landmark_problem import POSE
from .landmark_stage import MAX_AVERTED, inverse_positive_definite
from .landmark_task import JawMatching, LandmarkTask, landmark_task
from .landmarks import LandmarkConvention
from .photometric.appearance import Appearance
from .photometric.frame import FrameRefiner
from .process_noise import FRAME, Motion, ProcessNoise
from .state_prior import PoseAndShape, StatePrior

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

BOX_CENTRE = (0.0, -0.205, 0.0)
"""Of the detector's box in the model's frame, relative to the face's size: the mean over 24 rendered heads, photos and
a clip."""

BOX_SIDE = 1.1
"""Relative to the face's size."""

CORRELATED = 2.0
"""Noise of the points relative to a single photo's: what is wrong in one frame is so in the next ones."""

EXPRESSION_PRIOR = 0.5
"""Weight of the expression's own prior beside that of the frame before."""

SOLVES = 2
"""Gauss-Newton steps on the points of a frame."""

LOST_ERROR = 0.07
"""RMS distance of points and face, relative to the face's size, from which it is lost."""

LOST_CORRELATION, LOST_AGREEMENT = 0.4, 0.1
"""Correlation with the template, and agreement of photo and rendering, below which a face is lost."""

PATIENCE = 2
"""Frames in a row that must look wrong."""

PATCH, SLOWLY = 32, 0.1
"""Side of the template, px, and the share of a frame in it."""


@dataclass(frozen=True, eq=False)
class TrackingSetup:
    """What all tracks of a tracker share."""

    model: MorphableModel
    noise: LandmarkNoise
    convention: LandmarkConvention
    photometric: FrameRefiner | None  # None: points alone


@dataclass(frozen=True, eq=False)
class Observation:
    """What a frame told of a face."""

    landmarks: Array  # (68, 2) px
    state: PoseAndShape  # of the person's own model: expression alone
    matched: Array  # (68, 2) px, the model's points as matched
    covariance: Array  # (6 + E, 6 + E)
    error: float  # RMS distance of the points relative to the face's size
    agreement: float  # of photo and rendering; 1 where that was not looked at


class Track:
    """A person, and where the last frame left them."""

    def __init__(
        self, number: int, setup: TrackingSetup, identity: Array, state: PoseAndShape, *, held: bool = False
    ) -> None:
        """Begin with an identity (K,), which may be held, and a state of pose and expression."""
        self.number, self.setup = number, setup
        self.identity = identity
        self._become(personal_model(setup.model, identity))
        self.state, self.motion = state, Motion.still()
        self.noise = ProcessNoise.usual(setup.model)
        self.covariance: Array | None = None
        self.appearance: Appearance | None = None
        self.keyframes: list[Keyframe] = []
        self.template: NDArray[np.float32] | None = None
        self.doubts, self.held = 0, held

    def predicted(self, seconds: float) -> PoseAndShape:
        """Return where the face is thought to be so much later."""
        return self.motion.predicted(self.state, seconds)

    def observe(self, frame: Pixels, landmarks: Array, seconds: float, timings: dict[str, float]) -> Observation:
        """Return what points (68, 2) px and pixels of a frame, so much after the last, say of the face.

        Adds the seconds of its steps to `timings`.
        """
        started = time.perf_counter()
        task, state, matching, information = self._from_points(landmarks, seconds)
        timings["solve"] = timings.get("solve", 0.0) + time.perf_counter() - started
        agreement = 1.0
        if self.photometric is not None:
            started = time.perf_counter()
            found = self.photometric.refine(frame, state, task, self.appearance)
            if found is not None:
                state, self.appearance = found.pose, found.appearance
                information, agreement = found.information, found.agreement
            timings["photometric"] = timings.get("photometric", 0.0) + time.perf_counter() - started
        matched = task.problem(state.scale, matching.again(task, state).match).projected(state)
        size = state.scale * self.person.face_size
        error = float(np.sqrt(((matched - landmarks) ** 2).sum(axis=1).mean())) / size
        covariance = inverse_positive_definite(information)
        return Observation(landmarks, state, matched, covariance, error, agreement)

    def _from_points(self, landmarks: Array, seconds: float) -> tuple[LandmarkTask, PoseAndShape, JawMatching, Array]:
        """Solve for a frame's points, again where the face turns out to move more than it is used to.

        Return the task with the prior, the state, the jaw's matching and the information (6 + E, 6 + E).
        """
        expected, noise = self.predicted(seconds), self.noise.calmer()
        task = correlated_task(self.setup, self.person, landmarks)
        state, matching, held = expected, JawMatching(), None
        for _ in range(2):
            spread = self._predicted_covariance(seconds, noise)
            prior = StatePrior(expected, inverse_positive_definite(spread))
            task = replace(task, prior=prior)
            for _ in range(SOLVES if self.photometric is None else 1):
                matching = matching.again(task, state)
                problem = task.problem(expected.scale, matching.match)
                outcome = minimise(problem, state, GaussNewtonOptions(1, 1e-3), held=held)
                state, held = outcome.state, outcome.held
            assert isinstance(outcome.last, NormalEquations)
            information = outcome.last.matrix
            gained = spread - inverse_positive_definite(information)
            raised = noise.after(prior.difference(state), np.maximum(gained.diagonal(), 1e-12))
            if self.covariance is None or raised is None:
                break
            noise = raised
        self.noise = noise
        return task, state, matching, information

    def settled(self, frame: Pixels, landmarks: Array, timings: dict[str, float]) -> Observation | None:
        """Return what the first frame says of a person who is known, now without motion; None where it is no face."""
        try:
            seen = self.observe(frame, landmarks, FRAME, timings)
        except (DegenerateConfigurationError, InvalidInputError, np.linalg.LinAlgError):
            return None
        accepted, self.motion = self.accept(seen, frame, FRAME), Motion.still()
        return seen if accepted else None

    def accept(self, seen: Observation, frame: Pixels, seconds: float) -> bool:
        """Go on from an observation; False where the face is lost."""
        size, shape = seen.state.scale * self.person.face_size, frame.shape[:2]
        x, y = seen.state.translation
        inside = -0.3 * size < x < shape[1] + 0.3 * size and -0.3 * size < y < shape[0] + 0.3 * size
        if not (seen.error < LOST_ERROR and inside and seen.state.rotation[2, 2] < MAX_AVERTED and size > 16.0):
            return False
        wrong = self._unlike(frame, seen.state) or seen.agreement < LOST_AGREEMENT
        self.doubts = self.doubts + 1 if wrong else 0
        if self.doubts >= PATIENCE:
            return False
        self.motion = self.motion.after(self.state, seen.state, seconds)
        self.state, self.covariance = seen.state, seen.covariance
        return True

    def wants_keyframe(self) -> bool:
        """Whether the face is seen as no kept frame shows it."""
        return not self.held and self.doubts == 0 and is_new(self.state.rotation, self.keyframes)

    def keyframe(self, frame: Pixels, seen: Observation) -> Keyframe | None:
        """Return the fit of the whole model to a frame, from where the track is; None where it has none."""
        setup = self.setup
        begin = seen.state._replace(coefficients=np.concatenate([self.identity, seen.state.coefficients]))
        task = landmark_task(setup.model, seen.landmarks, setup.noise, setup.convention)
        try:
            if setup.photometric is not None:
                found = setup.photometric.refine(frame, begin, task, None)
                return None if found is None else Keyframe.of_fit(found.pose, found.information, len(self.identity))
            matching = JawMatching().again(task, begin)
            problem = task.problem(begin.scale, matching.match)
            outcome = minimise(problem, begin, GaussNewtonOptions(SOLVES, 1e-3))
        except (DegenerateConfigurationError, np.linalg.LinAlgError):
            return None
        assert isinstance(outcome.last, NormalEquations)
        return Keyframe.of_fit(outcome.state, outcome.last.matrix, len(self.identity))

    def learn(self, keyframe: Keyframe) -> None:
        """Take a keyframe in: the person's own model changes."""
        self.keyframes.append(keyframe)
        self.identity = shared_identity(self.keyframes)
        self._become(personal_model(self.setup.model, self.identity))
        self.appearance = None  # another shape may show another light: it is found anew

    def calibrate(self) -> None:
        """Let what is seen now count as the neutral expression."""
        neutral = self.person.vertices(None, self.state.coefficients)
        self._become(replace(self.person, mean=neutral.astype(np.float32)))
        self.state, self.held = self.state._replace(coefficients=np.zeros(self.person.n_expression)), True

    def _become(self, person: MorphableModel) -> None:
        self.person, whole = person, self.setup.photometric
        self.photometric = None if whole is None else whole.personal(person)

    def _predicted_covariance(self, seconds: float, noise: ProcessNoise) -> Array:
        """Return the covariance (6 + E, 6 + E) of the prediction."""
        if self.covariance is None:
            return 1e6 * np.eye(POSE + self.person.n_expression)
        return self.covariance + np.diag(noise.variance(self.state.scale * self.person.face_size, seconds))

    def _unlike(self, frame: Pixels, state: PoseAndShape) -> bool:
        """Whether the face's patch is unlike the template, which then takes a little of it."""
        patch = _patch(frame, state, self.person.face_size)
        if self.template is None:
            self.template = patch
        unlike = float((patch * self.template).mean()) < LOST_CORRELATION
        if not unlike:
            mixed = (1.0 - SLOWLY) * self.template + SLOWLY * patch
            self.template = _standardised(mixed)
        return unlike


def correlated_task(
    setup: TrackingSetup, model: MorphableModel, landmarks: Array, identity_prior: float = 1.0
) -> LandmarkTask:
    """Return the task of points (68, 2) px in one frame of many, their noise being CORRELATED."""
    noise = replace(setup.noise, sigma=CORRELATED * setup.noise.sigma)
    return landmark_task(model, landmarks, noise, setup.convention, identity_prior, EXPRESSION_PRIOR)


def personal_model(model: MorphableModel, identity: Array) -> MorphableModel:
    """Return the model of one person: its mean is that person's neutral face, and nobody else is possible."""
    mean = model.vertices(identity, None).astype(np.float32)
    return replace(model, mean=mean, identity=np.zeros((0, model.n_vertices, 3), np.float32))


def face_box(state: PoseAndShape, face_size: float) -> Array:
    """Return the box (4,) px in which the landmarks' predictor expects the face of a state."""
    middle = state.scale * face_size * state.rotation[:2] @ np.array(BOX_CENTRE) + state.translation
    half = 0.5 * BOX_SIDE * state.scale * face_size
    return np.concatenate([middle - half, middle + half])


def _patch(frame: Pixels, state: PoseAndShape, face_size: float) -> NDArray[np.float32]:
    """Return the luma (PATCH, PATCH) of the face's middle, upright and of one size, with mean 0 and deviation 1."""
    across, down = state.rotation[:2, 0], -state.rotation[:2, 1]
    upright = np.array([down[1], -down[0]])
    upright = upright if upright @ across >= 0.0 else -upright
    step = state.scale * face_size * BOX_SIDE / PATCH
    unit = down / max(float(np.linalg.norm(down)), 1e-9)
    side = upright / max(float(np.linalg.norm(upright)), 1e-9)
    box = face_box(state, face_size)
    middle = 0.5 * (box[:2] + box[2:])
    axes = step * np.stack([side, unit], axis=1)
    matrix = np.column_stack([axes, middle - axes @ np.full(2, 0.5 * (PATCH - 1))])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    part = cv2.warpAffine(frame, matrix, (PATCH, PATCH), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return _standardised(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY).astype(np.float32))


def _standardised(patch: NDArray[np.floating]) -> NDArray[np.float32]:
    away = patch - patch.mean()
    return np.asarray(away / max(float(away.std()), 1e-3), np.float32)
