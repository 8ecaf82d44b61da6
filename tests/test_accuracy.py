"""How well the default model fits photos and rendered heads with known truth (the test data), against fixed bars.

Landmark errors are in per cent of sqrt(w h), surface errors in mm; the mean face under the same pose stands beside.
"""

from pathlib import Path

import numpy as np
import pytest

import facefit
from facefit.apps.evaluate.evaluators import Evaluation, evaluate_aflw2000, evaluate_synthetic
from facefit.apps.evaluate.report import images, summary
from facefit.fitting.options import STAGES
from facefit.models.morphable_model import MorphableModel

SCAN_COLUMNS = ("scan median mm", "scan mean mm")


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return facefit.load_model("default")


@pytest.fixture(scope="module")
def exact(model: MorphableModel, test_data: Path) -> Evaluation:
    """Fits of the rendered heads' exact points."""
    return evaluate_synthetic(test_data / "synthetic", model, landmarks="exact")


def mean_of(evaluation: Evaluation, method: str, column: str) -> float:
    (row,) = (row for row in summary(evaluation) if row["method"] == method)
    return float(row[column])


def by_image(evaluation: Evaluation, method: str, column: str) -> np.ndarray:
    return np.array([row[column] for row in images(evaluation) if row["method"] == method], dtype=np.float64)


@pytest.mark.parametrize(("stages", "bar"), [(("landmark",), 1.8), (STAGES, 2.15)])
def test_given_points_of_photos(model: MorphableModel, test_data: Path, stages: tuple[str, ...], bar: float) -> None:
    """Pixels may speak against some of the points."""
    evaluation = evaluate_aflw2000(test_data / "aflw2000", model, landmarks="given", options={"stages": stages})
    assert len(evaluation.scored) == 10
    assert mean_of(evaluation, "fit", "NME all %") <= bar
    assert mean_of(evaluation, "mean face", "NME all %") > 3.0


def test_given_points_are_fitted_by_likely_people(model: MorphableModel, test_data: Path) -> None:
    """Each photo's identity has at most 1.2 standard deviations root mean square."""
    paths = sorted((test_data / "aflw2000").glob("*_gt.npz"))
    assert len(paths) == 10
    for path in paths:
        points = np.load(path)["pts68_3d"][:2].T.astype(np.float64)
        result = facefit.fit_landmarks(points, model=model)
        assert result.status is facefit.FitStatus.CONVERGED
        assert result.identity is not None
        assert np.sqrt(np.mean(result.identity**2)) <= 1.2, path.name


@pytest.mark.parametrize(("stages", "bar"), [(("landmark",), 2.3), (STAGES, 2.65)])
def test_points_that_were_not_fitted(
    model: MorphableModel, test_data: Path, stages: tuple[str, ...], bar: float
) -> None:
    options = {"stages": stages}
    evaluation = evaluate_aflw2000(test_data / "aflw2000", model, landmarks="given", half=True, options=options)
    assert mean_of(evaluation, "fit", "NME odd %") <= bar


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


def test_mean_face_is_an_average_face(exact: Evaluation) -> None:
    assert mean_of(exact, "mean face", "scan mean mm") <= 1.75


def test_fit_of_exact_points_beats_the_mean_face(exact: Evaluation) -> None:
    for column in SCAN_COLUMNS:
        assert mean_of(exact, "fit", column) <= 0.95 * mean_of(exact, "mean face", column)


def test_fit_of_noisy_points_is_no_worse_than_the_mean_face(model: MorphableModel, test_data: Path) -> None:
    noisy = evaluate_synthetic(test_data / "synthetic", model, landmarks="noisy")
    for column in SCAN_COLUMNS:
        assert mean_of(noisy, "fit", column) <= mean_of(noisy, "mean face", column)
    gain = by_image(noisy, "fit", "scan_mean_mm") - by_image(noisy, "mean face", "scan_mean_mm")
    assert gain.max() <= 0.6  # nor by much on any one
