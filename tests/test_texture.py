"""The texture gives the photo back, holds in another view, never shows the background, and has no hole."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from painted_heads import PaintedHead, painted_head, psnr, rendering_error, turned_camera
from scenes import egg
from scipy.spatial import KDTree

from facefit.fitting.results import FitResult
from facefit.fitting.status import FitStatus
from facefit.fitting.texture import Texture, make_texture
from facefit.fitting.texturing import _kernels
from facefit.fitting.texturing._kernels import SKIN
from facefit.fitting.texturing.atlas import TextureSpace, fill_gutters
from facefit.fitting.texturing.layers import LASHES, clear_of_lashes
from facefit.fitting.texturing.membrane import continued, surface_laplacian
from facefit.fitting.texturing.options import TextureOptions
from facefit.fitting.texturing.pyramid import make_pyramid
from facefit.fitting.texturing.tables import DepthView, Lens, Limits, Mesh, Scene
from facefit.models.colour import linear_to_srgb, srgb_to_linear
from facefit.models.errors import InvalidInputError
from facefit.models.morphable_model import MorphableModel, UVMap
from facefit.models.store import load_model
from facefit.render.cameras import Perspective, ScaledOrthographic
from facefit.render.normals import normalised, vertex_normals
from facefit.render.rasterizer import interpolate
from facefit.render.spherical_harmonics import basis

SMALL = TextureOptions(size=512)


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_model("default")


@pytest.fixture(scope="module")
def head(model: MorphableModel) -> PaintedHead:
    """A head of which a texture of 512 has about a texel per pixel, painted no finer than that."""
    return painted_head(model, 1, height=700, paint_size=512)


@pytest.fixture(scope="module")
def photo(head: PaintedHead) -> np.ndarray:
    return head.photo()


@pytest.fixture(scope="module")
def texture(head: PaintedHead, photo: np.ndarray, model: MorphableModel) -> Texture:
    return make_texture(photo, head.result, model, SMALL)


def charts(uv: UVMap, size: int) -> np.ndarray:
    """The mask (S, S) of texels whose centres lie in a chart."""
    return np.concatenate([seen.covered for _, seen in TextureSpace(uv, size).bands()])


# ------------------------------------------------------------------------------------------------------- truth
def test_photo_comes_back(head: PaintedHead, photo: np.ndarray, texture: Texture) -> None:
    error, share = rendering_error(head, photo, texture.photographed, texture.confidence, texture.uv, head.camera)
    assert error > 33.0
    assert share > 0.6


def test_second_view_is_predicted(head: PaintedHead, texture: Texture) -> None:
    camera = turned_camera(head, -30.0)
    held_out = head.photo(camera)
    error, share = rendering_error(head, held_out, texture.photographed, texture.confidence, texture.uv, camera)
    assert error > 30.0
    assert share > 0.4


def test_albedo_is_the_painted_one(head: PaintedHead, texture: Texture) -> None:
    """With the true light, what is left is reflectance times paint, but for what the photo's resolution lost."""
    true = np.zeros((512, 512, 3))
    for rows, seen in TextureSpace(texture.uv, 512).bands():
        true[rows] = interpolate(seen, head.model.triangles, head.reflectance)
    true = 255.0 * linear_to_srgb(true * head.paint)
    assert psnr(texture.albedo, true, texture.confidence > 250) > 30.0


def test_unseen_side_is_plausible(head: PaintedHead, model: MorphableModel) -> None:
    """Without fine paint, what is filled is close to the truth seen from the other side; so it is without mirroring."""
    plain = replace(head, paint=np.ones_like(head.paint))
    photo, camera = plain.photo(), turned_camera(head, -60.0)
    truth = plain.photo(camera)
    for mirror in (True, False):
        found = make_texture(photo, plain.result, model, replace(SMALL, mirror=mirror))
        everything = np.full_like(found.confidence, 255)
        error, _ = rendering_error(plain, truth, found.photographed, everything, found.uv, camera)
        assert error > 28.0


def test_background_never_enters(head: PaintedHead, model: MorphableModel) -> None:
    """Before pure green no texel is green; before magenta the texture is the same to the last bit."""
    plain = replace(head, paint=np.ones_like(head.paint))
    green, magenta = (
        make_texture(plain.photo(background=colour), plain.result, model, SMALL)
        for colour in ((0, 255, 0), (255, 0, 255))
    )
    for name in ("photographed", "albedo"):
        np.testing.assert_array_equal(getattr(green, name), getattr(magenta, name))
        red, green_value, blue = np.moveaxis(getattr(green, name).astype(int), -1, 0)
        assert not (green_value > np.maximum(red, blue) + 25).any()


def test_no_hole(texture: Texture) -> None:
    """Charts are filled, and so is what lies between them: with a colour of the nearest chart."""
    inside = charts(texture.uv, 512)
    assert inside.mean() > 0.5
    for picture in (texture.photographed, texture.albedo):
        assert picture.shape == (512, 512, 3) and picture.dtype == np.uint8
        assert picture.max(axis=2).min() > 0
    assert (texture.confidence[~inside] == 0).all()
    assert 0.15 < (texture.confidence > 0).mean() < 0.8


def test_no_seam_where_the_photo_ends(head: PaintedHead, model: MorphableModel) -> None:
    """On a head without paint the texture's steps from texel to texel are the truth's, also where the photo ends."""
    plain = replace(head, paint=np.ones_like(head.paint))
    found = make_texture(plain.photo(), plain.result, model, SMALL)
    true, inside = np.zeros((512, 512, 3)), np.zeros((512, 512), bool)
    face = np.append(model.regions["face"][model.triangles].all(axis=1), False)
    normals = vertex_normals(head.vertices, model.triangles) @ head.camera.rotation.T
    for rows, seen in TextureSpace(found.uv, 512).bands():
        values = interpolate(seen, model.triangles, np.hstack([normals, head.reflectance]))
        true[rows] = linear_to_srgb(values[..., 3:] * (basis(normalised(values[..., :3])) @ head.light))
        inside[rows] = face[seen.triangle]
    error = np.abs(np.diff(found.photographed - 255.0 * true, axis=1)).max(axis=2)
    fading = inside & (found.confidence > 0) & (found.confidence < 255)
    border = (fading[:, 1:] | fading[:, :-1]) & inside[:, 1:] & inside[:, :-1]
    assert border.sum() > 5000
    assert np.percentile(error[border], 99) < 4.0


# ----------------------------------------------------------------------------------------------- equivariances
def test_mirrored_photo_gives_mirrored_texture(model: MorphableModel) -> None:
    """The default model and its atlas are symmetric: u becomes 1 - u."""
    head = painted_head(model, 3, height=500, yaw=20.0)
    mirror = model.mirror
    assert mirror is not None
    photo = head.photo()
    flip = np.diag([-1.0, 1.0, 1.0])
    camera = head.camera
    assert isinstance(camera, ScaledOrthographic)
    across = np.array([head.width - 1.0 - camera.translation[0], camera.translation[1]])
    mirrored = replace(
        head.result,
        vertices=head.vertices[mirror] @ flip,
        reflectance=head.reflectance[mirror],
        camera=ScaledOrthographic(flip @ camera.rotation @ flip, across, camera.scale),
        lighting=head.light * np.array([1, 1, 1, -1, -1, 1, 1, -1, 1.0])[:, None],
    )
    plain = replace(model, albedo_texture=None)
    first = make_texture(photo, head.result, plain, SMALL)
    second = make_texture(photo[:, ::-1], mirrored, plain, SMALL)
    for name in ("photographed", "albedo"):
        difference = np.abs(getattr(first, name)[:, ::-1].astype(int) - getattr(second, name))
        assert np.median(difference) <= 1 and np.percentile(difference, 99) <= 12


def test_resolution_of_the_photo_does_not_matter(head: PaintedHead, photo: np.ndarray, model: MorphableModel) -> None:
    twice = replace(head, camera=head.camera.zoomed(2.0, 0.5), height=2 * head.height, width=2 * head.width)
    coarse = TextureOptions(size=256)
    first = make_texture(photo, head.result, model, coarse)
    second = make_texture(twice.photo(), twice.result, model, coarse)
    assert psnr(first.photographed, second.photographed, charts(first.uv, 256)) > 36.0


def test_threads_do_not_matter(head: PaintedHead, photo: np.ndarray, texture: Texture, model: MorphableModel) -> None:
    alone = make_texture(photo, head.result, model, replace(SMALL, threads=1))
    for name in ("photographed", "albedo", "confidence"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(texture, name))


def test_perspective_agrees_from_afar(head: PaintedHead, photo: np.ndarray, texture: Texture) -> None:
    camera = head.camera
    assert isinstance(camera, ScaledOrthographic)
    distance = 1e6
    far = Perspective(camera.rotation, np.array([0.0, 0.0, distance]), camera.scale * distance, camera.translation)
    found = make_texture(photo, replace(head.result, camera=far), head.model, SMALL)
    assert psnr(found.photographed, texture.photographed, texture.confidence > 0) > 40.0


def test_light_is_estimated_where_there_is_none(head: PaintedHead, photo: np.ndarray, model: MorphableModel) -> None:
    found = make_texture(photo, replace(head.result, lighting=None), model, SMALL)
    known = make_texture(photo, head.result, model, SMALL)
    assert psnr(found.albedo, known.albedo, known.confidence > 128) > 24.0


# ------------------------------------------------------------------------------------------------ hostile input
def test_face_outside_the_image_gives_the_model(head: PaintedHead, photo: np.ndarray, model: MorphableModel) -> None:
    away = replace(head.result, camera=head.camera.zoomed(1.0, np.array([5000.0, 0.0])))
    found = make_texture(photo, away, model, SMALL)
    assert not found.confidence.any()
    expected = np.zeros((512, 512, 3))
    plain = replace(model, albedo_texture=None)
    for rows, seen in TextureSpace(found.uv, 512).bands():
        expected[rows] = interpolate(seen, model.triangles, head.reflectance)
    albedo = make_texture(photo, away, plain, SMALL).albedo
    assert np.abs(albedo - 255.0 * linear_to_srgb(expected))[charts(found.uv, 512)].max() <= 0.51


@pytest.mark.parametrize("part", [np.s_[:, :200], np.s_[350:], np.s_[:1, :1], np.s_[300:302, 200:203]])
def test_part_of_a_face(head: PaintedHead, photo: np.ndarray, model: MorphableModel, part: Any) -> None:
    rows, columns = part if isinstance(part, tuple) else (part, slice(0, None))
    shift = -np.array([columns.start or 0, rows.start or 0], float)
    moved = replace(head.result, camera=head.camera.zoomed(1.0, shift))
    found = make_texture(photo[part], moved, model, SMALL)
    assert found.photographed.max(axis=2).min() > 0


def test_tiny_face(head: PaintedHead, model: MorphableModel) -> None:
    small = replace(head, camera=head.camera.zoomed(0.05, 0.0), height=35, width=26)
    found = make_texture(small.photo(), small.result, model, SMALL)
    assert found.photographed.max(axis=2).min() > 0


def test_perspective_with_points_behind_it(head: PaintedHead, photo: np.ndarray, model: MorphableModel) -> None:
    inside = Perspective(head.camera.rotation, np.zeros(3), 500.0, np.array([200.0, 200.0]))
    found = make_texture(photo, replace(head.result, camera=inside), model, SMALL)
    assert found.photographed.max(axis=2).min() > 0


def test_model_without_albedo_or_mirror(head: PaintedHead, photo: np.ndarray, model: MorphableModel) -> None:
    bare = replace(model, albedo=None, albedo_mean=None, albedo_texture=None, mirror=None, regions={})
    result = replace(head.result, reflectance=None, lighting=None)
    found = make_texture(photo, result, bare, SMALL)
    assert found.photographed.max(axis=2).min() > 0 and (found.confidence > 128).mean() > 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 128}, "size: expected a whole number of texels from 256 to 4096, got 128"),
        ({"size": 1e3}, "size: expected"),
        ({"size": 10**9}, "size: expected"),
        ({"threads": 0}, "threads: expected a whole number from 1 or None, got 0"),
        ({"mirror": 1}, "mirror: expected True or False, got 1"),
        ({"max_angle": 90.0}, "max_angle: expected a number from 10 to 89, got 90.0"),
        ({"outline_mm": np.nan}, "outline_mm: expected a number from 0 to 50, got nan"),
        ({"depth_tolerance": "1"}, "depth_tolerance: expected a number from 0.01 to 100, got '1'"),
        ({"albedo_ratio": (2.0, 1.0)}, r"albedo_ratio: expected two numbers, 0 < least < greatest, got \(2.0, 1.0\)"),
    ],
)
def test_options_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        TextureOptions(**changes)


def test_calls_are_checked(head: PaintedHead, photo: np.ndarray, model: MorphableModel) -> None:
    nobody = FitResult(FitStatus.NO_FACE, "no face was found")
    for image, result, chosen, message in (
        (photo, nobody, model, "result: expected a camera and vertices, got none: its status is NO_FACE"),
        (photo, None, model, "result: expected a FitResult, got NoneType"),
        (photo, head.result, "default", "model: expected a MorphableModel, got str"),
        (photo[..., 0], head.result, model, r"photo: expected \(H, W, 3\) uint8, got \(700, 525\) uint8"),
        (photo, replace(head.result, vertices=head.vertices[1:]), model, r"result.vertices: expected shape"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            make_texture(image, result, chosen)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="options: expected TextureOptions, got dict"):
        make_texture(photo, head.result, model, {})  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------- the parts
def test_membrane_is_harmonic_between_what_is_known() -> None:
    """On an egg with a cap at each end held, the rest obeys the maximum principle, and each value is a mean."""
    vertices, triangles = egg(300, np.array([1.0, 1.0, 3.0]))
    laplacian = surface_laplacian(triangles, np.zeros(len(triangles), np.uint8), len(vertices))
    assert np.abs(laplacian @ np.ones(300)).max() < 1e-12
    weights = np.where(np.abs(vertices[:, 2]) > 2.5, 1e6, 0.0)
    known = np.sign(vertices[:, 2:])
    found = continued(laplacian, known, weights)
    free = weights == 0.0
    np.testing.assert_allclose(found[~free], known[~free], atol=1e-4)
    assert np.abs(found).max() < 1.0 + 1e-9
    assert np.abs((laplacian @ found)[free]).max() < 1e-3
    assert not continued(laplacian, known, np.zeros(300)).any()


def test_membrane_does_not_cross_kinds() -> None:
    vertices, triangles = egg(300, np.ones(3))
    kinds = np.where(vertices[triangles, 2].min(axis=1) > 0.0, _kernels.INSET, SKIN).astype(np.uint8)
    upper = np.zeros(300, bool)
    upper[triangles[kinds == _kernels.INSET]] = True
    laplacian = surface_laplacian(triangles, kinds, 300)
    found = continued(laplacian, np.ones((300, 1)), (~upper).astype(float))
    np.testing.assert_allclose(found[upper], 0.0, atol=1e-12)
    np.testing.assert_allclose(found[~upper], 1.0, atol=1e-3)


def test_gutters_repeat_the_nearest(rng: np.random.Generator) -> None:
    covered = np.zeros((20, 30), bool)
    covered[5:9, 4:12] = covered[15, 20] = True
    picture = rng.integers(1, 255, (20, 30, 3)).astype(np.uint8)
    before = picture.copy()
    fill_gutters(covered, picture)
    np.testing.assert_array_equal(picture[covered], before[covered])
    np.testing.assert_array_equal(picture[0, 6], before[5, 6])
    np.testing.assert_array_equal(picture[19, 29], before[15, 20])


def test_bands_make_up_the_whole(model: MorphableModel) -> None:
    assert model.uv is not None
    space = TextureSpace(model.uv, 1024)
    rows = [band for band, _ in space.bands()]
    assert len(rows) > 1
    assert [row.start for row in rows] == [0, *[row.stop for row in rows[:-1]]] and rows[-1].stop == 1024
    assert space.texels.min() > -0.5 and space.texels.max() < 1023.5


# -------------------------------------------------------------------------------------------------- the kernels
def tiny_scene(rng: np.random.Generator, *, perspective: bool = False) -> tuple[Mesh, Scene]:
    """A slanted pair of triangles before a photo of noise, no point of it hidden."""
    points = np.array([[-9.0, -9.0, 60.0], [9.0, -8.0, 61.0], [8.0, 9.0, 63.0], [-8.0, 9.0, 61.0]])
    triangles = np.array([[0, 2, 1], [0, 3, 2]], np.int32)
    normals = rng.normal(size=(4, 3)) * 0.2 + (0.0, 0.0, -1.0)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    photo = rng.integers(0, 256, (24, 25, 3)).astype(np.uint8)
    pyramid = make_pyramid(photo, (0, 0, 25, 24))
    empty = np.full((24, 25), 50.0, np.float32)
    depths = DepthView(empty + np.float32(20.0), empty, empty, empty, 1.0, 0.0, 0.0)
    limits = Limits((0.5, 0.98), (1.0, 2.0), (1.0, 2.0), (1.0, 2.0), (30.0, 5.0), 1.0)
    lens = Lens(perspective, 60.0 if perspective else 1.0, 12.0, 11.0)
    light = 0.3 * rng.normal(size=(9, 3))
    light[0] = 3.0
    scene = Scene(lens, pyramid, depths, limits, light, np.full(3, 0.05), (0.4, 2.5))
    mesh = Mesh(
        triangles, np.zeros(2, np.uint8), points, normals, rng.uniform(0.2, 0.6, (4, 3)), np.zeros((0, 3)),
        np.array([1, 0, 3, 2], np.int32), np.array([[0.0, 0.6], [0.3, 0.0]]),
    )  # fmt: skip
    return mesh, scene


def reference_sample(scene: Scene, u: float, v: float, level: float) -> np.ndarray:
    """Two levels, bilinear in each."""
    total = np.zeros(3)
    for index, share in ((int(level), 1.0 - level % 1.0), (int(level) + 1, level % 1.0)):
        if share == 0.0:
            continue
        start, height, width = (int(part[index]) for part in scene.pyramid[1:4])
        image = srgb_to_linear(scene.pyramid.pixels[start : start + height * width].reshape(height, width, 3))
        x, y = (np.clip((c + 0.5) / 2**index - 0.5, 0.0, n - 1.0) for c, n in ((u, width), (v, height)))
        i, j = min(int(y), height - 2), min(int(x), width - 2)
        fy, fx = y - i, x - j
        rows = (1.0 - fx) * image[i : i + 2, j] + fx * image[i : i + 2, j + 1]
        total += share * ((1.0 - fy) * rows[0] + fy * rows[1])
    return total


def reference_observe(
    mesh: Mesh, scene: Scene, corners: np.ndarray, weights: np.ndarray, level: float
) -> tuple[float, np.ndarray, np.ndarray]:
    """Weight, colour and shading of a point, by the formulas of `layers` and `visibility`."""
    point, normal = weights @ mesh.points[corners], weights @ mesh.normals[corners]
    normal /= np.linalg.norm(normal)
    lens, limits = scene.lens, scene.limits
    to_viewer = -point / np.linalg.norm(point) if lens.perspective else np.array([0.0, 0.0, -1.0])
    factor = lens.focal / point[2] if lens.perspective else lens.focal
    u, v = factor * point[0] + lens.x, factor * point[1] + lens.y
    weight = np.interp(normal @ to_viewer, limits.cosine, (0.0, 1.0))
    weight *= np.interp(point[2] - 50.0, limits.occlusion[::-1], (1.0, 0.0))
    shading = np.maximum(basis(normal) @ scene.light, scene.shadow)
    return float(weight), reference_sample(scene, u, v, level), shading


def reference_layers(mesh: Mesh, scene: Scene, t: int, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The colours (3, 6) and weights (2,) of a texel's layers."""
    corners = mesh.triangles[t]
    rho = weights @ mesh.reflectance[corners]
    own, colour, shading = reference_observe(mesh, scene, corners, weights, mesh.level[0, t])
    other, seen, there = reference_observe(mesh, scene, mesh.mirror[corners], weights, mesh.level[1, t])
    relit = np.clip(shading / there, 1.0 / _kernels.RELIGHTING, _kernels.RELIGHTING)
    low, high = (bound * rho for bound in scene.ratio)
    linear = [
        np.concatenate([colour, np.clip(colour / shading, low, high)]),
        np.concatenate([seen * relit, np.clip(seen / there, low, high)]),
        np.concatenate([rho * shading, rho]),
    ]
    # Values above 1 are brighter than a display shows; they count in differences.
    return np.array([1.055 * x ** (1 / 2.4) - 0.055 for x in np.maximum(linear, 0.0031308)]), np.array([own, other])


def tiny_texels(rng: np.random.Generator, mesh: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    triangle = rng.integers(-1, 2, (3, 5)).astype(np.int32)
    return triangle, rng.dirichlet(np.ones(3), (3, 5)), np.zeros((3, 5, 3), np.uint8)


@pytest.mark.kernels
def test_sample_kernel(rng: np.random.Generator) -> None:
    _, scene = tiny_scene(rng)
    colour = np.zeros(3)
    for u, v, level in [(3.2, 4.7, 0.0), (11.5, 0.2, 1.0), (20.1, 21.9, 0.4), (-3.0, 40.0, 1.7), (24.0, 23.0, 0.0)]:
        _kernels.sample(scene.pyramid, u, v, level, colour)
        np.testing.assert_allclose(colour, reference_sample(scene, u, v, level), atol=1e-12)


@pytest.mark.kernels
def test_bilinear_kernel(rng: np.random.Generator) -> None:
    image = rng.random((4, 5))
    assert _kernels.bilinear(image, 2.0, 3.0) == image[3, 2]
    assert _kernels.bilinear(image, -1.0, 9.0) == image[3, 0]
    assert _kernels.bilinear(image, 1.25, 0.5) == pytest.approx(
        0.5 * (0.75 * image[0, 1] + 0.25 * image[0, 2] + 0.75 * image[1, 1] + 0.25 * image[1, 2])
    )
    assert _kernels.bilinear(image[:1, :1], 3.0, 3.0) == image[0, 0]


@pytest.mark.kernels
@pytest.mark.parametrize("perspective", [False, True])
def test_observe_kernel(rng: np.random.Generator, perspective: bool) -> None:
    mesh, scene = tiny_scene(rng, perspective=perspective)
    colour, shading = np.zeros(3), np.zeros(3)
    corners = mesh.triangles[0]
    for weights in rng.dirichlet(np.ones(3), 5):
        weight = _kernels.observe(mesh, scene, *corners, weights, SKIN, 0.4, colour, shading)
        expected = reference_observe(mesh, scene, corners, weights, 0.4)
        assert 0.0 < weight == pytest.approx(expected[0])
        np.testing.assert_allclose(colour, expected[1], atol=1e-12)
        np.testing.assert_allclose(shading, expected[2], atol=1e-12)
        assert _kernels.observe(mesh, scene, *corners, weights, _kernels.HIDDEN, 0.4, colour, shading) == 0.0


@pytest.mark.kernels
def test_visibility_kernel() -> None:
    """Each rule by itself, on a depth map at twice the photo's resolution."""
    flat = np.full((8, 8), 100.0, np.float32)
    outline = np.tile(np.arange(8, dtype=np.float32), (8, 1))
    limits = Limits((0.5, 0.6), (2.0, 4.0), (4.0, 6.0), (1.0, 2.0), (6.0, 3.0), 1.5)
    view = DepthView(flat, flat - 2.0, outline, flat, 2.0, 10.0, 20.0)

    def weight(kind: int = SKIN, u: float = 12.75, v: float = 21.0, z: float = 100.0, cosine: float = 1.0) -> float:
        return float(_kernels.visibility(view, limits, kind, u, v, z, cosine))

    assert weight() == 1.0  # x = (12.75 - 10 + 0.5) 2 - 0.5 = 6
    assert weight(u=11.25) == pytest.approx(0.5) and weight(u=10.5) == 0.0  # x = 3; x = 1.5
    assert weight(_kernels.LOOSE) == 1.0 and weight(_kernels.LOOSE, u=12.25) == pytest.approx(0.5)  # x = 5
    assert weight(cosine=0.55) == pytest.approx(0.5) and weight(cosine=0.5) == 0.0
    assert weight(z=101.4) == pytest.approx((6.0 - 3.4) / 3.0) and weight(z=101.6) == 0.0
    assert weight(u=9.0) == 0.0 and weight(v=30.0) == 0.0


@pytest.mark.kernels
def test_blend_kernel(rng: np.random.Generator) -> None:
    mesh, scene = tiny_scene(rng)
    triangle, barycentric, drawn = tiny_texels(rng, mesh)
    offsets = 0.2 * rng.normal(size=(4, 2, 6))
    photographed, albedo = np.zeros((3, 5, 3), np.uint8), np.zeros((3, 5, 3), np.uint8)
    confidence = np.zeros((3, 5), np.uint8)
    _kernels.blend(triangle, barycentric, drawn, mesh, scene, offsets, photographed, albedo, confidence)
    for at in np.ndindex(3, 5):
        t = triangle[at]
        if t < 0:
            assert not photographed[at].any() and confidence[at] == 0
            continue
        values, (own, mirrored) = reference_layers(mesh, scene, t, barycentric[at])
        moved = barycentric[at] @ offsets[mesh.triangles[t]].transpose(1, 0, 2)
        shifted = (values[1:] + _kernels.SOFT) * np.exp(moved) - _kernels.SOFT
        filled = mirrored * shifted[0] + (1.0 - mirrored) * shifted[1]
        expected = 255.0 * np.clip(own * values[0] + (1.0 - own) * filled, 0.0, 1.0)
        assert np.abs(np.concatenate([photographed[at], albedo[at]]) - expected).max() <= 0.5 + 1e-6
        assert confidence[at] == np.ceil(255.0 * own)


@pytest.mark.kernels
def test_add_differences_kernel(rng: np.random.Generator) -> None:
    mesh, scene = tiny_scene(rng)
    triangle, barycentric, drawn = tiny_texels(rng, mesh)
    sums, expected = np.zeros((4, 3, 7)), np.zeros((4, 3, 7))
    _kernels.add_differences(triangle, barycentric, drawn, mesh, scene, sums)
    for at in zip(*np.nonzero(triangle >= 0), strict=True):
        values, (own, mirrored) = reference_layers(mesh, scene, triangle[at], barycentric[at])
        logs = np.log(values + _kernels.SOFT)
        parts = [
            (own * mirrored, logs[0] - logs[1]),
            (own, logs[0] - logs[2]),
            (mirrored * (1.0 - own), logs[1] - logs[2]),
        ]
        for corner, weight in zip(mesh.triangles[triangle[at]], barycentric[at], strict=True):
            for k, (share, difference) in enumerate(parts):
                expected[corner, k] += weight * share * np.append(1.0, difference)
    np.testing.assert_allclose(sums, expected, atol=1e-10)


@pytest.mark.kernels
def test_observe_vertices_kernel(rng: np.random.Generator) -> None:
    mesh, scene = tiny_scene(rng)
    observed = np.zeros((4, 4))
    kinds = np.array([SKIN, SKIN, SKIN, _kernels.HIDDEN], np.uint8)
    _kernels.observe_vertices(mesh, scene, kinds, 0.5, observed)
    assert observed[3, 3] == 0.0
    for i in range(3):
        weight, colour, _ = reference_observe(mesh, scene, np.full(3, i), np.array([1.0, 0.0, 0.0]), 0.5)
        np.testing.assert_allclose(observed[i], [*colour, weight], atol=1e-12)


def test_skin_about_the_eyes_does_not_colour_folded_lids(model: MorphableModel) -> None:
    """Within LASHES of the eyes the photo tells nothing of what it does not show; of the eyes themselves it does."""
    clear = clear_of_lashes(model, model.mean)
    eyes = model.regions["eyes"]
    near = KDTree(model.mean[eyes]).query(model.mean)[0] < 0.99 * LASHES
    assert clear[eyes].all()
    assert not clear[near & ~eyes].any()
    assert (near & ~eyes).sum() > 50
    assert clear[model.regions["face"]].mean() > 0.7
    assert clear_of_lashes(replace(model, regions={}), model.mean).all()
