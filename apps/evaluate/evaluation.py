"""What an evaluation is: images with known truth, and what several *methods* say about each of them.

    fit             the fitted model: its semantic landmarks, and its face without expression
    fit, matched    the fitted model's points where detected ones were matched with it: on the outline for the jaw
    landmark stage  the fitted model after the landmark stage alone, from the same points
    mean face       the model's mean, placed by the Gold Standard camera on the same points: what no fit at all scores
    detector        the observed points themselves, where a detector found them

All methods are scored on the same images, those with a usable fit; the others are kept with their status and counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...fitting.results import StageReport
from .datasets import Sample
from .scan import ScanDistances

Array = NDArray[np.float64]

FIT, MATCHED, LANDMARK_STAGE, MEAN_FACE, DETECTOR = "fit", "fit, matched", "landmark stage", "mean face", "detector"

METHODS = (FIT, MATCHED, LANDMARK_STAGE, MEAN_FACE, DETECTOR)
"""In the order of reports."""

NOT_FOUND = "not_found"
"""Status of an image in which no face was found where the true one is."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What one method says about one image."""

    landmarks: Array  # (68, 2) px
    scan: ScanDistances | None = None
    psnr: float | None = None  # dB, of the skin rendered again against the photo
    closure: Mapping[str, float] = field(default_factory=dict)  # of the eyes, by "SIDE measure": see `lids`


@dataclass(frozen=True, eq=False)
class Case:
    """One image of an evaluation."""

    sample: Sample
    status: str  # of the fit, or of the landmark stage alone where that is what failed, or NOT_FOUND
    detector: str = ""  # what found the points; "" where they were given or not found
    predictions: Mapping[str, Prediction] = field(default_factory=dict)  # by method; empty without a usable fit
    stages: tuple[StageReport, ...] = ()  # of the fit


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All images, and what was measured on them."""

    data: str  # which kind of folder or file
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
