"""Landmarks beside a model file: what a file without them lacks, found by `facefit model landmarks`.

`FILE.landmarks.json` beside `FILE` (or beside a folder) holds

    {"facefit_landmarks": 1, "vertices": N, "triangles": T,
     "landmarks": {"triangles": [68 indices], "weights": [[3 numbers], ...]}, "landmarks_contour": ...}

with either map or both: triangles of the model as its reader gives them, barycentric weights of their corners. N and T
tell that it belongs to the model. The maps replace the model's own. A model that had no landmarks had no outer eye
corners to put its origin between; with them it is moved there.
"""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from .errors import ModelError
from .files import atomic_write
from .morphable_model import LandmarkEmbedding, MorphableModel

VERSION = 1
SUFFIX = ".landmarks.json"
MAPS = ("landmarks", "landmarks_contour")
MAX_BYTES = 2**20
_MARGIN = 1e-5  # by which rounding may take a weight beyond 0 and 1
_OUTER_EYE_CORNERS = [36, 45]  # of the iBUG landmarks


def sidecar_path(path: Path) -> Path:
    """Return where the landmarks of the model file or folder `path` lie."""
    return Path(os.path.abspath(path) + SUFFIX)  # `.` and `..` have no name of their own to append to


def write_sidecar(path: Path, model: MorphableModel, **maps: LandmarkEmbedding) -> None:
    """Write landmark maps, by their names in MAPS, of `model`; OutputError where the file cannot be written."""
    content: dict[str, Any] = {
        "facefit_landmarks": VERSION,
        "vertices": model.n_vertices,
        "triangles": len(model.triangles),
    }
    for name, embedding in maps.items():
        content[name] = {"triangles": embedding.triangles.tolist(), "weights": embedding.weights.tolist()}
    with atomic_write(path) as file:
        file.write(json.dumps(content).encode())


def with_sidecar(model: MorphableModel, path: Path) -> MorphableModel:
    """Return `model` with the landmarks of the file `path`; ModelError names what is wrong with it."""
    content = _content(path)
    own = {"facefit_landmarks": VERSION, "vertices": model.n_vertices, "triangles": len(model.triangles)}
    for name, expected in own.items():
        got = content.pop(name, None)
        if type(got) is not int or got != expected:
            shown = got if type(got) is int else "no whole number"
            raise ModelError(f"{path}: {name}: expected {expected}, got {shown}")
    if not content or not content.keys() <= set(MAPS):
        raise ModelError(f"{path}: expected {' or '.join(MAPS)}, got {'others' if content else 'neither'}")
    try:
        maps: dict[str, Any] = {name: _embedding(name, part) for name, part in content.items()}
        found = replace(model, **maps)
    except ModelError as problem:
        raise ModelError(f"{path}: {problem}") from None
    return found if model.landmarks is not None or found.landmarks is None else _moved_between_the_eyes(found)


def _content(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        content = json.loads(text) if len(text) <= MAX_BYTES else None
    except OSError as problem:
        raise ModelError(f"{path}: cannot be read ({problem.strerror or problem})") from None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ModelError(f"{path}: expected a JSON object of landmarks, got something else")
    return content


def _embedding(name: str, part: Any) -> LandmarkEmbedding:
    if not isinstance(part, dict) or part.keys() != {"triangles", "weights"}:
        raise ModelError(f"{name}: expected triangles and weights, got something else")
    triangles, weights = part["triangles"], part["weights"]
    if not _numeric(triangles, 1):
        raise ModelError(f"{name}.triangles: expected a list of numbers, got something else")
    if not _numeric(weights, 2) or any(not -_MARGIN <= weight <= 1.0 + _MARGIN for row in weights for weight in row):
        raise ModelError(f"{name}.weights: expected rows of numbers from 0 to 1, got something else")
    return LandmarkEmbedding(triangles, weights)


def _numeric(value: Any, axes: int) -> bool:
    """Tell whether lists, `axes` deep, hold numbers alone; an array of texts could be far larger than its file."""
    if axes == 0:
        return type(value) in (int, float)
    return isinstance(value, list) and all(_numeric(item, axes - 1) for item in value)


def _moved_between_the_eyes(model: MorphableModel) -> MorphableModel:
    """Return the model with its origin midway between the outer eye corners of its mean."""
    origin = model.landmark_positions(model.mean)[_OUTER_EYE_CORNERS].mean(axis=0)
    transform = model.source_transform.copy()
    transform[:3, 3] -= origin
    return replace(model, mean=model.mean - origin, source_transform=transform)
