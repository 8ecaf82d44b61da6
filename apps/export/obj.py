"""Wavefront OBJ, the mesh format that everything reads: vertices, texture coordinates, smooth normals, triangles.

mesh.obj
    v  x y z                    mm, model frame (x to the subject's left, y up, z out of the face), 5 decimals
    vt u v                      0-1, origin at the texture's bottom left, as `UVMap` has it
    vn x y z                    unit normal of the vertex of the same number
    f  a/t/a b/u/b c/w/c        counter-clockwise seen from outside, counting from 1; a//a without a texture map
mesh.mtl                        one material: white, without highlight, `map_Kd texture.png`
texture.png                     sRGB; its first row is v = 1

A vertex on a seam of the texture has one `v` and several `vt`: the surface stays closed. The material comes with a
texture only. Files refer to each other by name, so that the folder can be moved; the mesh is written last.

Source: Alias|Wavefront, "Object Files (.obj)", Advanced Visualizer Manual, appendix B1.
"""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...models.errors import InvalidInputError
from ...models.files import atomic_write
from ...models.morphable_model import UVMap
from ...render.mesh import checked_mesh
from ...render.normals import vertex_normals
from ...render.tangents import checked_uv
from .checks import checked_texture, encoded_png

MESH, TEXTURE = "mesh.obj", "texture.png"
"""Names of the files in a folder; the material is named as the mesh."""

_MATERIAL = "skin"


def write_obj(
    path: str | Path,
    vertices: ArrayLike,
    triangles: ArrayLike,
    comment: str = "",
    *,
    uv: UVMap | None = None,
    texture: ArrayLike | None = None,
) -> tuple[Path, ...]:
    """Write a mesh, vertices (N, 3) mm and triangles (T, 3); return the files, the mesh first.

    `path` is an .obj file, or a folder for mesh.obj; the material and the texture stand beside it. `comment` stands at
    the top. `uv` holds texture coordinates of the same T triangles, `texture` (S, S', 3) uint8 sRGB is laid out by it.
    Raises InvalidInputError for a malformed mesh, map or texture, OutputError where it cannot be written.
    """
    points, faces = checked_mesh(vertices, triangles)
    if texture is not None and uv is None:
        raise InvalidInputError("uv: expected the map that the texture is laid out by, got None")
    table = None if uv is None else checked_uv(uv, len(faces))
    picture = None if texture is None else checked_texture("texture", texture)
    target = Path(path)
    named = target.suffix.lower() == ".obj" and not target.is_dir()
    mesh = target if named else target / MESH
    files = [mesh]
    header = [f"# {line}\n" for line in comment.splitlines()]
    if picture is not None:
        files += [mesh.with_suffix(".mtl"), mesh.with_name(TEXTURE)]
        header.append(f"mtllib {files[1].name}\n")
        _write(files[2], encoded_png(picture))
        _write(files[1], _material(files[2].name).encode())
    _write(mesh, "".join([*header, *_sections(points, faces, table, picture is not None)]).encode())
    return tuple(files)


def _sections(
    points: NDArray[np.float64],
    faces: NDArray[np.int32],
    table: tuple[NDArray[np.float64], NDArray[np.int32]] | None,
    material: bool,
) -> list[str]:
    """Return the text of vertices, texture coordinates (if any), normals and triangles."""
    numbers = faces + 1
    use = f"usemtl {_MATERIAL}\n" if material else ""
    vertices = _rows("v %.5f %.5f %.5f\n", points)
    normals = _rows("vn %.4f %.4f %.4f\n", vertex_normals(points, faces))
    if table is None:
        return [vertices, normals, use, _rows("f %d//%d %d//%d %d//%d\n", np.repeat(numbers, 2, axis=1))]
    corners = np.stack([numbers, table[1] + 1, numbers], axis=2)
    coordinates = _rows("vt %.6f %.6f\n", table[0])
    return [vertices, coordinates, normals, use, _rows("f %d/%d/%d %d/%d/%d %d/%d/%d\n", corners)]


def _material(texture: str) -> str:
    return f"newmtl {_MATERIAL}\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {texture}\n"


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path) as file:
        file.write(content)


def _rows(pattern: str, rows: NDArray[np.generic]) -> str:
    """Format every row of a table; one formatting operation for all is several times as fast as one for each."""
    return pattern * len(rows) % tuple(rows.ravel().tolist())
