"""Levels of the photo's pyramid, and the views that are made of them: where things land."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from photometric_scenes import photographed, random_light
from scenes import random_scene

import facefit
from facefit.fitting.photometric.levels import Level, make_level
from facefit.fitting.photometric.surface import Surface, make_surface
from facefit.fitting.photometric.view import View, make_view
from facefit.fitting.state_prior import PoseAndShape
from facefit.models.colour import to_uint8
from facefit.render.cameras import ScaledOrthographic
from facefit.render.spherical_harmonics import basis

Array = NDArray[np.float64]

FACTORS = [1.0, 0.77, 0.5, 0.4, 1.0 / 3.0, 0.21, 0.125]


def level_of(image: NDArray[np.uint8], box: list[float], factor: float) -> Level:
    level = make_level(image, np.array(box), factor)
    assert level is not None
    return level


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("place", [(201.0, 150.0), (173.4, 166.7)])
def test_what_lies_at_a_pixel_lies_where_the_level_says(factor: float, place: tuple[float, float]) -> None:
    """The centre of mass of a bright spot, in reductions by whole blocks and by any other number."""
    rows, columns = np.indices((320, 400))
    distance = np.hypot(columns - place[0], rows - place[1])
    image = np.repeat(to_uint8(np.exp(-0.5 * (distance * factor / 2.5) ** 2))[:, :, None], 3, axis=2)
    level = level_of(image, [3.7, 11.2, 390.0, 310.5], factor)
    weight = level.photo[:, :, 0].astype(np.float64)
    height, width = weight.shape
    seen = np.array([weight.sum(axis=0) @ np.arange(width), weight.sum(axis=1) @ np.arange(height)]) / weight.sum()
    np.testing.assert_allclose(seen, factor * np.array(place) + level.offset, atol=0.02)


@pytest.mark.parametrize("factor", FACTORS)
def test_a_ramp_stays_a_ramp(factor: float) -> None:
    """Smoothing and sampling leave what is linear as it is, to the photo's 8 bits, away from the border."""
    column = np.arange(500.0)
    image = np.repeat(np.repeat(to_uint8(column / 510.0)[None, :, None], 300, axis=0), 3, axis=2)
    level = level_of(image, [0.0, 0.0, 500.0, 300.0], factor)
    inside = slice(5, -5)
    u = (np.arange(level.photo.shape[1]) - level.offset[0]) / factor
    expected = np.broadcast_to((u / 510.0)[inside, None], level.photo[inside, inside].shape)
    np.testing.assert_allclose(level.photo[inside, inside], expected, atol=0.5 / 255.0)


@pytest.mark.parametrize("factor", FACTORS)
def test_a_flat_photo_stays_flat(factor: float) -> None:
    image = np.full((300, 400, 3), (10, 100, 255), np.uint8)
    level = level_of(image, [-50.0, 20.0, 333.0, 900.0], factor)
    np.testing.assert_allclose(level.photo, np.broadcast_to(image[0, 0] / 255.0, level.photo.shape), atol=1e-5)
    assert level.window[3:] == (level.photo.shape[1] - 1, level.photo.shape[0] - 1)


@pytest.mark.parametrize(
    "box",
    [[500.0, 0.0, 900.0, 300.0], [-90.0, -90.0, -10.0, -10.0], [10.0, 10.0, 13.0, 90.0], [50.0, 50.0, 40.0, 40.0]],
)
def test_no_level_where_box_and_photo_hardly_meet(box: list[float]) -> None:
    assert make_level(np.zeros((300, 400, 3), np.uint8), np.array(box), 1.0) is None


def test_the_cut_does_not_matter() -> None:
    """Another cut by whole blocks of pixels gives the same values, but for what its own border lets through."""
    image = np.random.default_rng(0).integers(0, 256, (200, 240, 3), dtype=np.uint8)
    for factor in (1.0, 0.5, 0.25):
        one, other = (
            level_of(image, [0.0, 0.0, 240.0, 200.0], factor),
            level_of(image, [40.0, 60.0, 200.0, 160.0], factor),
        )
        x, y = np.rint(one.offset - other.offset).astype(int)
        height, width = other.photo.shape[:2]
        part = one.photo[y : y + height, x : x + width]
        np.testing.assert_allclose(other.photo[4:-4, 4:-4], part[4:-4, 4:-4], atol=1e-5)


# --- Views --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def surface() -> Surface:
    return make_surface(facefit.load_model("default"), 0.15, 30.0)


@pytest.fixture(scope="module", params=[(0, 1.0), (1, 0.37)], ids=["whole", "reduced"])
def seen(surface: Surface, request: pytest.FixtureRequest) -> tuple[View, PoseAndShape]:
    """A view and the state that it was made in."""
    seed, factor = request.param
    rng = np.random.default_rng(seed)
    scene = random_scene(surface.model, rng, face_px=(70.0, 80.0))
    picture = photographed(scene, rng, random_light(rng), np.zeros(surface.model.n_albedo))
    height, width = picture.image.shape[:2]
    # A part of the head lies outside the level.
    level = level_of(picture.image, [0.4 * width, 0.0, float(width), 0.8 * height], factor)
    return make_view(surface, level, picture.scene.state, 0.25), picture.scene.state


@pytest.fixture
def view(seen: tuple[View, PoseAndShape]) -> View:
    return seen[0]


def test_each_sample_is_the_point_that_its_pixel_shows(seen: tuple[View, PoseAndShape]) -> None:
    """Its barycentric point projects to the pixel's centre, to the grid of the rasteriser."""
    view, state = seen
    assert len(view) > 300
    np.testing.assert_allclose(view.barycentric.sum(axis=1), 1.0, atol=1e-12)
    points = view.of_samples(view.model_points(state.coefficients))
    camera = view.level.camera(ScaledOrthographic(state.rotation, state.translation, state.scale))
    row, column = np.divmod(view.pixels, view.level.photo.shape[1])
    np.testing.assert_allclose(camera.project(points)[:, :2], np.stack([column, row], axis=1), atol=1.0 / 256.0)


def test_samples_are_listed_by_triangle_and_each_pixel_once(view: View) -> None:
    assert view.first[0] == 0
    assert view.first[-1] == len(view)
    assert (np.diff(view.first) > 0).all()
    assert len(np.unique(view.pixels)) == len(view)
    assert len(view.corners) == len(view)
    row, column = np.divmod(view.pixels, view.level.photo.shape[1])
    assert row.max() < view.level.photo.shape[0] - 1
    assert column.max() < view.level.photo.shape[1] - 1


def test_triangles_and_vertices_are_those_of_the_samples(view: View, surface: Surface) -> None:
    np.testing.assert_array_equal(np.unique(view.triangles), np.arange(len(view.vertices)))
    assert (np.diff(view.vertices) > 0).all()
    known = {tuple(t) for t in surface.triangles.tolist()}
    assert all(tuple(t) in known for t in view.vertices[view.triangles].tolist())
    np.testing.assert_array_equal(view.basis, surface.basis[view.vertices])
    np.testing.assert_array_equal(view.albedo_rows, surface.chosen[view.vertices])


def test_normals_are_of_length_one_and_face_the_viewer(view: View) -> None:
    np.testing.assert_allclose(np.linalg.norm(view.normals, axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(view.triangle_normals, axis=1), 1.0, atol=1e-12)
    assert (view.normals[:, 2] <= -0.25).all()
    # What the rasteriser draws is seen from outside.
    assert (view.triangle_normals[:, 2] < 1e-3).all()


def test_ranges_cover_all_triangles_once(view: View) -> None:
    ranges = list(view.ranges())
    assert ranges[0][0] == 0
    assert ranges[-1][1] == len(view.triangles)
    assert all(end == begin for (_, end), (begin, _) in pairwise(ranges))
    assert all(end > begin for begin, end in ranges)


def test_sums_at_vertices_are_the_transpose_of_taking_corners(view: View) -> None:
    """<A x, y> = <x, A^T y> where A takes the vertices' values to the triangles' corners."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((len(view.vertices), 4)), rng.standard_normal((len(view.triangles), 3, 4))
    got = view.to_vertices(y)
    assert got.shape == x.shape
    np.testing.assert_allclose((x * got).sum(), (x[view.triangles] * y).sum(), rtol=1e-12)


def test_centres_are_the_middles_of_the_triangles_samples(view: View) -> None:
    """A field that is linear over a triangle has the mean of its samples there."""
    values = np.random.default_rng(0).standard_normal((len(view.vertices), 2))
    samples, owner = view.of_samples(values), np.repeat(np.arange(len(view.triangles)), np.diff(view.first))
    for t in range(0, len(view.triangles), 50):
        np.testing.assert_allclose(view.of_centres(values)[t], samples[owner == t].mean(axis=0), atol=1e-12)
        mean = view.normals[owner == t].mean(axis=0)
        np.testing.assert_allclose(view.centres.normals[t], mean / np.linalg.norm(mean), atol=1e-12)
    np.testing.assert_allclose(view.centres.functions, basis(view.centres.normals), atol=1e-15)
