"""The developers' calibration of quality: its scenes know the truth, its estimators find it again."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scenes import random_scene

import facefit
from facefit.apps.evaluate.quality_calibration import (
    KINDS,
    Outcome,
    area_under_curve,
    calibrate,
    outcomes,
    proportional_odds,
    rank_correlation,
    reliability,
    remaining_odds,
    row,
    with_constants,
)
from facefit.apps.evaluate.quality_scenes import (
    MISHAPS,
    QualityScene,
    face_of,
    mishap_scene,
    random_quality_scene,
)
from facefit.fitting.landmarks import box_size
from facefit.fitting.quality import GOOD, SCALES, Evidence
from facefit.models.morphable_model import MorphableModel
from facefit.render.cameras import rotation_from_angles

Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return facefit.load_model("default")


# --- Scenes --------------------------------------------------------------------------------------------------------


def test_scenes_are_the_same_for_the_same_seed(model: MorphableModel) -> None:
    one, other = (random_quality_scene(model, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.landmarks, other.landmarks)
    assert one.tags == other.tags


def test_scenes_are_whole(model: MorphableModel) -> None:
    tags = set()
    for seed in range(25):
        scene = random_quality_scene(model, np.random.default_rng(seed))
        assert scene.image.dtype == np.uint8 and scene.image.shape[2] == 3
        assert np.isfinite(scene.landmarks).all()
        height, width = scene.image.shape[:2]
        assert (scene.face[:, :2] > 0.0).all() and (scene.face[:, :2] < [width, height]).all(), "the photo shows it"
        tags |= scene.tags
    assert {"covered", "outliers", "given", "detected"} <= tags
    assert tags & {"turned", "scaled", "other", "elsewhere"}


def test_error_is_zero_at_the_truth_and_the_shift_beside_it(model: MorphableModel, rng: np.random.Generator) -> None:
    scene = random_scene(model, rng)
    camera, size = scene.camera, scene.face_px
    face = camera.project(scene.vertices[face_of(model)]) * (1.0, 1.0, camera.scale)
    semantic = camera.project(model.landmark_positions(scene.vertices)) * (1.0, 1.0, camera.scale)
    image = np.zeros((4, 4, 3), np.uint8)
    own = QualityScene(image, scene.landmarks, facefit.FitOptions(), size, face, semantic, frozenset())
    assert own.error(camera, scene.vertices, model, depth=True) < 1e-9
    beside = replace(camera, translation=camera.translation + 0.05 * size * np.array([0.6, 0.8]))
    assert own.error(beside, scene.vertices, model) == pytest.approx(0.05)
    assert own.point_error(beside, scene.vertices, model) == pytest.approx(0.05)
    turned = replace(camera, rotation=rotation_from_angles(scene.yaw + 5.0, scene.pitch, scene.roll))
    flat, deep = (own.error(turned, scene.vertices, model, depth=depth) for depth in (False, True))
    assert 0.0 < flat < deep


@pytest.mark.parametrize("mishap", MISHAPS)
def test_mishaps_of_a_photo(model: MorphableModel, mishap: str) -> None:
    rng = np.random.default_rng(3)
    truth = random_scene(model, rng, face_px=(100.0, 100.0)).exact
    truth = truth - truth.min(axis=0) + 40.0
    photo = np.full((250, 250, 3), 128, np.uint8)
    scene = mishap_scene(photo, truth, rng, mishap)
    assert scene.size == box_size(truth)
    np.testing.assert_array_equal(scene.semantic[:, :2], truth)
    assert (scene.image != photo).any() == (mishap == "covered")
    assert (scene.landmarks != truth).any() == (mishap not in ("none", "covered"))
    assert (photo == 128).all(), "the photo itself stays"


# --- Estimators ----------------------------------------------------------------------------------------------------


def test_proportional_odds_are_found_again(rng: np.random.Generator) -> None:
    """Errors whose log odds fall along known weights; an evidence without effect, and one of the wrong direction."""
    positions = rng.uniform(0.0, 1.0, (6000, 4))
    weights = np.array([5.0, 2.0, 0.0, 0.0])
    noise = rng.logistic(size=6000)
    # P(log e < t) = 1 / (1 + exp(-(2 (t - log GOOD) + 3 - w.x)))
    errors = GOOD * np.exp((noise + positions @ weights - 3.0) / 2.0)
    errors[positions[:, 3] > 0.5] *= 0.9
    offset, found = proportional_odds(positions, errors)
    assert offset == pytest.approx(3.0, abs=0.25)
    np.testing.assert_allclose(found[:3], weights[:3], atol=0.25)
    assert found[3] == 0.0, "no evidence raises the quality"


def test_remaining_odds_are_found_again(rng: np.random.Generator) -> None:
    positions = rng.uniform(0.0, 1.0, (8000, 1))
    given = rng.uniform(0.5, 1.0, 8000)
    good = rng.random(8000) < given / (1.0 + np.exp(-(4.0 - 8.0 * positions[:, 0])))
    offset, weights = remaining_odds(positions, good, given)
    assert offset == pytest.approx(4.0, abs=0.4)
    assert weights[0] == pytest.approx(8.0, abs=0.7)


def test_area_under_the_curve() -> None:
    good = np.array([True, True, False, False])
    assert area_under_curve(np.array([0.9, 0.8, 0.2, 0.1]), good) == 1.0
    assert area_under_curve(np.array([0.9, 0.1, 0.2, 0.8]), good) == 0.5
    assert area_under_curve(np.ones(4), good) == 0.5, "ties count half"
    assert math.isnan(area_under_curve(np.ones(4), np.ones(4, dtype=bool)))


def test_rank_correlation_is_positive_where_quality_is_right() -> None:
    error = np.array([0.01, 0.02, 0.05, 0.4])
    assert rank_correlation(np.array([0.9, 0.8, 0.3, 0.1]), error) == pytest.approx(1.0)
    assert rank_correlation(np.array([0.1, 0.3, 0.8, 0.9]), error) == pytest.approx(-1.0)
    assert math.isnan(rank_correlation(np.ones(4), error))


def test_reliability_counts_every_fit_once() -> None:
    text = reliability(np.array([0.0, 0.05, 0.95, 1.0]), np.array([False, False, True, False]))
    assert text == "0.03 0.00 (2)  0.97 0.50 (2)" or text == "0.02 0.00 (2)  0.97 0.50 (2)"


def invented(rng: np.random.Generator, kind: str, number: int) -> Outcome:
    """Return a fit whose error follows from its evidence."""
    x = rng.uniform(0.0, 1.0)
    evidence = Evidence(
        residual=SCALES["residual"].best * (SCALES["residual"].worst / SCALES["residual"].best) ** x,
        deviation=0.01, identity=0.5, turn=0.1, disagreement=None if kind == "points" else 0.2,
        refined=kind == "refined",
    )  # fmt: skip
    error = GOOD * float(np.exp(3.0 * (x - 0.5) + 0.3 * rng.standard_normal()))
    return Outcome(number, kind, kind != "points", evidence, 0.5, 0.5, error, error, frozenset())


def test_calibration_orders_fits_by_what_their_errors_follow(rng: np.random.Generator) -> None:
    fits = [invented(rng, kind, number) for number in range(300) for kind in KINDS]
    constants = calibrate(fits)
    assert constants.keys() == KINDS.keys()
    assert constants["points"].there is None
    assert constants["refined"].there == constants["rejected"].there
    judged = with_constants(fits, constants)
    quality, error = np.array([fit.quality for fit in judged]), np.array([fit.error for fit in judged])
    assert rank_correlation(quality, error) > 0.9
    assert abs(quality.mean() - (error < GOOD).mean()) < 0.02
    assert "900" in row("all", judged)


def test_outcomes_of_a_scene(model: MorphableModel) -> None:
    """The quality is the one that a fit reports, with the photo and without."""
    scene = random_quality_scene(model, np.random.default_rng(0))
    alone, both = outcomes(0, scene, model)
    assert (alone.kind, alone.photo, both.photo) == ("points", False, True)
    assert both.kind == "refined"
    options = scene.options
    result = facefit.fit(scene.image, model, landmarks=scene.landmarks, options=options)
    assert result.quality == pytest.approx(both.quality)
    points = facefit.fit_landmarks(scene.landmarks, model, options=options)
    assert points.quality == pytest.approx(alone.quality)
    assert points.camera is not None and points.vertices is not None
    assert scene.error(points.camera, points.vertices, model) == pytest.approx(alone.error)
