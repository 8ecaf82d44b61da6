"""Pictures and motion of a fitted face: lights, expressions, views, turntables, contact sheets."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import facefit
from facefit.apps.export import motion
from facefit.apps.export.expressions import parse_expression, with_expression
from facefit.apps.export.lights import AMBIENT, LAMPS, Lamp, brightness, named_light
from facefit.apps.export.motion import (
    Turntable,
    contact_sheet,
    novel_view,
    relit,
    rerendered,
    turntable,
    write_turntable,
)
from facefit.fitting.texture import Texture
from facefit.models.errors import InvalidInputError, OutputError
from facefit.models.morphable_model import MorphableModel
from facefit.render.cameras import ScaledOrthographic, rotation_from_angles
from facefit.render.rasterizer import rasterize
from facefit.render.spherical_harmonics import basis

SIDE = 96  # px
Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return facefit.load_model("default")


@pytest.fixture(scope="module")
def result(model: MorphableModel) -> facefit.FitResult:
    """The mean face with an open mouth and a pimple that the model does not know, in a photo of SIDE px."""
    expression = np.zeros(model.n_expression)
    expression[model.expression_names.index("jawOpen")] = 0.5
    vertices = model.vertices(None, expression)
    vertices[100] += 0.5
    camera = ScaledOrthographic(rotation_from_angles(0.0, 0.0, 0.0), np.array([47.0, 42.0]), 0.3)
    return facefit.FitResult(
        facefit.FitStatus.CONVERGED,
        "made for a test",
        camera,
        np.zeros(model.n_identity),
        expression,
        lighting=Lamp((0.2, -0.3, -1.0), 0.5).harmonics(0.9),
        vertices=vertices,
        triangles=model.triangles,
    )


@pytest.fixture(scope="module")
def texture(model: MorphableModel) -> Texture:
    """The model's own, which differs from what is 'photographed' by a green cast."""
    albedo = model.albedo_texture
    assert albedo is not None and model.uv is not None
    seen = albedo // np.array([2, 1, 2], np.uint8)
    return Texture(seen, albedo, np.full(albedo.shape[:2], 255, np.uint8), model.uv)


@pytest.fixture
def photo(rng: np.random.Generator) -> Pixels:
    return rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


# --- Lights ------------------------------------------------------------------------------------------------------


def ball(lighting: NDArray[np.float64], side: int = 401) -> NDArray[np.float64]:
    """The radiance (M, 3) of the pixels of a white ball's picture."""
    axis = (np.arange(side) - (side - 1) / 2.0) / (side / 2.0)
    x, y = (grid.ravel() for grid in np.meshgrid(axis, axis))
    inside = x**2 + y**2 < 1.0
    x, y = x[inside], y[inside]
    return basis(np.stack([x, y, -np.sqrt(1.0 - x**2 - y**2)], axis=1)) @ lighting


def test_brightness_is_the_mean_of_a_balls_picture(rng: np.random.Generator) -> None:
    for _ in range(5):
        lighting = np.abs(rng.standard_normal((9, 3)))
        lighting[2] *= -1.0
        luma = ball(lighting) @ (0.2126, 0.7152, 0.0722)
        assert brightness(lighting) == pytest.approx(luma.mean(), rel=1e-3)
    assert brightness(AMBIENT) == pytest.approx(1.0)


@pytest.mark.parametrize("name", LAMPS)
def test_named_lights_take_anothers_brightness_and_come_from_where_they_say(name: str) -> None:
    like = 0.7 * AMBIENT * (1.2, 1.0, 0.8)
    light = named_light(name, like)
    assert brightness(light) == pytest.approx(brightness(like))
    facing = basis(np.array([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]]))
    left, right, top, below, front = (facing @ light)[:, 1]
    brightest = {"left": left, "right": right, "top": top, "below": below, "front": front, "soft": front}[name]
    assert brightest == max(left, right, top, below, front)
    assert (ball(light) > 0.0).mean() > 0.9


def test_a_surface_that_faces_a_lamp_sends_out_its_exposure() -> None:
    lamp = Lamp((0.0, -3.0, -4.0), 0.2)
    radiance = basis([0.0, -0.6, -0.8]) @ lamp.harmonics(0.8)
    np.testing.assert_allclose(radiance, 0.8, rtol=0.08)  # three bands hold the clamped cosine to 6 %


def test_an_unknown_light() -> None:
    with pytest.raises(InvalidInputError, match=r"light: expected one of left, right, .*, got 'lef'"):
        named_light("lef")


# --- Expressions -------------------------------------------------------------------------------------------------


def test_an_expressions_text(model: MorphableModel) -> None:
    assert parse_expression(" jawOpen=0.6, eyeBlinkLeft = 1,", model) == {"jawOpen": 0.6, "eyeBlinkLeft": 1.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected NAME=NUMBER"),
        ("jawOpen", "expected NAME=NUMBER, such as jawOpen=0.6, got 'jawOpen'"),
        ("jawOpen=wide", "got 'jawOpen=wide'"),
        ("jawOpen=nan", "got 'jawOpen=nan'"),
        ("jawopn=1", "such as jawOpen.*, got 'jawopn'"),
        ("smile=1", "such as .*mouthSmileLeft.*, got 'smile'"),
        ("zzz=1", r"a unit of the model \(eyeBlinkLeft, .*got 'zzz'"),
        ("jawOpen=1.5", "jawOpen: expected a number from 0 to 1, got 1.5"),
        ("jawOpen=-0.1", "jawOpen: expected a number from 0 to 1, got -0.1"),
        ("jawOpen=0,jawOpen=1", "each unit once, got jawOpen twice"),
    ],
)
def test_a_wrong_text_says_what_is_wrong(model: MorphableModel, text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        parse_expression(text, model)


def test_weights_replace_the_fitted_ones_alone(result: facefit.FitResult, model: MorphableModel) -> None:
    names = model.expression_names
    changed = with_expression(result, model, {"eyeBlinkLeft": 1.0})
    assert changed.vertices is not None and result.vertices is not None and changed.expression is not None
    moved = changed.vertices - result.vertices
    np.testing.assert_allclose(moved, model.expression[names.index("eyeBlinkLeft")], atol=1e-4)
    assert changed.expression[names.index("jawOpen")] == 0.5
    closed = with_expression(changed, model, {"jawOpen": 0.0, "eyeBlinkLeft": 0.0})
    assert closed.vertices is not None and closed.camera is not None and closed.vertices_image is not None
    expected = np.array(model.mean, np.float64)
    expected[100] += 0.5  # what the model does not know stays
    np.testing.assert_allclose(closed.vertices, expected, atol=1e-4)
    np.testing.assert_array_equal(closed.vertices_image, closed.camera.project(closed.vertices))


def test_weights_out_of_bounds(result: facefit.FitResult, model: MorphableModel) -> None:
    with pytest.raises(InvalidInputError, match="jawOpen: expected a number from 0 to 1, got 2"):
        with_expression(result, model, {"jawOpen": 2.0})


# --- Pictures ----------------------------------------------------------------------------------------------------


def test_a_turned_head_turns_its_nose(result: facefit.FitResult, model: MorphableModel, texture: Texture) -> None:
    """The mean head is symmetric: to the other side it shows the mirror image, but for the pimple."""
    front, right, left = (novel_view(result, model, yaw, texture=texture, side=SIDE) for yaw in (0.0, 40.0, -40.0))
    assert front.shape == (SIDE, SIDE, 4)
    assert 0.2 < (front[..., 3] == 255).mean() < 0.5
    assert np.abs(right[..., 3].astype(int) - left[:, ::-1, 3]).mean() < 2.0
    assert model.albedo_mean is not None
    nose = np.zeros_like(model.albedo_mean)
    nose[model.regions["nose"]] = 1.0
    marked = replace(result, reflectance=nose)
    places = []
    for yaw in (-40.0, 0.0, 40.0):
        drawn = novel_view(marked, model, yaw, lighting=AMBIENT, side=SIDE)[..., 0].astype(float)
        places.append((drawn.sum(axis=0) @ np.arange(SIDE)) / drawn.sum())
    assert places[0] + 5.0 < places[1] < places[2] - 5.0


def test_what_a_texture_shows(result: facefit.FitResult, model: MorphableModel, texture: Texture) -> None:
    """As photographed without a light, else its albedo under that."""
    seen = novel_view(result, model, texture=texture, side=SIDE)
    albedo = novel_view(result, model, lighting=AMBIENT, texture=texture, side=SIDE)
    whole = seen[..., 3] == 255
    red, green = seen[whole, 0].mean() / albedo[whole, 0].mean(), seen[whole, 1].mean() / albedo[whole, 1].mean()
    assert red == pytest.approx(0.5, abs=0.02)
    assert green == pytest.approx(1.0, abs=0.02)
    bare = novel_view(result, model, side=SIDE)
    assert np.abs(bare.astype(int) - seen).max() > 20


def test_over_a_photo_only_the_face_changes(
    result: facefit.FitResult, model: MorphableModel, texture: Texture, photo: Pixels
) -> None:
    assert result.camera is not None and result.vertices is not None
    picture = rerendered(result, model, photo, texture=texture)
    changed = (picture != photo).any(axis=2)
    seen = rasterize(result.camera, result.vertices, model.triangles, SIDE, SIDE)
    inside = np.any([model.regions[name] for name in motion.FACE], axis=0)[model.triangles]
    touched, whole = (np.append(mask, False)[seen.triangle] for mask in (inside.any(axis=1), inside.all(axis=1)))
    outlined = cv2.dilate(touched.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert not (changed & ~outlined).any()
    assert (changed & whole).sum() > 0.9 * whole.sum()
    middle = np.rint(result.camera.project(np.array([0.0, -30.0, 0.0]))).astype(int)
    alone = facefit.render(
        replace(result, lighting=None),
        height=SIDE,
        width=SIDE,
        renderer=motion.TexturedRenderer(texture.uv, texture.photographed),
    )
    np.testing.assert_array_equal(picture[middle[1], middle[0]], alone[middle[1], middle[0], :3])


def test_light_from_the_left_and_from_the_right(
    result: facefit.FitResult, model: MorphableModel, texture: Texture, photo: Pixels
) -> None:
    left, right = (relit(result, model, photo, name, texture=texture).astype(float) for name in ("left", "right"))
    difference = (left - right).mean(axis=2)
    middle = 47  # of the face, px
    assert difference[:, :middle].sum() > 0.0 > difference[:, middle + 1 :].sum()
    given = relit(result, model, photo, named_light("left", result.lighting), texture=texture)
    np.testing.assert_array_equal(left, given)


def test_a_contact_sheet(
    result: facefit.FitResult, model: MorphableModel, texture: Texture, photo: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    captions: list[list[str]] = []
    whole = motion.montage

    def montage(panels: list[motion.Panel], columns: int) -> Pixels:
        captions.append([panel.caption for panel in panels])
        return whole(panels, columns)

    monkeypatch.setattr(motion, "montage", montage)
    sheet = contact_sheet(result, model, photo, texture=texture)
    assert sheet.dtype == np.uint8 and sheet.ndim == 3
    assert captions[0][:2] == ["photo", "fitted"]
    assert captions[0][-2:] == ["a smile", "a blink"]
    silent = model.truncated(expression=["jawOpen"])
    assert result.expression is not None
    spoken = replace(result, expression=result.expression[[model.expression_names.index("jawOpen")]])
    contact_sheet(spoken, silent, photo)
    assert captions[1] == captions[0][:-2]


def test_nobody_cannot_be_drawn(model: MorphableModel, photo: Pixels) -> None:
    nobody = facefit.FitResult(facefit.FitStatus.NO_FACE, "no face")
    for draw in (
        lambda: novel_view(nobody, model),
        lambda: relit(nobody, model, photo, "left"),
        lambda: contact_sheet(nobody, model, photo),
        lambda: list(turntable(nobody, model)),
        lambda: with_expression(nobody, model, {"jawOpen": 1.0}),
    ):
        with pytest.raises(InvalidInputError, match="result: expected"):
            draw()


# --- Motion ------------------------------------------------------------------------------------------------------


def test_a_turntable_turns_the_head_then_the_light_and_ends_where_it_began(
    result: facefit.FitResult, model: MorphableModel, texture: Texture
) -> None:
    options = Turntable(side=SIDE, fps=10.0, turning=2.0, lighting=1.6)
    frames = list(turntable(result, model, texture=texture, options=options))
    assert [frame.shape for frame in frames] == [(SIDE, SIDE, 3)] * 36
    np.testing.assert_array_equal(frames[0], frames[10])
    np.testing.assert_array_equal(frames[0], frames[20])
    utmost = novel_view(result, model, 40.0, lighting=result.lighting, texture=texture, side=SIDE)
    whole = utmost[..., 3] == 255
    np.testing.assert_array_equal(frames[5][whole], utmost[whole, :3])
    around = np.array(frames[20:]).astype(float)
    outline = np.abs(np.diff(around, axis=0)).max(axis=(0, 3)) > 0.0
    assert (outline <= (novel_view(result, model, side=SIDE)[..., 3] > 0)).all(), "in the second part nothing moves"
    steps = np.abs(np.diff(np.array([*frames, frames[0]]).astype(float), axis=0)).mean(axis=(1, 2, 3))
    assert steps[20:].max() < 3.0 * np.median(steps[20:]), "the light neither comes on nor goes off at once"


def some_frames() -> list[Pixels]:
    """Twelve frames (32, 48, 3), each of one colour."""
    return [np.full((32, 48, 3), (20 * k, 128, 220 - 20 * k), np.uint8) for k in range(12)]


def test_a_gif(tmp_path: Path) -> None:
    write_turntable(tmp_path / "film.gif", some_frames(), fps=30.0)
    with Image.open(tmp_path / "film.gif") as film:
        assert (film.n_frames, film.size, film.info["loop"]) == (12, (48, 32), 0)  # type: ignore[attr-defined]
        times = []
        for k, frame in enumerate(some_frames()):
            film.seek(k)
            times.append(film.info["duration"])
            assert np.abs(np.asarray(film.convert("RGB")).astype(int) - frame).max() <= 2
    assert set(times) == {30, 40}
    assert sum(times) == 400


@pytest.mark.parametrize("writer", ["av", "OpenCV"])
def test_an_mp4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str) -> None:
    if writer == "av":
        pytest.importorskip("av")
    else:

        def missing(name: str) -> ModuleType:
            raise ImportError(name)

        monkeypatch.setattr(motion, "import_module", missing)
    write_turntable(tmp_path / "film.mp4", some_frames(), fps=12.5)
    film = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(12.5)
    for frame in some_frames():
        there, read = film.read()
        assert there
        assert np.abs(read[..., ::-1].astype(int) - frame).mean() < 8.0
    assert not film.read()[0]
    film.release()
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


@pytest.mark.parametrize(
    ("name", "frames", "message"),
    [
        ("film.avi", some_frames(), "ends in .gif or .mp4, got 'film.avi'"),
        ("film.gif", [], "frames: expected frames of one size"),
        ("film.gif", [some_frames()[0], some_frames()[0][:-2]], "frames: expected frames of one size"),
        ("film.mp4", [some_frames()[0][:-1]], "expected an even height and width for MP4, got 31 x 48"),
    ],
)
def test_wrong_films(tmp_path: Path, name: str, frames: list[Pixels], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        write_turntable(tmp_path / name, frames)
    assert list(tmp_path.iterdir()) == []


def test_a_film_where_no_file_can_be(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_turntable(tmp_path / "nowhere" / "film.gif", some_frames())


def test_wrong_turntables() -> None:
    with pytest.raises(InvalidInputError, match="side: expected an even number of px, got 97"):
        Turntable(side=97)
    with pytest.raises(InvalidInputError, match="fps, turning, lighting: expected"):
        Turntable(fps=0.0)
