"""The panels that a fit is judged by, against what is known of the scenes they show."""

import dataclasses

import numpy as np
import pytest

import facefit
from facefit.apps.fit.panels import (
    BRIGHTER,
    BRIGHTEST,
    DARKER,
    EQUAL,
    LEGEND,
    NEUTRAL,
    PANELS,
    RESIDUAL_RANGE,
    draw_panels,
    lit_ball,
    residual_colours,
    residual_map,
)
from facefit.apps.fit.window import LARGEST, SIDE, Window
from facefit.models.colour import linear_to_srgb, to_uint8
from facefit.models.errors import InvalidInputError
from facefit.render.cameras import ScaledOrthographic, rotation_from_angles
from facefit.render.rasterizer import rasterize
from facefit.render.renderer import NumbaRenderer
from facefit.render.spherical_harmonics import FACTORS

AMBIENT = np.sqrt(4.0 * np.pi) * np.eye(9, 1) @ np.ones((1, 3))
FALLBACK = PANELS[:4]
HEIGHT, WIDTH = 470, 460


@pytest.fixture(scope="module")
def model() -> facefit.MorphableModel:
    return facefit.load_model("default")


def one_sided(direction: tuple[float, float, float], ambient: float = 1.0, strength: float = 0.8) -> np.ndarray:
    """Light whose shading is ambient + strength (n . direction)."""
    light = np.zeros((9, 3))
    light[0] = ambient / FACTORS[0]
    for row, component in zip((3, 1, 2), direction, strict=True):
        light[row] = strength * component / FACTORS[row]
    return light


@pytest.fixture(scope="module")
def fit(model: facefit.MorphableModel) -> facefit.FitResult:
    """A fit with albedo and light of its own: those that `photo` was drawn with."""
    camera = ScaledOrthographic(rotation_from_angles(15.0, -5.0, 6.0), np.array([231.0, 233.0]), 1.45)
    points = camera.project(model.landmark_positions(model.vertices()))[:, :2]
    result = facefit.fit_landmarks(points, model)
    return dataclasses.replace(
        result,
        lighting=one_sided((-0.6, -0.48, -0.64)),
        reflectance=np.clip(0.8 * model.albedo_mean + 0.02, 0.0, 1.0),
        albedo=np.zeros(len(model.albedo)),
    )


def drawn(fit: facefit.FitResult, **changes: np.ndarray) -> np.ndarray:
    """Return the fit's own picture (HEIGHT, WIDTH, 3) on grey."""
    look = {"colours": fit.reflectance, "lighting": fit.lighting} | changes
    picture = NumbaRenderer().draw(fit.camera, fit.vertices, fit.triangles, HEIGHT, WIDTH, **look)
    alpha = picture[..., 3:] / 255.0
    return np.rint(alpha * picture[..., :3] + (1.0 - alpha) * 120.0).astype(np.uint8)


@pytest.fixture(scope="module")
def photo(fit: facefit.FitResult) -> np.ndarray:
    return drawn(fit)


def panels(photo: np.ndarray, fit: facefit.FitResult, model: facefit.MorphableModel) -> dict[str, np.ndarray]:
    return draw_panels(photo, fit, model, NumbaRenderer(), Window.of_pixels(fit.camera))


def seen_of(fit: facefit.FitResult, model: facefit.MorphableModel, names: tuple[str, ...]) -> np.ndarray:
    """Return the mask (side, side) of the triangles that lie in one of the regions with all corners."""
    window = Window.of_pixels(fit.camera)
    seen = rasterize(window.camera(fit.camera), fit.vertices, model.triangles, window.side, window.side)
    inside = np.zeros(len(model.triangles), bool)
    for name in names:
        inside |= model.regions[name][model.triangles].all(axis=1)
    return seen.covered & inside[seen.triangle]


# --- The ball ----------------------------------------------------------------------------------------------------


def test_light_from_everywhere_shows_an_even_ball() -> None:
    ball = lit_ball(AMBIENT, 101)
    assert ball.shape == (101, 101, 4)
    covered = ball[..., 3] > 0
    assert (ball[covered][:, :3] == to_uint8(linear_to_srgb(BRIGHTEST))).all()
    assert ball[50, 50, 3] == 255
    assert not covered[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    radius = 0.92 * 50.5
    assert ball[..., 3].sum() / 255.0 == pytest.approx(np.pi * radius**2, rel=2e-3), "a smooth outline"


@pytest.mark.parametrize("direction", [(0.6, 0.0, -0.8), (-0.48, 0.6, -0.64), (0.0, -0.6, -0.8), (0.0, 0.0, -1.0)])
def test_the_ball_is_brightest_towards_the_light(direction: tuple[float, float, float]) -> None:
    size = 201
    ball = lit_ball(one_sided(direction), size)
    x, y = np.meshgrid(*[(np.arange(size) - 100.0) / (0.92 * 100.5)] * 2)
    inside = x**2 + y**2 < 1.0
    shading = np.zeros((size, size))
    normals = np.stack([x[inside], y[inside], -np.sqrt(1.0 - x[inside] ** 2 - y[inside] ** 2)], axis=-1)
    shading[inside] = 1.0 + 0.8 * normals @ np.array(direction)
    expected = to_uint8(linear_to_srgb(BRIGHTEST * np.maximum(shading, 0.0) / shading.max()))
    difference = np.abs(ball[..., :3].astype(int) - expected[..., None])[inside]
    assert difference.max() <= 1
    row, column = np.argwhere(inside & (ball[..., 0] == ball[..., 0][inside].max())).mean(axis=0)
    assert np.hypot(column - 100.0 - 92.5 * direction[0], row - 100.0 - 92.5 * direction[1]) < 8.0


def test_the_ball_shows_colours_not_strength() -> None:
    light = one_sided((0.6, 0.0, -0.8)) * (1.0, 0.7, 0.4)
    np.testing.assert_array_equal(lit_ball(3.0 * light, 64), lit_ball(light, 64))
    centre = lit_ball(AMBIENT * (1.0, 0.5, 0.25), 64)[32, 32, :3]
    np.testing.assert_array_equal(centre, to_uint8(linear_to_srgb(BRIGHTEST * np.array([1.0, 0.5, 0.25]))))


@pytest.mark.parametrize("light", [np.zeros((9, 3)), -AMBIENT])
def test_no_light_shows_a_black_ball(light: np.ndarray) -> None:
    assert not lit_ball(light, 32)[..., :3].any()


# --- The residual ------------------------------------------------------------------------------------------------


def test_colours_of_residuals_run_evenly_between_their_ends() -> None:
    half = np.rint((np.array(EQUAL) + np.array([DARKER, BRIGHTER])) / 2.0)
    values = RESIDUAL_RANGE * np.array([-9.0, -1.0, -0.5, 0.0, 0.5, 1.0, 9.0])
    expected = [DARKER, DARKER, half[0], EQUAL, half[1], BRIGHTER, BRIGHTER]
    assert np.abs(residual_colours(values).astype(float) - expected).max() <= 0.5
    shades = residual_colours(np.linspace(0.0, RESIDUAL_RANGE, 50)).astype(int).sum(axis=1)
    assert (np.diff(shades) <= 0).all()


def test_the_residual_is_photo_minus_rendering(rng: np.random.Generator) -> None:
    grey = rng.integers(60, 180, (SIDE, SIDE, 1), dtype=np.uint8)
    rendering = np.dstack([np.repeat(grey, 3, axis=2), np.full((SIDE, SIDE), 255, np.uint8)])
    photo = rendering[..., :3].copy()
    limit = round(255.0 * RESIDUAL_RANGE)
    photo[:, :100] += np.uint8(limit)
    photo[:, 100:200] -= np.uint8(limit)
    weight = np.ones((SIDE, SIDE))
    weight[:, 300:] = 0.0
    shown = residual_map(photo, rendering, weight)[:-LEGEND]
    # The weights' border takes its best neighbour's weight, one pixel wide.
    for columns, colour in (((0, 100), BRIGHTER), ((100, 200), DARKER), ((200, 300), EQUAL), ((301, SIDE), NEUTRAL)):
        assert (shown[:, slice(*columns)] == colour).all()


def test_luma_of_a_channel_counts_by_its_weight() -> None:
    rendering = np.full((SIDE, SIDE, 4), 255, np.uint8)
    rendering[..., :3] = 100
    photo = rendering[..., :3].copy()
    photo[..., 1] += 20
    shown = residual_map(photo, rendering, np.ones((SIDE, SIDE)))[:-LEGEND]
    np.testing.assert_array_equal(shown, np.broadcast_to(residual_colours(0.7152 * 20.0 / 255.0), shown.shape))


# --- All panels --------------------------------------------------------------------------------------------------


def test_a_perfect_fit_leaves_no_residual(
    photo: np.ndarray, fit: facefit.FitResult, model: facefit.MorphableModel
) -> None:
    shown = panels(photo, fit, model)
    assert tuple(shown) == PANELS
    difference = np.abs(shown["rerendering"].astype(int) - shown["photo"]).max(axis=2)
    assert np.quantile(difference, 0.999) <= 1
    assert difference.max() <= 20, "on the outline, which is mixed with the ground twice"
    skin = (shown["residual"] != NEUTRAL).any(axis=2)
    skin[-LEGEND:] = False
    assert skin.sum() > 20000
    # Nothing but the colour of no residual, more or less of it: the border is soft.
    opacity = (shown["residual"][skin] - np.array(NEUTRAL, float)) / (np.array(EQUAL, float) - NEUTRAL)
    assert np.quantile(np.ptp(opacity, axis=1), 0.98) <= 0.05
    assert (opacity.min(axis=1) > 0.9).mean() > 0.75


def test_the_residual_has_the_photo_s_sign(
    photo: np.ndarray, fit: facefit.FitResult, model: facefit.MorphableModel
) -> None:
    face = seen_of(fit, model, ("face",))[:-LEGEND]
    for change, colour in ((30, BRIGHTER), (-30, DARKER)):
        changed = np.clip(photo.astype(int) + change, 0, 255).astype(np.uint8)
        shown = panels(changed, fit, model)["residual"][:-LEGEND].astype(float)
        expected = np.array(EQUAL) + 30.0 / (255.0 * RESIDUAL_RANGE) * (np.array(colour) - EQUAL)
        assert np.abs(np.median(shown[face], axis=0) - expected).max() <= 4.0


def test_the_residual_says_nothing_beside_the_photo(
    photo: np.ndarray, fit: facefit.FitResult, model: facefit.MorphableModel
) -> None:
    left = photo[:, :230]
    outside = ~Window.of_pixels(fit.camera).inside(left)
    outside[-LEGEND:] = False
    outside[:, :-1] &= outside[:, 1:]
    outside[:, 1:] &= outside[:, :-1]  # the mask's border takes its neighbour's weight
    assert (panels(left, fit, model)["residual"][outside] == NEUTRAL).all()


def test_albedo_does_not_depend_on_the_light(
    photo: np.ndarray, fit: facefit.FitResult, model: facefit.MorphableModel
) -> None:
    even = dataclasses.replace(fit, reflectance=np.tile([0.5, 0.3, 0.2], (model.n_vertices, 1)))
    other = dataclasses.replace(even, lighting=AMBIENT * 0.3)
    one, two = panels(photo, even, model)["albedo"], panels(photo, other, model)["albedo"]
    np.testing.assert_array_equal(one, two)
    covered = seen_of(fit, model, ("face",))
    difference = np.abs(one[covered].astype(int) - to_uint8(linear_to_srgb([0.5, 0.3, 0.2]))).max(axis=1)
    assert (difference <= 1).mean() > 0.99, "all but the outline"
    assert (one[0] == NEUTRAL).all()


def test_the_light_s_panel_is_the_ball(
    photo: np.ndarray, fit: facefit.FitResult, model: facefit.MorphableModel
) -> None:
    light, ball = panels(photo, fit, model)["light"], lit_ball(fit.lighting, SIDE)
    solid = ball[..., 3] == 255
    np.testing.assert_array_equal(light[solid], ball[solid][:, :3])
    assert (light[ball[..., 3] == 0] == NEUTRAL).all()


@pytest.mark.parametrize("missing", ["lighting", "reflectance"])
def test_without_a_light_of_its_own_the_mean_albedo_is_shown(
    photo: np.ndarray, fit: facefit.FitResult, model: facefit.MorphableModel, missing: str
) -> None:
    landmark_fit = dataclasses.replace(fit, **{missing: None})
    mean = drawn(fit, colours=np.asarray(model.albedo_mean, np.float64))
    shown = panels(mean, landmark_fit, model)
    assert tuple(shown) == FALLBACK
    face = seen_of(fit, model, ("face",))
    difference = np.abs(shown["rerendering"].astype(int) - shown["photo"])[face]
    assert np.quantile(difference, 0.95) <= 6, "the light is found again from the photo"


def test_eyes_are_drawn_where_the_model_has_colours_for_them(
    photo: np.ndarray, fit: facefit.FitResult, model: facefit.MorphableModel
) -> None:
    eyes = seen_of(fit, model, ("eyes",))
    black, plain = np.zeros_like(photo), dataclasses.replace(model, albedo_mean=None, albedo=None)
    with_colours, without = panels(black, fit, model), panels(black, fit, plain)
    assert eyes.sum() > 300
    assert np.median(with_colours["rerendering"][eyes].max(axis=1)) > 50
    assert np.median(without["rerendering"][eyes].max(axis=1)) == 0
    for shown in (with_colours, without):
        assert (shown["geometry"][eyes].max(axis=1) > 50).all(), "the geometry is opaque either way"


def test_no_face_is_refused(model: facefit.MorphableModel, fit: facefit.FitResult) -> None:
    nothing = facefit.FitResult(facefit.FitStatus.NO_FACE, "no face")
    with pytest.raises(InvalidInputError, match="NO_FACE"):
        draw_panels(np.zeros((9, 9, 3), np.uint8), nothing, model, NumbaRenderer(), Window.around(fit.camera))


# --- The photo's own pixels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.45, 2.0, 3.3])
def test_a_window_of_pixels_is_a_crop(scale: float, rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (1200, 1250, 3), dtype=np.uint8)
    camera = ScaledOrthographic(rotation_from_angles(10.0, 5.0, -8.0), np.array([611.3, 603.8]), scale)
    window = Window.of_pixels(camera)
    assert window.side == round(300.0 * scale)
    x, y = (window.corner + 0.5).astype(int)
    np.testing.assert_array_equal(window.resample(image), image[y : y + window.side, x : x + window.side])
    centre = window.to_panel(camera.project(np.array([0.0, -14.0, -40.0]))[:2])
    assert np.abs(centre - (window.side - 1) / 2.0).max() <= 1.0


@pytest.mark.parametrize(("scale", "side"), [(1e-3, SIDE), (0.5, SIDE), (4.0, LARGEST), (1e6, LARGEST)])
def test_panels_are_neither_tiny_nor_huge(scale: float, side: int) -> None:
    camera = ScaledOrthographic(np.diag([1.0, -1.0, -1.0]), np.array([50.0, 40.0]), scale)
    window = Window.of_pixels(camera)
    assert window.side == side
    assert window.zoom == pytest.approx(side / (300.0 * scale))
    assert window.resample(np.zeros((80, 90, 3), np.uint8)).shape == (side, side, 3)
