"""The photometric stage as a whole: what it returns, the same for any threads, honest where there is no face."""

from collections.abc import Callable
from dataclasses import replace

import numba
import numpy as np
import pytest
from numpy.typing import NDArray
from photometric_scenes import Picture, random_picture

import facefit
from facefit.fitting.photometric.options import PhotometricOptions
from facefit.fitting.photometric.stage import PhotometricFit, fit_photometric_stage
from facefit.fitting.status import FitStatus
from facefit.fitting.threads import single_threaded_blas
from facefit.models.morphable_model import MorphableModel

Pixels = NDArray[np.uint8]

OPTIONS = facefit.FitOptions(landmark_convention="semantic", landmark_sigma=0.02)


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return facefit.load_model("default")


@pytest.fixture(scope="module")
def picture(model: MorphableModel) -> Picture:
    return random_picture(model, np.random.default_rng(1))


def fitted(picture: Picture, options: facefit.FitOptions = OPTIONS) -> facefit.FitResult:
    return facefit.fit(picture.image, picture.scene.model, landmarks=picture.scene.landmarks, options=options)


def assert_finite(result: facefit.FitResult) -> None:
    for name in (
        "identity", "expression", "albedo", "reflectance", "lighting", "identity_std", "expression_std",
        "landmarks", "landmarks_fitted", "landmarks_semantic", "vertices", "vertices_image", "quality",
    ):  # fmt: skip
        value = getattr(result, name)
        assert value is None or np.isfinite(value).all(), name
    for stage in result.stages:
        assert stage.status in FitStatus
        assert all(np.isfinite([*stage.energy_before.values(), *stage.energy_after.values(), stage.seconds]))


def assert_rejected(result: facefit.FitResult, alone: facefit.FitResult) -> None:
    """The landmarks' fit stands, to the last bit, and the stage says that it found nothing."""
    assert [stage.name for stage in result.stages] == ["landmark", "photometric"]
    assert result.stages[1].status is FitStatus.STALLED
    assert result.status is alone.status
    assert result.lighting is result.albedo is result.reflectance is None
    for name in ("identity", "expression", "identity_std", "expression_std", "vertices_image", "landmarks_fitted"):
        np.testing.assert_array_equal(getattr(result, name), getattr(alone, name))


# --- What it returns ----------------------------------------------------------------------------------------------


def test_result_holds_light_and_albedo(picture: Picture) -> None:
    result = fitted(picture)
    model = picture.scene.model
    assert result.stages[1].status.usable
    assert_finite(result)
    assert result.lighting is not None and result.lighting.shape == (9, 3)
    assert result.albedo is not None and result.albedo.shape == (model.n_albedo,)
    assert result.reflectance is not None and result.reflectance.shape == (model.n_vertices, 3)
    assert result.reflectance.min() >= 0.0
    assert result.reflectance.max() <= 1.0
    before, after = result.stages[1].energy_before, result.stages[1].energy_after
    assert before.keys() == after.keys() == {
        "photometric", "landmarks", "identity", "expression", "lighting", "albedo"
    }  # fmt: skip
    assert after["photometric"] < before["photometric"]
    assert min(*before.values(), *after.values()) >= 0.0


def test_expression_stays_within_its_bounds(picture: Picture) -> None:
    result, model = fitted(picture), picture.scene.model
    assert result.expression is not None
    assert (result.expression >= model.expression_lower).all()
    assert (result.expression <= model.expression_upper).all()


def test_pixels_narrow_the_posterior(picture: Picture) -> None:
    """Of nearly every coefficient: the photo only adds to what the landmarks tell."""
    both, alone = fitted(picture), fitted(picture, replace(OPTIONS, stages=("landmark",)))
    assert both.identity_std is not None and alone.identity_std is not None
    assert both.identity_std.min() > 0.0
    assert np.median(both.identity_std) < np.median(alone.identity_std)
    assert both.identity_std.max() < 1.01


def test_landmarks_alone(picture: Picture) -> None:
    result = fitted(picture, replace(OPTIONS, stages=("landmark",)))
    assert [stage.name for stage in result.stages] == ["landmark"]
    assert result.lighting is result.albedo is result.reflectance is None


def test_a_model_without_colours(picture: Picture) -> None:
    """One free colour: its albedo has no modes, its light explains the skin all the same."""
    model = replace(picture.scene.model, albedo=None, albedo_mean=None, albedo_texture=None)
    result = fitted(replace(picture, scene=replace(picture.scene, model=model)))
    assert_finite(result)
    assert result.stages[1].status.usable
    assert result.albedo is not None and result.albedo.shape == (0,)


# --- The same again -----------------------------------------------------------------------------------------------


def staged(picture: Picture, threads: int | None) -> PhotometricFit:
    with single_threaded_blas():
        return fit_photometric_stage(
            picture.image, picture.parameters, picture.task(0.02), PhotometricOptions(threads=threads)
        )


def assert_same(one: PhotometricFit, other: PhotometricFit) -> None:
    """To the last bit."""
    np.testing.assert_array_equal(one.parameters.camera.rotation, other.parameters.camera.rotation)
    assert one.parameters.camera.scale == other.parameters.camera.scale
    assert one.final_energy == other.final_energy
    for name in ("covariance", "lighting", "albedo", "reflectance", "landmarks"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_result_does_not_depend_on_the_threads(picture: Picture) -> None:
    first = staged(picture, 1)
    assert first.accepted
    for threads in (1, 2, 3, None):
        assert_same(staged(picture, threads), first)
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        assert_same(staged(picture, 2), first)
    finally:
        numba.set_num_threads(before)


# --- Hostile photos -----------------------------------------------------------------------------------------------


def noise(picture: Picture) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, picture.image.shape, dtype=np.uint8)


def flat(value: int) -> Callable[[Picture], Pixels]:
    return lambda picture: np.full_like(picture.image, value)


def checkerboard(picture: Picture) -> Pixels:
    return np.where(np.indices(picture.image.shape).sum(axis=0) % 2, 255, 0).astype(np.uint8)


def one_pixel(picture: Picture) -> Pixels:
    return picture.image[:1, :1]


def narrow(picture: Picture) -> Pixels:
    return picture.image[:, :1]


def upside_down(picture: Picture) -> Pixels:
    return picture.image[::-1]


def negative(picture: Picture) -> Pixels:
    return 255 - picture.image


def half_black(picture: Picture) -> Pixels:
    image = picture.image.copy()
    image[:, : image.shape[1] // 2] = 0
    return image


@pytest.mark.parametrize(
    "distort",
    [noise, flat(0), flat(128), flat(255), checkerboard, one_pixel, narrow, upside_down, negative, half_black],
)
def test_photos_of_no_face(picture: Picture, distort: Callable[[Picture], Pixels]) -> None:
    """Nothing raises, all is finite, and either the photo was of use or the landmarks' fit stands."""
    wrong = replace(picture, image=distort(picture))
    result = fitted(wrong)
    assert_finite(result)
    if result.lighting is None:
        assert_rejected(result, fitted(wrong, replace(OPTIONS, stages=("landmark",))))


@pytest.mark.parametrize("image", [one_pixel, narrow])
def test_nothing_to_see_is_rejected(picture: Picture, image: Callable[[Picture], Pixels]) -> None:
    wrong = replace(picture, image=image(picture))
    assert_rejected(fitted(wrong), fitted(wrong, replace(OPTIONS, stages=("landmark",))))


def test_a_fit_that_the_guard_refuses(picture: Picture) -> None:
    """No fit brings the landmarks' error down to nothing."""
    strict = replace(OPTIONS, photometric=PhotometricOptions(landmark_tolerance=1e-3))
    assert_rejected(fitted(picture, strict), fitted(picture, replace(OPTIONS, stages=("landmark",))))


@pytest.mark.parametrize("shift", [(-0.5, 0.0), (0.0, 0.6), (0.9, 0.9), (5.0, 0.0), (-1e6, 1e6)])
def test_faces_beyond_the_border(picture: Picture, shift: tuple[float, float]) -> None:
    """The landmarks know where the face goes on outside of the photo."""
    size = picture.scene.face_px
    points = picture.scene.landmarks + size * np.array(shift)
    height, width = picture.image.shape[:2]
    x, y = np.rint(size * np.array(shift)).astype(int)
    image = np.zeros_like(picture.image)
    if abs(x) < width and abs(y) < height:
        image[max(y, 0) : height + y, max(x, 0) : width + x] = picture.image[
            max(-y, 0) : height - y, max(-x, 0) : width - x
        ][: height - abs(y), : width - abs(x)]
    result = facefit.fit(image, picture.scene.model, landmarks=points, options=OPTIONS)
    assert_finite(result)
    if max(np.abs(shift)) >= 5.0:
        assert result.lighting is None
        assert result.stages[1].status is FitStatus.STALLED


@pytest.mark.parametrize("seed", range(3))
def test_landmarks_somewhere_else(picture: Picture, seed: int) -> None:
    """Of another face, in another place of the photo."""
    other = random_picture(picture.scene.model, np.random.default_rng(50 + seed))
    rng = np.random.default_rng(seed)
    points = other.scene.landmarks - other.scene.landmarks.mean(axis=0) + rng.uniform(0.0, picture.image.shape[1], 2)
    result = facefit.fit(picture.image, picture.scene.model, landmarks=points, options=OPTIONS)
    assert_finite(result)
    assert {stage.status for stage in result.stages} <= set(FitStatus)


@pytest.mark.parametrize("size", [8.0, 20.0, 40.0, 900.0])
def test_faces_of_any_size(model: MorphableModel, size: float) -> None:
    rng = np.random.default_rng(3)
    picture = random_picture(model, rng, face_px=(size, size))
    result = fitted(picture)
    assert_finite(result)


def test_photos_without_colour(picture: Picture) -> None:
    grey = picture.image.mean(axis=2, keepdims=True).round().astype(np.uint8).repeat(3, axis=2)
    result = fitted(replace(picture, image=grey))
    assert_finite(result)
    assert result.stages[1].status.usable
    assert result.lighting is not None and result.reflectance is not None
    shown = result.reflectance[picture.scene.model.regions["face"]].mean(axis=0) * result.lighting[0]
    assert shown.max() < 1.1 * shown.min(), "light and skin together are grey"


def test_time_limit(picture: Picture) -> None:
    result = fitted(picture, replace(OPTIONS, max_seconds=1e-9))
    assert_finite(result)
    assert FitStatus.TIMEOUT in {result.status, *(stage.status for stage in result.stages)}
    with single_threaded_blas():
        late = fit_photometric_stage(picture.image, picture.parameters, picture.task(0.02), PhotometricOptions(), 0.0)
    assert late.status is FitStatus.TIMEOUT
    assert late.iterations == 0
    np.testing.assert_array_equal(late.parameters.camera.rotation, picture.scene.camera.rotation)
    np.testing.assert_array_equal(late.parameters.identity, picture.scene.identity)
