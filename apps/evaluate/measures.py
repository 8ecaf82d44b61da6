"""What each method scores on each image, by measure: the figures that summaries average and comparisons pair.

Each function returns {image name: value} over the scored images for which the method has one.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .evaluation import Case, Evaluation, Prediction
from .nme import nme, without_constant_offset, yaw_bin

Array = NDArray[np.float64]
Values = dict[str, float]

FRONTAL = "0-30"
"""The yaw bin of faces whose every point is visible, or nearly."""

OFFSET_FREE, OFFSET_FREE_FRONTAL = "offset-free %", f"offset-free yaw {FRONTAL} %"
SCAN_MEDIAN, SCAN_MEAN, PSNR = "scan median mm", "scan mean mm", "PSNR dB"


def by_image(evaluation: Evaluation, method: str, measure: str) -> Values:
    """Return one of MEASURES for each image; empty where the method does not have it."""
    return MEASURES[measure]([case for case in evaluation.scored if method in case.predictions], method, evaluation)


def stacked(cases: Sequence[Case], method: str) -> tuple[Array, Array]:
    """Return (n, 68, 2) predicted and true points, px."""
    predicted = np.stack([case.predictions[method].landmarks for case in cases])
    return predicted, np.stack([case.sample.landmarks for case in cases])


def _offset_free(cases: Sequence[Case], method: str, evaluation: Evaluation) -> Values:
    """Return the NME, %, over the evaluation's first set of points, after removal of each point's mean displacement."""
    if len(cases) < 2:  # one image is all offset: what would be left is zero and says nothing
        return {}
    predicted, truth = stacked(cases, method)
    errors = 100.0 * nme(without_constant_offset(predicted, truth), truth, evaluation.point_sets[0])
    return {case.sample.name: error for case, error in zip(cases, errors.tolist(), strict=True)}


def _offset_free_frontal(cases: Sequence[Case], method: str, evaluation: Evaluation) -> Values:
    frontal = [case for case in cases if yaw_bin(case.sample.yaw) == FRONTAL]
    return _offset_free(frontal, method, evaluation)


def _recorded(read: Callable[[Prediction], float | None]) -> "Measure":
    """Return the measure that stands in a Prediction."""

    def values(cases: Sequence[Case], method: str, evaluation: Evaluation) -> Values:
        found = {case.sample.name: read(case.predictions[method]) for case in cases}
        return {image: value for image, value in found.items() if value is not None}

    return values


Measure = Callable[[Sequence[Case], str, Evaluation], Values]

MEASURES: Mapping[str, Measure] = {
    OFFSET_FREE: _offset_free,
    OFFSET_FREE_FRONTAL: _offset_free_frontal,
    SCAN_MEDIAN: _recorded(lambda found: found.scan.median if found.scan else None),
    SCAN_MEAN: _recorded(lambda found: found.scan.mean if found.scan else None),
    PSNR: _recorded(lambda found: found.psnr),
}
