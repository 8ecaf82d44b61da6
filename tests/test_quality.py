"""The quality of fits: what it is made of, which way it goes, and whether it is right about renderings held out."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from photometric_scenes import Picture, covered, misplaced, random_picture
from scenes import random_scene, toy_model
from scipy.stats import spearmanr

import facefit
from facefit.fitting.initializers import InitializerInput, MeanFace
from facefit.fitting.landmark_noise import LandmarkNoise, expand_sigma
from facefit.fitting.landmark_problem import POSE
from facefit.fitting.landmark_stage import LandmarkFit, LandmarkStageOptions, fit_landmark_stage
from facefit.fitting.landmark_task import state_of
from facefit.fitting.landmarks import LandmarkConvention, face_box
from facefit.fitting.photometric.agreement import feature_agreement
from facefit.fitting.photometric.levels import make_level
from facefit.fitting.photometric.surface import skin_surface
from facefit.fitting.photometric.view import View, make_view
from facefit.fitting.quality import (
    GOOD,
    POINTS,
    REFINED,
    REJECTED,
    SCALES,
    Calibration,
    Evidence,
    Odds,
    Scale,
    evidence_of,
    fit_quality,
    probability_of_good,
)
from facefit.fitting.status import FitStatus
from facefit.fitting.threads import single_threaded_blas
from facefit.models.morphable_model import MorphableModel

Array = NDArray[np.float64]

CALIBRATIONS = {"points": POINTS, "refined": REFINED, "rejected": REJECTED}
KINDS = {
    "points": Evidence(0.02, 0.01, 0.5, 0.1),
    "refined": Evidence(0.02, 0.01, 0.5, 0.1, 0.3, refined=True),
    "rejected": Evidence(0.02, 0.01, 0.5, 0.1, 0.3),
}


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return facefit.load_model("default")


@pytest.fixture(scope="module")
def picture(model: MorphableModel) -> Picture:
    return random_picture(model, np.random.default_rng(1))


# --- From evidence to a probability -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "linear", "logarithmic"),
    [(1.0, 0.0, 0.0), (10.0, 1.0, 1.0), (5.5, 0.5, math.log10(5.5)), (math.sqrt(10.0), 0.24025, 0.5)]
    + [(0.0, 0.0, 0.0), (-5.0, 0.0, 0.0), (1e300, 1.0, 1.0)]
    + [(bad, 1.0, 1.0) for bad in (math.nan, math.inf, -math.inf)],
)  # fmt: skip
def test_position_in_a_range(value: float, linear: float, logarithmic: float) -> None:
    assert Scale(1.0, 10.0).position(value) == pytest.approx(linear, abs=1e-5)
    assert Scale(1.0, 10.0, logarithmic=True).position(value) == pytest.approx(logarithmic, abs=1e-5)


def test_probability_is_the_logistic_function_of_the_weighted_positions() -> None:
    odds = Odds(2.0, {"turn": 3.0, "disagreement": 1.0})
    evidence = Evidence(0.0, 0.0, 0.0, turn=0.3, disagreement=0.25)  # positions 1/2 and 1/4
    assert odds.probability(evidence) == pytest.approx(1.0 / (1.0 + math.exp(-0.25)))
    without = replace(evidence, disagreement=None)
    assert odds.probability(without) == pytest.approx(1.0 / (1.0 + math.exp(0.5))), "no number is the worst"
    there = Odds(0.0, {})
    assert Calibration(odds, there).quality(evidence) == pytest.approx(0.5 * Calibration(odds).quality(evidence))


@pytest.mark.parametrize("kind", CALIBRATIONS)
def test_constants_only_ever_take_off(kind: str) -> None:
    calibration = CALIBRATIONS[kind]
    for odds in (calibration.near, calibration.there):
        if odds is not None:
            assert odds.weights.keys() <= SCALES.keys()
            assert min(odds.weights.values()) > 0.0
    assert (calibration.there is None) == (kind == "points")


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_evidence_is_good_and_the_worst_is_not(kind: str) -> None:
    best = {name: scale.best for name, scale in SCALES.items()}
    worst = {name: scale.worst for name, scale in SCALES.items()}
    if kind == "points":
        best["disagreement"] = worst["disagreement"] = None  # type: ignore[assignment]
    assert probability_of_good(replace(KINDS[kind], **best)) > 0.95
    assert probability_of_good(replace(KINDS[kind], **worst)) < 0.05


numbers = st.floats(allow_nan=True, allow_infinity=True) | st.floats(0.0, 2.0)


@given(st.sampled_from([*KINDS]), st.sampled_from([*SCALES]), st.lists(numbers, min_size=6, max_size=6))
def test_quality_is_a_probability_and_never_rises_with_worse_evidence(
    kind: str, name: str, values: list[float]
) -> None:
    *others, more = values
    fields = dict(zip(SCALES, others, strict=True))
    if kind == "points":
        fields["disagreement"] = None  # type: ignore[assignment]
    before = replace(KINDS[kind], **fields)
    quality = probability_of_good(before)
    assert 0.0 <= quality <= 1.0
    value = getattr(before, name)
    if value is not None and not (math.isnan(more) or math.isinf(value)) and more >= value:
        assert probability_of_good(replace(before, **{name: more})) <= quality


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_evidence_counts_as_its_weight_says(kind: str) -> None:
    """In the middle of the ranges a step to the worse lowers the quality where there is a weight, else not at all."""
    for name, scale in SCALES.items():
        if getattr(KINDS[kind], name) is None:
            continue
        value = getattr(KINDS[kind], name)
        assert scale.best < value < scale.worst
        before, after = (probability_of_good(replace(KINDS[kind], **{name: x})) for x in (value, 1.1 * value))
        parts = (CALIBRATIONS[kind].near, CALIBRATIONS[kind].there)
        assert (after < before) == any(odds is not None and name in odds.weights for odds in parts)


# --- From a fit to evidence ----------------------------------------------------------------------------------------


def landmark_fit(
    model: MorphableModel, points: Array, sigma: float = 0.02, convention: str = "semantic"
) -> LandmarkFit:
    noise, meaning = LandmarkNoise(expand_sigma(sigma)), LandmarkConvention(convention)
    given = InitializerInput(model, None, np.array(face_box(points)), points, noise.sigma, meaning)
    with single_threaded_blas():
        return fit_landmark_stage(model, points, MeanFace()(given), noise, meaning, LandmarkStageOptions())


def test_evidence_of_exact_points(model: MorphableModel) -> None:
    scene = random_scene(model, np.random.default_rng(2))
    found = landmark_fit(model, scene.exact, sigma=0.002)
    evidence = evidence_of(found, None)
    assert evidence.residual < 0.002
    assert evidence.turn == pytest.approx(1.0 + scene.camera.rotation[2, 2], abs=0.03)
    assert evidence.identity == pytest.approx(np.mean(found.parameters.identity**2))
    assert evidence.disagreement is None and not evidence.refined


def test_residual_is_the_points_distance_over_the_faces_size(model: MorphableModel) -> None:
    scene = random_scene(model, np.random.default_rng(3), sigma=0.05)
    found = landmark_fit(model, scene.landmarks)
    apart = np.linalg.norm(found.landmarks - scene.landmarks, axis=1)
    expected = np.sqrt(np.mean(apart**2)) / (found.parameters.camera.scale * model.face_size)
    assert evidence_of(found, None).residual == pytest.approx(expected)


def test_deviation_is_that_of_the_projected_points(rng: np.random.Generator) -> None:
    """Of steps drawn from the posterior, taken through the retraction."""
    model = toy_model()
    found = landmark_fit(model, random_scene(model, rng, sigma=0.01).landmarks, sigma=0.01)
    state = state_of(found.parameters)
    problem = found.task.problem(state.scale)
    problem = replace(problem, lower=np.full_like(problem.lower, -np.inf), upper=np.full_like(problem.upper, np.inf))
    steps = 0.01 * rng.multivariate_normal(np.zeros(POSE + 9), found.covariance, 4000)
    moved = np.array([problem.projected(problem.retract(state, step)) for step in steps])
    variance = ((moved - problem.projected(state)) ** 2).sum(axis=2).mean() / 0.01**2
    size = state.scale * model.face_size
    assert evidence_of(found, None).deviation == pytest.approx(np.sqrt(variance) / size, rel=0.03)


@pytest.mark.parametrize("convention", ["semantic", "contour"])
def test_evidence_does_not_depend_on_the_photos_resolution(model: MorphableModel, convention: str) -> None:
    scene = random_scene(model, np.random.default_rng(4), sigma=0.03)
    one, other = (
        evidence_of(landmark_fit(model, points, convention=convention), None)
        for points in (scene.landmarks, 7.0 * scene.landmarks + 1000.0)
    )
    for name in ("residual", "deviation", "identity", "turn"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-3), name


def test_points_that_were_left_out_do_not_count(model: MorphableModel) -> None:
    scene = random_scene(model, np.random.default_rng(5), sigma=0.01)
    sigma = np.full(68, 0.02)
    sigma[:5] = np.inf
    options = facefit.FitOptions(landmark_sigma=sigma)
    wrong = scene.landmarks.copy()
    wrong[:5] += 1e4
    assert facefit.fit_landmarks(wrong, model, options=options).quality == pytest.approx(
        facefit.fit_landmarks(scene.landmarks, model, options=options).quality
    )


# --- Agreement with the photo --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def view(picture: Picture) -> View:
    surface, pose = skin_surface(picture.scene.model, 0.15, 30.0), picture.scene.state
    height, width = picture.image.shape[:2]
    level = make_level(picture.image, np.array([0.0, 0.0, width, height]), 60.0 / picture.scene.face_px)
    assert level is not None
    return make_view(surface, level, pose, 0.25)


def agreement_of(view: View, photo: Array, rendering: Array, weight: Array | None = None) -> float:
    """Return the agreement of values (M, 3) at the view's samples."""
    image = np.zeros_like(view.level.photo)
    image.reshape(-1, 3)[view.pixels] = photo
    seen = replace(view, level=replace(view.level, photo=image))
    return feature_agreement(seen, seen.colours - rendering, np.ones(len(view)) if weight is None else weight, 60.0)


def test_agreement_is_a_correlation(view: View, rng: np.random.Generator) -> None:
    values = rng.uniform(0.2, 0.8, (len(view), 3))
    assert agreement_of(view, values, values) == pytest.approx(1.0, abs=1e-5)
    assert agreement_of(view, values, 1.0 - values) == pytest.approx(-1.0, abs=1e-5)
    assert agreement_of(view, values, 0.3 + 0.2 * values) == pytest.approx(1.0, abs=1e-5), "brightness and contrast"
    both = agreement_of(view, values, values[rng.permutation(len(values))])
    assert abs(both) < 4.0 / np.sqrt(values.size)


def test_nothing_agrees_with_a_flat_photo_or_without_weight(view: View, rng: np.random.Generator) -> None:
    values = rng.uniform(0.2, 0.8, (len(view), 3))
    assert agreement_of(view, np.full_like(values, 0.5), values) == 0.0
    assert agreement_of(view, values, np.full_like(values, 0.5)) == 0.0
    assert agreement_of(view, values, values, np.zeros(len(view))) == 0.0


def test_what_is_believed_to_be_no_skin_does_not_disagree(view: View, rng: np.random.Generator) -> None:
    values = rng.uniform(0.2, 0.8, (len(view), 3))
    other, weight = values.copy(), np.ones(len(view))
    hidden = rng.random(len(view)) < 0.3
    other[hidden], weight[hidden] = rng.uniform(0.2, 0.8, (hidden.sum(), 3)), 0.0
    assert agreement_of(view, values, other) < 0.9
    assert agreement_of(view, values, other, weight) == pytest.approx(1.0, abs=1e-5)


def test_smooth_light_is_no_feature(view: View, rng: np.random.Generator) -> None:
    """Two smooth shadings in the same direction agree far less than their correlation says."""
    rows = view.pixels // view.level.photo.shape[1]
    slope = np.column_stack([rows / rows.max()] * 3)
    grain = 0.02 * rng.standard_normal((2, *slope.shape))
    assert np.corrcoef((slope + grain[0]).ravel(), (slope + grain[1]).ravel())[0, 1] > 0.98
    assert agreement_of(view, slope + grain[0], slope + grain[1]) < 0.7


# --- Results -------------------------------------------------------------------------------------------------------


def of_image(picture: Picture, image: NDArray[np.uint8], points: Array | None = None) -> facefit.FitResult:
    points = picture.scene.landmarks if points is None else points
    return facefit.fit(image, picture.scene.model, landmarks=points)


def test_photos_of_no_face_are_worse_than_photos_of_it(picture: Picture) -> None:
    """The same points fit as well as ever; only the pixels know."""
    own, (height, width) = of_image(picture, picture.image).quality, picture.image.shape[:2]
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    assert own is not None and own > 0.9
    for wrong in (
        rng.integers(0, 256, picture.image.shape, dtype=np.uint8), np.full_like(picture.image, 128), smooth,
        picture.image[::-1], picture.image[:1, :1],
    ):  # fmt: skip
        quality = of_image(picture, wrong).quality
        assert quality is not None and 0.0 <= quality < 0.2


@pytest.mark.parametrize("seed", range(4))
def test_quality_of_hostile_points_is_a_probability(picture: Picture, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = [
        picture.scene.landmarks + 1e6, rng.uniform(0.0, 200.0, (68, 2)), 1e12 * picture.scene.landmarks,
        1e-6 * picture.scene.landmarks,
    ][seed]  # fmt: skip
    huge = facefit.fit_landmarks(1e80 * points, picture.scene.model)
    alone = facefit.fit_landmarks(points, picture.scene.model)
    for result in (of_image(picture, picture.image, points), alone, huge):
        assert result.quality is None or 0.0 <= result.quality <= 1.0
        assert (result.quality is None) == (result.camera is None)
        if result.status is FitStatus.DEGENERATE and result.quality is not None:
            assert result.quality == 0.0


def test_there_is_no_quality_without_a_fit(model: MorphableModel) -> None:
    points = np.full((68, 2), np.nan)
    assert facefit.fit_landmarks(points, model).quality is None
    assert facefit.fit_landmarks(np.ones((68, 2)), model).quality is None


def test_what_the_stage_calls_no_face_has_none(model: MorphableModel, rng: np.random.Generator) -> None:
    found = landmark_fit(model, random_scene(model, rng, sigma=0.01).landmarks)
    assert fit_quality(found, None) > 0.5
    for status in (FitStatus.DEGENERATE, FitStatus.DIVERGED):
        assert fit_quality(replace(found, status=status), None) == 0.0


def test_any_model_has_a_quality(rng: np.random.Generator) -> None:
    toy = toy_model()
    for own in (toy, replace(toy, identity=toy.identity[:0])):
        quality = facefit.fit_landmarks(random_scene(own, rng, sigma=0.01).landmarks, own).quality
        assert quality is not None and 0.0 <= quality <= 1.0


# --- Against the truth ---------------------------------------------------------------------------------------------


def area_under_curve(score: Array, positive: NDArray[np.bool_]) -> float:
    """Return how often a positive scores higher than a negative, ties counting half."""
    above = score[positive][:, None] - score[~positive]
    return float(np.mean((above > 0.0) + 0.5 * (above == 0.0)))


def true_error(picture: Picture, result: facefit.FitResult) -> float:
    face, scene = picture.scene.model.regions["face"], picture.scene
    assert result.vertices_image is not None
    apart = result.vertices_image[face, :2] - scene.camera.project(scene.vertices[face])[:, :2]
    return float(np.linalg.norm(apart, axis=1).mean()) / scene.face_px


def noisy(model: MorphableModel, rng: np.random.Generator) -> Picture:
    """Return a picture with points off by 0.5 to 8 % of the face's size, of a noisy photo."""
    sigma = float(np.exp(rng.uniform(np.log(0.005), np.log(0.08))))
    return random_picture(
        model, rng, noise=rng.uniform(0.0, 0.06), sigma=sigma, face_px=(60.0, 200.0), yaw=(-50.0, 50.0)
    )  # fmt: skip


def with_points_of_another(picture: Picture, rng: np.random.Generator) -> Picture:
    scene, other = (
        picture.scene,
        random_scene(picture.scene.model, rng, sigma=0.01, face_px=(picture.scene.face_px,) * 2),
    )
    away = scene.exact.mean(axis=0) - other.exact.mean(axis=0) + 0.3 * scene.face_px * rng.uniform(-1.0, 1.0, 2)
    return replace(picture, scene=replace(scene, landmarks=other.landmarks + away))


def test_photos_held_out(model: MorphableModel) -> None:
    """Noisy, covered, with wrong points, or with another face's: drawn by other rules than those of the calibration."""
    qualities, errors = [], []
    for seed in range(70):
        rng = np.random.default_rng([20270, seed])
        picture = noisy(model, rng)
        if rng.random() < 0.5:
            picture = covered(picture, rng, rng.uniform(0.1, 0.5))
        kind = rng.random()
        if kind < 0.15:
            picture = misplaced(picture, rng, int(rng.integers(3, 12)))
        elif kind < 0.3:
            picture = with_points_of_another(picture, rng)
        result = of_image(picture, picture.image)
        if result.status.usable:
            assert result.quality is not None
            qualities.append(result.quality)
            errors.append(true_error(picture, result))
    assert_calibrated(np.array(qualities), np.array(errors))


def test_points_alone_held_out(model: MorphableModel) -> None:
    """What the fit may be out by: noise, and wrong points among right ones."""
    qualities, errors = [], []
    for seed in range(300):
        rng = np.random.default_rng([20271, seed])
        sigma = float(np.exp(rng.uniform(np.log(0.005), np.log(0.08))))
        scene = random_scene(model, rng, sigma=sigma, yaw=(-50.0, 50.0))
        picture = Picture(scene, np.zeros((1, 1, 3), np.uint8), np.zeros((9, 3)), np.zeros(0), None)  # type: ignore[arg-type]
        if rng.random() < 0.2:
            picture = misplaced(picture, rng, int(rng.integers(1, 8)))
        result = facefit.fit_landmarks(picture.scene.landmarks, model)
        if result.status.usable:
            assert result.quality is not None
            qualities.append(result.quality)
            errors.append(true_error(picture, result))
    assert_calibrated(np.array(qualities), np.array(errors))


def assert_calibrated(quality: Array, error: Array) -> None:
    """The order is the errors', failures are told apart, and the probabilities are about right."""
    good = error < GOOD
    assert 8 <= (~good).sum() <= 0.6 * len(good)
    assert spearmanr(-quality, error)[0] >= 0.6
    assert area_under_curve(quality, good) >= 0.85
    assert abs(quality.mean() - good.mean()) < 0.1
    high = quality > 0.8
    assert good[high].mean() > 0.85
