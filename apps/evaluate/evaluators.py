"""Fits against ground truth: which images, from which points, fitted in which ways."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...fitting import pipeline
from ...fitting.images import LoadedImage, load_image
from ...fitting.landmarks import COUNT
from ...fitting.options import FitOptions
from ...models.errors import InvalidInputError
from ...models.morphable_model import MorphableModel
from .clip import read_clip, read_frames
from .datasets import Sample, read_aflw2000, read_synthetic
from .evaluation import FIT, LANDMARK_STAGE, NOT_FOUND, Case, Evaluation
from .fitters import Choices, Fitter, fit_with_pipeline, same_face
from .nme import POINT_SETS
from .scoring import EVERY_POINT, INNER_POINTS, Scorer

Array = NDArray[np.float64]

_GIVEN: Mapping[str, Callable[[Sample], Array | None]] = {
    "exact": attrgetter("landmarks"),
    "given": attrgetter("landmarks"),
    "noisy": attrgetter("landmarks_noisy"),
}
"""The points of a sample that a fit can be given, by name; "detected" ones it has to find."""

Track = Callable[[Sequence[Sample]], Iterable[Sample]]
"""Passes the samples on, one by one: a hook for a progress bar."""

Asked = Mapping[str, Any]
"""The fields of FitOptions that are asked for; the others keep their defaults."""


def evaluate_synthetic(
    folder: str | Path,
    model: MorphableModel,
    *,
    landmarks: str = "exact",
    options: Asked | None = None,
    compare: bool = False,
    limit: int | None = None,
    fit: Fitter | None = None,
    track: Track = iter,
) -> Evaluation:
    """Measure fits on a folder of rendered heads: landmarks against the truth, and geometry against the true face.

    landmarks: fit the "exact" or "noisy" points of the data, or those "detected" in the image. compare: also fit each
    image with the landmark stage alone, from the same points. limit: use the first samples only.
    """
    _require("landmarks", landmarks, ("exact", "noisy", "detected"))
    pictures = _pictures(track(read_synthetic(folder, limit)))
    cases = _evaluate(pictures, model, fit, landmarks, _choices(options, compare))
    return Evaluation("synthetic", str(folder), model.name, landmarks, ("all", "inner"), cases)


def evaluate_aflw2000(
    folder: str | Path,
    model: MorphableModel,
    *,
    landmarks: str = "given",
    half: bool = False,
    options: Asked | None = None,
    compare: bool = False,
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
    asked, weights = dict(options or {}), EVERY_POINT
    if half:
        weights = np.isin(np.arange(COUNT), POINT_SETS["even"]).astype(np.float64)
        noise, _ = pipeline.landmark_assumptions(model, FitOptions(**asked))
        asked["landmark_sigma"] = np.where(weights > 0.0, noise.sigma, np.inf)
    pictures = _pictures(track(read_aflw2000(folder, limit)))
    cases = _evaluate(pictures, model, fit, landmarks, _choices(asked, compare), weights)
    label = f"{landmarks}, even points only" if half else landmarks
    return Evaluation("aflw2000", str(folder), model.name, label, ("odd", "even") if half else ("all", "inner"), cases)


def evaluate_clip(
    video: str | Path,
    model: MorphableModel,
    *,
    step: int = 1,
    options: Asked | None = None,
    compare: bool = False,
    limit: int | None = None,
    fit: Fitter | None = None,
    track: Track = iter,
) -> Evaluation:
    """Measure fits on the frames of a rendered clip, one by one, from detected points: landmarks and lid closure.

    step: take every step-th frame. The rest as in `evaluate_synthetic`.
    """
    samples = read_clip(video, step, limit)
    cases = _evaluate(read_frames(video, track(samples)), model, fit, "detected", _choices(options, compare))
    return Evaluation("clip", str(video), model.name, "detected", ("all", "inner"), cases)


def _pictures(samples: Iterable[Sample]) -> Iterable[tuple[Sample, LoadedImage]]:
    return ((sample, load_image(sample.image)) for sample in samples)


def _choices(options: Asked | None, compare: bool) -> Choices:
    """Return the options of each method that is a fit."""
    asked = dict(options or {})
    return {FIT: asked, LANDMARK_STAGE: asked | {"stages": ("landmark",)}} if compare else {FIT: asked}


def _evaluate(
    pictures: Iterable[tuple[Sample, LoadedImage]],
    model: MorphableModel,
    fit: Fitter | None,
    landmarks: str,
    choices: Choices,
    weights: Array = EVERY_POINT,
) -> tuple[Case, ...]:
    """Fit the points of every sample that `landmarks` names, and score the usable fits.

    weights: (68,) of given points when the mean face is placed; zero for those that the fit does not see either.
    """
    detected = landmarks == "detected"
    fitter = fit or fit_with_pipeline(model)
    # A detector's jaw points are no fixed points of the mean face; the inner ones are.
    scorer = Scorer(model, INNER_POINTS if detected else weights)
    cases = []
    for sample, image in pictures:
        results = fitter(image, None if detected else _GIVEN[landmarks](sample), choices)
        found = {name: same_face(faces, sample.landmarks) if detected else faces[0] for name, faces in results.items()}
        usable = {name: result for name, result in found.items() if result is not None and result.status.usable}
        if len(usable) < len(choices):
            failed = next(result for name, result in found.items() if name not in usable)
            cases.append(Case(sample, NOT_FOUND if failed is None else failed.status.name.lower()))
            continue
        predictions = scorer.score(sample, image.pixels, usable, detected=detected)
        result = usable[FIT]
        cases.append(Case(sample, result.status.name.lower(), result.detector or "", predictions, result.stages))
    return tuple(cases)


def _require(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise InvalidInputError(f"{name}: expected one of {', '.join(allowed)}, got {value!r}")
