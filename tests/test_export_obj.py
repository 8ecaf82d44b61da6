"""The OBJ writer, read back by another program."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from export_scenes import fitted
from PIL import Image
from small_model import small_model

import facefit
from facefit.apps.evaluate.meshes import read_mesh
from facefit.apps.export.obj import write_obj
from facefit.models.errors import InvalidInputError, OutputError
from facefit.models.morphable_model import UVMap

TETRAHEDRON = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)


@pytest.fixture
def vertices(rng: np.random.Generator) -> np.ndarray:
    return np.vstack([np.zeros(3), np.diag([120.0, 90.0, 60.0])]) + rng.normal(size=(4, 3))


@pytest.fixture
def texture(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (16, 24, 3), dtype=np.uint8)


def test_trimesh_reads_the_same_mesh(tmp_path: Path, vertices: np.ndarray) -> None:
    assert write_obj(tmp_path / "mesh.obj", vertices, TETRAHEDRON, "first\nsecond") == (tmp_path / "mesh.obj",)
    mesh = trimesh.load(tmp_path / "mesh.obj", process=False)
    np.testing.assert_allclose(mesh.vertices, vertices, rtol=0.0, atol=1e-5)
    np.testing.assert_array_equal(mesh.faces, TETRAHEDRON)
    assert mesh.is_watertight
    assert mesh.volume > 0.0, "triangles run counter-clockwise seen from outside"
    outward = ((mesh.vertex_normals * (vertices - vertices.mean(0))).sum(1) > 0.0).all()
    assert outward
    expected = trimesh.Trimesh(vertices, TETRAHEDRON, process=False)
    assert abs(expected.volume - mesh.volume) < 1e-3 * expected.volume
    assert (tmp_path / "mesh.obj").read_text().startswith("# first\n# second\nv ")


def test_our_own_reader_agrees(tmp_path: Path, vertices: np.ndarray) -> None:
    write_obj(tmp_path / "mesh.obj", vertices, TETRAHEDRON)
    points, faces = read_mesh(tmp_path / "mesh.obj")
    np.testing.assert_allclose(points, vertices, rtol=0.0, atol=1e-5)
    np.testing.assert_array_equal(faces, TETRAHEDRON)


def test_the_texture_comes_with_its_coordinates(tmp_path: Path, texture: np.ndarray) -> None:
    """On the default model, whose map has seams: corner by corner, position and coordinate are those that went in."""
    model = facefit.load_model("default")
    assert model.uv is not None
    result = fitted(model)
    assert result.vertices is not None
    files = write_obj(tmp_path, result.vertices, model.triangles, uv=model.uv, texture=texture)
    assert [file.name for file in files] == ["mesh.obj", "mesh.mtl", "texture.png"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["mesh.mtl", "mesh.obj", "texture.png"]
    mesh = trimesh.load(tmp_path / "mesh.obj", process=False)
    corners, expected = mesh.vertices[mesh.faces], result.vertices[model.triangles]
    # Faces may come back in another order, and so do doubled vertices: sorted by what a corner is.
    order, wanted = (np.lexsort(np.round(c.reshape(len(c), -1), 3).T) for c in (corners, expected))
    np.testing.assert_allclose(corners[order], expected[wanted], rtol=0.0, atol=1e-4)
    read = mesh.visual.uv[mesh.faces][order]
    np.testing.assert_allclose(read, model.uv.coordinates[model.uv.triangles][wanted], rtol=0.0, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(mesh.visual.material.image.convert("RGB")), texture)


def test_the_first_row_of_the_texture_is_v_1(tmp_path: Path) -> None:
    """Row 0 goes into the file as row 0; a reader that has v up finds it at v = 1, as UVMap does."""
    model = small_model()
    rows = np.zeros((8, 8, 3), np.uint8)
    rows[0] = 200
    write_obj(tmp_path, model.mean, model.triangles, uv=model.uv, texture=rows)
    with Image.open(tmp_path / "texture.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), rows)
    mesh = trimesh.load(tmp_path / "mesh.obj", process=False)
    highest = mesh.visual.uv[:, 1] == 1.0
    colours = mesh.visual.to_color().vertex_colors[:, 0]
    assert highest.any() and (colours[highest] == 200).all() and (colours[mesh.visual.uv[:, 1] < 0.8] == 0).all()


def test_coordinates_without_a_texture_need_no_material(tmp_path: Path) -> None:
    model = small_model()
    assert write_obj(tmp_path / "a.obj", model.mean, model.triangles, uv=model.uv) == (tmp_path / "a.obj",)
    text = (tmp_path / "a.obj").read_text()
    assert "vt " in text and "mtllib" not in text


@pytest.mark.parametrize("wrong", [np.zeros((4, 2)), np.full((4, 3), np.nan), np.zeros((3, 3))])
def test_a_malformed_mesh_leaves_no_file(tmp_path: Path, wrong: np.ndarray) -> None:
    with pytest.raises(InvalidInputError, match="expected"):
        write_obj(tmp_path / "mesh.obj", wrong, TETRAHEDRON)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"uv": None}, "uv: expected the map"),
        ({"uv": UVMap(np.zeros((4, 2)), TETRAHEDRON[:3])}, r"uv.triangles: expected shape \(4, 3\), got \(3, 3\)"),
        ({"uv": UVMap(np.zeros((3, 2)), TETRAHEDRON)}, "uv.triangles: expected indices from 0 to 2"),
        ({"uv": UVMap(np.full((4, 2), np.nan), TETRAHEDRON)}, "uv.coordinates: expected finite"),
        ({"texture": np.zeros((4, 4, 3))}, "texture: expected uint8 sRGB, got float64"),
        ({"texture": np.zeros((4, 4), np.uint8)}, "texture: expected shape"),
        ({"texture": np.zeros((0, 4, 3), np.uint8)}, "texture: expected at least one pixel"),
    ],
)
def test_a_malformed_texture_leaves_no_file(tmp_path: Path, vertices: np.ndarray, changes: dict, message: str) -> None:
    options = {"uv": UVMap(np.zeros((4, 2)), TETRAHEDRON), "texture": np.zeros((4, 4, 3), np.uint8)} | changes
    with pytest.raises(InvalidInputError, match=message):
        write_obj(tmp_path, vertices, TETRAHEDRON, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_an_output_error(tmp_path: Path, vertices: np.ndarray) -> None:
    for path in (tmp_path / "none" / "mesh.obj", tmp_path / "none"):
        with pytest.raises(OutputError, match="cannot be written"):
            write_obj(path, vertices, TETRAHEDRON)
