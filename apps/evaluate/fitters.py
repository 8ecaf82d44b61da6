"""What is evaluated: whatever turns a picture into fitted faces, one or several ways from the same points."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...fitting import pipeline
from ...fitting.detection import Detection, FaceDetector, intersection_over_union
from ...fitting.dlib_detector import DlibDetector
from ...fitting.images import LoadedImage, Pixels
from ...fitting.landmarks import LandmarkConvention, face_box
from ...fitting.options import FitOptions
from ...fitting.results import FitResult
from ...models.morphable_model import MorphableModel

Array = NDArray[np.float64]

Choices = Mapping[str, Mapping[str, Any]]
"""By name: the fields of FitOptions that are asked for; the others keep their defaults."""

OVERLAP = 0.3  # least intersection over union of the boxes of found and true points for them to be the same face


class Fitter(Protocol):
    """Whatever turns a picture into fitted faces; `fit_with_pipeline` makes the one of facefit."""

    def __call__(
        self, image: LoadedImage, landmarks: Array | None, choices: Choices
    ) -> Mapping[str, Sequence[FitResult]]:
        """Return, for each of the choices, a FitResult for the given landmarks (68, 2), px, or for every face found.

        Where no landmarks are given, all choices start from the same found ones.
        """


def fit_with_pipeline(model: MorphableModel, detector: FaceDetector | None = None) -> Fitter:
    """Return the Fitter that runs facefit's own pipeline, with dlib's detector if None."""
    searcher = detector or DlibDetector()  # one for all images: its weights take a second to load

    def run(image: LoadedImage, landmarks: Array | None, choices: Choices) -> Mapping[str, Sequence[FitResult]]:
        options = {name: FitOptions(**asked) for name, asked in choices.items()}
        if landmarks is not None:
            return {
                name: [pipeline.fit(image, model, landmarks=landmarks, options=chosen)]
                for name, chosen in options.items()
            }
        found = Found(searcher, searcher.detect(image.pixels))
        return {
            name: pipeline.fit_faces(image, model, options=chosen, detector=found) for name, chosen in options.items()
        }

    return run


@dataclass(frozen=True, eq=False)
class Found:
    """A detector that has already searched the one image it is used for, so that several fits share what it found."""

    source: FaceDetector
    faces: Sequence[Detection]

    @property
    def name(self) -> str:
        """The source's."""
        return self.source.name

    @property
    def landmark_convention(self) -> LandmarkConvention:
        """The source's."""
        return self.source.landmark_convention

    @property
    def landmark_sigma(self) -> Array:
        """The source's, (68,)."""
        return self.source.landmark_sigma

    @property
    def opening_correlation(self) -> float:
        """The source's."""
        return self.source.opening_correlation

    def detect(self, image: Pixels) -> list[Detection]:
        """Return the faces that were found."""
        return list(self.faces)


def same_face(results: Sequence[FitResult], truth: Array) -> FitResult | None:
    """Return the result whose observed points share most of their box with the true ones, or None where none does."""
    best, most = None, OVERLAP
    for result in results:
        if result.landmarks is not None:
            overlap = intersection_over_union(np.array(face_box(result.landmarks)), np.array(face_box(truth)))
            if overlap > most:
                best, most = result, overlap
    return best
