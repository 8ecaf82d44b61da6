"""`facefit.render`: a fitted face drawn in its photo's view, or in another."""

import importlib
import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scenes import Scene, random_scene

import facefit
from facefit.models.errors import FacefitError, InvalidInputError
from facefit.render.cameras import FRONTAL
from facefit.render.renderer import NumbaRenderer


@pytest.fixture(scope="module")
def scene() -> Scene:
    model = facefit.load_model("default")
    return random_scene(model, np.random.default_rng(1), face_px=(90.0, 90.0), yaw=(20.0, 20.0))


@pytest.fixture(scope="module")
def fitted(scene: Scene) -> facefit.FitResult:
    camera = scene.camera.zoomed(1.0, np.array([150.0, 120.0]) - scene.camera.translation)
    points = camera.project(scene.model.landmark_positions(scene.vertices))[:, :2]
    photo, options = np.zeros((240, 300, 3), np.uint8), facefit.FitOptions(stages=("landmark",))
    return facefit.fit(photo, scene.model, landmarks=points, options=options)


def test_it_is_what_the_renderer_draws_in_the_photos_view(fitted: facefit.FitResult) -> None:
    picture = facefit.render(fitted, renderer="numba")
    assert picture.shape == (240, 300, 4)
    assert picture.dtype == np.uint8
    whole = NumbaRenderer().draw(fitted.camera, fitted.vertices, fitted.triangles, 240, 300)
    assert np.abs(picture.astype(int) - whole).max() <= 1
    assert 0.05 < (picture[..., 3] == 255).mean() < 0.6


def test_over_a_photo_only_the_head_changes(fitted: facefit.FitResult) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (240, 300, 3), dtype=np.uint8)
    drawn = facefit.render(fitted, renderer="numba")
    picture = facefit.render(fitted, over=photo, renderer="numba")
    assert (picture[..., 3] == 255).all()
    np.testing.assert_array_equal(picture[drawn[..., 3] == 0, :3], photo[drawn[..., 3] == 0])
    np.testing.assert_array_equal(picture[drawn[..., 3] == 255, :3], drawn[drawn[..., 3] == 255, :3])


def test_a_face_half_outside_or_wholly_outside(fitted: facefit.FitResult) -> None:
    assert fitted.camera is not None
    shifted = fitted.camera.zoomed(1.0, np.array([-150.0, 0.0]))
    half = facefit.render(fitted, camera=shifted, renderer="numba")
    whole = facefit.render(fitted, renderer="numba")
    assert np.abs(half[:, :150].astype(int) - whole[:, 150:]).max() <= 1
    outside = facefit.render(fitted, camera=fitted.camera.zoomed(1.0, np.array([1e4, 0.0])), renderer="numba")
    assert not outside.any()


def test_the_fits_own_light_is_used_unless_another_is_given(fitted: facefit.FitResult) -> None:
    lighting = np.zeros((9, 3))
    lighting[0] = (1.0, 2.0, 3.0)
    own = facefit.render(replace(fitted, lighting=lighting), renderer="numba")
    given = facefit.render(fitted, lighting=lighting, renderer="numba")
    np.testing.assert_array_equal(own, given)
    studio = facefit.render(fitted, renderer="numba")
    assert np.abs(own.astype(int) - studio).max() > 20


def test_wrong_calls(fitted: facefit.FitResult, scene: Scene) -> None:
    nobody = facefit.FitResult(facefit.FitStatus.NO_FACE, "no face")
    with pytest.raises(InvalidInputError, match="expected a fitted face"):
        facefit.render(nobody)
    alone = facefit.fit_landmarks(scene.landmarks, scene.model)
    with pytest.raises(InvalidInputError, match="height, width"):
        facefit.render(alone)
    assert facefit.render(alone, height=20, width=30, renderer="numba").shape == (20, 30, 4)
    with pytest.raises(InvalidInputError, match="height, width"):
        facefit.render(fitted, over=np.zeros((4, 4, 3), np.uint8), height=5)
    with pytest.raises(FacefitError, match="phong"):
        facefit.render(fitted, shading="phong", renderer="numba")
    with pytest.raises(InvalidInputError, match="renderer"):
        facefit.render(fitted, renderer="ray")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"height": 0}, "height: expected an integer from 1 to"),
        ({"over": np.zeros(5, np.uint8)}, r"photo: expected \(H, W, 3\) uint8, got \(5,\) uint8"),
        ({"over": np.zeros((5, 5, 3))}, r"photo: expected \(H, W, 3\) uint8, got \(5, 5, 3\) float64"),
        ({"camera": "front"}, "camera: expected ScaledOrthographic or Perspective, got str"),
        ({"renderer": 3}, "renderer: expected a name or a renderer, got int"),
        ({"colours": np.zeros((3, 3))}, "colours: expected shape"),
    ],
)
def test_wrong_arguments_are_named(fitted: facefit.FitResult, call: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        facefit.render(fitted, **{"renderer": "numba", **call})


@pytest.mark.parametrize("distance", [1e-3, 20.0, 400.0, -400.0])
def test_another_camera_before_within_and_behind_the_head(fitted: facefit.FitResult, distance: float) -> None:
    """What a part of the picture costs is that part's; what it shows is what the whole shows."""
    camera = facefit.Perspective(FRONTAL, np.array([0.0, 0.0, distance]), 300.0, np.array([150.0, 120.0]))
    picture = facefit.render(fitted, camera=camera, renderer="numba")
    whole = NumbaRenderer().draw(camera, fitted.vertices, fitted.triangles, 240, 300)
    assert np.abs(picture.astype(int) - whole).max() <= 1
    assert picture.any() == (distance >= 20.0)


def test_a_large_picture_is_drawn_in_bands(fitted: facefit.FitResult, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fitted.camera is not None
    mesh = fitted.vertices, fitted.triangles, 240, 300
    for camera in (fitted.camera, facefit.Perspective(FRONTAL, np.array([0.0, 0.0, 500.0]), 600.0, [150.3, 120.7])):
        whole = NumbaRenderer().draw(camera, *mesh)
        with monkeypatch.context() as patch:
            patch.setattr(NumbaRenderer, "band", 7 * 300)
            assert np.abs(NumbaRenderer().draw(camera, *mesh).astype(int) - whole).max() <= 1


@pytest.mark.parametrize("before", ["", "import facefit.render.cameras; ", "facefit.load_model; "])
def test_package_and_verb_share_their_name(before: str) -> None:
    code = f"import facefit; {before}assert callable(facefit.render); import facefit.render.cameras as c; c.FRONTAL"
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=60)


def test_the_verb_survives_pickling_and_reloading(fitted: facefit.FitResult) -> None:
    assert pickle.loads(pickle.dumps(facefit.render)) is facefit.render
    assert importlib.reload(facefit.render) is facefit.render  # type: ignore[arg-type]
    assert facefit.render(fitted, renderer="numba").any()
