"""Wavefront OBJ, the mesh format that everything reads: vertices, smooth normals, triangles.

v  x y z            mm, model frame (x to the subject's left, y up, z out of the face), 4 decimals
vn x y z            unit normal of the vertex of the same number
f  a//a b//b c//c   counter-clockwise seen from outside, counting from 1
"""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ...models.files import atomic_write
from ...render.mesh import checked_mesh
from ...render.normals import vertex_normals


def write_obj(path: str | Path, vertices: ArrayLike, triangles: ArrayLike, comment: str = "") -> None:
    """Write a mesh, vertices (N, 3) mm and triangles (T, 3), to `path`, whole or not at all.

    `comment` stands at the top. Raises InvalidInputError for a malformed mesh, OutputError where it cannot be written.
    """
    points, faces = checked_mesh(vertices, triangles)
    corners = np.repeat(faces + 1, 2, axis=1)
    text = "".join(
        [
            *(f"# {line}\n" for line in comment.splitlines()),
            _rows("v %.4f %.4f %.4f\n", points),
            _rows("vn %.4f %.4f %.4f\n", vertex_normals(points, faces)),
            _rows("f %d//%d %d//%d %d//%d\n", corners),
        ]
    )
    with atomic_write(path) as file:
        file.write(text.encode())


def _rows(pattern: str, rows: np.ndarray) -> str:
    """Format every row of a table; one formatting operation for all is several times as fast as one for each."""
    return pattern * len(rows) % tuple(rows.ravel().tolist())
