"""PLY, binary and little-endian: vertices with normals and colours, triangles.

    element vertex N    float x y z         mm, model frame (x to the subject's left, y up, z out of the face)
                        float nx ny nz      unit normal
                        uchar red green blue    sRGB, only where there are colours
    element face T      list uchar int vertex_indices    counter-clockwise seen from outside, counting from 0

Positions are float32: exact to 8e-6 mm within 128 mm of the origin.

Source: G. Turk, "The PLY Polygon File Format", Stanford University 1994.
"""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ...models.arrays import checked_array
from ...models.colour import linear_to_srgb, to_uint8
from ...models.files import atomic_write
from ...render.mesh import checked_mesh
from ...render.normals import vertex_normals


def write_ply(
    path: str | Path,
    vertices: ArrayLike,
    triangles: ArrayLike,
    reflectance: ArrayLike | None = None,
    comment: str = "",
) -> None:
    """Write a mesh, vertices (N, 3) mm and triangles (T, 3), and its colours: `reflectance` (N, 3), linear, 0-1.

    `comment` stands in the header. Raises InvalidInputError for a malformed mesh or colours, OutputError where the
    file cannot be written.
    """
    points, faces = checked_mesh(vertices, triangles)
    fields = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")]
    if reflectance is not None:
        colours = to_uint8(linear_to_srgb(checked_array("reflectance", reflectance, points.shape)))
        fields += [(name, "u1") for name in ("red", "green", "blue")]
    rows = np.empty(len(points), dtype=fields)
    columns = [*points.T, *vertex_normals(points, faces).T, *(colours.T if reflectance is not None else ())]
    for (name, _), column in zip(fields, columns, strict=True):
        rows[name] = column
    corners = np.empty(len(faces), dtype=[("count", "u1"), ("indices", "<i4", 3)])
    corners["count"], corners["indices"] = 3, faces
    with atomic_write(path) as file:
        file.write(_header(comment, fields, len(points), len(faces)))
        file.write(rows.tobytes())
        file.write(corners.tobytes())


def _header(comment: str, fields: list[tuple[str, str]], vertices: int, faces: int) -> bytes:
    """Return the header; what is not ASCII in the comment becomes a question mark, as the format wants."""
    types = {"<f4": "float", "u1": "uchar"}
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        *(f"comment {line}" for line in comment.splitlines()),
        f"element vertex {vertices}",
        *(f"property {types[kind]} {name}" for name, kind in fields),
        f"element face {faces}",
        "property list uchar int vertex_indices",
        "end_header\n",
    ]
    return "\n".join(lines).encode("ascii", errors="replace")
