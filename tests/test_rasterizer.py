"""The rasteriser against exact arithmetic, and the identities that coverage, barycentrics and depth satisfy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facefit.models.errors import InvalidInputError
from facefit.render.cameras import Perspective, ScaledOrthographic, rotation_from_angles
from facefit.render.normals import triangle_normals, vertex_normals
from facefit.render.rasterizer import interpolate, rasterize

PIXELS = ScaledOrthographic(np.eye(3), np.zeros(2), 1.0)  # the model frame is the image: px, px, depth
PINHOLE = Perspective(np.eye(3), np.zeros(3), 20.0, np.array([11.0, 9.0]))


def reference(camera, vertices, triangles, height, width, cull):
    """Brute force over all triangles and pixels, in exact integers: triangle ids, depth and surface barycentrics.

    The top-left rule is stated another way: a centre counts as moved by (epsilon, epsilon^2), so that it is never on
    an edge. An edge function's sign is then that of the first of E, -dy, dx that is not zero.
    """
    projected = camera.project(vertices)
    perspective = isinstance(camera, Perspective)
    winner = np.full((height, width), -1)
    depth = np.full((height, width), np.inf)
    barycentric = np.zeros((height, width, 3))
    for t, corners in enumerate(triangles):
        if not np.isfinite(projected[corners]).all() or np.abs(projected[corners, :2]).max() > 2**21:
            continue
        p = [[int(np.floor(v * 256 + 0.5)) for v in projected[i, :2]] for i in corners]
        area = (p[1][0] - p[0][0]) * (p[2][1] - p[0][1]) - (p[1][1] - p[0][1]) * (p[2][0] - p[0][0])
        if area == 0 or (cull == "back" and area > 0):
            continue
        sign = 1 if area > 0 else -1
        for y in range(height):
            for x in range(width):
                edges = []
                for k in range(3):
                    a, b = p[(k + 1) % 3], p[(k + 2) % 3]
                    dx, dy = b[0] - a[0], b[1] - a[1]
                    edges.append((sign * (dx * (256 * y - a[1]) - dy * (256 * x - a[0])), -sign * dy, sign * dx))
                if not all(edge > (0, 0, 0) for edge in edges):
                    continue
                weights = np.array([edge[0] for edge in edges]) / abs(area)
                if perspective:
                    weights = weights / projected[corners, 2]
                    weights /= weights.sum()
                here = weights @ projected[corners, 2]
                if here < depth[y, x]:
                    winner[y, x], depth[y, x], barycentric[y, x] = t, here, weights
    return winner, depth, barycentric


def random_scene(rng, count=14):
    """Triangles of all kinds over an image of 20 x 22 px: ordinary, needles, sub-pixel, off the screen, flat, huge."""
    corners = rng.uniform(-4.0, 26.0, (count, 3, 3))
    corners[:, :, 2] = rng.uniform(5.0, 30.0, (count, 3))
    corners[0, 2] = corners[0, 1] + [0.01, 0.3, 0.0]  # a needle
    corners[1] = corners[1, :1] + rng.uniform(0.0, 0.6, (3, 3))  # hardly a pixel
    corners[2, :, 0] -= 60.0  # off the screen
    corners[3, 2] = 0.5 * (corners[3, 0] + corners[3, 1])  # no area
    corners[4, 1, :2] *= 4e4  # a corner 10^6 px away
    corners[5, :, :2] = np.rint(corners[5, :, :2])  # corners on pixel centres
    corners[6, :, :2] = np.rint(corners[6, :, :2] * 2.0) / 2.0
    return corners.reshape(-1, 3), np.arange(3 * count).reshape(-1, 3)


def through_the_image(camera, pixels):
    """Points of the model frame that PINHOLE-like cameras see at (px, px) and depth."""
    if isinstance(camera, ScaledOrthographic):
        return pixels
    rays = (pixels[:, :2] - camera.principal_point) / camera.focal
    return np.column_stack([rays * pixels[:, 2:], pixels[:, 2]])


@pytest.mark.kernels
@pytest.mark.parametrize("camera", [PIXELS, PINHOLE])
@pytest.mark.parametrize("cull", ["back", "none"])
@pytest.mark.parametrize("seed", range(3))
def test_kernel_agrees_with_exact_arithmetic(camera, cull, seed):
    pixels, triangles = random_scene(np.random.default_rng(seed))
    vertices = through_the_image(camera, pixels)
    winner, depth, barycentric = reference(camera, vertices, triangles, 20, 22, cull)
    seen = rasterize(camera, vertices, triangles, 20, 22, cull=cull)
    assert (winner >= 0).sum() > 50
    np.testing.assert_array_equal(seen.triangle, winner)
    np.testing.assert_array_equal(seen.covered, winner >= 0)
    np.testing.assert_allclose(seen.depth, depth, rtol=1e-12)
    np.testing.assert_allclose(seen.barycentric, barycentric, atol=1e-12)


@pytest.mark.kernels
@pytest.mark.parametrize("camera", [PIXELS, PINHOLE])
def test_barycentrics_name_the_surface_point_at_the_pixels_centre(camera, rng):
    pixels, triangles = random_scene(rng)
    vertices = through_the_image(camera, pixels)
    seen = rasterize(camera, vertices, triangles, 20, 22, cull="none")
    np.testing.assert_allclose(seen.barycentric.sum(axis=2), seen.covered, atol=1e-14)
    assert (seen.barycentric >= 0.0).all()
    image = camera.project(interpolate(seen, triangles, vertices)[seen.covered])
    centres = np.argwhere(seen.covered)[:, ::-1]
    assert np.abs(image[:, :2] - centres).max() <= 1.0 / 512.0 + 1e-9
    np.testing.assert_allclose(image[:, 2], seen.depth[seen.covered], rtol=1e-11)


def test_perspective_agrees_with_rays_through_the_pixels(rng):
    """On a grid-aligned triangle (corners at multiples of 1/256 px) snapping changes nothing: the match is exact."""
    pixels = np.array([[2.25, 1.5, 12.0], [4.125, 17.75, 40.0], [20.5, 6.25, 7.0]])
    corners = through_the_image(PINHOLE, pixels)
    seen = rasterize(PINHOLE, corners, [[0, 1, 2]], 20, 22)
    assert seen.covered.sum() > 60
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    for y, x in np.argwhere(seen.covered):
        ray = np.array([(x - 11.0) / 20.0, (y - 9.0) / 20.0, 1.0])
        hit = ray * (normal @ corners[0]) / (normal @ ray)
        assert seen.depth[y, x] == pytest.approx(hit[2], rel=1e-11)
        np.testing.assert_allclose(seen.barycentric[y, x] @ corners, hit, rtol=1e-10, atol=1e-10)


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_a_tessellated_quad_covers_each_pixel_once(seed, on_grid):
    """However its inner vertices lie, a quad cut into triangles gets each pixel from one triangle, without gaps."""
    rng = np.random.default_rng(seed)
    n = 5
    y, x = np.mgrid[0:n, 0:n] * (16.0 / (n - 1))
    vertices = np.stack([x, y, np.full_like(x, 5.0)], axis=-1)
    inner = rng.uniform(-1.3, 1.3, (n - 2, n - 2, 2))
    vertices[1:-1, 1:-1, :2] += np.rint(inner) if on_grid else inner
    a = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    triangles = np.vstack([np.column_stack([a, a + n, a + 1]), np.column_stack([a + 1, a + n, a + n + 1])])
    vertices = vertices.reshape(-1, 3)
    count = np.zeros((20, 20), int)
    for triangle in triangles:
        count += rasterize(PIXELS, vertices, [triangle], 20, 20, cull="none").covered
    expected = np.zeros((20, 20), int)
    expected[:16, :16] = 1  # left and top edges belong to the quad, right and bottom ones do not
    np.testing.assert_array_equal(count, expected)


def test_pixel_centres_are_at_whole_numbers():
    square = np.array([[2.5, 1.5, 0.0], [2.5, 2.5, 0.0], [3.5, 2.5, 0.0], [3.5, 1.5, 0.0]])
    seen = rasterize(PIXELS, square, [[0, 1, 2], [0, 2, 3]], 5, 6)
    np.testing.assert_array_equal(np.argwhere(seen.covered), [[2, 3]])


def test_only_triangles_that_face_the_viewer_survive_culling():
    # Model frame, counter-clockwise seen from +z, where a frontal face's viewer is.
    camera = ScaledOrthographic(rotation_from_angles(0.0, 0.0, 0.0), np.array([10.0, 10.0]), 1.0)
    vertices = np.array([[-5.0, -5.0, 0.0], [5.0, -5.0, 0.0], [0.0, 5.0, 0.0]])
    outside, inside = [[0, 1, 2]], [[0, 2, 1]]
    assert rasterize(camera, vertices, outside, 20, 20).covered.sum() > 40
    assert not rasterize(camera, vertices, inside, 20, 20).covered.any()
    assert rasterize(camera, vertices, inside, 20, 20, cull="none").covered.sum() > 40
    assert triangle_normals(vertices, outside)[0] == pytest.approx([0.0, 0.0, 1.0])


def test_the_nearest_triangle_wins_and_the_first_of_equals():
    corners = np.array([[0.0, 0.0, 9.0], [0.0, 8.0, 9.0], [8.0, 0.0, 9.0]])
    vertices = np.vstack([corners, corners - [0.0, 0.0, 4.0]])
    far, near = [0, 1, 2], [3, 4, 5]
    for order, first in (([far, near, near], 1), ([near, far, near], 0)):
        seen = rasterize(PIXELS, vertices, order, 8, 8)
        assert set(seen.triangle[seen.covered]) == {first}
        np.testing.assert_allclose(seen.depth[seen.covered], 5.0)
    assert np.isposinf(seen.depth[~seen.covered]).all()


def test_a_part_of_the_image_is_that_part_of_the_whole(rng):
    pixels, triangles = random_scene(rng, 40)
    whole = rasterize(PIXELS, pixels, triangles, 20, 22, cull="none")
    shifted = ScaledOrthographic(np.eye(3), np.array([-7.0, -4.0]), 1.0)
    part = rasterize(shifted, pixels, triangles, 9, 11, cull="none")
    np.testing.assert_array_equal(part.triangle, whole.triangle[4:13, 7:18])
    np.testing.assert_array_equal(part.barycentric, whole.barycentric[4:13, 7:18])
    np.testing.assert_array_equal(part.depth, whole.depth[4:13, 7:18])


def test_far_corners_draw_exactly_within_the_guard_range_and_not_at_all_beyond():
    for reach, drawn in ((1e6, True), (2.0**21, True), (2.0**21 + 1.0, False), (1e18, False), (1e300, False)):
        # A half plane left of x = 10 as far as this image can tell.
        vertices = np.array([[10.0, -reach, 5.0], [-reach, 0.0, 5.0], [10.0, reach, 5.0]])
        covered = rasterize(PIXELS, vertices, [[0, 1, 2]], 20, 20, cull="none").covered
        np.testing.assert_array_equal(covered[:, :10], drawn)
        assert not covered[:, 10:].any()


@pytest.mark.kernels
def test_triangles_behind_the_camera_are_left_out():
    vertices = np.array([[0.0, 0.0, 10.0], [0.0, 5.0, 10.0], [5.0, 0.0, 10.0], [0.0, 5.0, -10.0], [3.0, 3.0, 0.0]])
    triangles = [[0, 3, 2], [0, 4, 2], [0, 1, 2]]
    seen = rasterize(PINHOLE, vertices, triangles, 20, 22, cull="none")
    assert set(seen.triangle[seen.covered]) == {2}
    alone = rasterize(PINHOLE, vertices, triangles[2:], 20, 22, cull="none")
    np.testing.assert_array_equal(alone.covered, seen.covered)


def test_nothing_to_draw_gives_an_empty_image():
    for vertices in (np.zeros((0, 3)), np.zeros((3, 3))):
        seen = rasterize(PIXELS, vertices, np.zeros((0, 3), int), 3, 4)
        assert seen.triangle.shape == seen.depth.shape == (3, 4)
        assert seen.barycentric.shape == (3, 4, 3)
        assert not seen.covered.any()
        assert (seen.triangle == -1).all()


@pytest.mark.kernels
def test_linear_attributes_interpolate_linearly(rng):
    vertices = np.array([[1.0, 1.0, 4.0], [2.0, 15.0, 6.0], [17.0, 3.0, 5.0]])
    seen = rasterize(PIXELS, vertices, [[0, 1, 2]], 20, 20)
    matrix = rng.normal(size=(2, 2))
    image = interpolate(seen, [[0, 1, 2]], vertices[:, :2] @ matrix)
    centres = np.argwhere(seen.covered)[:, ::-1]
    np.testing.assert_allclose(image[seen.covered], centres @ matrix, atol=1e-12)
    assert not image[~seen.covered].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"camera": "pinhole"}, "camera: expected ScaledOrthographic or Perspective, got str"),
        ({"vertices": np.zeros((3, 2))}, r"vertices: expected shape \(any, 3\), got \(3, 2\)"),
        ({"vertices": np.full((3, 3), np.nan)}, "vertices: expected finite numbers"),
        ({"triangles": [[0, 1, 3]]}, "triangles: expected indices from 0 to 2, got 0 to 3"),
        ({"triangles": [[-1, 0, 1]]}, "got -1 to 1"),
        ({"triangles": [[0.0, 1.0, 1.5]]}, "triangles: expected numbers that int32 holds exactly"),
        ({"triangles": [[0, 1, 2, 0]]}, r"triangles: expected shape \(any, 3\), got \(1, 4\)"),
        ({"height": 0}, "height: expected an integer from 1 to 1048576 px, got 0"),
        ({"width": 10.5}, "width: expected an integer"),
        ({"width": 10**7}, "width"),
        ({"cull": "front"}, "cull: expected one of back, none, got 'front'"),
    ],
)
def test_wrong_calls_are_named(changes, message):
    call = {"camera": PIXELS, "vertices": np.eye(3), "triangles": [[0, 1, 2]], "height": 4, "width": 4, **changes}
    with pytest.raises(InvalidInputError, match=message):
        rasterize(**call)


def test_fragments_of_another_mesh_are_refused():
    vertices = np.array([[0.0, 0.0, 5.0], [0.0, 8.0, 5.0], [8.0, 0.0, 5.0]])
    seen = rasterize(PIXELS, vertices, [[0, 2, 1], [0, 1, 2]], 8, 8)
    with pytest.raises(InvalidInputError, match="triangles: expected more than 1, as the fragments have, got 1"):
        interpolate(seen, [[0, 1, 2]], vertices)


def octahedron(subdivisions=0):
    """A unit sphere: vertices (N, 3), triangles (T, 3) counter-clockwise from outside."""
    vertices = np.vstack([np.eye(3), -np.eye(3)])
    triangles = np.array([[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]])
    for _ in range(subdivisions):
        corners = vertices[triangles]
        middles = 0.5 * (corners + np.roll(corners, -1, axis=1))
        m0, m1, m2 = middles[:, 0], middles[:, 1], middles[:, 2]
        a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
        pieces = np.stack([[a, m0, m2], [m0, b, m1], [m2, m1, c], [m0, m1, m2]]).transpose(0, 2, 1, 3).reshape(-1, 3)
        vertices, inverse = np.unique(np.round(pieces, 12), axis=0, return_inverse=True)
        vertices /= np.linalg.norm(vertices, axis=1, keepdims=True)
        triangles = inverse.reshape(-1, 3)
    return vertices, triangles


@pytest.mark.kernels
def test_normals_point_out_of_a_sphere():
    vertices, triangles = octahedron(2)
    np.testing.assert_allclose(np.linalg.norm(vertex_normals(vertices, triangles), axis=1), 1.0)
    assert (np.einsum("ij,ij->i", vertex_normals(vertices, triangles), vertices) > 0.99).all()
    middles = vertices[triangles].mean(axis=1)
    assert (np.einsum("ij,ij->i", triangle_normals(vertices, triangles), middles) > 0.9).all()
    np.testing.assert_allclose(vertex_normals(*octahedron(0)), octahedron(0)[0], atol=1e-15)


@pytest.mark.kernels
def test_vertex_normals_are_the_sum_of_triangles_by_area(rng):
    vertices, triangles = octahedron(1)
    vertices = vertices + rng.normal(scale=0.1, size=vertices.shape)
    a, b, c = vertices[triangles].transpose(1, 0, 2)
    total = np.zeros_like(vertices)
    for i in range(3):
        np.add.at(total, triangles[:, i], np.cross(b - a, c - a))
    expected = total / np.linalg.norm(total, axis=1, keepdims=True)
    np.testing.assert_allclose(vertex_normals(vertices, triangles), expected, atol=1e-12)


def test_normals_turn_with_the_mesh(rng):
    vertices, triangles = octahedron(1)
    vertices = vertices + rng.normal(scale=0.1, size=vertices.shape)
    rotation = rotation_from_angles(30.0, 20.0, 10.0)
    for normals in (vertex_normals, triangle_normals):
        turned = normals(3.0 * vertices @ rotation.T + 5.0, triangles)
        np.testing.assert_allclose(turned, normals(vertices, triangles) @ rotation.T, atol=1e-12)


def test_normals_without_area_are_zero():
    vertices = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [5.0, 0.0, 0.0]])
    np.testing.assert_array_equal(triangle_normals(vertices, [[0, 1, 2]]), np.zeros((1, 3)))
    np.testing.assert_array_equal(vertex_normals(vertices, [[0, 1, 2]]), np.zeros((4, 3)))


def test_a_sphere_is_drawn_as_a_disc_with_its_own_depth():
    vertices, triangles = octahedron(5)
    camera = ScaledOrthographic(rotation_from_angles(33.0, 21.0, 7.0), np.array([40.0, 30.0]), 25.0)
    seen = rasterize(camera, vertices, triangles, 60, 80)
    y, x = np.mgrid[0:60, 0:80]
    radius = np.hypot(x - 40.0, y - 30.0) / 25.0
    assert seen.covered[radius < 0.995].all()
    assert not seen.covered[radius > 1.0].any()
    inside = radius < 0.9
    np.testing.assert_allclose(seen.depth[inside], -np.sqrt(1.0 - radius[inside] ** 2), atol=2e-3)
