"""Read 68 landmarks from a file: iBUG's text format (.pts), JSON (.json) or NumPy (.npy).

    .pts    version: 1
            n_points: 68
            {
            x y          one point per line
            }
    .json   [[x, y], ...]   or   {"landmarks": [[x, y], ...], "origin": 0 or 1}
    .npy    (68, 2) or (2, 68), any real type

Files disagree on whether the first pixel's centre is (0, 0) or (1, 1) (300-W's own files: 1). The caller says which;
a JSON object can say it itself. The points returned are always 0-based.

A NaN (in JSON also null) is data, not a malformed file: it is returned as NaN, and it is for the fit to report it.
"""

import io
import json
import tokenize
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models.arrays import checked_array
from ..models.errors import InvalidInputError, LandmarkError
from .landmarks import COUNT

Array = NDArray[np.float64]

MAX_BYTES = 1 << 20  # 68 points take a few kilobytes; anything near this is another kind of file


def read_landmarks(path: str | Path, origin: int | None = None) -> Array:
    """Return the points (68, 2) of a .pts, .json or .npy file, px, with (0, 0) the centre of the first pixel.

    `origin` is the coordinate that the file gives the first pixel's centre, 0 or 1; None means what the file says of
    itself, else 0. Raises LandmarkError for a file that is missing, malformed or holds another number of points,
    InvalidInputError for another origin.
    """
    if origin not in (None, 0, 1):
        raise InvalidInputError(f"origin: expected 0 or 1, got {origin!r}")
    path = Path(path)
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise LandmarkError(f"{path}: expected a .pts, .json or .npy file, got {path.suffix or 'no suffix'!r}")
    try:
        values, own_origin = read(_content(path))
        points = checked_array("landmarks", values, (COUNT, 2), finite=False, error=LandmarkError)
    except (LandmarkError, UnicodeDecodeError, OverflowError) as problem:
        raise LandmarkError(f"{path}: {problem}") from None
    return points - float(own_origin if origin is None else origin)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the name
        raise LandmarkError(f"expected a readable file, got {getattr(problem, 'strerror', None) or problem}") from None
    if len(content) > MAX_BYTES:
        raise LandmarkError(f"expected a landmark file of at most {MAX_BYTES} bytes, got a larger one")
    return content


def _read_pts(content: bytes) -> tuple[Any, int]:
    head, opening, body = content.decode("utf-8-sig").partition("{")
    body, closing, rest = body.partition("}")
    if not (opening and closing) or rest.strip():
        raise LandmarkError("expected a header and then the points between { and }, got another layout")
    rows = [line.split() for line in body.splitlines() if line.strip()]
    _check_count(head, len(rows))
    for row in rows:
        if len(row) != 2:
            raise LandmarkError(f"expected two numbers per line, got {' '.join(row)!r}")
    try:
        points = [[float(x), float(y)] for x, y in rows]
    except ValueError as problem:
        raise LandmarkError(f"expected numbers, got: {problem}") from None
    return np.array(points).reshape(-1, 2), 0


def _check_count(head: str, count: int) -> None:
    """Refuse a header that announces another number of points than the file holds."""
    for line in head.splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() == "n_points" and value.strip() != str(count):
            raise LandmarkError(f"expected the announced {value.strip()} points, got {count}")


def _read_json(content: bytes) -> tuple[Any, int]:
    try:
        document = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as problem:
        raise LandmarkError(f"expected JSON, got: {problem}") from None
    if not isinstance(document, dict):
        return document, 0
    if "landmarks" not in document:
        raise LandmarkError('expected an object with "landmarks", got one without')
    origin = document.get("origin", 0)
    if origin not in (0, 1):
        raise LandmarkError(f'expected "origin" 0 or 1, got {origin!r}')
    return document["landmarks"], int(origin)


def _read_npy(content: bytes) -> tuple[Any, int]:
    try:
        array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError, TypeError, MemoryError, tokenize.TokenError) as problem:
        raise LandmarkError(f"expected a NumPy array file without pickles, got: {problem}") from None
    if array.dtype.kind not in "iuf":
        raise LandmarkError(f"expected an array of real numbers, got type {array.dtype}")
    return (array.T if array.shape == (2, COUNT) else array), 0


_READERS = {".pts": _read_pts, ".json": _read_json, ".npy": _read_npy}
