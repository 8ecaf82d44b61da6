"""From a photo to fitted faces: detection, initialisation and the stages, in that order.

Wrong calls raise; wrong data ends in a status.
"""

import dataclasses
import math
import time
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..models.arrays import checked_array
from ..models.errors import InvalidInputError
from ..models.morphable_model import MorphableModel, require_model
from ..models.store import load_model
from .detail import DetailFit, fit_detail_stage
from .detection import Detection, FaceDetector
from .gold_standard import DegenerateConfigurationError
from .images import LoadedImage, checked_image
from .initializers import Initializer, InitializerInput, MeanFace
from .landmark_noise import LandmarkNoise, expand_sigma
from .landmark_problem import POSE
from .landmark_stage import LandmarkFit, fit_landmark_stage
from .landmarks import COUNT, LandmarkConvention, face_box
from .options import FitOptions
from .photometric.stage import PhotometricFit, fit_photometric_stage
from .quality import fit_quality
from .results import FitResult, StageReport
from .status import FitStatus
from .threads import single_threaded_blas

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

MAX_COORDINATE = 1e100
"""Largest landmark coordinate, px, that counts as a number: its square must still be one."""

GIVEN_SIGMA = 0.03
"""Noise assumed of landmarks that are given where the model has no figures of its own: 2 % of the face's size by hand
or detector, and as much for the model."""


def fit(
    image: Pixels | LoadedImage,
    model: MorphableModel | None = None,
    *,
    landmarks: ArrayLike | None = None,
    options: FitOptions | None = None,
    detector: FaceDetector | None = None,
    initializer: Initializer | None = None,
) -> FitResult:
    """Fit the largest face of an image (H, W, 3) uint8 RGB, upright, or of one that `load_image` gave.

    `model` is the embedded default if None. `landmarks` (68, 2) px spare the detector, which is dlib's if None.
    """
    image = _checked_image(image)
    if landmarks is not None:
        session = _session(model, options, initializer, image)
        return _fit_one(session, _Face(_checked_landmarks(landmarks)))
    faces = _fit_detected(image, model, options, detector, initializer, largest=True)
    if faces:
        return faces[0]
    session = _session(model, options, initializer, image)
    return _failure(session, FitStatus.NO_FACE, FitStatus.NO_FACE.value, _Face(None))


def fit_faces(
    image: Pixels | LoadedImage,
    model: MorphableModel | None = None,
    *,
    options: FitOptions | None = None,
    detector: FaceDetector | None = None,
    initializer: Initializer | None = None,
) -> list[FitResult]:
    """Fit every face that the detector finds, the largest first; an empty list where it finds none."""
    return _fit_detected(_checked_image(image), model, options, detector, initializer, largest=False)


def fit_landmarks(
    landmarks: ArrayLike,
    model: MorphableModel | None = None,
    *,
    options: FitOptions | None = None,
    initializer: Initializer | None = None,
) -> FitResult:
    """Fit geometry to 68 points (68, 2) px alone, without an image."""
    return _fit_one(_session(model, options, initializer, None), _Face(_checked_landmarks(landmarks)))


@dataclass(frozen=True, eq=False)
class _Session:
    """What all faces of one call share."""

    model: MorphableModel
    options: FitOptions
    initializer: Initializer
    image: Pixels | None
    deadline: float  # s, on the clock of time.perf_counter
    provenance: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Face:
    """The landmarks of one face and where they come from."""

    landmarks: Array | None
    detection: Detection | None = None
    detector: FaceDetector | None = None
    index: int = 0

    def describe(self) -> dict[str, Any]:
        """Return the fields of a result that do not depend on the fit."""
        box, landmarks = None, None
        if self.landmarks is not None and (np.abs(self.landmarks) < MAX_COORDINATE).all():
            box, landmarks = np.array(face_box(self.landmarks)), self.landmarks
        if self.detection is not None:
            box = self.detection.box
        return {
            "landmarks": landmarks,
            "box": box,
            "face_index": self.index,
            "detector": self.detection.detector if self.detection else None,
            "detector_score": float(self.detection.score) if self.detection else None,
        }


@cache
def _version() -> str:
    """Return facefit's version, read once: the package's metadata are a text file."""
    return version("facefit")


def _session(
    model: MorphableModel | None,
    options: FitOptions | None,
    initializer: Initializer | None,
    image: Pixels | LoadedImage | None,
) -> _Session:
    model = load_model("default") if model is None else require_model(model)
    options, initializer = FitOptions() if options is None else options, initializer or MeanFace()
    if not isinstance(options, FitOptions):
        raise InvalidInputError(f"options: expected FitOptions, got {type(options).__name__}")
    provenance: dict[str, Any] = {
        "version": _version(),
        "model": {"name": model.name, "hash": model.hash, "licence": model.licence},
        "initializer": initializer.name,
        "options": _plain(dataclasses.asdict(options)),
    }
    pixels = None
    if isinstance(image, LoadedImage):
        pixels = image.pixels
        provenance["image"] = {
            "size": list(pixels.shape[1::-1]),
            "orientation": image.orientation,
            "path": str(image.path),
        }
    elif image is not None:
        pixels = image
        provenance["image"] = {"size": list(pixels.shape[1::-1]), "orientation": 1}
    deadline = math.inf if options.max_seconds is None else time.perf_counter() + options.max_seconds
    return _Session(model, options, initializer, pixels, deadline, provenance)


def _plain(value: Any) -> Any:
    """Return `value` in the types of strict JSON, where infinity is the text "inf"."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _fit_detected(
    image: Pixels | LoadedImage,
    model: MorphableModel | None,
    options: FitOptions | None,
    detector: FaceDetector | None,
    initializer: Initializer | None,
    *,
    largest: bool,
) -> list[FitResult]:
    session = _session(model, options, initializer, image)
    if detector is None:
        from .dlib_detector import DlibDetector

        detector = DlibDetector()
    assert session.image is not None
    detections = detector.detect(session.image)
    if largest:
        detections = detections[:1]
    return [_fit_one(session, _Face(found.landmarks, found, detector, k)) for k, found in enumerate(detections)]


def _checked_image(image: Pixels | LoadedImage) -> Pixels | LoadedImage:
    return image if isinstance(image, LoadedImage) else checked_image(image)


def _checked_landmarks(landmarks: ArrayLike) -> Array:
    """NaN is data, not a wrong call: only the shape is checked here."""
    return checked_array("landmarks", landmarks, (COUNT, 2), finite=False)


def _fit_one(session: _Session, face: _Face) -> FitResult:
    """Run the initialiser and the stages on one face."""
    assert face.landmarks is not None
    noise, convention = landmark_assumptions(session.model, session.options, face.detector)
    used = np.isfinite(noise.sigma)
    if not (np.abs(face.landmarks[used]) < MAX_COORDINATE).all():
        return _failure(session, FitStatus.BAD_INPUT, FitStatus.BAD_INPUT.value, face)
    if not used.any():
        return _failure(session, FitStatus.DEGENERATE, f"{FitStatus.DEGENERATE.value}: every point is left out", face)
    try:
        with single_threaded_blas():
            return _run_stages(session, face, noise, convention)
    except DegenerateConfigurationError as problem:
        return _failure(session, FitStatus.DEGENERATE, f"{FitStatus.DEGENERATE.value}: {problem}", face)


def _run_stages(session: _Session, face: _Face, noise: LandmarkNoise, convention: LandmarkConvention) -> FitResult:
    """Run the initialiser and the stages on a face whose points are numbers where they count."""
    assert face.landmarks is not None
    options, used = session.options, np.isfinite(noise.sigma)
    points = np.where(used[:, None], face.landmarks, 0.0)
    given = InitializerInput(
        session.model, session.image, np.array(face_box(points[used])), points, noise.sigma, convention
    )  # fmt: skip
    started = time.perf_counter()
    start = session.initializer(given)
    found = fit_landmark_stage(
        session.model, points, start, noise, convention, options.landmark, session.deadline
    )  # fmt: skip
    reports = [_report("landmark", found, time.perf_counter() - started)]
    refined = None
    if "photometric" in options.stages and session.image is not None and found.status.usable:
        started = time.perf_counter()
        refined = fit_photometric_stage(
            session.image, found.parameters, found.task, options.photometric, session.deadline
        )  # fmt: skip
        reports.append(_report("photometric", refined, time.perf_counter() - started))
    result = _result(session, face, found, refined, noise, tuple(reports))
    return _detailed(session, result) if "detail" in options.stages and session.image is not None else result


def _detailed(session: _Session, result: FitResult) -> FitResult:
    """Return a usable result with what the detail stage finds, and its report."""
    if not result.status.usable:
        return result
    assert session.image is not None
    started = time.perf_counter()
    found = fit_detail_stage(session.image, result, session.model, session.options.detail, session.deadline)
    report = _report("detail", found, time.perf_counter() - started)
    return replace(result, detail=found.detail, stages=(*result.stages, report))


def _report(name: str, found: LandmarkFit | PhotometricFit | DetailFit, seconds: float) -> StageReport:
    return StageReport(name, found.status, found.iterations, found.initial_energy, found.final_energy, seconds)


def landmark_assumptions(
    model: MorphableModel, options: FitOptions, detector: FaceDetector | None = None
) -> tuple[LandmarkNoise, LandmarkConvention]:
    """Return noise and convention: the caller's choice, else the detector's, else those of given landmarks: the noise
    that the model states for that convention, or GIVEN_SIGMA.
    """
    correlation, convention = 0.0, LandmarkConvention.SEMANTIC
    if detector is not None:
        correlation, convention = detector.opening_correlation, detector.landmark_convention
    if options.opening_correlation is not None:
        correlation = options.opening_correlation
    if options.landmark_convention is not None:
        convention = LandmarkConvention(options.landmark_convention)
    sigma = options.landmark_sigma
    if sigma is None:
        sigma = _given_sigma(model, convention) if detector is None else detector.landmark_sigma
    return LandmarkNoise(expand_sigma(sigma), correlation), convention


def _given_sigma(model: MorphableModel, convention: LandmarkConvention) -> ArrayLike:
    sliding = convention is LandmarkConvention.CONTOUR
    own = (model.required_contour_landmarks if sliding else model.required_landmarks).sigma
    return GIVEN_SIGMA if own is None else own


def _result(
    session: _Session,
    face: _Face,
    found: LandmarkFit,
    refined: PhotometricFit | None,
    noise: LandmarkNoise,
    reports: tuple[StageReport, ...],
) -> FitResult:
    """Return the result of the last stage that was accepted."""
    assert face.landmarks is not None
    model, last = session.model, found if refined is None or not refined.accepted else refined
    assert last.covariance is not None
    assert last.landmarks is not None
    parameters = last.parameters
    vertices = model.vertices(parameters.identity, parameters.expression)
    deviation = np.sqrt(np.maximum(last.covariance.diagonal()[POSE:], 0.0))
    # A point that was left out may be no number: the result shows where the model puts it.
    shown = np.where(
        (np.abs(face.landmarks) < MAX_COORDINATE).all(axis=1, keepdims=True), face.landmarks, last.landmarks
    )
    result = FitResult(
        status=last.status,
        message=found.message if last is found else last.status.value,
        camera=parameters.camera,
        identity=parameters.identity,
        expression=parameters.expression,
        identity_std=deviation[: model.n_identity],
        expression_std=deviation[model.n_identity :],
        landmark_sigma=noise.sigma,
        landmarks_fitted=last.landmarks,
        landmarks_semantic=parameters.camera.project(model.landmark_positions(vertices))[:, :2],
        vertices=vertices,
        vertices_image=parameters.camera.project(vertices),
        triangles=model.triangles,
        quality=fit_quality(found, refined),
        stages=reports,
        provenance=session.provenance,
        **replace(face, landmarks=shown).describe(),
    )
    if refined is None or not refined.accepted:
        return result
    return replace(result, albedo=refined.albedo, reflectance=refined.reflectance, lighting=refined.lighting)


def _failure(session: _Session, status: FitStatus, message: str, face: _Face) -> FitResult:
    return FitResult(status=status, message=message, provenance=session.provenance, **face.describe())
