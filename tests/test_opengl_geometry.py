"""The OpenGL geometry pass against the software rasteriser, the camera, and what an atlas must be."""

import numpy as np
import pytest
from opengl_scenes import PINHOLE, PIXELS, bowl, hostile_triangles, sphere, through_the_image, views

from facefit.models.errors import InvalidInputError
from facefit.models.store import load_model
from facefit.render.cameras import Perspective, ScaledOrthographic, rotation_from_angles
from facefit.render.normals import vertex_normals
from facefit.render.opengl import _kernels
from facefit.render.opengl.screen_mesh import project_mesh
from facefit.render.rasterizer import interpolate, rasterize


def compare(camera, vertices, triangles, height, width, renderer, cull="back"):
    """Return pixels that either renderer covers, and those that differ; check depth and barycentrics of the others."""
    drawn = renderer.rasterize(camera, vertices, triangles, height, width, cull=cull)
    expected = rasterize(camera, vertices, triangles, height, width, cull=cull)
    assert drawn.triangle.dtype == np.int32
    assert drawn.depth.dtype == drawn.barycentric.dtype == np.float64
    same = drawn.triangle == expected.triangle
    covered = drawn.covered | expected.covered
    both = same & covered
    np.testing.assert_allclose(drawn.depth[both], expected.depth[both], atol=1e-3)
    np.testing.assert_allclose(drawn.barycentric[both], expected.barycentric[both], atol=1e-5)
    np.testing.assert_allclose(drawn.barycentric.sum(axis=2), drawn.covered, atol=1e-12)
    assert np.isposinf(drawn.depth[~drawn.covered]).all()
    assert not drawn.barycentric[~drawn.covered].any()
    return covered.sum(), (covered & ~same).sum()


def test_the_default_model_at_random_poses(gl, rng):
    model = load_model("default")
    total = differing = 0
    for k in range(20):
        rotation = rotation_from_angles(*rng.uniform([-90.0, -40.0, -180.0], [90.0, 40.0, 180.0]))
        middle, scale = rng.uniform(80.0, 176.0, 2), rng.uniform(0.5, 4.0)
        camera = (
            ScaledOrthographic(rotation, middle, scale)
            if k % 2
            else Perspective(rotation, np.array([0.0, 0.0, rng.uniform(300.0, 900.0)]), 500.0 * scale, middle)
        )
        covered, wrong = compare(camera, model.mean, model.triangles, 256, 256, gl, "back" if k % 3 else "none")
        assert covered > 3000
        total, differing = total + covered, differing + wrong
    assert differing <= 1e-4 * total


@pytest.mark.parametrize("camera", [PIXELS, PINHOLE])
@pytest.mark.parametrize("cull", ["back", "none"])
@pytest.mark.parametrize("seed", range(5))
def test_needle_overlapping_and_off_screen_triangles(gl, camera, cull, seed):
    pixels, triangles = hostile_triangles(np.random.default_rng(seed))
    covered, differing = compare(camera, through_the_image(camera, pixels), triangles, 72, 88, gl, cull)
    assert covered > 3000
    assert differing == 0


def test_the_top_left_rule(gl):
    """Corners and edges on pixel centres: each pixel of the fan once, left and top edges in, right and bottom out."""
    square = np.array([[8.0, 8.0, 5.0], [4.0, 4.0, 5.0], [4.0, 12.0, 5.0], [12.0, 12.0, 5.0], [12.0, 4.0, 5.0]])
    fan = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 1]])
    seen = gl.rasterize(PIXELS, square, fan, 16, 17, cull="none")
    expected = np.zeros((16, 17), bool)
    expected[4:12, 4:12] = True
    np.testing.assert_array_equal(seen.covered, expected)
    np.testing.assert_array_equal(seen.triangle, rasterize(PIXELS, square, fan, 16, 17, cull="none").triangle)


def test_triangles_behind_the_camera_are_left_out(gl):
    vertices = np.array([[0.0, 0.0, 10.0], [0.0, 5.0, 10.0], [5.0, 0.0, 10.0], [0.0, 5.0, -10.0], [3.0, 3.0, 0.0]])
    triangles = np.array([[0, 3, 2], [0, 4, 2], [0, 1, 2]])
    assert compare(PINHOLE, vertices, triangles, 72, 88, gl, "none")[1] == 0
    seen = gl.rasterize(PINHOLE, vertices, triangles, 72, 88, cull="none")
    assert set(seen.triangle[seen.covered]) == {2}


def test_a_corner_that_nearly_touches_the_camera_costs_the_others_no_precision(gl):
    """Depth keys are relative: a stray vertex a micrometre before the camera leaves the head's depth order exact."""
    model = load_model("default")
    camera = Perspective(rotation_from_angles(20.0, 10.0, 5.0), np.array([0.0, 0.0, 600.0]), 500.0, np.full(2, 64.0))
    stray = np.array([[0.0, 0.0, 1e-3], [0.0, 1e-3, 600.0], [1e-3, 0.0, 600.0]])
    vertices = np.vstack([model.mean, (stray - camera.translation) @ camera.rotation])
    count = len(model.mean)
    triangles = np.vstack([model.triangles, [[count, count + 1, count + 2]]])
    covered, differing = compare(camera, vertices, triangles, 128, 128, gl)
    assert covered > 3000
    assert differing <= 1


@pytest.mark.parametrize("reach", [8000.0, 1e5, 1e6])
def test_far_corners_cover_what_they_should(gl, reach):
    """Beyond 8192 px the hardware clips and rounds: an edge may be off by a fraction of a pixel, no more."""
    vertices = np.array([[40.3, -reach, 5.0], [-reach, 0.0, 5.0], [40.3, reach, 5.0]])
    covered = gl.rasterize(PIXELS, vertices, [[0, 1, 2]], 72, 88, cull="none").covered
    assert covered[:, :40].all()
    assert not covered[:, 42:].any()


@pytest.mark.parametrize("camera", [PIXELS, PINHOLE])
@pytest.mark.parametrize("depth", [1e30, 1e39, 1e300])
def test_a_corner_deeper_than_single_precision_is_left_out(gl, camera, depth):
    """One that it holds stays; the nearer triangle is drawn all the same."""
    near = np.array([[10.0, 10.0, 5.0], [10.0, 60.0, 5.0], [70.0, 10.0, 5.0]])
    vertices = np.vstack([through_the_image(camera, near), [[0.0, 0.0, depth]]])
    seen = gl.rasterize(camera, vertices, [[0, 1, 3], [0, 1, 2]], 72, 88, cull="none")
    assert (set(seen.triangle[seen.covered]) - {1}) == ({0} if depth < 1e38 else set())
    np.testing.assert_allclose(seen.depth[seen.triangle == 1], 5.0, rtol=1e-6)


def test_nothing_to_draw_gives_an_empty_image(gl):
    for vertices in (np.zeros((0, 3)), np.zeros((3, 3)), np.array([[0.0, 0.0, 1.0], [1e9, 0.0, 1.0], [0.0, 9.0, 1.0]])):
        triangles = np.zeros((0, 3), int) if len(vertices) == 0 else [[0, 1, 2]]
        seen = gl.rasterize(PIXELS, vertices, triangles, 3, 4, cull="none")
        assert seen.triangle.shape == seen.depth.shape == (3, 4)
        assert not seen.covered.any()
        assert gl.draw(PIXELS, vertices, triangles, 3, 4).max() == 0
    aside = np.array([[-50.0, -50.0, 1.0], [-40.0, -50.0, 1.0], [-40.0, -40.0, 1.0]])
    assert not gl.rasterize(PIXELS, aside, [[0, 1, 2]], 3, 4, cull="none").covered.any()


def test_each_call_starts_afresh(gl, rng):
    """Only the mesh's box is cleared and read back: what an earlier, larger mesh left must not show."""
    large, small = np.array([[0.0, 0.0, 1.0], [0.0, 70.0, 1.0], [80.0, 0.0, 1.0]]), None
    small = 0.1 * large + [20.0, 30.0, 9.0]
    gl.rasterize(PIXELS, large, [[0, 1, 2]], 72, 88, cull="none")
    assert compare(PIXELS, small, [[0, 1, 2]], 72, 88, gl, "none")[1] == 0


@pytest.mark.parametrize("kind", [0, 1])
def test_markers_are_where_the_camera_projects_them(gl, rng, kind):
    """Discs parallel to the image plane keep their centres: the drawn coverage's centroid is camera.project's point."""
    camera = views(400, 400, 24.0, -13.0, 33.0, 100.0)[kind]
    centres = np.array([[x, y, 12.0 * np.sin(x)] for x in (-60.0, 0.0, 60.0) for y in (-60.0, 0.0, 60.0)])
    centres += rng.uniform(-3.0, 3.0, centres.shape)
    angle = 2.0 * np.pi * np.arange(96) / 96
    rim = 11.0 * (np.outer(np.cos(angle), camera.rotation[0]) + np.outer(np.sin(angle), camera.rotation[1]))
    fan = np.column_stack([np.zeros(96, int), 1 + np.arange(96), 1 + (np.arange(96) + 1) % 96])[:, [0, 2, 1]]
    for centre in centres:
        picture = gl.draw(camera, np.vstack([centre, centre + rim]), fan, 400, 400)
        alpha = picture[..., 3] / 255.0
        assert alpha.sum() > 700.0
        y, x = np.mgrid[0:400, 0:400]
        centroid = np.array([(alpha * x).sum(), (alpha * y).sum()]) / alpha.sum()
        np.testing.assert_allclose(centroid, camera.project(centre)[:2], atol=0.05)


def test_normals_are_the_smooth_ones_of_the_camera_frame(gl):
    vertices, triangles, _ = bowl()
    for camera in views(90, 120, 20.0, -15.0, 10.0, 70.0):
        seen, normals = gl.rasterize_with_normals(camera, vertices, triangles, 90, 120)
        table = vertex_normals(vertices, triangles) @ camera.rotation.T
        expected = interpolate(rasterize(camera, vertices, triangles, 90, 120), triangles, table)[seen.covered]
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(normals[seen.covered], expected, atol=1e-5)
        assert not normals[~seen.covered].any()


def test_an_atlas_holds_each_texels_own_coordinates(gl):
    _, _, uv = sphere(24)
    seen = gl.rasterize_atlas(uv, 40, 64)
    assert seen.covered.mean() > 0.9
    coordinates = interpolate(seen, uv.triangles, uv.coordinates)[seen.covered]
    y, x = np.nonzero(seen.covered)
    expected = np.column_stack([(x + 0.5) / 64.0, 1.0 - (y + 0.5) / 40.0])
    assert np.abs(coordinates - expected).max() <= 1.0 / 256.0 / 40.0


@pytest.mark.kernels
def test_unpacking_agrees_with_numpy(rng):
    words = rng.integers(-1, 2, (4, 5, 4)).astype(np.int32)
    words.view(np.float32)[..., 1:] = rng.random((4, 5, 3), np.float32)
    triangle, barycentric, depth = np.empty((9, 8), np.int32), np.empty((9, 8, 3)), np.empty((9, 8))
    _kernels.unpack_geometry(words, words.view(np.float32), 2, 3, triangle, barycentric, depth)
    whole = np.full((9, 8), -1)
    whole[3:7, 2:7] = words[..., 0]
    numbers = np.zeros((9, 8, 4))
    numbers[3:7, 2:7] = np.where(words[..., :1] >= 0, words.view(np.float32), 0.0)
    np.testing.assert_array_equal(triangle, whole)
    np.testing.assert_array_equal(depth, np.where(whole >= 0, numbers[..., 3], np.inf))
    np.testing.assert_array_equal(barycentric[..., 1:], numbers[..., 1:3])
    np.testing.assert_allclose(barycentric.sum(axis=2), whole >= 0, atol=1e-15)


def test_depth_keys_order_vertices_as_depth_does(rng):
    points = np.column_stack([rng.uniform(0.0, 50.0, (100, 2)), np.sort(rng.uniform(1.0, 1e4, 100))])
    for camera in (PIXELS, PINHOLE):
        mesh = project_mesh(camera, through_the_image(camera, points), [[0, 1, 2]])
        key = mesh.positions[:, 2]
        assert (np.diff(key) <= 0.0).all()
        assert key[0] == 0.5
        assert key[-1] > 0.0
        np.testing.assert_array_equal(mesh.positions[:, :2] * 256.0, np.rint(mesh.positions[:, :2] * 256.0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"camera": "pinhole"}, "camera: expected ScaledOrthographic or Perspective, got str"),
        ({"vertices": np.zeros((3, 2))}, r"vertices: expected shape \(any, 3\), got \(3, 2\)"),
        ({"triangles": [[0, 1, 3]]}, "triangles: expected indices from 0 to 2, got 0 to 3"),
        ({"height": 0}, "height: expected an integer from 1 to 1048576 px, got 0"),
        ({"width": 40000}, r"size: expected at most \d+ px a side with this driver, got \(4, 40000\)"),
        ({"cull": "front"}, "cull: expected one of back, none, got 'front'"),
    ],
)
def test_wrong_calls_are_named(gl, changes, message):
    call = {"camera": PIXELS, "vertices": np.eye(3), "triangles": [[0, 1, 2]], "height": 4, "width": 4, **changes}
    with pytest.raises(InvalidInputError, match=message):
        gl.rasterize(**call)
