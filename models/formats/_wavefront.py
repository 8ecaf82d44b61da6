"""Rows of Wavefront OBJ files, as exporters of meshes in correspondence write them: `v` and `vt` in one block each.

    v x y z          a vertex
    vt u v           a texture coordinate
    f v/vt v/vt ...  a face of three or four corners; indices count from 1

Everything else is skipped. A face model is hundreds of such files with the same faces, so positions are read by
NumPy's own parser and faces once.
"""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError

_FACE = re.compile(rb"f(?:\s+\d+/\d+){3,4}\s*")


def read_rows(
    content: bytes, keyword: str, columns: int, *, expected: int | None = None, first: int | None = None
) -> NDArray[np.float64]:
    """Return the numbers behind `keyword`, (rows, columns): all rows, or the `first` ones only.

    ModelError, naming the keyword, where the file has none, has others than `expected`, or not in one block.
    """
    mark = f"\n{keyword} ".encode()
    start, last = content.find(mark), content.rfind(mark)
    end = content.find(b"\n", last + 1)
    block = content[start : len(content) if end < 0 else end] if start >= 0 else b""
    rows = block.count(mark)
    if rows == 0 or rows != (rows if expected is None else expected):
        raise ModelError(f"{keyword}: expected {expected or 'at least 1'} rows, got {rows}")
    if block.count(b"\n") != rows:
        raise ModelError(f"{keyword}: expected {rows} rows in one block, got other rows among them")
    return _numbers(keyword, block[1:], np.float64, columns, rows if first is None else min(first, rows))


def read_faces(content: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each face's corners as indices, from 0, of vertices (F, 4) and of texture coordinates (F, 4).

    A triangle's fourth corner is -1. ModelError for faces of other sizes or without texture coordinates.
    """
    faces = [line for line in content.splitlines() if line.startswith(b"f ")]
    for face in faces:
        if not _FACE.fullmatch(face):
            raise ModelError(f"f: expected three or four corners v/vt, got {face[:80]!r}")
    corners = np.full((len(faces), 4, 2), -1, dtype=np.int64)
    sizes = np.array([face.count(b"/") for face in faces], dtype=np.intp)
    for size in (3, 4):
        chosen = np.flatnonzero(sizes == size)
        text = b"\n".join(faces[k] for k in chosen).replace(b"/", b" ")
        if len(chosen):
            corners[chosen, :size] = _numbers("f", text, np.int64, 2 * size, len(chosen)).reshape(-1, size, 2) - 1
            if corners[chosen, :size].min() < 0:
                raise ModelError("f: expected indices counted from 1, got 0")
    return corners[..., 0], corners[..., 1]


def _numbers(keyword: str, text: bytes, dtype: Any, columns: int, rows: int) -> NDArray[Any]:
    """Return the numbers (rows, columns) of the first lines of `text`, each behind a word; ModelError for others."""
    lines = text.replace(b"\r", b" ").decode("latin-1").split("\n", rows)[:rows]  # Windows ends lines with "\r\n"
    try:
        table = np.loadtxt(lines, dtype, usecols=range(1, columns + 1), comments=None, ndmin=2)
    except (ValueError, IndexError, OverflowError) as problem:
        raise ModelError(f"{keyword}: expected {columns} numbers a row, got others ({problem})") from None
    if table.shape != (rows, columns) or not np.isfinite(table).all():
        raise ModelError(f"{keyword}: expected {rows} rows of finite numbers, got others")
    return table
