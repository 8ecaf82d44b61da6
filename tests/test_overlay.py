"""The picture of a fit: where its panels look, and what they show."""

import dataclasses

import numpy as np
import pytest

import facefit
from facefit.apps.fit.overlay import BALL, draw_overlay
from facefit.apps.fit.panels import draw_panels, lit_ball
from facefit.apps.fit.window import SIDE, Window
from facefit.models.errors import InvalidInputError
from facefit.render.cameras import Camera, Perspective, ScaledOrthographic, rotation_from_angles
from facefit.render.drawing import BACKGROUND
from facefit.render.renderer import NumbaRenderer

COLUMNS = 3  # of a fit without a light of its own
GAP, HEADER = 12, 30  # px of `montage` beside and above its panels
WHITE_LIGHT = np.sqrt(4.0 * np.pi)
PHOTO, LANDMARKS, GEOMETRY, LIT, LEFT, RIGHT = range(6)


@pytest.fixture(scope="module")
def model() -> facefit.MorphableModel:
    return facefit.load_model("default")


def fitted(model: facefit.MorphableModel, scale: float, translation: tuple[float, float]) -> facefit.FitResult:
    camera = ScaledOrthographic(rotation_from_angles(12.0, 5.0, -8.0), np.array(translation), scale)
    points = camera.project(model.landmark_positions(model.vertices()))[:, :2]
    return facefit.fit_landmarks(points, model)


def panel(sheet: np.ndarray, k: int, columns: int = COLUMNS) -> np.ndarray:
    top = GAP + HEADER + (k // columns) * (HEADER + SIDE + GAP)
    left = GAP + (k % columns) * (SIDE + GAP)
    return sheet[top : top + SIDE, left : left + SIDE]


@pytest.mark.parametrize(
    "camera",
    [
        ScaledOrthographic(rotation_from_angles(20.0, -10.0, 30.0), np.array([310.5, 127.25]), 2.7),
        Perspective(rotation_from_angles(-35.0, 4.0, -90.0), np.array([40, -60, 900]), 1400.0, np.array([320, 240])),
    ],
    ids=["orthographic", "perspective"],
)  # fmt: skip
def test_the_window_moves_camera_and_points_alike(camera: Camera, rng: np.random.Generator) -> None:
    window = Window.around(camera)
    points = rng.uniform(-90.0, 90.0, (50, 3))
    seen = window.camera(camera).project(points)[:, :2]
    np.testing.assert_allclose(seen, window.to_panel(camera.project(points)[:, :2]), atol=1e-9)
    assert ((seen > 0.0) & (seen < SIDE)).all(), "a head lies in its window"


@pytest.mark.parametrize(("corner", "zoom"), [((31.3, 20.9), 3.7), ((10.2, 5.6), 1.9), ((-0.5, -0.5), 0.9)])
def test_resampling_is_exact_on_a_ramp(corner: tuple[float, float], zoom: float) -> None:
    x, y = np.meshgrid(np.arange(500.0), np.arange(400.0))
    image = np.stack([0.4 * x + 10.0, 0.5 * y + 20.0, 0.2 * (x + y)], axis=-1).round().astype(np.uint8)
    window = Window(np.array(corner), zoom)
    shown = window.resample(image).astype(float)
    inside = window.inside(image)
    # Away from the border, where there is nothing to interpolate with.
    inner = np.minimum(np.roll(inside, 4, 0), np.roll(inside, 4, 1)) & np.roll(inside, -4, 0) & np.roll(inside, -4, 1)
    inner[:4], inner[:, :4] = False, False
    px, py = (np.arange(SIDE) + 0.5) / zoom + corner[0], (np.arange(SIDE) + 0.5) / zoom + corner[1]
    px, py = np.meshgrid(px, py)
    expected = np.stack([0.4 * px + 10.0, 0.5 * py + 20.0, 0.2 * (px + py)], axis=-1)
    assert np.abs(shown - expected)[inner].max() <= 1.6, "rounded once in the image and once in the panel"
    assert (shown[~inside] == BACKGROUND).all()


@pytest.mark.parametrize(
    ("scale", "translation"),
    [
        (0.8, (150.0, 120.0)),  # whole
        (0.8, (0.0, 120.0)),  # half outside
        (0.02, (150.0, 120.0)),  # a tiny face
        (40.0, (150.0, 120.0)),  # far larger than the photo
        (1e6, (0.0, 0.0)),
        (0.8, (1e4, -1e4)),  # beside the photo
    ],
)
def test_every_face_gives_the_same_layout(
    model: facefit.MorphableModel, rng: np.random.Generator, scale: float, translation: tuple[float, float]
) -> None:
    image = rng.integers(0, 256, (240, 300, 3), dtype=np.uint8)
    before = image.copy()
    result = fitted(model, scale, translation)
    sheet = draw_overlay(image, result, model, NumbaRenderer())
    assert sheet.shape == (2 * (HEADER + SIDE) + 3 * GAP, 3 * SIDE + 4 * GAP, 3)
    np.testing.assert_array_equal(image, before)
    window = Window.around(result.camera)
    inside = window.inside(image)
    assert (panel(sheet, PHOTO)[~inside] == BACKGROUND).all()
    # The geometry shows at the nose wherever the face lies, and the photo alone in the panel's corners.
    x, y = window.to_panel(result.landmarks_fitted[30]).round().astype(int)
    assert (panel(sheet, GEOMETRY)[y, x] != panel(sheet, PHOTO)[y, x]).any()
    np.testing.assert_array_equal(panel(sheet, GEOMETRY)[0], panel(sheet, PHOTO)[0])


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 65000, 3), (2000, 1, 3)])
def test_odd_photos(model: facefit.MorphableModel, shape: tuple[int, int, int]) -> None:
    sheet = draw_overlay(np.full(shape, 200, np.uint8), fitted(model, 0.5, (0.0, 0.0)), model, NumbaRenderer())
    assert (panel(sheet, PHOTO) == 200).all(axis=2).any()


def test_a_photo_of_the_model_itself_is_reproduced(model: facefit.MorphableModel) -> None:
    """Closed loop: mean albedo, drawn under a light, is found again by the panel that estimates that light."""
    lighting = np.zeros((9, 3))
    lighting[0], lighting[3], lighting[2] = 0.9 * WHITE_LIGHT, (0.6, 0.5, 0.4), -0.5
    result = fitted(model, 1.6, (220.0, 200.0))
    renderer = NumbaRenderer()
    photo = renderer.draw(
        result.camera, result.vertices, model.triangles, 450, 440, colours=model.albedo_mean, lighting=lighting
    )[..., :3].copy()
    sheet = draw_overlay(photo, result, model, renderer)
    face = (np.abs(panel(sheet, GEOMETRY).astype(int) - panel(sheet, PHOTO)) > 0).any(axis=2)
    difference = np.abs(panel(sheet, LIT).astype(int) - panel(sheet, PHOTO))[face]
    assert face.sum() > 20000
    assert np.quantile(difference, 0.95) <= 6
    assert np.median(difference) <= 1


def test_a_fit_with_light_of_its_own_has_two_panels_more(
    model: facefit.MorphableModel, rng: np.random.Generator
) -> None:
    image = rng.integers(0, 256, (240, 300, 3), dtype=np.uint8)
    plain = fitted(model, 0.8, (150.0, 120.0))
    lighting = np.zeros((9, 3))
    lighting[0], lighting[3] = 0.9 * WHITE_LIGHT, (0.6, 0.5, 0.4)
    own = dataclasses.replace(plain, lighting=lighting, reflectance=0.9 * np.asarray(model.albedo_mean, float))
    renderer = NumbaRenderer()
    sheet, before = draw_overlay(image, own, model, renderer), draw_overlay(image, plain, model, renderer)
    assert sheet.shape == (2 * (HEADER + SIDE) + 3 * GAP, 4 * SIDE + 5 * GAP, 3)
    shown = draw_panels(image, own, model, renderer, Window.around(own.camera))
    expected = {0: "photo", 1: "landmarks", 2: "geometry", 4: "rerendering", 5: "residual"}
    for k, name in expected.items():
        np.testing.assert_array_equal(panel(sheet, k, 4), shown[name])
    for k, other in ((3, LEFT), (7, RIGHT)):
        np.testing.assert_array_equal(panel(sheet, k, 4), panel(before, other))
    albedo = panel(sheet, 6, 4)
    np.testing.assert_array_equal(albedo[:-BALL], shown["albedo"][:-BALL])
    ball = lit_ball(lighting, BALL)
    np.testing.assert_array_equal(albedo[-BALL:, -BALL:][ball[..., 3] == 255], ball[ball[..., 3] == 255][:, :3])


def test_a_title_is_written_above(model: facefit.MorphableModel) -> None:
    result, image = fitted(model, 0.8, (150.0, 120.0)), np.full((240, 300, 3), 90, np.uint8)
    plain, titled = (draw_overlay(image, result, model, NumbaRenderer(), title) for title in ("", "a title"))
    np.testing.assert_array_equal(titled[-len(plain) :], plain)
    assert (titled[: len(titled) - len(plain)] != BACKGROUND).any()


def test_turned_views_do_not_depend_on_the_pose(model: facefit.MorphableModel) -> None:
    result = fitted(model, 0.8, (150.0, 120.0))
    camera = ScaledOrthographic(rotation_from_angles(-30.0, 10.0, 80.0), np.array([80.0, 90.0]), 1.3)
    turned = dataclasses.replace(result, camera=camera)
    image = np.zeros((240, 300, 3), np.uint8)
    one, other = (draw_overlay(image, r, model, NumbaRenderer()) for r in (result, turned))
    for k in (LEFT, RIGHT):
        np.testing.assert_array_equal(panel(one, k), panel(other, k))
    assert (panel(one, LEFT) != panel(one, RIGHT)).any()


def test_a_model_without_albedo_or_regions_is_drawn(model: facefit.MorphableModel) -> None:
    plain = dataclasses.replace(model, albedo_mean=None, albedo=None, regions={})
    result = fitted(model, 0.8, (150.0, 120.0))
    draw_overlay(np.full((240, 300, 3), 90, np.uint8), result, plain, NumbaRenderer(), "title")


def test_a_result_without_a_face_is_refused(model: facefit.MorphableModel) -> None:
    nothing = facefit.FitResult(facefit.FitStatus.NO_FACE, "no face")
    with pytest.raises(InvalidInputError, match="NO_FACE"):
        draw_overlay(np.zeros((9, 9, 3), np.uint8), nothing, model, NumbaRenderer())
