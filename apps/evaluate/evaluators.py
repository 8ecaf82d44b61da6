"""Fits against ground truth: who is measured, on which images, from which points.

Every image is scored for several *methods* side by side:

    fit        the fitted model: its semantic landmarks, and its face without expression
    mean face  the model's mean, placed by the Gold Standard camera on the same points: what no fitting at all scores
    detector   the observed points themselves, where a detector found them

All methods are scored on the same images, those with a usable fit; the others are kept with their status and counted.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...fitting import pipeline
from ...fitting.detection import intersection_over_union
from ...fitting.dlib_detector import DlibDetector
from ...fitting.gold_standard import fit_scaled_orthographic
from ...fitting.images import read_image
from ...fitting.landmarks import COUNT, INNER, face_box
from ...fitting.options import FitOptions
from ...fitting.results import FitResult
from ...models.arrays import read_only
from ...models.errors import InvalidInputError
from ...models.morphable_model import MorphableModel
from .datasets import Sample, read_aflw2000, read_synthetic
from .nme import POINT_SETS
from .scan import ScanDistances, score_scan
from .surface import Surface

Array = NDArray[np.float64]

FIT, MEAN_FACE, DETECTOR = "fit", "mean face", "detector"

NOT_FOUND = "not_found"
"""Status of an image in which no face was found where the true one is."""

EVERY_POINT = read_only(np.ones(COUNT))
INNER_POINTS = read_only(np.isin(np.arange(COUNT), INNER).astype(np.float64))

OVERLAP = 0.3  # least intersection over union of the boxes of found and true points for them to be the same face
INNER_MODEL_REGIONS = ("eyes", "teeth")
"""Regions of a model that are not skin: what lies behind lids and lips, which no point of a scan is measured to."""


class Fitter(Protocol):
    """Whatever turns a photo into fitted faces; `fit_with_pipeline` makes the one of facefit."""

    def __call__(self, image: Path, landmarks: Array | None, options: Mapping[str, Any]) -> Sequence[FitResult]:
        """Return a FitResult for the given landmarks (68, 2), px, or for every face found where there are none.

        options: fields of FitOptions that the evaluation asks for; the others keep their defaults.
        """


_POINTS: Mapping[str, Callable[[Sample], Array | None]] = {
    "exact": attrgetter("landmarks"),
    "given": attrgetter("landmarks"),
    "noisy": attrgetter("landmarks_noisy"),
    "detected": lambda sample: None,
}
"""The points of a sample to be fitted, by name; None where a detector is to find them."""

Track = Callable[[Sequence[Sample]], Iterable[Sample]]
"""Passes the samples on, one by one: a hook for a progress bar."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What one method says about one image."""

    landmarks: Array  # (68, 2) px
    scan: ScanDistances | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """One image of an evaluation."""

    sample: Sample
    status: str  # of the fit, or NOT_FOUND
    detector: str  # what found the points; "" where they were given or not found
    predictions: Mapping[str, Prediction]  # by method; empty where there is no usable fit


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All images, and what was measured on them."""

    data: str  # which kind of folder
    folder: str
    model: str
    landmarks: str  # where the points that were fitted come from
    point_sets: tuple[str, ...]  # names in POINT_SETS to report; the first is the one that yaw bins show
    cases: tuple[Case, ...]

    @property
    def scored(self) -> tuple[Case, ...]:
        """The images with a usable fit."""
        return tuple(case for case in self.cases if case.predictions)

    @property
    def unscored(self) -> tuple[Case, ...]:
        """The images without one."""
        return tuple(case for case in self.cases if not case.predictions)


def evaluate_synthetic(
    folder: str | Path,
    model: MorphableModel,
    *,
    landmarks: str = "exact",
    sigma: float | None = None,
    convention: str | None = None,
    limit: int | None = None,
    fit: Fitter | None = None,
    track: Track = iter,
) -> Evaluation:
    """Measure fits on a folder of rendered heads: landmarks against the truth, and geometry against the true face.

    landmarks: fit the "exact" or "noisy" points of the data, or those "detected" in the image. sigma: landmark noise
    relative to the face's size, None for the fit's default. convention: of the points; None: "semantic" where they are
    given, the detector's own where it finds them. limit: use the first samples only.
    """
    _require("landmarks", landmarks, ("exact", "noisy", "detected"))
    samples = read_synthetic(folder, limit)
    options = _fit_options(sigma, convention)
    cases = _evaluate(samples, model, fit or fit_with_pipeline(model), _POINTS[landmarks], options, track)
    return Evaluation("synthetic", str(folder), model.name, landmarks, ("all", "inner"), cases)


def evaluate_aflw2000(
    folder: str | Path,
    model: MorphableModel,
    *,
    landmarks: str = "given",
    half: bool = False,
    sigma: float | None = None,
    convention: str | None = None,
    limit: int | None = None,
    fit: Fitter | None = None,
    track: Track = iter,
) -> Evaluation:
    """Measure fits on a folder of AFLW2000-3D photos: landmarks against the semantic truth.

    landmarks: fit the points "given" with the data, or those "detected" in the image. half: fit the even ones of the
    given points and score the odd ones, which the fit has not seen. The rest as in `evaluate_synthetic`.
    """
    _require("landmarks", landmarks, ("given", "detected"))
    if half and landmarks == "detected":
        raise InvalidInputError("half: expected given landmarks, of which a half can be left out, got detected ones")
    samples = read_aflw2000(folder, limit)
    options = _fit_options(sigma, convention)
    weights = EVERY_POINT
    if half:
        weights = np.isin(np.arange(COUNT), POINT_SETS["even"]).astype(np.float64)
        noise, _ = pipeline.landmark_assumptions(model, FitOptions(**options))
        options["landmark_sigma"] = np.where(weights > 0.0, noise.sigma, np.inf)
    cases = _evaluate(samples, model, fit or fit_with_pipeline(model), _POINTS[landmarks], options, track, weights)
    label = f"{landmarks}, even points only" if half else landmarks
    return Evaluation("aflw2000", str(folder), model.name, label, ("odd", "even") if half else ("all", "inner"), cases)


def fit_with_pipeline(model: MorphableModel) -> Fitter:
    """Return the Fitter that runs facefit's own pipeline."""
    detector = DlibDetector()  # one for all images: its weights take a second to load

    def run(image: Path, landmarks: Array | None, options: Mapping[str, Any]) -> Sequence[FitResult]:
        chosen = FitOptions(**options)
        if landmarks is None:
            return pipeline.fit_faces(read_image(image), model, options=chosen, detector=detector)
        return [pipeline.fit(read_image(image), model, landmarks=landmarks, options=chosen)]

    return run


def skin(model: MorphableModel, vertices: Array) -> Surface:
    """Return the surface of a face (N, 3) that a scan can be compared with: the model's, without eyeballs and teeth."""
    inside = np.zeros(model.n_vertices, dtype=bool)
    for region in INNER_MODEL_REGIONS:
        inside |= model.regions.get(region, False)
    return Surface(vertices, model.triangles[~inside[model.triangles].all(axis=1)])


def _evaluate(
    samples: Sequence[Sample],
    model: MorphableModel,
    fit: Fitter,
    points: Callable[[Sample], Array | None],
    options: Mapping[str, Any],
    track: Track,
    weights: Array = EVERY_POINT,
) -> tuple[Case, ...]:
    """Fit every sample's points, or those a detector finds where `points` says None, and score the usable fits.

    weights: (68,) of the given points when the mean face is placed; zero for those that the fit does not see either.
    """
    mean = _Face(model, model.vertices())
    cases = []
    for sample in track(samples):
        given = points(sample)
        results = fit(sample.image, given, options)
        result = results[0] if given is not None else _same_face(results, sample.landmarks)
        if result is None or not result.status.usable:
            cases.append(Case(sample, NOT_FOUND if result is None else result.status.name.lower(), "", {}))
            continue
        assert result.landmarks is not None
        assert result.landmarks_semantic is not None
        fitted = _Face(model, model.vertices(result.identity))
        predictions = {FIT: Prediction(result.landmarks_semantic, fitted.score(sample))}
        if given is None:
            predictions[DETECTOR] = Prediction(result.landmarks)
        # A detector's jaw points are no fixed points of the mean face; the inner ones are.
        placed = mean.placed_on(result.landmarks, weights if given is not None else INNER_POINTS)
        predictions[MEAN_FACE] = Prediction(placed, mean.score(sample))
        cases.append(Case(sample, result.status.name.lower(), result.detector or "", predictions))
    return tuple(cases)


class _Face:
    """A face without expression, ready to be compared with scans and points."""

    def __init__(self, model: MorphableModel, vertices: Array) -> None:
        self.surface = skin(model, vertices)
        self.landmarks = model.landmark_positions(vertices)  # (68, 3) mm

    def score(self, sample: Sample) -> ScanDistances | None:
        if sample.scan is None:
            return None
        return score_scan(sample.scan.points, sample.scan.landmarks, self.surface, self.landmarks)

    def placed_on(self, points: Array, weights: Array) -> Array:
        """Return the landmarks (68, 2), px, under the Gold Standard camera for `points` (68, 2) of given weights."""
        return fit_scaled_orthographic(self.landmarks, points, weights).project(self.landmarks)[:, :2]


def _same_face(results: Sequence[FitResult], truth: Array) -> FitResult | None:
    """Return the result whose observed points share most of their box with the true ones, or None where none does."""
    best, most = None, OVERLAP
    for result in results:
        if result.landmarks is not None:
            overlap = intersection_over_union(np.array(face_box(result.landmarks)), np.array(face_box(truth)))
            if overlap > most:
                best, most = result, overlap
    return best


def _fit_options(sigma: float | None, convention: str | None) -> dict[str, Any]:
    """Return the fields of FitOptions that were asked for; the others keep their defaults."""
    asked = {"landmark_sigma": sigma, "landmark_convention": convention}
    return {name: value for name, value in asked.items() if value is not None}


def _require(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise InvalidInputError(f"{name}: expected one of {', '.join(allowed)}, got {value!r}")
