"""Pictures drawn by OpenGL: light against closed forms, agreement with the software renderer, maps, golden pictures."""

import numpy as np
import pytest
from opengl_scenes import PIXELS, bowl, sphere, views

from facefit.models.colour import linear_to_srgb, srgb_to_linear, to_uint8
from facefit.models.errors import InvalidInputError
from facefit.models.morphable_model import UVMap
from facefit.models.store import load_model
from facefit.render.cameras import FRONTAL, Perspective, ScaledOrthographic, rotation_from_angles
from facefit.render.compositing import over
from facefit.render.opengl.context import OpenGLError
from facefit.render.opengl.look import Maps, Phong
from facefit.render.opengl.renderer import GLRenderer
from facefit.render.rasterizer import rasterize
from facefit.render.renderer import NumbaRenderer, Renderer, RendererUnavailableError
from facefit.render.shading import CLAY, shade_fragments
from facefit.render.spherical_harmonics import shade

ALBEDO = np.array([0.6, 0.4, 0.25])
SIZE = 120


@pytest.fixture(scope="module")
def flat(gl_session):
    """A renderer without multisampling."""
    with GLRenderer(samples=1) as renderer:
        yield renderer


def normal_image(camera):
    """Closed form: the unit normals (SIZE, SIZE, 3), camera frame, of a unit sphere at the origin, and where it is seen
    well inside its outline."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(float)
    if isinstance(camera, ScaledOrthographic):
        x, y = (x - camera.translation[0]) / camera.scale, (y - camera.translation[1]) / camera.scale
        inside = x * x + y * y < 0.95
        normals = np.stack([x, y, -np.sqrt(np.maximum(1.0 - x * x - y * y, 0.0))], axis=-1)
        return normals, inside, np.broadcast_to([0.0, 0.0, -1.0], normals.shape)
    rays = np.stack(
        [(x - camera.principal_point[0]) / camera.focal, (y - camera.principal_point[1]) / camera.focal], -1
    )
    rays = np.concatenate([rays, np.ones((SIZE, SIZE, 1))], axis=-1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    along = rays @ camera.translation
    root = along**2 - (camera.translation @ camera.translation - 1.0)
    inside = root > 0.05
    normals = (along - np.sqrt(np.maximum(root, 0.0)))[..., None] * rays - camera.translation
    return normals, inside, -rays


SPHERE = sphere(320)  # fine enough for its interpolated normals to be those of a sphere
SPHERE_VIEWS = views(SIZE, SIZE, 25.0, -15.0, 40.0, 1.0)


def check_sphere(picture, camera, radiance):
    """Assert that a drawn sphere shows, to one part in 255, the linear radiance of unit normals and view directions."""
    normals, inside, to_viewer = normal_image(camera)
    assert inside.sum() > 4000
    expected = np.rint(255.0 * linear_to_srgb(radiance(normals[inside], to_viewer[inside])))
    np.testing.assert_allclose(picture[inside, :3].astype(int), expected, atol=1)
    assert (picture[inside, 3] == 255).all()


def harmonic(band, n):
    """The nine shading functions as the literature prints them (Ramamoorthi and Hanrahan 2001), in this order."""
    x, y, z = n.T
    one = np.ones_like(x)
    return [
        0.282095 * one, 0.488603 * y * 2 / 3, 0.488603 * z * 2 / 3, 0.488603 * x * 2 / 3,
        1.092548 * x * y / 4, 1.092548 * y * z / 4, 0.315392 * (3 * z * z - 1) / 4, 1.092548 * x * z / 4,
        0.546274 * (x * x - y * y) / 4,
    ][band]  # fmt: skip


@pytest.mark.parametrize("camera", SPHERE_VIEWS)
@pytest.mark.parametrize("band", range(9))
def test_each_band_of_light_on_a_sphere(flat, camera, band):
    lighting = np.zeros((9, 3))
    lighting[0] = 1.8
    lighting[band] += [0.9, -0.7, 0.5]
    vertices, triangles, _ = SPHERE
    colours = np.tile(ALBEDO, (len(vertices), 1))
    picture = flat.draw(camera, vertices, triangles, SIZE, SIZE, colours=colours, lighting=lighting)
    check_sphere(picture, camera, lambda n, _: ALBEDO * sum(harmonic(k, n)[:, None] * lighting[k] for k in range(9)))


@pytest.mark.parametrize("camera", SPHERE_VIEWS)
@pytest.mark.parametrize(
    "phong",
    [
        Phong(ambient=0.5, diffuse=0.0, specular=0.0),
        Phong(ambient=0.0, diffuse=0.9, specular=0.0, to_lamp=(3.0, -1.0, -2.0)),
        Phong(ambient=0.0, diffuse=0.0, specular=0.8, shininess=5.0),
        Phong(ambient=0.5, diffuse=0.0, specular=0.4, shininess=20.0, to_lamp=(1.0, 1.0, -4.0)),
        Phong(),
    ],
    ids=["ambient", "diffuse", "broad highlight", "small highlight", "all"],
)
def test_each_term_of_phong_on_a_sphere(flat, camera, phong):
    to_lamp = np.array(phong.to_lamp) / np.linalg.norm(phong.to_lamp)

    def radiance(n, to_viewer):
        half = to_lamp + to_viewer
        half /= np.linalg.norm(half, axis=1, keepdims=True)
        facing = n @ to_lamp
        shine = np.where(facing > 0.0, np.maximum((n * half).sum(axis=1), 0.0) ** phong.shininess, 0.0)
        return (
            ALBEDO * (phong.ambient + phong.diffuse * np.maximum(facing, 0.0))[:, None]
            + phong.specular * shine[:, None]
        )

    vertices, triangles, _ = SPHERE
    colours = np.tile(ALBEDO, (len(vertices), 1))
    picture = flat.draw(camera, vertices, triangles, SIZE, SIZE, colours=colours, shading="phong", phong=phong)
    check_sphere(picture, camera, radiance)


def test_colours_agree_with_the_software_shading(flat, rng):
    model = load_model("default")
    lighting = 0.3 * rng.normal(size=(9, 3))
    lighting[0] = 2.5
    for k in range(8):
        rotation = rotation_from_angles(*rng.uniform([-70.0, -30.0, -40.0], [70.0, 30.0, 40.0]))
        camera = (
            ScaledOrthographic(rotation, np.array([100.0, 90.0]), 0.9)
            if k % 2
            else Perspective(rotation, np.array([0.0, 0.0, 500.0]), 450.0, np.array([100.0, 90.0]))
        )
        look = {"colours": model.albedo_mean} if k & 2 else {}
        look |= {"lighting": lighting} if k & 4 else {}
        mesh = model.mean, model.triangles
        drawn = flat.draw(camera, *mesh, 190, 200, **look)
        expected = to_uint8(shade_fragments(rasterize(camera, *mesh, 190, 200), camera, *mesh, **look))
        assert (expected[..., 3] > 0).sum() > 8000
        differing = (np.abs(drawn.astype(int) - expected) > 2).any(axis=2)
        assert differing.sum() <= 1e-4 * (expected[..., 3] > 0).sum()


def test_outlines_are_as_smooth_as_the_software_renderers(gl):
    """Both average four samples a pixel, at other places: coverage agrees to a pixel in total, colours all but do."""
    assert isinstance(gl, Renderer)
    vertices, triangles, _ = SPHERE
    for camera in SPHERE_VIEWS:
        drawn, expected = (r.draw(camera, vertices, triangles, SIZE, SIZE) for r in (gl, NumbaRenderer()))
        alpha, other = drawn[..., 3] / 255.0, expected[..., 3] / 255.0
        assert 150 < ((alpha > 0.0) & (alpha < 1.0)).sum() < 600
        assert alpha.sum() == pytest.approx(other.sum(), rel=1e-3)
        full = (alpha == 1.0) & (other == 1.0)
        assert np.abs(drawn[full].astype(int) - expected[full]).max() <= 4
        assert drawn[alpha > 0.0, :3].min() > 30, "the outline is not darkened by the background"


def test_back_faces_are_translucent_and_only_the_nearest_counts(flat, rng):
    """A front face, and before it two layers seen from inside: the nearer one lies over it, in any order."""
    front = np.array([[0.0, 0.0, 9.0], [0.0, 30.0, 9.0], [30.0, 0.0, 9.0]])
    layers = np.vstack([front, front - [0.0, 0.0, 3.0], front - [0.0, 0.0, 6.0]])
    colours = np.repeat([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]], 3, axis=0)
    phong = Phong(ambient=1.0, diffuse=0.0, specular=0.0, back_opacity=0.25)
    triangles = np.array([[0, 1, 2], [3, 5, 4], [6, 8, 7]])
    red, blue = linear_to_srgb([0.8, 0.1, 0.1]), linear_to_srgb([0.1, 0.1, 0.8])
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        picture = flat.draw(PIXELS, layers, triangles[order], 20, 20, colours=colours, shading="phong", phong=phong)
        np.testing.assert_allclose(picture[5, 5], [*(255 * (0.75 * red + 0.25 * blue)), 255], atol=2)
    alone = flat.draw(PIXELS, layers, triangles[2:], 20, 20, colours=colours, shading="phong", phong=phong)
    np.testing.assert_allclose(alone[5, 5], [*(255 * blue), 64], atol=2)  # straight alpha
    phong = Phong(back_opacity=0.0)
    assert not flat.draw(PIXELS, layers, triangles[1:], 20, 20, shading="phong", phong=phong).any()


def quad(size=40.0):
    """A square of `size` mm that faces a frontal camera, its texture upright."""
    s = size / 2.0
    vertices = np.array([[-s, -s, 0.0], [s, -s, 0.0], [s, s, 0.0], [-s, s, 0.0]])
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    return vertices, triangles, UVMap(np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32), triangles)


AMBIENT = np.zeros((9, 3))
AMBIENT[0] = np.sqrt(4.0 * np.pi)


def test_a_texture_is_upright_and_keeps_its_colours(flat, rng):
    """One texel to a pixel: the picture is the texture."""
    vertices, triangles, uv = quad()
    texture = rng.integers(0, 256, (40, 40, 3)).astype(np.uint8)
    camera = ScaledOrthographic(FRONTAL, np.array([19.5, 19.5]), 1.0)
    maps = Maps(uv, texture=texture)
    picture = flat.draw(camera, vertices, triangles, 40, 40, lighting=AMBIENT, maps=maps)
    np.testing.assert_allclose(picture[..., :3].astype(int), texture, atol=1)


def test_a_small_texture_is_averaged_in_linear_light(flat):
    vertices, triangles, uv = quad()
    checks = np.zeros((256, 256, 3), np.uint8)
    checks[(np.indices((256, 256)).sum(axis=0) % 2).astype(bool)] = 255
    camera = ScaledOrthographic(FRONTAL, np.array([19.5, 19.5]), 0.25)  # 26 texels to a pixel
    maps = Maps(uv, texture=checks)
    picture = flat.draw(camera, vertices, triangles, 40, 40, lighting=AMBIENT, maps=maps)
    np.testing.assert_allclose(picture[18:22, 18:22, :3], 255 * linear_to_srgb(0.5), atol=2)


def test_seams_in_texture_coordinates_are_kept(flat):
    """The two halves of a quad with charts of their own."""
    vertices, triangles, _ = quad()
    coordinates = np.array([[0.1, 0.1], [0.2, 0.1], [0.2, 0.2], [0.8, 0.8], [0.9, 0.9], [0.8, 0.9]], np.float32)
    texture = np.zeros((10, 10, 3), np.uint8)
    texture[5:, :5], texture[:5, 5:] = [200, 0, 0], [0, 0, 200]
    maps = Maps(UVMap(coordinates, np.array([[0, 1, 2], [3, 4, 5]])), texture=texture)
    camera = ScaledOrthographic(FRONTAL, np.array([19.5, 19.5]), 1.0)
    picture = flat.draw(camera, vertices, triangles, 40, 40, lighting=AMBIENT, maps=maps)
    np.testing.assert_allclose(picture[35, 20], [200, 0, 0, 255], atol=1)
    np.testing.assert_allclose(picture[5, 20], [0, 0, 200, 255], atol=1)


def test_a_flat_normal_map_changes_nothing_and_a_tilted_one_tilts(flat):
    vertices, triangles, uv = quad()
    camera = ScaledOrthographic(FRONTAL, np.array([19.5, 19.5]), 0.9)
    lighting = AMBIENT.copy()
    lighting[3], lighting[1] = 1.5, -1.5  # from image right, and from above

    def draw(**look):
        return flat.draw(camera, vertices, triangles, 40, 40, lighting=lighting, **look)[20, 20, :3]

    def mapped(t, s, m):
        pixels = np.tile(np.rint(127.5 * (np.array([t, s, m]) + 1.0)).astype(np.uint8), (8, 8, 1))
        return draw(maps=Maps(uv, normal=pixels)).astype(int)

    np.testing.assert_allclose(mapped(0.0, 0.0, 1.0), draw().astype(int), atol=2)
    for t, s, m in ((0.6, 0.0, 0.8), (0.0, 0.6, 0.8), (-0.48, 0.36, 0.8)):
        expected = 255 * linear_to_srgb(shade([t, -s, -m], CLAY, lighting))  # along u is right, along v is up
        np.testing.assert_allclose(mapped(t, s, m), expected, atol=2)


def test_a_displacement_map_shades_as_the_surface_that_it_makes(flat):
    """On a flat quad heights h(u, v) are the surface z = h: its normal is that of the graph."""
    vertices, triangles, uv = quad()
    camera = ScaledOrthographic(FRONTAL, np.array([59.5, 59.5]), 3.0)
    lighting = AMBIENT.copy()
    lighting[3], lighting[1] = 1.0, -0.7
    row, column = np.mgrid[0:240, 0:240]
    u, v = (column + 0.5) / 240.0, 1.0 - (row + 0.5) / 240.0
    heights = np.sin(2.0 * np.pi * u) * np.cos(np.pi * v)  # zero-mean; mm over 40 mm
    maps = Maps(uv, displacement=heights.astype(np.float32))
    # The vertices sit at the corners, where u is 0 or 1 and heights all but vanish: the quad stays where it is.
    picture = flat.draw(camera, vertices, triangles, 120, 120, lighting=lighting, maps=maps)
    y, x = np.mgrid[10:110, 10:110]
    u, v = (x + 0.5) / 120.0, 1.0 - (y + 0.5) / 120.0
    slope_x = 2.0 * np.pi / 40.0 * np.cos(2.0 * np.pi * u) * np.cos(np.pi * v)
    slope_y = -np.pi / 40.0 * np.sin(2.0 * np.pi * u) * np.sin(np.pi * v)
    normals = np.stack([-slope_x, slope_y, -np.ones_like(u)], axis=-1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    expected = 255 * linear_to_srgb(shade(normals, CLAY, lighting))
    np.testing.assert_allclose(picture[10:110, 10:110, :3], expected, atol=2)


def test_a_displacement_map_moves_vertices_along_their_normals(gl):
    vertices, triangles, uv = SPHERE
    maps = Maps(uv, displacement=np.full((4, 4), 0.25, np.float32))
    np.testing.assert_allclose(maps.displaced(vertices, vertices, triangles.astype(np.int32)), 1.25 * vertices)
    camera = views(160, 160, 25.0, -15.0, 40.0, 1.4)[0]
    picture = gl.draw(camera, vertices, triangles, 160, 160, maps=maps)
    assert picture[..., 3].sum() / 255.0 == pytest.approx(np.pi * (1.25 * camera.scale) ** 2, rel=2e-3)


def test_lines_are_as_wide_as_asked_and_hide_what_is_behind(flat):
    vertices, triangles, _ = quad(30.0)
    vertices = np.vstack([vertices, vertices * 0.4 - [0.0, 0.0, 5.0]])  # a smaller square behind
    triangles = np.vstack([triangles, triangles + 4])
    camera = ScaledOrthographic(FRONTAL, np.array([20.0, 20.0]), 1.0)
    for width in (1.0, 3.0):
        alpha = flat.draw(camera, vertices, triangles, 40, 40, shading="wire", line_width=width)[..., 3] / 255.0
        across = alpha[20, 12:29]  # through the diagonal, which is at 45 degrees
        assert across.sum() == pytest.approx(width * np.sqrt(2.0), abs=0.2)
        assert alpha[8, 15] == 0.0
        assert alpha[14, 16] == 0.0, "the square behind is hidden"


def test_an_occluder_hides_and_is_not_drawn(gl):
    vertices, triangles, _ = quad(30.0)
    vertices = np.vstack([vertices, vertices * 0.4 + [0.0, 0.0, 5.0]])  # a smaller square in front
    camera = ScaledOrthographic(FRONTAL, np.array([20.0, 20.0]), 1.0)
    whole = gl.draw(camera, vertices, triangles, 40, 40)
    towards = np.tile([0.0, 0.0, 1.0], (8, 1))
    picture = gl.draw(camera, vertices, triangles, 40, 40, occluder=triangles + 4, normals=towards)
    assert (picture[15:25, 15:25, 3] == 0).all()
    around = np.ones((40, 40), bool)
    around[12:28, 12:28] = False
    np.testing.assert_array_equal(picture[around], whole[around])


def test_points_are_discs_where_the_vertices_are(flat):
    vertices, triangles, _ = quad(20.0)
    hidden = np.array([[2.0, -1.0, -5.0]])
    camera = ScaledOrthographic(FRONTAL, np.array([20.25, 19.5]), 1.0)
    picture = flat.draw(camera, np.vstack([vertices, hidden]), triangles, 40, 40, shading="points", point_diameter=5.0)
    alpha = picture[..., 3] / 255.0
    assert alpha.sum() == pytest.approx(4 * np.pi * 2.5**2, rel=0.05)
    assert alpha[18:22, 18:25].max() == 0.0
    y, x = np.mgrid[0:20, 0:20]
    part = alpha[:20, :20]
    centroid = np.array([(part * x).sum(), (part * y).sum()]) / part.sum()
    np.testing.assert_allclose(centroid, [10.25, 9.5], atol=0.05)


def test_a_picture_over_a_photo_is_what_compositing_says(gl, rng):
    vertices, triangles, _ = bowl()
    camera = views(90, 120, 20.0, 30.0, 10.0, 70.0)[1]
    photo = rng.integers(0, 256, (90, 120, 3)).astype(np.uint8)
    for opacity in (0.0, 0.6, 1.0):
        look = {"shading": "phong", "phong": Phong(back_opacity=0.5)}
        drawn = gl.draw(camera, vertices, triangles, 90, 120, **look)
        assert len(np.unique(drawn[..., 3])) > 3
        together = gl.draw_over(photo, camera, vertices, triangles, opacity=opacity, **look)
        np.testing.assert_allclose(together.astype(int), over(photo, drawn, opacity), atol=1)


LOOKS = {
    "studio": {},
    "spherical_harmonics": {
        "lighting": 0.6 * AMBIENT + 0.6 * np.outer([0, -1.0, -1.2, 0.8, 0, 0, 0, 0.4, 0], [1.0, 0.8, 0.6])
    },
    "phong": {"shading": "phong", "phong": Phong(specular=0.4)},
    "wire": {"shading": "wire"},
    "points": {"shading": "points", "point_diameter": 3.0},
}


@pytest.mark.parametrize("name", LOOKS)
def test_golden_looks(gl, golden, name):
    vertices, triangles, _ = bowl()
    camera = views(96, 128, 20.0, -35.0, 10.0, 75.0)[1]
    colours = 0.2 + 0.6 * np.abs(np.sin(vertices / 25.0))
    golden(name, gl.draw(camera, vertices, triangles, 96, 128, colours=colours, **LOOKS[name]))


def test_golden_maps(gl, golden):
    vertices, triangles, uv = bowl()
    camera = views(96, 96, 20.0, -35.0, 10.0, 75.0)[0]
    row, column = np.mgrid[0:128, 0:256]
    texture = np.where(((row // 16 + column // 16) % 2)[..., None] == 1, [220, 180, 150], [60, 90, 160]).astype(
        np.uint8
    )
    waves = np.sin(column * 2.0 * np.pi / 16.0)
    tilt = np.stack([0.5 * waves, np.zeros_like(waves), np.sqrt(1.0 - 0.25 * waves**2)], axis=-1)
    given = {
        "texture": texture,
        "normal": np.rint(127.5 * (tilt + 1.0)).astype(np.uint8),
        "displacement": waves.astype(np.float32),
    }
    pictures = [
        gl.draw(camera, vertices, triangles, 96, 96, maps=Maps(uv, **{name: given[name]}), shading="phong")
        for name in given
    ]
    golden("maps", np.hstack(pictures))


def test_golden_atlas_and_normals(gl, golden):
    vertices, triangles, uv = bowl()
    camera = views(96, 96, 20.0, -35.0, 10.0, 75.0)[0]
    atlas = gl.rasterize_atlas(uv, 96, 96)
    _, normals = gl.rasterize_with_normals(camera, vertices, triangles, 96, 96, cull="none")
    golden("atlas_and_normals", np.hstack([to_uint8(atlas.barycentric), to_uint8(0.5 * normals + 0.5)]))


TRIANGLE = UVMap(np.zeros((3, 2), np.float32), np.array([[0, 1, 2]]))


def test_shadings_that_a_renderer_lacks_are_refused():
    vertices, triangles, _ = quad()
    camera = ScaledOrthographic(FRONTAL, np.zeros(2), 1.0)
    for shading in ("phong", "wire", "points"):
        with pytest.raises(RendererUnavailableError, match=f"shading '{shading}': the Numba renderer has only 'sh'"):
            NumbaRenderer().draw(camera, vertices, triangles, 4, 4, shading=shading)
    with pytest.raises(InvalidInputError, match="shading: expected one of sh, phong, wire, points, got 'toon'"):
        NumbaRenderer().draw(camera, vertices, triangles, 4, 4, shading="toon")


@pytest.mark.parametrize(
    ("look", "message"),
    [
        ({"shading": "toon"}, "shading: expected one of sh, phong, wire, points, got 'toon'"),
        ({"shading": "wire", "lighting": AMBIENT}, "lighting: expected with shading 'sh' only, got it with 'wire'"),
        ({"shading": "wire", "phong": Phong()}, "phong: expected with shading 'phong' only, got it with 'wire'"),
        (
            {"shading": "points", "maps": Maps(TRIANGLE, texture=np.zeros((2, 2, 3), np.uint8))},
            "maps: .* displacement only",
        ),
        ({"line_width": 0.0}, "line_width: expected a positive number of px, got 0.0"),
        ({"point_diameter": np.nan}, "point_diameter: expected a positive number of px, got nan"),
        ({"lighting": np.zeros((3, 9))}, r"lighting: expected shape \(9, 3\)"),
        ({"colours": np.zeros((3, 3))}, r"colours: expected shape \(4, 3\)"),
        ({"maps": Maps(TRIANGLE)}, "maps: .* of 2 triangles, got 1"),
    ],
)
def test_wrong_looks_are_named(gl, look, message):
    vertices, triangles, _ = quad()
    with pytest.raises(InvalidInputError, match=message):
        gl.draw(ScaledOrthographic(FRONTAL, np.zeros(2), 1.0), vertices, triangles, 4, 4, **look)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Phong(diffuse=-1.0), "ambient, diffuse, specular, shininess: expected finite numbers >= 0"),
        (lambda: Phong(back_opacity=1.5), "back_opacity: expected a number from 0 to 1, got 1.5"),
        (lambda: Phong(to_lamp=(0.0, 0.0, 0.0)), "to_lamp: expected a direction"),
        (
            lambda: Maps(quad()[2], texture=np.zeros((4, 4), np.uint8)),
            r"texture: expected shape \(any, any, 3\), got \(4, 4\)",
        ),
        (lambda: Maps(quad()[2], normal=np.zeros((0, 4, 3), np.uint8)), "normal: expected at least one pixel"),
        (lambda: Maps(quad()[2], displacement=np.zeros((4, 0))), "displacement: expected at least one pixel"),
        (lambda: Maps(quad()[2], displacement=np.zeros((4, 4, 3))), r"displacement: expected shape \(any, any\)"),
    ],
)
def test_wrong_materials_are_named(make, message):
    with pytest.raises(InvalidInputError, match=message):
        make()


def test_wrong_photos_and_windows_are_named(gl):
    vertices, triangles, _ = quad()
    camera = ScaledOrthographic(FRONTAL, np.zeros(2), 1.0)
    with pytest.raises(InvalidInputError, match=r"photo: expected \(H, W, 3\) uint8, got \(4, 4\) uint8"):
        gl.draw_over(np.zeros((4, 4), np.uint8), camera, vertices, triangles)
    with pytest.raises(InvalidInputError, match="opacity: expected a number from 0 to 1, got 2"):
        gl.draw_over(np.zeros((4, 4, 3), np.uint8), camera, vertices, triangles, opacity=2)
    with pytest.raises(OpenGLError, match="show: expected the context of a window, got "):
        gl.show(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(OpenGLError, match="samples: expected 1 to"):
        GLRenderer(samples=1000)


def test_colours_are_encoded_as_srgb(flat):
    """An ambient white light shows display values that decode to the reflectance."""
    vertices, triangles, _ = quad()
    colours = np.tile(srgb_to_linear(np.uint8([180, 120, 3])), (4, 1))
    camera = ScaledOrthographic(FRONTAL, np.array([5.0, 5.0]), 1.0)
    picture = flat.draw(camera, vertices, triangles, 10, 10, colours=colours, lighting=AMBIENT)
    assert (picture == [180, 120, 3, 255]).all()
