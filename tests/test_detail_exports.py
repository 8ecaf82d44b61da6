"""What users get of a fit's detail: normal map, meshes, images, pictures, and the command that writes them."""

import io
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import trimesh
from command_line import ALL_FILES, ASTRONAUT, files, run, summary
from export_scenes import detailed, fitted, waves
from glb_reader import Glb, assert_valid
from numpy.typing import NDArray
from PIL import Image
from small_model import small_model

import facefit
from facefit.apps.export.glb import detail_glb_bytes, write_glb
from facefit.apps.export.lights import AMBIENT, named_light
from facefit.apps.export.motion import Turntable, novel_view, relit, turntable
from facefit.apps.export.relief_maps import STEPS_PER_MM, ZERO, encoded_heights, write_relief_maps
from facefit.apps.fit import command
from facefit.apps.fit.exports import FILES, Face, write_exports
from facefit.apps.fit.overlay import draw_overlay
from facefit.apps.fit.panels import draw_panels
from facefit.apps.fit.window import Window
from facefit.fitting.detail_map import DetailMap
from facefit.fitting.detailing.relief import FLAT, detailed_mesh, normal_map
from facefit.fitting.texture import Texture
from facefit.models.colour import linear_to_srgb, srgb_to_linear
from facefit.models.errors import InvalidInputError
from facefit.models.morphable_model import MorphableModel, UVMap
from facefit.render.cameras import rotation_from_angles
from facefit.render.normals import normalised
from facefit.render.opengl.look import Maps
from facefit.render.opengl.renderer import GLRenderer
from facefit.render.rasterizer import interpolate, rasterize
from facefit.render.renderer import NumbaRenderer
from facefit.render.shading import CLAY
from facefit.render.spherical_harmonics import shade
from facefit.render.tessellation import relief_mesh
from facefit.render.textured import TexturedRenderer

Array = NDArray[np.float64]
HALF_A_STEP = 0.5 / STEPS_PER_MM  # mm
SIDE = (480, 640)
CLOSE = facefit.ScaledOrthographic(rotation_from_angles(10.0, 0.0, 0.0), np.array([320.0, 230.0]), 2.2)


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return facefit.load_model("default")


@pytest.fixture(scope="module")
def result(model: MorphableModel) -> facefit.FitResult:
    """A random person with crossed waves over the whole head."""
    return detailed(model, waves(256, 0.6, 20), camera=CLOSE, lighting=named_light("left"))


@pytest.fixture(scope="module")
def texture(model: MorphableModel) -> Texture:
    albedo = model.albedo_texture
    assert albedo is not None and model.uv is not None
    return Texture(albedo, albedo, np.full(albedo.shape[:2], 255, np.uint8), model.uv)


def plain(result: facefit.FitResult) -> facefit.FitResult:
    return replace(result, detail=None)


def psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    error = ((one.astype(float) - other) ** 2).mean()
    return float(10.0 * np.log10(255.0**2 / error)) if error > 0.0 else np.inf


def decoded(picture: NDArray[np.uint8]) -> Array:
    return 2.0 * picture / 255.0 - 1.0


# --- The normal map ----------------------------------------------------------------------------------------------

SIZE = 64  # texels of the plane's map
GRID = np.stack(np.meshgrid(np.linspace(0, 1, 9), np.linspace(0, 1, 9)), axis=-1).reshape(-1, 2)
CORNER = (np.arange(8)[:, None] * 9 + np.arange(8)).ravel()
PLANE = np.vstack([np.stack([CORNER, CORNER + 1, CORNER + 10], 1), np.stack([CORNER, CORNER + 10, CORNER + 9], 1)])


@pytest.mark.parametrize(
    "layout",
    [
        np.array([[1.0, 0.0], [0.0, 1.0]]),
        np.array([[0.0, 1.0], [-1.0, 0.0]]),  # a quarter turn: u runs up
        np.array([[-1.0, 0.0], [0.0, 1.0]]),  # mirrored: the bitangent's sign is -1
        np.array([[1.0, 0.0], [0.3, 0.7]]),  # sheared: u and v are not at right angles on the surface
    ],
)
def test_a_plane_with_known_heights_has_the_known_normals(layout: Array) -> None:
    """Place (x, y) in 0-1, 60 mm wide and 90 mm high; heights are a function of it, so their slopes are known."""
    offset = -np.minimum(np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) @ layout.T, 0.0).min(axis=0)
    uv = UVMap(GRID @ layout.T + offset, PLANE.astype(np.int32))
    points = np.column_stack([60.0 * GRID[:, 0], 90.0 * GRID[:, 1], np.zeros(81)])
    texel = (np.arange(SIZE) + 0.5) / SIZE
    u, v = np.meshgrid(texel, 1.0 - texel)
    x, y = np.moveaxis((np.stack([u, v], -1) - offset) @ np.linalg.inv(layout).T, -1, 0)
    heights = 2.0 * np.sin(3.0 * x) * np.cos(2.0 * y) + 4.0 * x * y
    slope_x = (6.0 * np.cos(3.0 * x) * np.cos(2.0 * y) + 4.0 * y) / 60.0
    slope_y = (-4.0 * np.sin(3.0 * x) * np.sin(2.0 * y) + 4.0 * x) / 90.0
    detail = DetailMap.unsplit(heights.astype(np.float32), heights > -9.0, np.zeros((SIZE, SIZE), np.uint8), uv)
    found = decoded(normal_map(detail, points, PLANE))
    # On the plane the tangent is the direction in which u rises and v does not, the bitangent across it, v rising.
    along_u = np.linalg.inv(layout)[:, 0] * (60.0, 90.0)
    tangent = along_u / np.linalg.norm(along_u)
    across = np.array([-tangent[1], tangent[0]]) * np.sign(np.linalg.det(layout))
    inside = (np.abs(x - 0.5) < 0.48) & (np.abs(y - 0.5) < 0.48)
    slopes = np.stack([slope_x, slope_y], -1)
    expected = normalised(np.stack([-slopes @ tangent, -slopes @ across, np.ones_like(x)], -1))
    np.testing.assert_allclose(found[inside], expected[inside], atol=1.1 / 255.0 + 2e-3)


def test_flat_heights_and_what_lies_between_the_charts(model: MorphableModel) -> None:
    still = detailed(model, np.zeros((64, 64), np.float32))
    assert still.detail is not None and still.vertices is not None and still.triangles is not None
    assert (normal_map(still.detail, still.vertices, still.triangles) == FLAT).all()
    quarter = small_model()  # a chart that fills a quarter of the map: the rest repeats its border
    assert quarter.uv is not None
    small = replace(quarter, uv=UVMap(0.5 * quarter.uv.coordinates, quarter.uv.triangles))
    bumpy = detailed(small, waves(64, crests=5))
    assert bumpy.detail is not None and bumpy.vertices is not None and bumpy.triangles is not None
    picture = normal_map(bumpy.detail, bumpy.vertices, bumpy.triangles)
    assert (picture[:32, :32] == picture[32, :32]).all() and (picture[32:, 32:] == picture[32:, 31:32]).all()
    assert len(np.unique(picture[32:, :32].reshape(-1, 3), axis=0)) > 50


def test_a_map_of_other_triangles_is_refused(result: facefit.FitResult) -> None:
    assert result.detail is not None and result.vertices is not None and result.triangles is not None
    with pytest.raises(InvalidInputError, match=r"uv.triangles: expected shape \(5, 3\)"):
        normal_map(result.detail, result.vertices, result.triangles[:5])


def test_tangents_and_normal_map_of_the_file_give_the_displaced_surface_s_normals(
    model: MorphableModel, tmp_path: Path
) -> None:
    """As a viewer combines them: n' = m_x t + m_y w (n x t) + m_z n, per pixel of a frontal picture."""
    result = detailed(model, waves(256, 0.8, 24), camera=CLOSE, identity=None, expression=None, vertices=model.mean)
    assert result.detail is not None and result.triangles is not None
    picture = normal_map(result.detail, model.mean, model.triangles)
    write_glb(tmp_path / "a.glb", result, model, normal_map=picture, uv=result.detail.uv)
    glb = Glb.read(tmp_path / "a.glb")
    corners = glb.accessor(glb.primitive["indices"]).reshape(-1, 3)
    carried = np.hstack([glb.attribute(name) for name in ("NORMAL", "TANGENT", "TEXCOORD_0")])
    seen = rasterize(CLOSE, 1000.0 * glb.attribute("POSITION"), corners, *SIDE)
    values = interpolate(seen, corners, carried)
    normal, tangent = normalised(values[..., :3]), normalised(values[..., 3:6])
    places = (values[..., 7:] * 256.0 - 0.5).astype(np.float32)
    m = decoded(cv2.remap(picture, places[..., 0], places[..., 1], cv2.INTER_LINEAR).astype(float))
    across = np.sign(values[..., 6:7]) * np.cross(normal, tangent)
    mapped = normalised(m[..., :1] * tangent + m[..., 1:2] * across + m[..., 2:] * normal)
    fine = relief_mesh(model.mean, model.triangles, result.detail)
    same = rasterize(CLOSE, fine.vertices, fine.triangles, *SIDE)
    true = normalised(interpolate(same, fine.triangles, fine.normals))
    both = skin_of(result, model) & same.covered & (np.einsum("ijk,ijk->ij", normal, true) > 0.5)
    assert both.sum() > 50_000

    def error(given: Array) -> Array:
        return np.degrees(np.arccos(np.clip(np.einsum("pk,pk->p", given[both], true[both]), -1.0, 1.0)))

    assert np.median(error(normal)) > 4.5, "waves that matter"
    for share in (50, 90):
        assert np.percentile(error(mapped), share) < 0.3 * np.percentile(error(normal), share)


def skin_of(result: facefit.FitResult, model: MorphableModel) -> NDArray[np.bool_]:
    """Which pixels of a picture of SIDE show nothing but the face's skin."""
    assert result.camera is not None and result.vertices is not None
    seen = rasterize(result.camera, result.vertices, model.triangles, *SIDE)
    return interpolate(seen, model.triangles, model.regions["face"][:, None].astype(float))[..., 0] == 1.0


def test_shaders_agree_on_normal_map_displacement_map_and_mesh(gl: GLRenderer, model: MorphableModel) -> None:
    result = detailed(model, waves(256, 0.6, 20), camera=CLOSE, vertices=model.mean)
    assert result.detail is not None and result.vertices is not None and result.triangles is not None
    mesh, skin = (result.vertices, result.triangles), skin_of(result, model)
    look: dict[str, Any] = {"lighting": named_light("left")}
    fine = detailed_mesh(result)
    reference = gl.draw(CLOSE, fine.vertices, fine.triangles, *SIDE, normals=fine.normals, **look)[skin]
    bare = gl.draw(CLOSE, *mesh, *SIDE, **look)[skin]
    by_heights = gl.draw(CLOSE, *mesh, *SIDE, maps=Maps.of_relief(result.detail), **look)[skin]
    picture = normal_map(result.detail, *mesh)
    by_normals = gl.draw(CLOSE, *mesh, *SIDE, maps=Maps(result.detail.uv, normal=picture), **look)[skin]
    assert psnr(bare, reference) < 40.0
    assert psnr(by_heights, reference) > 45.0 and psnr(by_normals, reference) > 44.0
    assert psnr(by_heights, by_normals) > 47.0
    drawn = facefit.render(result, height=480, width=640, renderer="numba", **look)[skin]
    assert psnr(drawn, reference) > 45.0


# --- Files -------------------------------------------------------------------------------------------------------


def test_heights_come_back_to_within_half_a_step(tmp_path: Path, rng: np.random.Generator) -> None:
    heights = rng.uniform(-10.0, 9.9999, (37, 51)).astype(np.float32)
    heights[0, :4] = 0.0, 12.0, -np.float32(1e6), 10.0
    (tmp_path / "heights.png").write_bytes(encoded_heights(heights))
    grey = cv2.imread(str(tmp_path / "heights.png"), cv2.IMREAD_UNCHANGED)
    assert grey.dtype == np.uint16 and grey.shape == (37, 51)
    with Image.open(tmp_path / "heights.png") as picture:
        assert picture.mode.startswith("I;16")
        np.testing.assert_array_equal(np.asarray(picture), grey)
        zero, step = int(picture.info["zero"]), float(picture.info["millimetres"])
    again = (grey.astype(np.float64) - zero) * step
    assert zero == ZERO and step * STEPS_PER_MM == pytest.approx(1.0)
    assert list(grey[0, :4]) == [ZERO, 65535, 0, 65535], "beyond the range its end"
    np.testing.assert_allclose(again[1:], heights[1:], rtol=0.0, atol=HALF_A_STEP + 1e-6)
    as_grey = 20.0 * (grey[1:] / 65535.0 - 0.5)
    np.testing.assert_allclose(as_grey, heights[1:], rtol=0.0, atol=1e-3, err_msg="as a 3D program reads it")


def test_the_images_are_the_map_s(result: facefit.FitResult, tmp_path: Path) -> None:
    assert result.detail is not None and result.vertices is not None and result.triangles is not None
    written = write_relief_maps(tmp_path, result)
    assert [path.name for path in written] == ["displacement.png", "normals.png", "confidence.png"]
    grey, normals, confidence = (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in written)
    heights = (grey.astype(np.float64) - ZERO) / STEPS_PER_MM
    np.testing.assert_allclose(heights, result.detail.displacement, rtol=0.0, atol=HALF_A_STEP + 1e-6)
    np.testing.assert_array_equal(normals[..., ::-1], normal_map(result.detail, result.vertices, result.triangles))
    np.testing.assert_array_equal(confidence, result.detail.confidence)
    with pytest.raises(InvalidInputError, match="result: expected one with detail, got none"):
        write_relief_maps(tmp_path, plain(result))


@pytest.fixture(scope="module")
def folder(
    model: MorphableModel, result: facefit.FitResult, texture: Texture, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """All that there is of one face's detail, as the command writes it."""
    out = tmp_path_factory.mktemp("detail")
    face = Face(np.zeros((480, 640, 3), np.uint8), result, model, "a", texture=texture)
    names = write_exports(out, face, ("glb", "glb-detail", "detail"))
    assert names == [*FILES["glb"], *FILES["glb-detail"], *FILES["detail"]]
    (out / "coloured.glb").write_bytes(detail_glb_bytes(result, model))
    return out


def test_the_glb_carries_the_normal_map_and_tangents(folder: Path, result: facefit.FitResult) -> None:
    glb = Glb.read(folder / "mesh.glb")
    assert result.detail is not None and result.vertices is not None and result.triangles is not None
    assert "TANGENT" in glb.primitive["attributes"] and len(glb.primitive["targets"]) > 40
    (material,) = glb.document["materials"]
    image = glb.document["images"][glb.document["textures"][material["normalTexture"]["index"]]["source"]]
    view = glb.document["bufferViews"][image["bufferView"]]
    content = glb.binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
    with Image.open(io.BytesIO(content)) as picture:
        expected = normal_map(result.detail, result.vertices, result.triangles)
        np.testing.assert_array_equal(np.asarray(picture), expected)
    assert material["pbrMetallicRoughness"]["baseColorTexture"]["index"] != material["normalTexture"]["index"]


def test_without_detail_the_glb_is_as_before(
    model: MorphableModel, result: facefit.FitResult, texture: Texture, tmp_path: Path
) -> None:
    face = Face(np.zeros((4, 4, 3), np.uint8), plain(result), model, "a", texture=texture)
    assert write_exports(tmp_path, face, ("glb", "glb-detail", "detail")) == ["mesh.glb"]
    glb = Glb.read(tmp_path / "mesh.glb")
    assert "TANGENT" not in glb.primitive["attributes"] and "normalTexture" not in glb.document["materials"][0]
    write_glb(tmp_path / "b.glb", plain(result), model, texture.photographed, texture.uv)
    assert (tmp_path / "mesh.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()


def test_the_detailed_mesh_s_vertices_are_where_they_should_be(folder: Path, result: facefit.FitResult) -> None:
    glb, fine = Glb.read(folder / "mesh-detail.glb"), detailed_mesh(result)
    corners = glb.accessor(glb.primitive["indices"]).reshape(-1, 3)
    np.testing.assert_allclose(1000.0 * glb.attribute("POSITION")[corners], fine.vertices[fine.triangles], atol=1e-4)
    np.testing.assert_allclose(glb.attribute("NORMAL")[corners], fine.normals[fine.triangles], atol=1e-6)
    assert fine.uv is not None and result.triangles is not None
    places = fine.uv.coordinates[fine.uv.triangles] * [1.0, -1.0] + [0.0, 1.0]
    np.testing.assert_allclose(glb.attribute("TEXCOORD_0")[corners], places, atol=1e-6)
    assert "targets" not in glb.primitive or not glb.primitive["targets"]
    assert "weights" not in glb.mesh and len(corners) > 3 * len(result.triangles)
    mesh = trimesh.load(folder / "mesh-detail.glb", process=False).to_geometry()
    assert len(mesh.faces) == len(corners) and mesh.visual.material.baseColorTexture is not None


def test_without_a_texture_its_vertices_carry_the_reflectance(
    folder: Path, model: MorphableModel, result: facefit.FitResult
) -> None:
    glb = Glb.read(folder / "coloured.glb")
    fine = detailed_mesh(result, result.reflectance)
    corners = glb.accessor(glb.primitive["indices"]).reshape(-1, 3)
    np.testing.assert_allclose(glb.attribute("COLOR_0")[corners], fine.values[fine.triangles], atol=1e-6)


def test_khronos_validator_finds_no_error_and_no_warning(folder: Path) -> None:
    assert_valid(*folder.glob("*.glb"))


def test_a_detailed_mesh_wants_detail_and_its_model(result: facefit.FitResult, model: MorphableModel) -> None:
    with pytest.raises(InvalidInputError, match="result: expected one with detail, got none"):
        detail_glb_bytes(plain(result), model)
    with pytest.raises(InvalidInputError, match="model: expected 4910 vertices, got 169"):
        detail_glb_bytes(result, small_model())


# --- Pictures ----------------------------------------------------------------------------------------------------


def test_given_normals_take_the_place_of_the_mesh_s_own(rng: np.random.Generator) -> None:
    """In both software renderers; a mesh's own, given, change nothing."""
    vertices = np.array([[-9.0, -9.0, 0.0], [9.0, -9.0, 0.0], [9.0, 9.0, 0.0], [-9.0, 9.0, 0.0]])
    triangles, light = np.array([[0, 1, 2], [0, 2, 3]]), 0.3 * rng.random((9, 3))
    camera = facefit.ScaledOrthographic(np.diag([1.0, -1.0, -1.0]), np.full(2, 15.0), 1.0)
    uv = UVMap(vertices[:, :2] / 18.0 + 0.5, triangles.astype(np.int32))
    painted = TexturedRenderer(uv, np.full((4, 4, 3), 188, np.uint8))
    own, tilted = np.tile([0.0, 0.0, 1.0], (4, 1)), np.tile([0.6, 0.0, 0.8], (4, 1))
    for renderer, albedo in ((NumbaRenderer(), CLAY), (painted, srgb_to_linear(np.full(3, 188, np.uint8)))):
        draw = partial(renderer.draw, camera, vertices, triangles, 31, 31, lighting=light)
        np.testing.assert_array_equal(draw(normals=own), draw())
        expected = linear_to_srgb(shade(np.array([[0.6, 0.0, -0.8]]), albedo, light))[0]
        np.testing.assert_allclose(draw(normals=tilted)[15, 15, :3] / 255.0, np.clip(expected, 0.0, 1.0), atol=0.004)
        with pytest.raises(InvalidInputError, match=r"normals: expected shape \(4, 3\), got \(3, 3\)"):
            draw(normals=np.zeros((3, 3)))


def test_render_draws_the_detail_where_there_is_any(result: facefit.FitResult) -> None:
    size: dict[str, Any] = {"height": SIDE[0], "width": SIDE[1], "renderer": "numba"}
    fine = detailed_mesh(result, result.reflectance)
    assert result.camera is not None
    mesh, look = (fine.vertices, fine.triangles), {"lighting": result.lighting, "normals": fine.normals}
    drawn = facefit.render(result, **size)
    expected = NumbaRenderer().draw(result.camera, *mesh, *SIDE, **look)
    assert np.abs(drawn.astype(int) - expected).max() <= 1
    np.testing.assert_array_equal(facefit.render(result, detail=False, **size), facefit.render(plain(result), **size))
    assert psnr(drawn, facefit.render(plain(result), **size)) < 35.0
    coloured = facefit.render(result, colours=result.reflectance, **size)
    expected = NumbaRenderer().draw(result.camera, *mesh, *SIDE, colours=fine.values, **look)
    assert np.abs(coloured.astype(int) - expected).max() <= 1
    with pytest.raises(InvalidInputError, match=r"colours: expected shape \(4910, 3\), got \(3, 3\)"):
        facefit.render(result, colours=np.zeros((3, 3)), **size)


def test_a_wire_mesh_is_the_model_s(gl: GLRenderer, result: facefit.FitResult) -> None:
    size: dict[str, Any] = {"height": SIDE[0], "width": SIDE[1], "renderer": gl, "shading": "wire"}
    np.testing.assert_array_equal(facefit.render(result, **size), facefit.render(plain(result), **size))
    phong = {**size, "shading": "phong"}
    assert psnr(facefit.render(result, **phong), facefit.render(plain(result), **phong)) < 40.0


def test_a_textured_renderer_draws_a_result_with_detail(result: facefit.FitResult, texture: Texture) -> None:
    size: dict[str, Any] = {"height": SIDE[0], "width": SIDE[1], "lighting": AMBIENT}
    renderer = TexturedRenderer(texture.uv, texture.albedo)
    one = facefit.render(result, renderer=renderer, **size)
    other = facefit.render(plain(result), renderer=renderer, **size)
    assert psnr(one, other) > 30.0, "under light from everywhere heights are hardly seen"
    assert len(renderer.uv.triangles) == len(texture.uv.triangles), "the caller's is left as it is"


def test_pictures_by_the_panels_show_it(model: MorphableModel, result: facefit.FitResult) -> None:
    photo, renderer = np.full((*SIDE, 3), 90, np.uint8), NumbaRenderer()
    assert result.camera is not None
    points = result.landmarks_fitted
    with_points = replace(result, landmarks=points, landmark_sigma=np.full(68, 0.02))
    window = Window.around(result.camera)
    panels = draw_panels(photo, with_points, model, renderer, window)
    smooth = draw_panels(photo, plain(with_points), model, renderer, window)
    assert list(panels) == list(smooth)
    alike = {name: psnr(panels[name], smooth[name]) for name in panels}
    assert {name for name in alike if alike[name] < np.inf} == {"geometry", "rerendering", "residual"}, alike
    assert all(alike[name] < 46.0 for name in ("geometry", "rerendering", "residual")), alike
    overlay = draw_overlay(photo, with_points, model, renderer)
    bare = draw_overlay(photo, plain(with_points), model, renderer)
    turned = (slice(None), slice(-400, None))
    assert overlay.shape == bare.shape and psnr(overlay[turned], bare[turned]) < 40.0


def test_other_light_and_other_views_show_it(
    model: MorphableModel, result: facefit.FitResult, texture: Texture
) -> None:
    photo = np.full((*SIDE, 3), 90, np.uint8)
    for carried in (texture, None):
        rough = relit(result, model, photo, "left", texture=carried)
        smooth = relit(plain(result), model, photo, "left", texture=carried)
        assert rough.shape == photo.shape and 20.0 < psnr(rough, smooth) < 44.0
        away = novel_view(result, model, 30.0, lighting=named_light("right"), texture=carried, side=96)
        flat = novel_view(plain(result), model, 30.0, lighting=named_light("right"), texture=carried, side=96)
        assert 15.0 < psnr(away, flat) < 45.0
    frames = list(turntable(result, model, texture=texture, options=Turntable(64, 5.0, 0.4, 0.4)))
    assert len(frames) == 4 and frames[0].shape == (64, 64, 3)
    expected = novel_view(result, model, lighting=named_light("left"), texture=texture, side=64)
    assert np.abs(frames[0].astype(int) - np.where(expected[..., 3:] == 255, expected[..., :3], frames[0])).max() <= 1


def test_a_texture_in_another_layout_is_drawn_in_its_own(
    model: MorphableModel, result: facefit.FitResult, texture: Texture
) -> None:
    """Texture and coordinates turned over together are the same picture."""
    uv = UVMap(1.0 - texture.uv.coordinates, texture.uv.triangles)
    turned = replace(texture, albedo=np.ascontiguousarray(texture.albedo[::-1, ::-1]), uv=uv)
    look: dict[str, Any] = {"lighting": named_light("left"), "side": 96}
    one = novel_view(result, model, texture=texture, **look)
    assert psnr(one, novel_view(result, model, texture=turned, **look)) > 45.0


# --- The command -------------------------------------------------------------------------------------------------


def test_a_photo_becomes_detail(tmp_path: Path) -> None:
    done = run(ASTRONAUT, "-o", tmp_path, "--formats", "npz,glb,glb-detail,detail", "--detail-size", "100")
    assert done.status == 0 and done.err == ""
    folder = tmp_path / "astronaut"
    expected = {name for kind in ("npz", "glb", "glb-detail", "detail") for name in FILES[kind]}
    assert files(folder) == expected | {"summary.json"}
    result, told = facefit.load_result(folder / "fit.npz"), summary(folder)
    assert result.detail is not None and result.detail.size == 100
    assert told["detail"]["texels"] == 100 and -5.0 < told["detail"]["lowest_mm"] < told["detail"]["highest_mm"] < 5.0
    assert [stage["name"] for stage in told["stages"]] == ["landmark", "photometric", "detail"]
    assert told["seconds"]["detail"] > 0.0 and "detail " in done.out.split("time")[-1]
    assert f"heights from {told['detail']['lowest_mm']:+.1f} to {told['detail']['highest_mm']:+.1f} mm" in done.out
    grey = cv2.imread(str(folder / "detail" / "displacement.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_allclose((grey - float(ZERO)) / STEPS_PER_MM, result.detail.displacement, atol=HALF_A_STEP + 1e-6)
    glb, fine = Glb.read(folder / "mesh-detail.glb"), detailed_mesh(result)
    assert len(glb.accessor(glb.primitive["indices"])) == fine.triangles.size
    assert "TANGENT" in Glb.read(folder / "mesh.glb").primitive["attributes"]
    # A later run without the stage leaves nothing of it behind.
    assert run(ASTRONAUT, "-o", tmp_path, "--formats", "npz", "--stages", "landmark").status == 0
    assert files(folder) == {"fit.npz", "summary.json"} and not (folder / "detail").exists()


def test_without_the_stage_it_is_as_before(tmp_path: Path) -> None:
    done = run(ASTRONAUT, "-o", tmp_path, "--stages", "landmark,photometric")
    assert done.status == 0 and "\ndetail" not in done.out
    folder = tmp_path / "astronaut"
    assert files(folder) == ALL_FILES and summary(folder)["detail"] is None
    assert facefit.load_result(folder / "fit.npz").detail is None
    assert "TANGENT" not in Glb.read(folder / "mesh.glb").primitive["attributes"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--formats", "npz,glb-detail"), "--formats glb-detail"),
        (("--formats", "detail"), "--formats detail"),
        (("--detail-size", "128"), "--detail-size"),
    ],
)
def test_what_only_the_stage_can_give_is_refused_without_it(
    tmp_path: Path, arguments: tuple[str, str], named: str
) -> None:
    done = run(ASTRONAUT, "-o", tmp_path, "--stages", "landmark,photometric", *arguments)
    assert done.status == 2 and files(tmp_path) == set()
    expected = f"facefit: {named}: expected --stages landmark,photometric,detail, got landmark,photometric"
    assert " ".join(done.err.split()) == expected


@pytest.mark.parametrize("size", ["63", "1025", "many"])
def test_an_impossible_size_is_refused(tmp_path: Path, size: str) -> None:
    done = run(ASTRONAUT, "-o", tmp_path, "--detail-size", size)
    assert done.status == 2 and "--detail-size" in done.err and files(tmp_path) == set()


def test_a_model_without_an_atlas_and_nothing_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Detail is left out in one line, as textures are, and everything else is written."""
    monkeypatch.setattr("facefit.models.uv_atlas.has_own_atlas", lambda model: False)
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    done = run(ASTRONAUT, "-o", tmp_path, "--formats", "npz,glb,glb-detail")
    assert done.status == 0
    assert done.err == (
        "facefit: model 'default' has no texture coordinates; pip install xatlas for textures and detail\n"
    )
    assert files(tmp_path / "astronaut") == {"fit.npz", "mesh.glb", "summary.json"}
    assert [stage["name"] for stage in summary(tmp_path / "astronaut")["stages"]] == ["landmark", "photometric"]


def test_a_face_too_small_for_detail_is_fitted_and_said(tmp_path: Path, model: MorphableModel) -> None:
    scene = fitted(model, camera=facefit.ScaledOrthographic(np.diag([1.0, -1.0, -1.0]), np.full(2, 30.0), 0.02))
    Image.fromarray(np.full((60, 60, 3), 120, np.uint8)).save(tmp_path / "small.png")
    assert scene.landmarks_fitted is not None
    np.save(tmp_path / "points.npy", scene.landmarks_fitted)
    formats = ("--formats", "npz,png,glb-detail,detail")
    done = run(tmp_path / "small.png", "--landmarks", tmp_path / "points.npy", "-o", tmp_path / "out", *formats)
    assert done.status == 0
    assert files(tmp_path / "out" / "small") == {"fit.npz", "overlay.png", "summary.json"}
    assert "detail   none: too little of the face is seen" in done.out
