"""Reading a surface from a file, to measure it: Wavefront OBJ, or NumPy arrays."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...models.archives import read_arrays
from ...models.arrays import checked_array, checked_indices
from ...models.errors import InvalidInputError

Array = NDArray[np.float64]


def read_mesh(path: str | Path) -> tuple[Array, NDArray[np.int32]]:
    """Return vertices (N, 3), in the file's units, and triangles (T, 3) of a mesh; T is 0 for a cloud of points.

    `.obj`: `v` and `f` lines; polygons are cut into fans. `.npz`: `vertices` and, where present, `triangles`, as
    fit.npz has them. `.npy`: vertices alone. Raises InvalidInputError for a file that is missing or malformed.
    """
    path = Path(path)
    read = {".obj": _read_obj, ".npz": _read_npz, ".npy": _read_npy}.get(path.suffix.lower())
    if read is None:
        raise InvalidInputError(f"{path}: expected a mesh in an .obj, .npz or .npy file, got {path.suffix!r}")
    try:
        vertices, triangles = read(path)
        points = checked_array("vertices", vertices, (None, 3))
        corners = checked_indices("triangles", triangles, (None, 3), len(points))
    except InvalidInputError as problem:
        sentence = str(problem)
        raise InvalidInputError(sentence if sentence.startswith(str(path)) else f"{path}: {sentence}") from None
    except KeyError as missing:
        raise InvalidInputError(f"{path}: expected an array {missing}, found none") from None
    except OSError as problem:
        raise InvalidInputError(f"{path}: cannot be read ({problem.strerror or problem})") from None
    except (ValueError, IndexError, EOFError, TypeError) as problem:
        raise InvalidInputError(f"{path}: expected a mesh, got a malformed file ({problem})") from None
    if not len(points):
        raise InvalidInputError(f"{path}: expected vertices, found none")
    return points, corners


def _read_obj(path: Path) -> tuple[Any, Any]:
    vertices: list[list[float]] = []
    triangles: list[tuple[int, int, int]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        match line.split():
            case ["v", *numbers]:
                vertices.append([float(number) for number in numbers[:3]])  # colours may follow
            case ["f", *corners]:
                face = [_obj_index(corner, len(vertices)) for corner in corners]
                triangles += [(face[0], b, c) for b, c in pairwise(face[1:])]
    return vertices or np.zeros((0, 3)), triangles or np.zeros((0, 3))


def _obj_index(corner: str, count: int) -> int:
    """Return the vertex of one corner `v/vt/vn`; OBJ counts from 1, and negative numbers back from the last vertex."""
    number = int(corner.split("/")[0])
    return number - 1 if number > 0 else count + number


def _read_npz(path: Path) -> tuple[Any, Any]:
    arrays = read_arrays(path, InvalidInputError)
    return arrays["vertices"], arrays.get("triangles", np.zeros((0, 3)))


def _read_npy(path: Path) -> tuple[Any, Any]:
    with path.open("rb") as file:
        return np.load(file, allow_pickle=False), np.zeros((0, 3))
