"""The Python contract: what goes in, what comes out, and what bad data and wrong calls do."""

import json
from dataclasses import FrozenInstanceError, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scenes import random_scene

import facefit
from facefit.fitting.detection import Detection
from facefit.fitting.initializers import InitializerInput, MeanFace
from facefit.fitting.landmarks import LandmarkConvention
from facefit.fitting.parameters import FaceParameters
from facefit.fitting.threads import single_threaded_blas
from facefit.models.errors import InvalidInputError, ModelError

ASTRONAUT = Path(__file__).parents[1] / "examples" / "astronaut.jpg"


@pytest.fixture(scope="module")
def model() -> facefit.MorphableModel:
    return facefit.load_model("default")


@pytest.fixture
def points(model: facefit.MorphableModel, rng: np.random.Generator) -> np.ndarray:
    return random_scene(model, rng, sigma=0.01).landmarks


@dataclass(frozen=True)
class StubDetector:
    """Finds the faces that it was given."""

    faces: tuple[np.ndarray, ...]
    name: str = "stub"
    landmark_convention: LandmarkConvention = LandmarkConvention.SEMANTIC
    opening_correlation: float = 0.0

    @property
    def landmark_sigma(self) -> np.ndarray:
        return np.full(68, 0.02)

    def detect(self, image: np.ndarray) -> list[Detection]:
        assert image.dtype == np.uint8
        boxes = [np.concatenate([face.min(axis=0), face.max(axis=0)]) for face in self.faces]
        return [Detection(box, 1.5, face, self.name) for box, face in zip(boxes, self.faces, strict=True)]


IMAGE = np.zeros((40, 60, 3), dtype=np.uint8)


def finite(result: facefit.FitResult) -> bool:
    values = (getattr(result, item.name) for item in fields(result) if item.name != "landmark_sigma")
    return all(np.isfinite(v).all() for v in values if isinstance(v, np.ndarray) and v.dtype.kind == "f")


def test_photo_to_face(model: facefit.MorphableModel) -> None:
    image = facefit.read_image(ASTRONAUT)
    result = facefit.fit(image, model=model)
    assert [stage.name for stage in result.stages] == ["landmark", "photometric"]
    assert result.stages[0].status is facefit.FitStatus.CONVERGED
    assert result.status.usable and result.stages[1].status.usable
    assert finite(result)
    assert result.camera is not None and result.expression is not None and result.landmark_error is not None
    assert result.landmark_error < 0.04 * result.camera.scale * model.face_size
    with single_threaded_blas():  # as in the fit: single precision rounds otherwise on several threads
        expected = model.vertices(result.identity, result.expression)
    np.testing.assert_allclose(result.vertices, expected)
    np.testing.assert_allclose(result.vertices_image, result.camera.project(result.vertices))
    semantic = result.camera.project(model.landmark_positions(result.vertices))[:, :2]
    np.testing.assert_allclose(result.landmarks_semantic, semantic)
    smile = [model.expression_names.index(f"mouthSmile{side}") for side in ("Left", "Right")]
    assert (result.expression[smile] > 0.2).all(), "she smiles"
    assert result.detector == "dlib-hog"
    assert result.provenance["image"] == {"size": [512, 512], "orientation": 1}
    assert result.provenance["model"]["hash"] == model.hash


def test_given_landmarks_run_no_detector(model: facefit.MorphableModel, points: np.ndarray) -> None:
    class Forbidden(StubDetector):
        def detect(self, image: np.ndarray) -> list[Detection]:
            raise AssertionError("the detector was run")

    result = facefit.fit(IMAGE, model=model, landmarks=points, detector=Forbidden(()))
    alone = facefit.fit_landmarks(points, model=model)
    np.testing.assert_array_equal(result.identity, alone.identity)
    assert result.detector is None and result.detector_score is None
    np.testing.assert_allclose(result.box, [*points.min(axis=0), *points.max(axis=0)])


def test_every_face_the_largest_first(model: facefit.MorphableModel, points: np.ndarray) -> None:
    detector = StubDetector((points, 0.5 * points, np.full((68, 2), 3.0)))
    results = facefit.fit_faces(IMAGE, model=model, detector=detector)
    assert [r.face_index for r in results] == [0, 1, 2]
    assert [r.status.usable for r in results] == [True, True, False]
    assert results[0].detector == "stub" and results[0].detector_score == 1.5
    np.testing.assert_allclose(results[0].landmark_sigma, 0.02)
    single = facefit.fit(IMAGE, model=model, detector=detector)
    np.testing.assert_array_equal(single.identity, results[0].identity)


def test_no_face(model: facefit.MorphableModel) -> None:
    assert facefit.fit_faces(IMAGE, model=model, detector=StubDetector(())) == []
    result = facefit.fit(IMAGE, model=model, detector=StubDetector(()))
    assert result.status is facefit.FitStatus.NO_FACE
    assert not result.status.usable
    assert result.vertices is None and result.landmarks is None and result.camera is None


@pytest.mark.parametrize("size", [(1, 1), (1, 65000), (65000, 1)])
def test_images_too_thin_for_a_face(model: facefit.MorphableModel, size: tuple[int, int]) -> None:
    result = facefit.fit(np.zeros((*size, 3), dtype=np.uint8), model=model)
    assert result.status is facefit.FitStatus.NO_FACE


@pytest.mark.parametrize("convention", ["contour", "semantic"])
@pytest.mark.parametrize(
    ("spoil", "status"),
    [
        (lambda p: np.where(np.arange(68)[:, None] == 3, np.nan, p), "BAD_INPUT"),
        (lambda p: np.where(np.arange(68)[:, None] == 3, np.inf, p), "BAD_INPUT"),
        (lambda p: 1e300 * p, "BAD_INPUT"),
        (lambda p: np.full((68, 2), 7.0), "DEGENERATE"),
        (lambda p: np.stack([np.arange(68.0), 3.0 * np.arange(68.0)], axis=1), "DEGENERATE"),
        (lambda p: p * [-1.0, 1.0], "DEGENERATE"),
        (lambda p: 1e6 * p, "CONVERGED"),
        (lambda p: p - 1e4, "CONVERGED"),
    ],
)
def test_bad_landmarks_end_in_a_status(
    model: facefit.MorphableModel, points: np.ndarray, convention: str, spoil: Any, status: str
) -> None:
    options = facefit.FitOptions(landmark_convention=convention)
    result = facefit.fit_landmarks(spoil(points), model=model, options=options)
    assert result.status is facefit.FitStatus[status]
    assert len(result.message) > 10
    assert finite(result)
    if status == "CONVERGED":
        good = facefit.fit_landmarks(points, model=model, options=options)
        np.testing.assert_allclose(result.identity, good.identity, atol=1e-4)


def test_random_points_never_pass_for_a_face(model: facefit.MorphableModel, rng: np.random.Generator) -> None:
    for _ in range(10):
        result = facefit.fit_landmarks(100.0 * rng.standard_normal((68, 2)), model=model)
        assert result.status is facefit.FitStatus.DEGENERATE
        assert finite(result)


@pytest.mark.parametrize("shape", [(67, 2), (68, 3), (2, 68), (68,)])
def test_wrong_shapes_are_wrong_calls(model: facefit.MorphableModel, shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError, match=r"expected shape \(68, 2\), got"):
        facefit.fit_landmarks(np.zeros(shape), model=model)


def test_wrong_calls_name_what_was_expected(model: facefit.MorphableModel, points: np.ndarray) -> None:
    with pytest.raises(InvalidInputError, match="MorphableModel, got str"):
        facefit.fit_landmarks(points, model="default")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="image"):
        facefit.fit(np.zeros((4, 4, 3)), model=model)
    for fit in (facefit.fit, facefit.fit_faces):
        with pytest.raises(InvalidInputError, match="image: expected RGB values"):
            fit(None, model=model)  # type: ignore[operator]
    with pytest.raises(InvalidInputError, match="options: expected FitOptions, got dict"):
        facefit.fit_landmarks(points, model=model, options={})  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="no-such-model"):
        facefit.load_model("no-such-model")
    with pytest.raises(InvalidInputError, match="landmark_sigma"):
        facefit.fit_landmarks(points, model=model, options=facefit.FitOptions(landmark_sigma=-1.0))


def test_time_limit_gives_a_status_and_the_state_so_far(model: facefit.MorphableModel, points: np.ndarray) -> None:
    options = facefit.FitOptions(max_seconds=1e-9)
    result = facefit.fit_landmarks(points, model=model, options=options)
    assert result.status is facefit.FitStatus.TIMEOUT
    assert not result.status.usable
    assert result.vertices is not None and finite(result)


def test_initialiser_supplies_the_start(model: facefit.MorphableModel, points: np.ndarray) -> None:
    seen: list[InitializerInput] = []

    @dataclass(frozen=True)
    class Spy:
        name: str = "spy"

        def __call__(self, given: InitializerInput) -> FaceParameters:
            seen.append(given)
            mean = MeanFace()(given)
            return FaceParameters(mean.camera, np.full(model.n_identity, 0.3), mean.expression)

    result = facefit.fit(IMAGE, model=model, landmarks=points, initializer=Spy())
    assert result.provenance["initializer"] == "spy"
    assert seen[0].image is not None and seen[0].image.shape == IMAGE.shape
    plain = facefit.fit_landmarks(points, model=model)
    np.testing.assert_allclose(result.identity, plain.identity, atol=0.02)


def test_same_call_same_result(model: facefit.MorphableModel, points: np.ndarray) -> None:
    one, other = (facefit.fit_landmarks(points, model=model) for _ in range(2))
    np.testing.assert_array_equal(one.identity, other.identity)
    np.testing.assert_array_equal(one.vertices_image, other.vertices_image)


def test_result_is_frozen_and_its_provenance_is_strict_json(model: facefit.MorphableModel, points: np.ndarray) -> None:
    options = facefit.FitOptions(landmark_sigma=np.r_[np.full(60, 0.02), np.full(8, np.inf)])
    result = facefit.fit_landmarks(points, model=model, options=options)
    with pytest.raises(FrozenInstanceError):
        result.status = facefit.FitStatus.STALLED  # type: ignore[misc]
    json.dumps(result.provenance, allow_nan=False)


def test_report_tells_what_the_stage_did(model: facefit.MorphableModel, points: np.ndarray) -> None:
    (report,) = facefit.fit_landmarks(points, model=model).stages
    assert report.name == "landmark" and report.iterations > 0 and report.seconds > 0.0
    assert set(report.energy_before) == set(report.energy_after) == {"landmarks", "identity", "expression"}
    assert sum(report.energy_after.values()) < sum(report.energy_before.values())


def test_leaving_out_too_many_points_is_degenerate(model: facefit.MorphableModel, points: np.ndarray) -> None:
    for kept in (0, 3):
        sigma = np.full(68, np.inf)
        sigma[30 : 30 + kept] = 0.02
        result = facefit.fit_landmarks(points, model=model, options=facefit.FitOptions(landmark_sigma=sigma))
        assert result.status is facefit.FitStatus.DEGENERATE
        assert "point" in result.message


def test_a_left_out_point_may_be_no_number(model: facefit.MorphableModel, points: np.ndarray) -> None:
    sigma = np.full(68, 0.02)
    sigma[30] = np.inf
    spoiled = points.copy()
    spoiled[30] = np.nan
    result = facefit.fit_landmarks(spoiled, model=model, options=facefit.FitOptions(landmark_sigma=sigma))
    assert result.status is facefit.FitStatus.CONVERGED
    assert finite(result)
    assert result.landmarks is not None and result.landmarks_fitted is not None and result.box is not None
    np.testing.assert_array_equal(result.landmarks[30], result.landmarks_fitted[30])
    np.testing.assert_array_equal(np.delete(result.landmarks, 30, axis=0), np.delete(points, 30, axis=0))
    assert result.landmark_error is not None
