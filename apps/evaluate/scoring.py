"""One image scored: from the fits of a face to what each method says about it."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...fitting.gold_standard import fit_scaled_orthographic
from ...fitting.images import Pixels
from ...fitting.landmarks import COUNT, INNER
from ...fitting.results import FitResult
from ...models.arrays import read_only
from ...models.morphable_model import MorphableModel
from ...render.cameras import ScaledOrthographic
from .datasets import Sample
from .evaluation import DETECTOR, FIT, MATCHED, MEAN_FACE, Prediction
from .lids import closure_by_blink, closure_by_opening
from .rerendering import Appearance, appearance, psnr, reflectance
from .scan import ScanDistances, score_scan
from .surface import Surface

Array = NDArray[np.float64]

EVERY_POINT = read_only(np.ones(COUNT))
INNER_POINTS = read_only(np.isin(np.arange(COUNT), INNER).astype(np.float64))

INNER_MODEL_REGIONS = ("eyes", "teeth")
"""Regions of a model that are not skin: what lies behind lids and lips, which no point of a scan is measured to."""


class Scorer:
    """Scores fits of one model, its mean face beside them."""

    def __init__(self, model: MorphableModel, weights: Array) -> None:
        """weights: (68,) of the observed points when the mean face is placed; zero for those that count for nothing."""
        self._model, self._weights = model, weights
        self._mean = _Face(model, model.vertices())

    def score(
        self, sample: Sample, photo: Pixels, fits: Mapping[str, FitResult], *, detected: bool
    ) -> dict[str, Prediction]:
        """Return what each method says about a sample: those in `fits`, one of them FIT, and the others beside.

        fits: usable ones from the same observed points. detected: whether a detector found these.
        """
        observed, matched = fits[FIT].landmarks, fits[FIT].landmarks_fitted
        assert observed is not None
        predictions = {method: self._of_fit(sample, result) for method, result in fits.items()}
        camera = self._mean.camera(observed, self._weights)
        predictions[MEAN_FACE] = Prediction(self._mean.landmarks_under(camera), self._mean.distances(sample))
        if detected:
            assert matched is not None
            predictions |= {DETECTOR: Prediction(observed), MATCHED: Prediction(matched)}

        looks = {method: appearance(self._model, result) for method, result in fits.items()}
        looks[MEAN_FACE] = Appearance(camera, self._model.vertices(), reflectance(self._model))
        ratios = psnr(self._model, photo, sample.landmarks, looks, hair=sample.hair)
        return {
            method: replace(one, psnr=ratios.get(method), closure=self._closure(sample, one, fits.get(method)))
            for method, one in predictions.items()
        }

    def _of_fit(self, sample: Sample, result: FitResult) -> Prediction:
        assert result.landmarks_semantic is not None
        face = _Face(self._model, self._model.vertices(result.identity))
        return Prediction(result.landmarks_semantic, face.distances(sample))

    def _closure(self, sample: Sample, prediction: Prediction, result: FitResult | None) -> dict[str, float]:
        """Return how far the eyes are closed, where the sample knows the truth of it."""
        if sample.closure is None:
            return {}
        blink = {} if result is None or result.expression is None else closure_by_blink(self._model, result.expression)
        return closure_by_opening(prediction.landmarks) | blink


class _Face:
    """A face without expression, ready to be compared with scans and points."""

    def __init__(self, model: MorphableModel, vertices: Array) -> None:
        self._model, self._vertices = model, vertices
        self.landmarks = model.landmark_positions(vertices)  # (68, 3) mm

    @cached_property
    def _surface(self) -> Surface:
        return skin(self._model, self._vertices)

    def distances(self, sample: Sample) -> ScanDistances | None:
        if sample.scan is None:
            return None
        return score_scan(sample.scan.points, sample.scan.landmarks, self._surface, self.landmarks)

    def camera(self, points: Array, weights: Array) -> ScaledOrthographic:
        """Return the Gold Standard camera for `points` (68, 2), px, of given weights (68,)."""
        return fit_scaled_orthographic(self.landmarks, points, weights)

    def landmarks_under(self, camera: ScaledOrthographic) -> Array:
        """Return the landmarks (68, 2), px."""
        return camera.project(self.landmarks)[:, :2]


def skin(model: MorphableModel, vertices: Array) -> Surface:
    """Return the surface of a face (N, 3) that a scan can be compared with: the model's, without eyeballs and teeth."""
    inside = np.zeros(model.n_vertices, dtype=bool)
    for region in INNER_MODEL_REGIONS:
        inside |= model.regions.get(region, False)
    return Surface(vertices, model.triangles[~inside[model.triangles].all(axis=1)])
