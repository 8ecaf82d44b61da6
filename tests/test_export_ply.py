"""The PLY writer, read back by another program."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from export_scenes import fitted
from small_model import small_model

from facefit.apps.export.ply import write_ply
from facefit.models.colour import linear_to_srgb, to_uint8
from facefit.models.errors import InvalidInputError, OutputError
from facefit.render.normals import vertex_normals


@pytest.mark.parametrize("coloured", [False, True])
def test_trimesh_reads_the_same_mesh(tmp_path: Path, coloured: bool) -> None:
    result = fitted(small_model())
    assert result.vertices is not None and result.triangles is not None
    reflectance = result.reflectance if coloured else None
    write_ply(tmp_path / "mesh.ply", result.vertices, result.triangles, reflectance, "größer\nof two lines")
    mesh = trimesh.load(tmp_path / "mesh.ply", process=False)
    np.testing.assert_allclose(mesh.vertices, result.vertices, rtol=0.0, atol=1e-4)
    np.testing.assert_array_equal(mesh.faces, result.triangles)
    data = mesh.metadata["_ply_raw"]["vertex"]["data"]
    normals = np.stack([data[name] for name in ("nx", "ny", "nz")], axis=-1).reshape(-1, 3)
    np.testing.assert_allclose(normals, vertex_normals(result.vertices, result.triangles), atol=1e-6)
    if coloured:
        np.testing.assert_array_equal(mesh.visual.vertex_colors[:, :3], to_uint8(linear_to_srgb(reflectance)))
    else:
        assert "red" not in data.dtype.names
    assert b"\ncomment gr??er\ncomment of two lines\n" in (tmp_path / "mesh.ply").read_bytes()


def test_wrong_arguments_leave_no_file(tmp_path: Path) -> None:
    model = small_model()
    for vertices, colours in ((np.full((169, 3), np.inf), None), (model.mean, np.zeros((5, 3)))):
        with pytest.raises(InvalidInputError, match="expected"):
            write_ply(tmp_path / "mesh.ply", vertices, model.triangles, colours)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="cannot be written"):
        write_ply(tmp_path / "none" / "mesh.ply", model.mean, model.triangles)
