"""Options: unknown names raise and say what was expected and got, nothing can be changed, nothing is ignored."""

from dataclasses import FrozenInstanceError, fields, replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from scenes import random_scene, toy_model

import facefit
from facefit.fitting.detection import Detection
from facefit.fitting.gauss_newton import GaussNewtonOptions
from facefit.fitting.landmark_stage import LandmarkStageOptions
from facefit.fitting.landmarks import LandmarkConvention
from facefit.fitting.options import STAGES, FitOptions
from facefit.fitting.pipeline import GIVEN_SIGMA
from facefit.fitting.status import FitStatus
from facefit.models.errors import InvalidInputError


@pytest.mark.parametrize(
    ("stages", "shown"),
    [
        (("landmark", "photometrik"), "landmark,photometrik"),
        (("Landmark",), "Landmark"),
        ((), ""),
        (("photometric",), "photometric"),
        (("photometric", "landmark"), "photometric,landmark"),
        ("land", "l,a,n,d"),
        (None, "None"),
        (3, "3"),
    ],
)
def test_unknown_stages_raise(stages, shown):
    message = f"^stages: expected landmark or landmark,photometric or landmark,photometric,detail, got {shown}$"
    with pytest.raises(InvalidInputError, match=message):
        FitOptions(stages=stages)


@pytest.mark.parametrize("stages", [("landmark", "landmark")])
def test_repeated_stages_raise(stages):
    with pytest.raises(InvalidInputError, match="stages: expected"):
        FitOptions(stages=stages)


@pytest.mark.parametrize("convention", ["contours", "Semantic", "", 3])
def test_unknown_conventions_raise(convention):
    with pytest.raises(InvalidInputError, match="landmark_convention: expected contour or semantic, got ") as caught:
        FitOptions(landmark_convention=convention)
    assert repr(convention) in str(caught.value)


@pytest.mark.parametrize("convention", LandmarkConvention)
def test_conventions_may_be_given_by_name(convention):
    assert FitOptions(landmark_convention=str(convention)).landmark_convention is convention
    assert FitOptions(landmark_convention=convention).landmark_convention is convention
    assert FitOptions().landmark_convention is None


@pytest.mark.parametrize("seconds", [0.0, -1.0, np.nan])
def test_impossible_time_limits_raise(seconds):
    with pytest.raises(InvalidInputError, match=f"max_seconds: expected a positive number, got {seconds}"):
        FitOptions(max_seconds=seconds)


@pytest.mark.parametrize("sigma", [0.0, 1e-300, -0.1, np.nan, [0.1] * 67, "much"])
def test_impossible_sigmas_raise(sigma):
    with pytest.raises(InvalidInputError, match="landmark_sigma: expected"):
        fitted(FitOptions(landmark_sigma=sigma))


@pytest.mark.parametrize("correlation", [1.0, -0.1, np.nan])
def test_impossible_correlations_raise(correlation):
    with pytest.raises(InvalidInputError, match="opening_correlation: expected 0 <= rho < 1, got"):
        fitted(FitOptions(opening_correlation=correlation))


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        (GaussNewtonOptions, "max_iterations", -1),
        (GaussNewtonOptions, "max_iterations", 1.5),
        (GaussNewtonOptions, "tolerance", 0.0),
        (GaussNewtonOptions, "tolerance", np.nan),
        (GaussNewtonOptions, "initial_damping", -1.0),
        (LandmarkStageOptions, "alternations", -1),
        (LandmarkStageOptions, "max_matchings", 0),
        (LandmarkStageOptions, "identity_prior", 0.0),
        (LandmarkStageOptions, "identity_prior", np.nan),
        (LandmarkStageOptions, "expression_prior", -1.0),
        (FitOptions, "landmark", 3),
    ],
)
def test_impossible_numbers_raise(options, name, value):
    with pytest.raises(InvalidInputError, match=f"^{name}: expected .*, got "):
        options(**{name: value})


@pytest.mark.parametrize("options", [FitOptions, LandmarkStageOptions, GaussNewtonOptions])
def test_options_are_frozen_and_know_their_names(options):
    made = options()
    for item in fields(made):
        with pytest.raises(FrozenInstanceError):
            setattr(made, item.name, None)
    with pytest.raises(TypeError, match="no_such_option"):
        options(no_such_option=1)


def test_stages_are_kept_as_a_tuple():
    assert FitOptions(stages=["landmark"]).stages == ("landmark",)
    assert "landmark" in STAGES


def fitted(options):
    scene = random_scene(toy_model(), np.random.default_rng(4), sigma=0.03)
    return facefit.fit_landmarks(scene.landmarks, model=scene.model, options=options)


SIGMAS = np.full(68, 0.03)
SIGMAS[:17] = np.inf

CHOICES = {
    "landmark_sigma": FitOptions(landmark_sigma=0.1),
    "landmark_sigma of each": FitOptions(landmark_sigma=SIGMAS),
    "opening_correlation": FitOptions(opening_correlation=0.8),
    "identity_prior": FitOptions(landmark=LandmarkStageOptions(identity_prior=10.0)),
    "expression_prior": FitOptions(landmark=LandmarkStageOptions(expression_prior=10.0)),
}


@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_changes_the_fit(name):
    default, chosen = fitted(FitOptions()), fitted(CHOICES[name])
    assert chosen.status is FitStatus.CONVERGED
    moved = np.abs(np.append(chosen.identity - default.identity, chosen.expression - default.expression)).max()
    assert moved > 1e-4


def test_a_limit_of_iterations_is_honoured():
    options = FitOptions(landmark=LandmarkStageOptions(solver=GaussNewtonOptions(max_iterations=1, tolerance=1e-12)))
    found = fitted(options)
    assert found.status is FitStatus.MAX_ITERATIONS
    assert found.stages[0].iterations == 1


def test_stronger_priors_pull_towards_the_mean():
    lengths = [
        np.linalg.norm(fitted(FitOptions(landmark=LandmarkStageOptions(identity_prior=weight))).identity)
        for weight in (0.1, 1.0, 10.0, 1000.0)
    ]
    assert all(weak > strong for weak, strong in pairwise(lengths))
    assert lengths[-1] < 0.2


# --- Whose noise ------------------------------------------------------------------------------------------------


SEMANTIC_SIGMA, CONTOUR_SIGMA = np.linspace(0.01, 0.04, 68), np.linspace(0.05, 0.02, 68)


def modelled(semantic, contour, own_contour=True):
    """A toy model that states the noise of its landmarks."""
    model = toy_model()
    other = replace(model.landmarks, sigma=contour) if own_contour else None
    return replace(model, landmarks=replace(model.landmarks, sigma=semantic), landmarks_contour=other)


@pytest.mark.parametrize(
    ("semantic", "contour", "own_contour", "convention", "expected"),
    [
        (SEMANTIC_SIGMA, CONTOUR_SIGMA, True, None, SEMANTIC_SIGMA),
        (SEMANTIC_SIGMA, CONTOUR_SIGMA, True, "contour", CONTOUR_SIGMA),
        (SEMANTIC_SIGMA, None, False, "contour", SEMANTIC_SIGMA),
        (SEMANTIC_SIGMA, None, True, "contour", GIVEN_SIGMA),
        (None, CONTOUR_SIGMA, True, "semantic", GIVEN_SIGMA),
        (None, None, False, None, GIVEN_SIGMA),
    ],
)
def test_given_landmarks_have_the_noise_that_the_model_states(semantic, contour, own_contour, convention, expected):
    model = modelled(semantic, contour, own_contour)
    scene = random_scene(model, np.random.default_rng(4), sigma=0.02)
    result = facefit.fit_landmarks(scene.landmarks, model, options=FitOptions(landmark_convention=convention))
    np.testing.assert_array_equal(result.landmark_sigma, np.full(68, expected))
    stated = FitOptions(landmark_convention=convention, landmark_sigma=expected)
    same = facefit.fit_landmarks(scene.landmarks, model, options=stated)
    np.testing.assert_array_equal(same.identity, result.identity)


def test_the_callers_noise_and_the_detectors_come_before_the_models():
    model = modelled(SEMANTIC_SIGMA, CONTOUR_SIGMA)
    scene = random_scene(model, np.random.default_rng(4), sigma=0.02)
    chosen = facefit.fit_landmarks(scene.landmarks, model, options=FitOptions(landmark_sigma=0.015))
    np.testing.assert_array_equal(chosen.landmark_sigma, np.full(68, 0.015))
    detector = SimpleNamespace(
        name="stub",
        landmark_sigma=np.full(68, 0.025),
        opening_correlation=0.0,
        landmark_convention=LandmarkConvention.CONTOUR,
        detect=lambda image: [Detection(np.array([0.0, 0.0, 9.0, 9.0]), 1.0, scene.landmarks, "stub")],
    )
    found = facefit.fit(np.zeros((9, 9, 3), dtype=np.uint8), model, detector=detector)
    np.testing.assert_array_equal(found.landmark_sigma, np.full(68, 0.025))
