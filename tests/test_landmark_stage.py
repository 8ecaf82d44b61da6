"""The landmark stage: closed loops with known truth, equivariances, the sliding jaw, and honest failure."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scenes import Scene, random_scene, random_scenes, with_one_landmark_map

import facefit
from facefit.fitting.dlib_detector import LANDMARK_SIGMA
from facefit.fitting.gold_standard import DegenerateConfigurationError
from facefit.fitting.initializers import InitializerInput, MeanFace
from facefit.fitting.landmark_noise import LandmarkNoise, expand_sigma
from facefit.fitting.landmark_problem import POSE
from facefit.fitting.landmark_stage import LandmarkFit, LandmarkStageOptions, fit_landmark_stage
from facefit.fitting.landmarks import JAW, MIRROR, LandmarkConvention
from facefit.fitting.status import FitStatus
from facefit.fitting.threads import single_threaded_blas
from facefit.models.morphable_model import MorphableModel

SEMANTIC, CONTOUR = LandmarkConvention.SEMANTIC, LandmarkConvention.CONTOUR


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return with_one_landmark_map(facefit.load_model("default"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with single_threaded_blas():
        yield


def fit(
    model: MorphableModel,
    points: np.ndarray,
    sigma: Any = 0.03,
    convention: LandmarkConvention = SEMANTIC,
    **choices: Any,
) -> LandmarkFit:
    noise = LandmarkNoise(expand_sigma(sigma), choices.pop("correlation", 0.0))
    start = MeanFace()(InitializerInput(model, None, np.zeros(4), points, noise.sigma, convention))
    return fit_landmark_stage(model, points, start, noise, convention, LandmarkStageOptions(**choices))


def semantic_points(model: MorphableModel, found: LandmarkFit) -> np.ndarray:
    vertices = model.vertices(found.parameters.identity, found.parameters.expression)
    return found.parameters.camera.project(model.landmark_positions(vertices))[:, :2]


def pose_error(scene: Scene, found: LandmarkFit) -> float:
    """Return the angle, degrees, between the true and the found rotation."""
    relative = found.parameters.camera.rotation @ scene.camera.rotation.T
    return float(np.degrees(np.arccos(np.clip((np.trace(relative) - 1.0) / 2.0, -1.0, 1.0))))


WIDE = {"yaw": (-60.0, 60.0), "pitch": (-20.0, 20.0), "roll": (-25.0, 25.0)}


def test_exact_points_give_the_pose_back(model: MorphableModel) -> None:
    scenes = list(random_scenes(model, 500, 1, **WIDE))
    found = [fit(model, scene.landmarks, 0.005) for scene in scenes]
    assert {f.status for f in found} == {FitStatus.CONVERGED}
    angles = [pose_error(scene, f) for scene, f in zip(scenes, found, strict=True)]
    assert np.median(angles) <= 1.0
    assert np.percentile(angles, 95) <= 2.5
    for scene, f in zip(scenes, found, strict=True):
        away = np.linalg.norm(semantic_points(model, f) - scene.exact, axis=1)
        assert away.mean() <= 0.005 * scene.face_px


def test_posterior_is_calibrated(model: MorphableModel) -> None:
    """The truth lies where the posterior says: Mahalanobis^2 / K and the coverage of one standard deviation."""
    k = model.n_identity
    distance, inside, sharp = [], [], []
    for scene in random_scenes(model, 500, 2, sigma=0.005, **WIDE):
        f = fit(model, scene.landmarks, 0.005)
        error = f.parameters.identity - scene.identity
        covariance = f.covariance[POSE : POSE + k, POSE : POSE + k]
        deviation = np.sqrt(covariance.diagonal())
        distance.append(error @ np.linalg.solve(covariance, error) / k)
        inside.append(np.abs(error) < deviation)
        sharp.append(inside[-1][deviation < 0.6])
    assert 0.85 <= np.mean(distance) <= 1.15
    assert 0.64 <= np.mean(inside) <= 0.73
    assert len(np.concatenate(sharp)) > 1000
    assert 0.64 <= np.mean(np.concatenate(sharp)) <= 0.73


@pytest.mark.parametrize("convention", [SEMANTIC, CONTOUR])
def test_similarity_of_the_image_leaves_the_coefficients(
    model: MorphableModel, rng: np.random.Generator, convention: LandmarkConvention
) -> None:
    turn = np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    for _ in range(5):
        points = random_scene(model, rng, sigma=0.02).landmarks
        base = fit(model, points, LANDMARK_SIGMA, convention).parameters
        for moved in (7.3 * points, points + np.array([1234.5, -987.6]), points @ turn.T, 1e6 * points, points - 1e4):
            other = fit(model, moved, LANDMARK_SIGMA, convention).parameters
            np.testing.assert_allclose(other.identity, base.identity, atol=1e-4)
            np.testing.assert_allclose(other.expression, base.expression, atol=1e-4)


@pytest.mark.parametrize("convention", [SEMANTIC, CONTOUR])
def test_mirrored_points_give_the_mirrored_face(
    model: MorphableModel, rng: np.random.Generator, convention: LandmarkConvention
) -> None:
    assert model.mirror is not None
    for _ in range(5):
        points = random_scene(model, rng, sigma=0.02, yaw=(-50.0, 50.0)).landmarks
        one = fit(model, points, LANDMARK_SIGMA, convention).parameters
        other = fit(model, (points * [-1.0, 1.0])[MIRROR], LANDMARK_SIGMA, convention).parameters
        vertices = model.vertices(other.identity, other.expression)[model.mirror] * [-1.0, 1.0, 1.0]
        np.testing.assert_allclose(vertices, model.vertices(one.identity, one.expression), atol=0.1)


def test_left_out_points_have_no_say(model: MorphableModel, rng: np.random.Generator) -> None:
    scene = random_scene(model, rng, sigma=0.01)
    sigma = np.full(68, 0.03)
    sigma[1::2] = np.inf
    nonsense = scene.landmarks.copy()
    nonsense[1::2] = 1e5 * rng.standard_normal((34, 2))
    one, other = (fit(model, points, sigma) for points in (scene.landmarks, nonsense))
    np.testing.assert_array_equal(one.parameters.identity, other.parameters.identity)


def test_more_noise_means_more_prior(model: MorphableModel, rng: np.random.Generator) -> None:
    points = random_scene(model, rng, sigma=0.02).landmarks
    norms = [np.linalg.norm(fit(model, points, sigma).parameters.identity) for sigma in (0.01, 0.03, 0.1, 1.0)]
    assert norms == sorted(norms, reverse=True)
    assert norms[-1] < 0.05 * norms[0]


def test_bounds_hold_and_energy_falls(model: MorphableModel) -> None:
    for scene in random_scenes(model, 20, 3, sigma=0.03):
        f = fit(model, scene.landmarks, 0.01)
        assert (f.parameters.expression >= model.expression_lower).all()
        assert (f.parameters.expression <= model.expression_upper).all()
        assert sum(f.final_energy.values()) < sum(f.initial_energy.values())


def test_sliding_jaw_beats_fixed_jaw_on_an_outline(model: MorphableModel) -> None:
    """Points 9-16 pushed onto the outline of the far side, as an annotator would: sliding recovers the pose better."""
    errors: dict[LandmarkConvention, list[float]] = {SEMANTIC: [], CONTOUR: []}
    for scene in random_scenes(model, 30, 4, yaw=(30.0, 45.0), roll=(0.0, 0.0), pitch=(-5.0, 5.0)):
        seen = scene.camera.project(scene.vertices)[:, :2]
        face = seen[model.regions["face"]]
        points = scene.exact.copy()
        for k in range(9, 17):
            row = face[np.abs(face[:, 1] - points[k, 1]) < 0.02 * scene.face_px]
            points[k, 0] = max(points[k, 0], row[:, 0].max(initial=-np.inf))
        for convention, found in errors.items():
            found.append(pose_error(scene, fit(model, points, 0.02, convention)))
    assert np.mean(errors[CONTOUR]) < np.mean(errors[SEMANTIC])


def test_opening_correlation_trusts_openings_more(model: MorphableModel, rng: np.random.Generator) -> None:
    """Both lids of one eye pulled together: correlated noise believes the closure more than independent noise does."""
    scene = random_scene(model, rng, yaw=(0.0, 0.0), pitch=(0.0, 0.0), roll=(0.0, 0.0))
    points = scene.camera.project(model.landmark_positions(model.vertices()))[:, :2]
    for upper, lower in ((43, 47), (44, 46)):
        points[[upper, lower]] = points[[upper, lower]].mean(axis=0)
    closure = model.expression_names.index("eyeBlinkLeft")
    independent, correlated = (fit(model, points, 0.02, correlation=rho) for rho in (0.0, 0.8))
    assert correlated.parameters.expression[closure] > independent.parameters.expression[closure] > 0.1


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (np.full((68, 2), 5.0), "coincide"),
        (np.stack([np.arange(68.0), 2.0 * np.arange(68.0)], axis=1), "line"),
    ],
)
def test_degenerate_points_are_named(model: MorphableModel, points: np.ndarray, words: str) -> None:
    with pytest.raises(DegenerateConfigurationError, match=words):
        fit(model, points)


def test_mirrored_labels_are_refused(model: MorphableModel, rng: np.random.Generator) -> None:
    points = random_scene(model, rng).landmarks * [-1.0, 1.0]
    with pytest.raises(DegenerateConfigurationError, match="behind"):
        fit(model, points)


@pytest.mark.parametrize("convention", [SEMANTIC, CONTOUR])
def test_points_that_are_no_face_are_not_called_a_fit(
    model: MorphableModel, rng: np.random.Generator, convention: LandmarkConvention
) -> None:
    face = random_scene(model, rng, roll=(0.0, 0.0)).landmarks
    for stretch in ([1.0, 0.1], [0.1, 1.0], [1.0, 3.0]):
        f = fit(model, face * stretch, 0.03, convention)
        assert f.status is FitStatus.DEGENERATE
        assert "standard deviations" in f.message or "% of the face" in f.message
        assert np.isfinite(f.parameters.identity).all()


def test_frontal_face_slides_on_both_sides(model: MorphableModel, rng: np.random.Generator) -> None:
    scene = random_scene(model, rng, yaw=(-3.0, 3.0), pitch=(0.0, 0.0))
    f = fit(model, scene.landmarks, 0.02, CONTOUR)
    moved = np.linalg.norm(f.landmarks - semantic_points(model, f), axis=1)
    assert (moved[JAW[:4]] > 0.0).all()
    assert (moved[JAW[13:]] > 0.0).all()
    np.testing.assert_allclose(moved[17:], 0.0, atol=1e-3)
