"""Textured drawing: a texture lands where the coordinates say, is averaged where it is finer, is lit as colours are."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scenes import egg
from small_model import EXTENT, small_model

from facefit.models.colour import linear_to_srgb, srgb_to_linear, to_uint8
from facefit.models.errors import InvalidInputError
from facefit.models.morphable_model import UVMap
from facefit.render import textured
from facefit.render.cameras import FRONTAL, Perspective, ScaledOrthographic
from facefit.render.renderer import NumbaRenderer, Renderer, RendererUnavailableError
from facefit.render.spherical_harmonics import basis
from facefit.render.textured import TexturedRenderer, draw_textured

SIZE = 48  # px of the picture
PLANE = small_model().mean * (1.0, 1.0, 0.0)  # a square of 2 EXTENT, which faces the camera
TRIANGLES, UV = small_model().triangles, UVMap(0.5 + PLANE[:, :2] / (2.0 * EXTENT), small_model().triangles)


def square_camera(size: int = SIZE) -> ScaledOrthographic:
    """The camera whose picture of `size` px the square fills exactly."""
    return ScaledOrthographic(FRONTAL, np.full(2, (size - 1) / 2.0), size / (2.0 * EXTENT))


def random_texture(rng: np.random.Generator, size: int = SIZE) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (size, size, 3), dtype=np.uint8)


def some_light(rng: np.random.Generator) -> NDArray[np.float64]:
    light = 0.2 * rng.standard_normal((9, 3))
    light[0] += 3.0
    return light


def test_a_square_shows_its_texture_upright(rng: np.random.Generator) -> None:
    """Texel for pixel: row 0 of the image is at v = 1, which is up."""
    texture = random_texture(rng)
    picture = draw_textured(square_camera(), PLANE, TRIANGLES, UV, texture, SIZE, SIZE, oversampling=1)
    assert (picture[..., 3] == 255).all()
    np.testing.assert_array_equal(picture[..., :3], texture)


def test_between_texels_colours_are_linear_in_light(rng: np.random.Generator) -> None:
    texture = random_texture(rng, SIZE // 4)
    picture = draw_textured(square_camera(), PLANE, TRIANGLES, UV, texture, SIZE, SIZE, oversampling=1)
    light = srgb_to_linear(texture).astype(np.float32)
    expected = cv2.resize(light, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
    assert np.abs(picture[..., :3].astype(int) - to_uint8(linear_to_srgb(expected))).max() <= 1


@pytest.mark.parametrize(("times", "oversampling"), [(2, 1), (8, 1), (8, 2)])
def test_a_finer_texture_is_averaged(rng: np.random.Generator, times: int, oversampling: int) -> None:
    texture = random_texture(rng, SIZE * times)
    camera = square_camera()
    picture = draw_textured(camera, PLANE, TRIANGLES, UV, texture, SIZE, SIZE, oversampling=oversampling)
    fine = SIZE * oversampling
    mean = srgb_to_linear(texture).reshape(fine, SIZE * times // fine, fine, SIZE * times // fine, 3).mean(axis=(1, 3))
    # What is averaged last, over a pixel's own fine ones, are display values.
    expected = linear_to_srgb(mean).reshape(SIZE, oversampling, SIZE, oversampling, 3).mean(axis=(1, 3))
    assert np.abs(picture[..., :3] / 255.0 - expected).max() <= 1.5 / 255.0


def test_every_triangle_has_its_own_coordinates(rng: np.random.Generator) -> None:
    """Seams: the same places listed once per corner, in any order, give the same picture."""
    texture = random_texture(rng)
    order = rng.permutation(3 * len(TRIANGLES))
    corners = np.argsort(order).astype(np.int32).reshape(-1, 3)
    split = UVMap(UV.coordinates[UV.triangles.ravel()][order], corners)
    pictures = [draw_textured(square_camera(), PLANE, TRIANGLES, uv, texture, SIZE, SIZE) for uv in (UV, split)]
    np.testing.assert_array_equal(*pictures)


def test_light_multiplies_reflectance(rng: np.random.Generator) -> None:
    texture, light = random_texture(rng), some_light(rng)
    picture = draw_textured(square_camera(), PLANE, TRIANGLES, UV, texture, SIZE, SIZE, lighting=light, oversampling=1)
    expected = srgb_to_linear(texture) * (basis([0.0, 0.0, -1.0]) @ light)
    assert np.abs(picture[..., :3].astype(int) - to_uint8(linear_to_srgb(expected))).max() <= 1


@pytest.mark.parametrize(
    "camera",
    [
        ScaledOrthographic(FRONTAL, np.array([30.0, 24.0]), 0.2),
        Perspective(FRONTAL, np.array([0.0, 0.0, 500.0]), 120.0, np.array([30.0, 24.0])),
    ],
    ids=["orthographic", "perspective"],
)
def test_one_colour_is_as_colours_per_vertex(
    rng: np.random.Generator, camera: ScaledOrthographic | Perspective
) -> None:
    vertices, triangles = egg(200, np.array([75.0, 100.0, 80.0]))
    uv = UVMap(rng.random((len(vertices), 2)), triangles)
    light = some_light(rng)
    texture = np.full((5, 7, 3), (200, 120, 40), np.uint8)
    colours = np.tile(srgb_to_linear(texture[0, 0]), (len(vertices), 1))
    drawn = draw_textured(camera, vertices, triangles, uv, texture, 50, 60, lighting=light)
    expected = NumbaRenderer().draw(camera, vertices, triangles, 50, 60, colours=colours, lighting=light)
    assert 0.2 < (drawn[..., 3] > 0).mean() < 0.9
    assert np.abs(drawn.astype(int) - expected).max() <= 1


def test_a_part_of_the_picture_is_that_of_the_whole(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    camera, texture = square_camera(SIZE), random_texture(rng, 4 * SIZE)
    whole = draw_textured(camera, PLANE, TRIANGLES, UV, texture, SIZE, SIZE)
    shifted = camera.zoomed(1.0, np.array([-10.0, -7.0]))
    part = draw_textured(shifted, PLANE, TRIANGLES, UV, texture, SIZE - 7, SIZE - 10)
    np.testing.assert_array_equal(part, whole[7:, 10:])
    monkeypatch.setattr(textured, "BAND", 5 * SIZE)
    np.testing.assert_array_equal(draw_textured(camera, PLANE, TRIANGLES, UV, texture, SIZE, SIZE), whole)


def test_what_is_not_seen_is_empty(rng: np.random.Generator) -> None:
    behind = replace(square_camera(), rotation=np.diag([-1.0, -1.0, 1.0]))
    assert not draw_textured(behind, PLANE, TRIANGLES, UV, random_texture(rng), SIZE, SIZE).any()


def test_as_a_renderer(rng: np.random.Generator) -> None:
    texture, camera = random_texture(rng), square_camera()
    renderer = TexturedRenderer(UV, texture)
    assert isinstance(renderer, Renderer)
    mesh = (camera, PLANE, TRIANGLES)
    expected = draw_textured(*mesh, UV, texture, SIZE, SIZE)
    np.testing.assert_array_equal(renderer.draw(*mesh, SIZE, SIZE), expected)
    colours = rng.random((len(PLANE), 3))
    expected = NumbaRenderer().draw(*mesh, SIZE, SIZE, colours=colours)
    np.testing.assert_array_equal(renderer.draw(*mesh, SIZE, SIZE, colours=colours), expected)
    with pytest.raises(RendererUnavailableError, match="wire"):
        renderer.draw(*mesh, SIZE, SIZE, shading="wire")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"texture": np.zeros((4, 4), np.uint8)}, "texture: expected shape"),
        ({"texture": np.zeros((4, 0, 3), np.uint8)}, "texture: expected at least one pixel"),
        ({"texture": np.full((4, 4, 3), 0.5)}, "texture: expected numbers that uint8 holds"),
        ({"uv": UVMap(UV.coordinates, UV.triangles[1:])}, r"uv.triangles: expected shape \(288, 3\)"),
        ({"uv": UVMap(UV.coordinates[:-1], UV.triangles)}, "uv.triangles: expected indices"),
        ({"lighting": np.ones(9)}, "lighting: expected shape"),
        ({"height": 0}, "height: expected an integer"),
        ({"oversampling": 0}, "oversampling: expected an integer from 1 to 8, got 0"),
    ],
)
def test_wrong_calls(change: dict[str, object], message: str) -> None:
    texture = np.zeros((4, 4, 3), np.uint8)
    call: dict[str, object] = {"uv": UV, "texture": texture, "height": SIZE, "width": SIZE}
    with pytest.raises(InvalidInputError, match=message):
        draw_textured(square_camera(), PLANE, TRIANGLES, **(call | change))  # type: ignore[arg-type]
