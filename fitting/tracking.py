"""Faces in a video, frame by frame, as it comes: `Tracker`.

The detector runs where fewer faces are followed than asked for: on the first frames, when one is lost, and now and
then. Everybody else is followed from frame to frame (`track.py`). Who a person is comes from frames that show the face
turned differently (`keyframes.py`); with `background` these are fitted in a thread beside, and a track takes up what is
ready when its next frame comes.

A frame without a face gives an empty list; black or broken frames are frames without a face.
"""

import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..models.arrays import checked_array
from ..models.errors import InvalidInputError
from ..models.morphable_model import MorphableModel, require_model
from ..models.store import load_model
from ..render.cameras import ScaledOrthographic
from .detection import Detection, FaceDetector, intersection_over_union
from .gold_standard import DegenerateConfigurationError
from .images import checked_image
from .keyframes import Keyframe
from .landmark_noise import LandmarkNoise
from .landmark_problem import POSE
from .landmark_task import state_of
from .options import STAGES, FitOptions
from .parameters import FaceParameters
from .photometric.frame import FrameRefiner
from .photometric.options import PhotometricOptions
from .pipeline import fit
from .process_noise import FRAME
from .results import FitResult
from .status import FitStatus
from .threads import single_threaded_blas
from .track import Observation, Track, TrackingSetup, face_box

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

DETECT_EVERY = 5
"""Frames between two runs of the detector while nobody is found; the first of them at once."""

LOOK_AROUND = 30
"""Frames between two runs of the detector while fewer faces are followed than asked for."""

SEARCH = 60
"""Frames for which somebody who was lost is looked for as often as if nobody were there."""

OVERLAP = 0.4
"""Intersection over union from which two boxes are the same face's."""

_PHOTOMETRIC = PhotometricOptions(face_sizes=(40.0,), rounds=2)


@runtime_checkable
class FaceFollower(FaceDetector, Protocol):
    """A detector that also finds the points of a face whose place is known in little time."""

    def follow(self, image: Pixels, box: ArrayLike) -> Array:
        """Return the points (68, 2) px of the face in a box (4,) px."""


@dataclass(frozen=True)
class TrackerOptions:
    """How faces are tracked."""

    faces: int = 1  # that are followed, at most
    photometric: bool = True  # whether pixels refine each frame; points alone take a fifth of the time
    background: bool = True  # whether the person's shape is found in a thread beside; False: at once, and repeatably
    refinement: PhotometricOptions = field(default=_PHOTOMETRIC)  # of each frame: its last level counts

    def __post_init__(self) -> None:
        """Refuse what cannot be, naming the option."""
        if not isinstance(self.faces, int | np.integer) or isinstance(self.faces, bool) or self.faces < 1:
            raise InvalidInputError(f"faces: expected a whole number from 1, got {self.faces!r}")
        for name in ("photometric", "background"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidInputError(f"{name}: expected True or False, got {getattr(self, name)!r}")
        if not isinstance(self.refinement, PhotometricOptions):
            raise InvalidInputError(
                f"refinement: expected PhotometricOptions, got {type(self.refinement).__name__}"
            )  # fmt: skip


@dataclass(frozen=True, eq=False)
class TrackedFace:
    """A face in one frame."""

    track: int  # number of the person's track, from 0, never used again
    result: FitResult
    seconds: float  # of the frame
    timings: dict[str, float]  # seconds by step: detect, landmarks, solve, photometric
    doubtful: bool = False  # whether the frame no longer looks like the face; the second in a row ends the track


class Tracker:
    """Follows faces through the frames of one video; not for several threads at once. Close it, or use `with`."""

    def __init__(
        self,
        model: MorphableModel | None = None,
        options: TrackerOptions | None = None,
        detector: FaceFollower | None = None,
        identity: ArrayLike | None = None,
    ) -> None:
        """Follow faces with a model, the embedded default if None, and a detector, dlib's without its CNN if None.

        identity (K,): everybody's, where it is known; it is then held.
        """
        self.model = load_model("default") if model is None else require_model(model)
        self.options = TrackerOptions() if options is None else options
        if not isinstance(self.options, TrackerOptions):
            raise InvalidInputError(f"options: expected TrackerOptions, got {type(self.options).__name__}")
        if detector is None:
            from .dlib_detector import DlibDetector

            detector = DlibDetector(allow_cnn=False)
        if not isinstance(detector, FaceFollower):
            raise InvalidInputError(f"detector: expected one that can follow a face, got {type(detector).__name__}")
        self.detector = detector
        photometric = FrameRefiner.of(self.model, self.options.refinement) if self.options.photometric else None
        self._beside = ThreadPoolExecutor(1) if self.options.background else None
        noise = LandmarkNoise(detector.landmark_sigma, detector.opening_correlation)
        self.setup = TrackingSetup(self.model, noise, detector.landmark_convention, photometric)
        self._identity = None
        if identity is not None:
            self._identity = checked_array("identity", identity, (self.model.n_identity,))
        self._provenance: dict[str, Any] = {}
        self._counter, self._closed = 0, False
        self.reset()

    def __enter__(self) -> Self:
        """Return the tracker itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """End its thread; nothing is tracked any more."""
        self.reset()
        self._closed = True
        if self._beside is not None:
            self._beside.shutdown(wait=True, cancel_futures=True)

    def reset(self) -> None:
        """Forget everybody."""
        self._tracks: list[Track] = []
        self._pending: dict[int, Future[Keyframe | None]] = {}
        self._last: float | None = None
        self._frames, self._look_at, self._search_until = 0, 0, 0

    def calibrate_neutral(self) -> None:
        """Let what is seen of everybody now count as their neutral expression from now on."""
        for track in self._tracks:
            track.calibrate()

    def track(self, frame: ArrayLike, seconds: float | None = None) -> list[TrackedFace]:
        """Return the faces of the next frame (H, W, 3) uint8 RGB, upright, those followed longest first.

        seconds: its presentation time, which grows; None: 1/30 s after the last one's. Raises InvalidInputError for
        another kind of image, and for a time that is no number or not later than the last one's.
        """
        if self._closed:
            raise InvalidInputError("track: expected a tracker that is open, got one that was closed")
        image, now = checked_image(np.asarray(frame)), self._time(seconds)
        passed = FRAME if self._last is None else now - self._last
        self._last = now
        with single_threaded_blas():
            found = [face for track in list(self._tracks) if (face := self._followed(track, image, now, passed))]
            found += self._detected(image, now)
        self._frames += 1
        return found

    def _time(self, seconds: float | None) -> float:
        if seconds is None:
            return 0.0 if self._last is None else self._last + FRAME
        now = float(seconds)
        if not math.isfinite(now) or (self._last is not None and now <= self._last):
            raise InvalidInputError(f"seconds: expected a time after the last frame's ({self._last}), got {seconds!r}")
        return now

    def _followed(self, track: Track, image: Pixels, now: float, passed: float) -> TrackedFace | None:
        """Return a track's face in a frame; None, and no such track any more, where it is lost."""
        self._take_up(track)
        timings: dict[str, float] = {}
        try:
            landmarks = self._points(track, image, passed, timings)
            seen = track.observe(image, landmarks, passed, timings)
            if track.accept(seen, image, passed) and not self._overtaken(track):
                self._consider(track, image, seen)
                return TrackedFace(track.number, self._result(track, seen), now, timings, track.doubts > 0)
        except (DegenerateConfigurationError, InvalidInputError, np.linalg.LinAlgError):
            pass  # no face is where it was followed to
        self._drop(track)
        return None

    def _points(self, track: Track, image: Pixels, passed: float, timings: dict[str, float]) -> Array:
        started = time.perf_counter()
        box = face_box(track.predicted(passed), track.person.face_size)
        points = self.detector.follow(image, box)
        timings["landmarks"] = time.perf_counter() - started
        return points

    def _overtaken(self, track: Track) -> bool:
        """Whether an older track has come to the same face."""
        box = face_box(track.state, track.person.face_size)
        older = self._tracks[: self._tracks.index(track)]
        return any(
            intersection_over_union(box, face_box(other.state, other.person.face_size)) > OVERLAP for other in older
        )

    def _detected(self, image: Pixels, now: float) -> list[TrackedFace]:
        """Return new faces, where it is time to look for some."""
        if len(self._tracks) >= self.options.faces or self._frames < self._look_at:
            return []
        started = time.perf_counter()
        detections = self.detector.detect(image)
        timings = {"detect": time.perf_counter() - started}
        boxes = [face_box(track.state, track.person.face_size) for track in self._tracks]
        free = [
            one for one in detections if all(intersection_over_union(one.box, box) < OVERLAP for box in boxes)
        ]  # fmt: skip
        faces: list[TrackedFace] = []
        for detection in free[: self.options.faces - len(self._tracks)]:
            if (face := self._begun(detection, image, now, timings)) is not None:
                faces.append(face)
        calm = self._tracks and self._frames >= self._search_until
        self._look_at = self._frames + (LOOK_AROUND if calm else DETECT_EVERY)
        return faces

    def _begun(self, detection: Detection, image: Pixels, now: float, timings: dict[str, float]) -> TrackedFace | None:
        """Begin a track with the fit of a single photo."""
        started = time.perf_counter()
        options = FitOptions(
            stages=STAGES[:2] if self.options.photometric else STAGES[:1],
            landmark_convention=self.detector.landmark_convention,
            landmark_sigma=self.detector.landmark_sigma,
            opening_correlation=self.detector.opening_correlation,
        )
        result = fit(image, self.model, landmarks=detection.landmarks, options=options)
        if not result.status.usable:
            return None
        assert result.camera is not None and result.identity is not None and result.expression is not None
        assert isinstance(result.camera, ScaledOrthographic)
        begin = state_of(FaceParameters(result.camera, np.zeros(0), result.expression))
        identity = result.identity if self._identity is None else self._identity
        track = Track(self._counter, self.setup, identity, begin, held=self._identity is not None)
        self._provenance = result.provenance
        timings = timings | {"solve": time.perf_counter() - started}
        if self._identity is not None:  # the photo's own fit has another
            seen = track.settled(image, detection.landmarks, timings)
            if seen is None:
                return None
            result = self._result(track, seen)
        self._counter += 1
        self._tracks.append(track)
        result = replace(result, face_index=track.number, box=detection.box, detector=detection.detector)
        return TrackedFace(track.number, result, now, timings)

    def _consider(self, track: Track, image: Pixels, seen: Observation) -> None:
        """Have a frame fitted that shows a face as no other did."""
        if track.number in self._pending or not track.wants_keyframe():
            return
        if self._beside is None:
            self._learn(track, track.keyframe(image, seen))
        else:
            self._pending[track.number] = self._beside.submit(track.keyframe, image.copy(), seen)

    def _take_up(self, track: Track) -> None:
        """Take up what the thread beside has found of a person."""
        pending = self._pending.get(track.number)
        if pending is not None and pending.done():
            del self._pending[track.number]
            self._learn(track, pending.result())

    def _learn(self, track: Track, keyframe: Keyframe | None) -> None:
        if keyframe is not None and not track.held:
            track.learn(keyframe)

    def _drop(self, track: Track) -> None:
        self._tracks.remove(track)
        self._pending.pop(track.number, None)
        self._look_at, self._search_until = self._frames, self._frames + SEARCH

    def _result(self, track: Track, seen: Observation) -> FitResult:
        state, person = seen.state, track.person
        camera, vertices = state.camera, person.vertices(None, state.coefficients)
        deviation = np.sqrt(np.maximum(seen.covariance.diagonal()[POSE:], 0.0))
        appearance, refiner = track.appearance, track.photometric
        return FitResult(
            status=FitStatus.CONVERGED,
            message="tracked from the frame before",
            camera=camera,
            identity=track.identity,
            expression=state.coefficients,
            expression_std=deviation,
            reflectance=None if appearance is None or refiner is None else refiner.reflectance(appearance),
            lighting=None if appearance is None else appearance.light,
            landmarks=seen.landmarks,
            landmark_sigma=self.setup.noise.sigma,
            landmarks_fitted=seen.matched,
            landmarks_semantic=camera.project(person.landmark_positions(vertices))[:, :2],
            vertices=vertices,
            vertices_image=camera.project(vertices),
            triangles=self.model.triangles,
            box=face_box(state, person.face_size),
            face_index=track.number,
            detector=self.detector.name,
            provenance=self._provenance,
        )
