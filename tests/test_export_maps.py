"""Position map, depth, normals and PNCC against the mesh, point by point, and read back from their files."""

from pathlib import Path

import numpy as np
import pytest
from export_scenes import HEIGHT, ORTHOGRAPHIC, PERSPECTIVE, WIDTH, fitted
from PIL import Image
from scenes import toy_model
from small_model import SIDE, small_model

import facefit
from facefit.apps.export.maps import encoded_depth, image_maps, position_map, write_maps
from facefit.fitting.results import FitResult
from facefit.fitting.status import FitStatus
from facefit.models.errors import InvalidInputError, OutputError
from facefit.models.morphable_model import MorphableModel, UVMap
from facefit.render.cameras import FRONTAL, Camera, Perspective, ScaledOrthographic
from facefit.render.rasterizer import rasterize

CAMERAS = pytest.mark.parametrize("camera", [ORTHOGRAPHIC, PERSPECTIVE], ids=["orthographic", "perspective"])


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return facefit.load_model("default")


@CAMERAS
def test_texels_of_vertices_hold_their_pixels(camera: Camera) -> None:
    """`small_model`'s map is a square grid of 13 x 13 vertices: in a map of 13 or 25 texels they lie on texels."""
    model = small_model()
    assert model.uv is not None
    result = fitted(model, camera)
    expected = camera.project(result.vertices).reshape(SIDE, SIDE, 3)[::-1]  # v up: the last row is the first
    for step in (1, 2):
        texels = position_map(result, model.uv, step * (SIDE - 1) + 1)
        assert texels.dtype == np.float32
        inner = texels[::step, ::step]
        np.testing.assert_allclose(inner[..., :2], expected[..., :2], atol=0.6, err_msg="1/256 texel of 9 px")
        per_mm = camera.scale if isinstance(camera, ScaledOrthographic) else camera.focal / expected[..., 2].mean()
        nearness = per_mm * (expected[..., 2].max() - expected[..., 2])
        np.testing.assert_allclose(inner[..., 2], nearness, atol=0.6)
    assert inner[..., 2].min() >= 0.0


def test_the_position_map_of_the_default_model(model: MorphableModel) -> None:
    result = fitted(model)
    assert model.uv is not None and result.vertices_image is not None
    texels = position_map(result, model.uv)
    assert texels.shape == (256, 256, 3)
    filled = texels.any(axis=2)
    assert 0.5 < filled.mean() < 1.0
    low, high = result.vertices_image[:, :2].min(axis=0), result.vertices_image[:, :2].max(axis=0)
    assert (texels[filled][:, :2] >= low - 1e-3).all() and (texels[filled][:, :2] <= high + 1e-3).all()
    # What PRNet's users do with it: a vertex's texel, rounded, holds the vertex's pixel to within a texel's width.
    rows = np.rint(255.0 * (1.0 - model.uv.coordinates[model.uv.triangles[:, 0], 1])).astype(int)
    columns = np.rint(255.0 * model.uv.coordinates[model.uv.triangles[:, 0], 0]).astype(int)
    there = filled[rows, columns]
    error = np.abs(texels[rows, columns, :2] - result.vertices_image[model.triangles[:, 0], :2])[there].max(axis=1)
    assert there.mean() > 0.8 and np.median(error) < 1.0


@CAMERAS
def test_depth_is_that_of_the_rasteriser(model: MorphableModel, camera: Camera) -> None:
    result = fitted(model, camera)
    assert result.vertices is not None
    maps = image_maps(result, model, (HEIGHT, WIDTH))
    seen = rasterize(camera, result.vertices, model.triangles, HEIGHT, WIDTH)
    assert maps.depth.shape == (HEIGHT, WIDTH) and maps.depth.dtype == np.float32
    np.testing.assert_array_equal(np.isfinite(maps.depth), seen.covered)
    np.testing.assert_allclose(maps.depth[seen.covered], seen.depth[seen.covered], rtol=1e-6, atol=1e-4)
    assert (maps.normals.any(axis=2) == seen.covered).all()
    assert not maps.pncc[~seen.covered].any()


def test_normals_of_a_ball() -> None:
    """A ball's normals are its places: red to the image's right, green up, blue towards the viewer."""
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=4, radius=50.0)
    camera = ScaledOrthographic(FRONTAL, np.array([100.0, 90.0]), 1.5)
    triangles = np.asarray(ball.faces, np.int32)
    model = MorphableModel("ball", "CC0", "", np.array(ball.vertices), np.zeros((0, len(ball.vertices), 3)), triangles)
    result = FitResult(FitStatus.CONVERGED, "", camera=camera, vertices=model.mean, triangles=triangles)
    maps = image_maps(result, model, (180, 200))
    y, x = np.mgrid[:180, :200]
    place = np.stack([(x - 100.0) / 75.0, (90.0 - y) / 75.0], axis=-1)
    inside = (place**2).sum(axis=-1) < 0.9
    z = np.sqrt(1.0 - (place[inside] ** 2).sum(axis=-1))
    expected = 127.5 * (np.c_[place[inside], z] + 1.0)
    assert np.abs(maps.normals[inside] - expected).max() < 2.5
    np.testing.assert_allclose(maps.depth[inside], -50.0 * z, atol=0.2)
    # The ball is its own mean: the code is the place, 0 to 255 over its diameter.
    assert np.abs(maps.pncc[inside] - 255.0 * (np.c_[place[inside], z] + 1.0) / 2.0).max() < 2.0


def test_pncc_names_the_same_point_of_every_face(model: MorphableModel) -> None:
    """A pixel's colour, read back as a place of the mean face, is the place that the rasteriser finds there."""
    result = fitted(model, seed=3)
    assert result.vertices is not None
    pncc = image_maps(result, model, (HEIGHT, WIDTH)).pncc
    seen = rasterize(ORTHOGRAPHIC, result.vertices, model.triangles, HEIGHT, WIDTH)
    corners = model.mean[model.triangles[seen.triangle[seen.covered]]]
    expected = np.einsum("pc,pcx->px", seen.barycentric[seen.covered], corners)
    low, high = model.mean.min(axis=0), model.mean.max(axis=0)
    read = low + pncc[seen.covered] / 255.0 * (high - low)
    assert (np.abs(read - expected) <= (high - low) / 510.0 + 1e-6).all()


def test_a_face_over_the_border_and_one_outside(model: MorphableModel) -> None:
    result = fitted(model)
    whole = image_maps(result, model, (HEIGHT, WIDTH))
    part = image_maps(fitted(model, ORTHOGRAPHIC.zoomed(1.0, np.array([-200.0, -150.0]))), model, (200, 300))
    np.testing.assert_array_equal(part.pncc, whole.pncc[150:350, 200:500])
    np.testing.assert_array_equal(part.normals, whole.normals[150:350, 200:500])
    np.testing.assert_array_equal(part.depth, whole.depth[150:350, 200:500])
    gone = image_maps(fitted(model, ORTHOGRAPHIC.zoomed(1.0, 5000.0)), model, (20, 30))
    assert np.isnan(gone.depth).all() and not gone.pncc.any() and not gone.normals.any()
    assert encoded_depth(gone.depth)


def test_the_files(tmp_path: Path, model: MorphableModel) -> None:
    result = fitted(model)
    files = write_maps(tmp_path, result, model, (HEIGHT, WIDTH))
    assert [f.name for f in files] == ["depth.png", "normals.png", "pncc.png", "position_map.npy"]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    maps = image_maps(result, model, (HEIGHT, WIDTH))
    for file, expected in ((files[1], maps.normals), (files[2], maps.pncc)):
        with Image.open(file) as picture:
            np.testing.assert_array_equal(np.asarray(picture), expected)
    with Image.open(files[0]) as picture:
        values, texts = np.asarray(picture).astype(np.float64), picture.text
    assert picture.mode == "I;16"
    depth = float(texts["offset"]) + float(texts["step"]) * (values - 1.0)
    seen = np.isfinite(maps.depth)
    np.testing.assert_array_equal(values > 0.0, seen)
    assert float(texts["step"]) == 0.01
    np.testing.assert_allclose(depth[seen], maps.depth[seen], rtol=0.0, atol=0.0051)
    assert model.uv is not None
    np.testing.assert_array_equal(np.load(files[3]), position_map(result, model.uv))


def test_a_depth_image_of_a_large_range_takes_larger_steps(tmp_path: Path) -> None:
    depth = np.array([[np.nan, -500.0, 2000.0]], np.float32)
    (tmp_path / "depth.png").write_bytes(encoded_depth(depth))
    with Image.open(tmp_path / "depth.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), [[0, 1, 65535]])
        assert float(picture.text["offset"]) == -500.0
        np.testing.assert_allclose(float(picture.text["step"]) * 65534, 2500.0)


def test_wrong_arguments(tmp_path: Path) -> None:
    model, toy = small_model(), toy_model()
    assert model.uv is not None
    with pytest.raises(InvalidInputError, match="got NO_FACE"):
        image_maps(FitResult(FitStatus.NO_FACE, "no face"), model, (HEIGHT, WIDTH))
    with pytest.raises(InvalidInputError, match="model: expected 40 vertices, got 169"):
        image_maps(fitted(toy), model, (HEIGHT, WIDTH))
    with pytest.raises(InvalidInputError, match=r"uv\.triangles: expected shape"):
        position_map(fitted(toy), model.uv)
    with pytest.raises(InvalidInputError, match="side: expected"):
        position_map(fitted(model), model.uv, 1)
    with pytest.raises(InvalidInputError, match="uv: expected a UVMap, got NoneType"):
        position_map(fitted(model), None)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"uv\.coordinates: expected finite"):
        position_map(fitted(model), UVMap(np.full((4, 2), np.inf), np.zeros((288, 3), np.int32)))
    behind = Perspective(FRONTAL, np.array([0.0, 0.0, 10.0]), 500.0, np.zeros(2))
    with pytest.raises(InvalidInputError, match="every vertex before the camera"):
        position_map(fitted(model, behind, vertices_image=None), model.uv)
    with pytest.raises(OutputError, match="cannot be written"):
        write_maps(tmp_path / "none", fitted(model), model, (HEIGHT, WIDTH))
