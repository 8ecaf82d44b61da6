"""The OBJ writer, read back by another program."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from facefit.apps.evaluate.meshes import read_mesh
from facefit.apps.fit.obj import write_obj
from facefit.models.errors import InvalidInputError, OutputError

TETRAHEDRON = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)


@pytest.fixture
def vertices(rng: np.random.Generator) -> np.ndarray:
    return np.vstack([np.zeros(3), np.diag([120.0, 90.0, 60.0])]) + rng.normal(size=(4, 3))


def test_trimesh_reads_the_same_mesh(tmp_path: Path, vertices: np.ndarray) -> None:
    write_obj(tmp_path / "mesh.obj", vertices, TETRAHEDRON, "first\nsecond")
    mesh = trimesh.load(tmp_path / "mesh.obj", process=False)
    np.testing.assert_allclose(mesh.vertices, vertices, rtol=0.0, atol=1e-4)
    np.testing.assert_array_equal(mesh.faces, TETRAHEDRON)
    assert mesh.is_watertight
    assert mesh.volume > 0.0, "triangles run counter-clockwise seen from outside"
    expected = trimesh.Trimesh(vertices, TETRAHEDRON, process=False)
    outward = ((mesh.vertex_normals * (vertices - vertices.mean(0))).sum(1) > 0.0).all()
    assert outward
    assert abs(expected.volume - mesh.volume) < 1e-3 * expected.volume
    assert (tmp_path / "mesh.obj").read_text().startswith("# first\n# second\nv ")


def test_our_own_reader_agrees(tmp_path: Path, vertices: np.ndarray) -> None:
    write_obj(tmp_path / "mesh.obj", vertices, TETRAHEDRON)
    points, faces = read_mesh(tmp_path / "mesh.obj")
    np.testing.assert_allclose(points, vertices, rtol=0.0, atol=1e-4)
    np.testing.assert_array_equal(faces, TETRAHEDRON)


@pytest.mark.parametrize("wrong", [np.zeros((4, 2)), np.full((4, 3), np.nan), np.zeros((3, 3))])
def test_a_malformed_mesh_leaves_no_file(tmp_path: Path, wrong: np.ndarray) -> None:
    with pytest.raises(InvalidInputError, match="expected"):
        write_obj(tmp_path / "mesh.obj", wrong, TETRAHEDRON)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_an_output_error(tmp_path: Path, vertices: np.ndarray) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_obj(tmp_path / "none" / "mesh.obj", vertices, TETRAHEDRON)
