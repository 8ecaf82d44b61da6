"""Light and colour: the shading basis against the integral it stands for, and pictures with a known answer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facefit.models.colour import decoding_slope, linear_to_srgb, srgb_to_linear, to_uint8
from facefit.models.errors import InvalidInputError
from facefit.render.cameras import FRONTAL, Perspective, ScaledOrthographic, rotation_from_angles
from facefit.render.compositing import magnified, over, reduced
from facefit.render.rasterizer import rasterize
from facefit.render.renderer import NumbaRenderer, Renderer, make_renderer
from facefit.render.shading import CLAY, shade_fragments, shade_studio
from facefit.render.spherical_harmonics import basis, estimate_lighting, shade

LAMBERT = np.array([1.0] + [2.0 / 3.0] * 3 + [0.25] * 5)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def harmonics(directions):
    """The real spherical harmonics themselves: `basis` without the Lambert factors."""
    return basis(directions) / LAMBERT


def sphere_rule(pole, half=False, count=24):
    """Quadrature over the sphere, or the half around `pole`: Gauss-Legendre along the pole, equal steps around it."""
    t, wt = np.polynomial.legendre.leggauss(count)
    if half:
        t, wt = 0.5 * (t + 1.0), 0.5 * wt
    phi = np.arange(2 * count) * np.pi / count
    frame = np.linalg.svd(pole[None])[2]  # its first row is the pole, up to sign
    s = np.sqrt(1.0 - t * t)[:, None]
    directions = t[:, None, None] * pole + s[..., None] * (
        np.cos(phi)[None, :, None] * frame[1] + np.sin(phi)[None, :, None] * frame[2]
    )
    return directions.reshape(-1, 3), np.repeat(wt * np.pi / count, 2 * count)


def test_harmonics_are_orthonormal():
    directions, weights = sphere_rule(np.array([0.0, 0.0, 1.0]))
    y = harmonics(directions)
    np.testing.assert_allclose(y.T @ (weights[:, None] * y), np.eye(9), atol=1e-13)


def test_basis_is_the_integral_of_light_over_the_clamped_cosine(rng):
    """For light Y_k, the radiance of a white Lambertian surface is 1/pi times the integral of Y_k(w) max(n.w, 0)."""
    for normal in unit(rng.normal(size=(10, 3))):
        directions, weights = sphere_rule(normal, half=True)
        cosine = directions @ normal
        np.testing.assert_allclose(basis(normal), harmonics(directions).T @ (weights * cosine) / np.pi, atol=1e-13)


def test_order_and_signs_of_the_basis():
    x, y, z = unit(np.array([0.3, -0.5, 0.8]))
    ratio = basis([x, y, z]) / [1.0, y, z, x, x * y, y * z, 3.0 * z * z - 1.0, x * z, x * x - y * y]
    assert (ratio > 0.0).all()
    flipped = basis([x, -y, -z]) / basis([x, y, z])  # the same normal in a y-up camera frame
    np.testing.assert_allclose(flipped, [1, -1, -1, 1, -1, 1, 1, -1, 1])


def test_light_from_everywhere_shows_the_albedo(rng):
    lighting = np.zeros((9, 3))
    lighting[0] = np.sqrt(4.0 * np.pi)
    albedo = rng.uniform(size=(20, 3))
    np.testing.assert_allclose(shade(unit(rng.normal(size=(20, 3))), albedo, lighting), albedo)


def test_a_lamp_is_shaded_to_the_known_error(rng):
    """Nine numbers show a distant lamp, max(c, 0) / pi with c = n.d, as (1/4 + c/2 + 5 (3 c^2 - 1) / 32) / pi."""
    lamp = unit(rng.normal(size=3))
    normals = unit(rng.normal(size=(200, 3)))
    c = normals @ lamp
    lighting = np.tile(harmonics(lamp)[:, None], 3)
    shown = shade(normals, 1.0, lighting)[:, 0]
    np.testing.assert_allclose(shown, (0.25 + 0.5 * c + 5.0 / 32.0 * (3.0 * c * c - 1.0)) / np.pi, atol=1e-14)
    assert np.abs(shown - np.maximum(c, 0.0) / np.pi).max() < 0.1 / np.pi


def test_lighting_is_recovered(rng):
    normals = unit(rng.normal([0.0, 0.0, -1.0], 1.0, (500, 3)))
    albedo = rng.uniform(0.1, 0.9, (500, 3))
    lighting = rng.normal(size=(9, 3))
    radiance = shade(normals, albedo, lighting)
    np.testing.assert_allclose(estimate_lighting(normals, albedo, radiance, ridge=0.0), lighting, atol=1e-10)
    weights = np.ones(500)
    weights[::7] = 0.0
    radiance[::7] = 100.0
    estimate = estimate_lighting(normals, albedo, radiance, weights=weights, ridge=0.0)
    np.testing.assert_allclose(estimate, lighting, atol=1e-10)


def test_lighting_solves_its_ridge_equations(rng):
    normals = unit(rng.normal(size=(60, 3)))
    albedo, radiance = rng.uniform(0.1, 0.9, (2, 60, 3))
    weights = rng.uniform(size=60)
    estimate = estimate_lighting(normals, albedo, radiance, weights=weights, ridge=0.1)
    residual = radiance - shade(normals, albedo, estimate)
    gradient = -basis(normals).T @ (weights[:, None] * albedo * residual)
    gradient[1:] += 0.1 * (weights @ albedo**2) * estimate[1:]
    np.testing.assert_allclose(gradient, 0.0, atol=1e-12)


def test_lighting_scales_with_the_photo_and_is_finite_without_samples(rng):
    normals = unit(rng.normal(size=(40, 3)))
    albedo, radiance = rng.uniform(0.1, 0.9, (2, 40, 3))
    one = estimate_lighting(normals, albedo, radiance)
    np.testing.assert_allclose(estimate_lighting(normals, albedo, 3.0 * radiance), 3.0 * one, atol=1e-12)
    np.testing.assert_allclose(estimate_lighting(normals, 2.0 * albedo, radiance), one / 2.0, atol=1e-12)
    np.testing.assert_array_equal(estimate_lighting(*np.zeros((3, 0, 3))), np.zeros((9, 3)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normals": np.zeros((4, 2))}, r"normals: expected shape \(any, 3\)"),
        ({"albedo": np.zeros((5, 3))}, r"albedo: expected shape \(4, 3\), got \(5, 3\)"),
        ({"radiance": np.full((4, 3), np.nan)}, "radiance: expected finite"),
        ({"weights": -np.ones(4)}, "weights and ridge"),
        ({"ridge": -1.0}, "weights and ridge"),
        ({"ridge": np.nan}, "weights and ridge"),
    ],
)
def test_wrong_lighting_samples_are_named(changes, message):
    call = {"normals": np.ones((4, 3)), "albedo": np.ones((4, 3)), "radiance": np.ones((4, 3)), **changes}
    with pytest.raises(InvalidInputError, match=message):
        estimate_lighting(call.pop("normals"), call.pop("albedo"), call.pop("radiance"), **call)


def test_wrong_shapes_of_light_are_named():
    with pytest.raises(InvalidInputError, match=r"normals: expected shape \(\.\.\., 3\), got \(4,\)"):
        basis(np.zeros(4))
    with pytest.raises(InvalidInputError, match=r"lighting: expected shape \(9, 3\), got \(3, 9\)"):
        shade([0.0, 0.0, -1.0], 1.0, np.zeros((3, 9)))


def test_srgb_by_the_standard():
    np.testing.assert_allclose(srgb_to_linear([0.0, 0.04045, 0.5, 1.0]), [0, 0.04045 / 12.92, 0.21404114, 1], atol=1e-8)
    np.testing.assert_array_equal(srgb_to_linear(np.uint8([0, 51, 255])), srgb_to_linear([0.0, 0.2, 1.0]))
    np.testing.assert_allclose(linear_to_srgb([-1.0, 2.0]), [0.0, 1.0])
    np.testing.assert_array_equal(to_uint8([-1.0, 0.5, 2.0]), [0, 128, 255])
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_uint8(linear_to_srgb(srgb_to_linear(every))), every)


@given(st.floats(0.0, 1.0))
def test_srgb_round_trips(value):
    assert srgb_to_linear(linear_to_srgb(value)) == pytest.approx(value, abs=1e-7)


def sphere(count=48):
    """A unit sphere by longitude and latitude, counter-clockwise from outside."""
    theta, phi = np.meshgrid(np.linspace(0, np.pi, count), np.linspace(0, 2 * np.pi, 2 * count), indexing="ij")
    vertices = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1).reshape(-1, 3)
    a = (np.arange(count - 1)[:, None] * 2 * count + np.arange(2 * count - 1)).ravel()
    b, c, d = a + 2 * count, a + 2 * count + 1, a + 1
    return vertices, np.vstack([np.column_stack([a, b, c]), np.column_stack([a, c, d])])


VIEW = ScaledOrthographic(rotation_from_angles(25.0, -15.0, 40.0), np.array([32.0, 30.0]), 24.0)


def test_a_lit_sphere_shows_its_closed_form(rng):
    vertices, triangles = sphere()
    lighting = 0.2 * rng.normal(size=(9, 3))
    lighting[0] = 2.5
    colours = np.tile([0.5, 0.3, 0.2], (len(vertices), 1))
    fragments = rasterize(VIEW, vertices, triangles, 64, 64)
    picture = shade_fragments(fragments, VIEW, vertices, triangles, colours=colours, lighting=lighting)
    y, x = np.mgrid[0:64, 0:64]
    x, y = (x - 32.0) / 24.0, (y - 30.0) / 24.0
    inside = x * x + y * y < 0.9
    normals = np.stack([x, y, -np.sqrt(np.maximum(1.0 - x * x - y * y, 0.0))], axis=-1)[inside]
    expected = linear_to_srgb(shade(normals, [0.5, 0.3, 0.2], lighting))
    np.testing.assert_allclose(picture[inside, :3], expected, atol=5e-3)
    assert (picture[inside, 3] == 1.0).all()
    assert not picture[~fragments.covered].any()


def test_studio_light_comes_from_above_left_and_in_front(rng):
    normals = unit(rng.normal(size=(2000, 3)))
    brightness = shade_studio(normals, CLAY).mean(axis=-1)
    assert (brightness > 0.0).all()
    assert brightness.max() < 1.0
    brightest = normals[brightness.argmax()]
    assert brightest[0] < 0.0
    assert brightest[1] < 0.0
    assert brightest[2] < 0.0
    np.testing.assert_allclose(shade_studio([0.0, 0.0, -1.0], 0.5), 0.5 * shade_studio([0.0, 0.0, -1.0], 1.0))


def test_magnified_cameras_keep_the_view(rng):
    points = rng.uniform(-1.0, 1.0, (20, 3))
    pinhole = Perspective(FRONTAL, np.array([0.0, 0.0, 10.0]), 300.0, np.array([31.0, 33.0]))
    for camera in (VIEW, pinhole):
        pixels, fine = camera.project(points), magnified(camera, 3).project(points)
        np.testing.assert_allclose((fine[:, :2] + 0.5) / 3.0, pixels[:, :2] + 0.5)  # the same place between the edges
        np.testing.assert_array_equal(fine[:, 2], pixels[:, 2])


def test_reduced_pictures_average_coverage_and_keep_colour():
    fine = np.zeros((2, 4, 4), np.float32)
    fine[0, 0] = fine[0, 1] = [0.8, 0.4, 0.2, 1.0]
    np.testing.assert_allclose(reduced(fine, 2), [[[0.8, 0.4, 0.2, 0.5], [0.0, 0.0, 0.0, 0.0]]], rtol=1e-6)


def test_over_blends_by_alpha():
    photo = np.full((1, 4, 3), 100, np.uint8)
    drawn = np.zeros((1, 4, 4), np.uint8)
    drawn[0, 1:, :3] = 200
    drawn[0, :, 3] = [0, 0, 51, 255]
    np.testing.assert_array_equal(over(photo, drawn)[0, :, 0], [100, 100, 120, 200])
    np.testing.assert_array_equal(over(photo, drawn, 0.5)[0, :, 0], [100, 100, 110, 150])
    np.testing.assert_array_equal(over(photo, drawn, 0.0), photo)
    assert (photo == 100).all()


@pytest.mark.parametrize(
    ("photo", "drawn", "opacity", "message"),
    [
        (np.zeros((2, 2), np.uint8), np.zeros((2, 2, 4), np.uint8), 1.0, r"photo: expected \(H, W, 3\) uint8"),
        (np.zeros((2, 2, 3)), np.zeros((2, 2, 4), np.uint8), 1.0, "photo: .* got .* float64"),
        (np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3, 4), np.uint8), 1.0, r"drawn: expected \(2, 2, 4\) uint8"),
        (np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 4), np.uint8), 1.5, "opacity: .* got 1.5"),
        (np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 4), np.uint8), np.nan, "opacity"),
    ],
)
def test_wrong_composites_are_named(photo, drawn, opacity, message):
    with pytest.raises(InvalidInputError, match=message):
        over(photo, drawn, opacity)


def test_renderers_by_name():
    assert isinstance(make_renderer("numba"), Renderer)
    assert make_renderer("numba").name == "numba"
    with pytest.raises(InvalidInputError, match="renderer: expected auto, gl or numba, got 'vulkan'"):
        make_renderer("vulkan")


def test_a_drawn_sphere_has_the_area_and_the_smooth_outline_of_a_disc():
    vertices, triangles = sphere()
    picture = NumbaRenderer().draw(VIEW, vertices, triangles, 64, 64)
    assert picture.shape == (64, 64, 4)
    assert picture.dtype == np.uint8
    coverage = picture[..., 3] / 255.0
    assert coverage.sum() == pytest.approx(np.pi * 24.0**2, rel=0.01)
    assert 50 < ((coverage > 0.0) & (coverage < 1.0)).sum() < 300
    # The outline's colour is the surface's, not darkened by the background.
    assert picture[(coverage > 0.0), :3].min() > 30
    y, x = np.mgrid[0:64, 0:64]
    centre = [(coverage * x).sum() / coverage.sum(), (coverage * y).sum() / coverage.sum()]
    np.testing.assert_allclose(centre, [32.0, 30.0], atol=0.02)


def test_draw_takes_colours_and_light_and_refuses_wrong_ones():
    vertices, triangles = sphere(12)
    renderer = make_renderer("numba")
    ambient = np.zeros((9, 3))
    ambient[0] = np.sqrt(4.0 * np.pi)
    colours = np.tile(srgb_to_linear(np.uint8([180, 120, 90])), (len(vertices), 1))
    picture = renderer.draw(VIEW, vertices, triangles, 64, 64, colours=colours, lighting=ambient)
    assert (picture[picture[..., 3] == 255] == [180, 120, 90, 255]).all()
    with pytest.raises(InvalidInputError, match=r"colours: expected shape \(288, 3\)"):
        renderer.draw(VIEW, vertices, triangles, 64, 64, colours=colours[:5])
    with pytest.raises(InvalidInputError, match="lighting: expected shape"):
        renderer.draw(VIEW, vertices, triangles, 64, 64, lighting=np.zeros(9))
    with pytest.raises(InvalidInputError, match="height: expected an integer"):
        renderer.draw(VIEW, vertices, triangles, 0, 64)
    renderer.close()


def test_a_sliver_of_an_image_is_drawn():
    vertices, triangles = sphere(12)
    picture = NumbaRenderer().draw(VIEW, vertices, triangles, 1, 65000)
    assert picture.shape == (1, 65000, 4)


def test_slope_of_srgb_decoding_is_its_derivative() -> None:
    values, step = np.array([0.001, 0.02, 0.04, 0.05, 0.3, 0.9, 0.999]), 1e-6
    difference = (srgb_to_linear(values + step) - srgb_to_linear(values - step)) / (2.0 * step)
    np.testing.assert_allclose(decoding_slope(values), difference, rtol=1e-6)
