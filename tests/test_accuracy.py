"""How well the default model fits photos and rendered heads with known truth (the test data), against fixed bars.

Landmark errors are in per cent of sqrt(w h), surface errors in mm; the mean face under the same pose stands beside.
"""

from pathlib import Path

import numpy as np
import pytest

import facefit
from facefit.apps.evaluate.evaluators import Evaluation, evaluate_aflw2000, evaluate_synthetic
from facefit.apps.evaluate.report import images, summary
from facefit.models.morphable_model import MorphableModel


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return facefit.load_model("default")


def mean_of(evaluation: Evaluation, method: str, column: str) -> float:
    (row,) = (row for row in summary(evaluation) if row["method"] == method)
    return float(row[column])


def by_image(evaluation: Evaluation, method: str, column: str) -> np.ndarray:
    return np.array([row[column] for row in images(evaluation) if row["method"] == method], dtype=np.float64)


def test_given_points_of_photos(model: MorphableModel, test_data: Path) -> None:
    evaluation = evaluate_aflw2000(test_data / "aflw2000", model, landmarks="given")
    assert len(evaluation.scored) == 10
    assert mean_of(evaluation, "fit", "NME all %") <= 2.4
    assert mean_of(evaluation, "mean face", "NME all %") > 3.0


def test_given_points_keep_coefficients_within_three_deviations(model: MorphableModel, test_data: Path) -> None:
    for path in sorted((test_data / "aflw2000").glob("*_gt.npz")):
        points = np.load(path)["pts68_3d"][:2].T.astype(np.float64)
        result = facefit.fit_landmarks(points, model=model)
        assert result.status is facefit.FitStatus.CONVERGED
        assert result.identity is not None
        assert np.abs(result.identity).max() <= 3.0, path.name


def test_points_that_were_not_fitted(model: MorphableModel, test_data: Path) -> None:
    evaluation = evaluate_aflw2000(test_data / "aflw2000", model, landmarks="given", half=True)
    assert mean_of(evaluation, "fit", "NME odd %") <= 2.9


def test_fit_of_detected_points_is_close_to_the_detector(model: MorphableModel, test_data: Path) -> None:
    fitted, detected = [], []
    for evaluation in (
        evaluate_aflw2000(test_data / "aflw2000", model, landmarks="detected"),
        evaluate_synthetic(test_data / "synthetic", model, landmarks="detected"),
    ):
        frontal = np.abs(by_image(evaluation, "fit", "yaw_deg")) < 30.0
        fitted.append(by_image(evaluation, "fit", "nme_all")[frontal])
        detected.append(by_image(evaluation, "detector", "nme_all")[frontal])
    assert len(np.concatenate(fitted)) >= 22
    assert np.concatenate(fitted).mean() <= np.concatenate(detected).mean() + 0.003


def test_fit_of_exact_points_beats_the_mean_face(model: MorphableModel, test_data: Path) -> None:
    evaluation = evaluate_synthetic(test_data / "synthetic", model, landmarks="exact")
    for column in ("scan median mm", "scan mean mm"):
        assert mean_of(evaluation, "fit", column) < mean_of(evaluation, "mean face", column)


def test_fit_of_noisy_points_is_no_worse_than_the_mean_face(model: MorphableModel, test_data: Path) -> None:
    evaluation = evaluate_synthetic(test_data / "synthetic", model, landmarks="noisy")
    for column in ("scan_median_mm", "scan_mean_mm"):
        gain = by_image(evaluation, "fit", column) - by_image(evaluation, "mean face", column)
        assert gain.mean() <= 0.0
        assert gain.max() <= 0.6
