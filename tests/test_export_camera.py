"""camera.json: every form, read as its own world reads it, puts the mesh onto the same pixels as the camera."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from export_scenes import HEIGHT, ORTHOGRAPHIC, PERSPECTIVE, WIDTH, fitted
from scenes import toy_model

import facefit
from facefit.apps.export.camera_json import camera_document, write_camera
from facefit.fitting.results import FitResult
from facefit.fitting.status import FitStatus
from facefit.models.errors import InvalidInputError, OutputError
from facefit.render.cameras import Camera, ScaledOrthographic, rotation_from_angles

TWELVE_MEGAPIXELS = ScaledOrthographic(rotation_from_angles(-50.0, 10.0, 30.0), np.array([2100.4, 1400.7]), 9.3)


def by_opengl(form: dict[str, Any], points: np.ndarray) -> np.ndarray:
    """What OpenGL does with them: clip, divide, viewport; then from window coordinates (y up) to pixel centres."""
    clip = np.c_[points, np.ones(len(points))] @ np.array(form["view"]).T @ np.array(form["projection"]).T
    assert (np.abs(clip[:, 2]) < clip[:, 3]).all(), "between the near and the far plane"
    ndc = clip[:, :3] / clip[:, 3:]
    x, y, width, height = form["viewport"]
    window = np.stack([x + width * (ndc[:, 0] + 1.0) / 2.0, y + height * (ndc[:, 1] + 1.0) / 2.0], axis=1)
    return np.stack([window[:, 0] - 0.5, height - window[:, 1] - 0.5], axis=1)


def by_opencv(form: dict[str, Any], points: np.ndarray) -> np.ndarray:
    import cv2

    turned, _ = cv2.Rodrigues(np.array(form["R"]))
    seen, _ = cv2.projectPoints(points, turned, np.array(form["t"]), np.array(form["K"]), None)
    return seen.reshape(-1, 2)


def by_affine(form: list[list[float]], points: np.ndarray) -> np.ndarray:
    homogeneous = np.c_[points, np.ones(len(points))] @ np.array(form).T
    return homogeneous[:, :2] / homogeneous[:, 2:]


def by_weak_perspective(form: dict[str, Any], points: np.ndarray) -> np.ndarray:
    turned = points @ np.array(form["rotation"]).T
    return form["scale"] * turned[:, :2] + np.array(form["translation"])


READERS = {
    "opengl": by_opengl,
    "opencv": by_opencv,
    "affine": by_affine,
    "scaled_orthographic": by_weak_perspective,
}
EXACT = {"opencv": 0.005}  # px; the others are exact


@pytest.mark.parametrize(
    ("camera", "size"),
    [(ORTHOGRAPHIC, (HEIGHT, WIDTH)), (PERSPECTIVE, (HEIGHT, WIDTH)), (TWELVE_MEGAPIXELS, (3000, 4000))],
    ids=["orthographic", "perspective", "12 megapixels"],
)
def test_every_form_gives_the_same_pixels(tmp_path: Path, camera: Camera, size: tuple[int, int]) -> None:
    result = fitted(facefit.load_model("default"), camera)
    write_camera(tmp_path / "camera.json", result, size)
    document = json.loads((tmp_path / "camera.json").read_text())
    assert (document["image"]["height"], document["image"]["width"]) == size
    assert document["kind"] == camera.kind
    expected = camera.project(result.vertices)[:, :2]
    forms = {name: document[name] for name in READERS if document[name] is not None}
    assert set(forms) == (set(READERS) if camera is not PERSPECTIVE else {"opengl", "opencv"})
    for name, form in forms.items():
        error = np.abs(READERS[name](form, result.vertices) - expected).max()
        assert error < EXACT.get(name, 1e-6), f"{name}: {error} px"
    assert document["opencv"]["exact"] is (camera is PERSPECTIVE)
    assert document["opencv"]["largest_error"] <= 0.004 + 1e-9


def test_a_corner_of_the_image_is_where_opengl_draws_it() -> None:
    """The first pixel's centre lies half a pixel inside the viewport's upper left corner."""
    camera = ScaledOrthographic(np.diag([1.0, -1.0, -1.0]), np.zeros(2), 2.0)
    form = camera_document(fitted(toy_model(), camera), (20, 40))["opengl"]
    clip = np.array(form["projection"]) @ np.array(form["view"]) @ np.array([0.0, 0.0, 0.0, 1.0])
    np.testing.assert_allclose(clip[:2] / clip[3], [-1.0 + 1.0 / 40.0, 1.0 - 1.0 / 20.0], atol=1e-12)


def test_opengl_keeps_the_order_of_depth() -> None:
    for camera in (ORTHOGRAPHIC, PERSPECTIVE):
        result = fitted(toy_model(), camera)
        form = camera_document(result, (HEIGHT, WIDTH))["opengl"]
        matrix = np.array(form["projection"]) @ np.array(form["view"])
        clip = np.c_[result.vertices, np.ones(len(result.vertices))] @ matrix.T  # type: ignore[arg-type]
        depth = camera.project(result.vertices)[:, 2]
        assert (np.diff((clip[:, 2] / clip[:, 3])[np.argsort(depth)]) >= 0.0).all()


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="expected a camera and a mesh, got NO_FACE"):
        camera_document(FitResult(FitStatus.NO_FACE, "no face"), (HEIGHT, WIDTH))
    for size in ((0, 5), (5,), (2.5, 3.0)):
        with pytest.raises(InvalidInputError, match="image_size: expected"):
            camera_document(fitted(toy_model()), size)  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="cannot be written"):
        write_camera(tmp_path / "none" / "camera.json", fitted(toy_model()), (HEIGHT, WIDTH))
