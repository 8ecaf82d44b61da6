"""Landmarks beside a model file: what a file without them lacks, found by `facefit model landmarks`.

`FILE.landmarks.json` beside `FILE` (or beside a folder) holds

    {"facefit_landmarks": 1, "vertices": N, "triangles": T,
     "landmarks": {"triangles": [68 indices], "weights": [[3 numbers], ...]}, "landmarks_contour": ...}

with either map or both: triangles of the model as its reader gives them, barycentric weights of their corners. N and T
tell that it belongs to the model. The maps replace the model's own. A model that had no landmarks had no outer eye
corners to put its origin between; with them it is moved there.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .errors import ModelError
from .files import atomic_write
from .morphable_model import LandmarkEmbedding, MorphableModel

VERSION = 1
SUFFIX = ".landmarks.json"
MAPS = ("landmarks", "landmarks_contour")
MAX_BYTES = 2**20
_OUTER_EYE_CORNERS = [36, 45]  # of the iBUG landmarks


def sidecar_path(path: Path) -> Path:
    """Return where the landmarks of the model file or folder `path` lie."""
    return path.with_name(path.name + SUFFIX)


def write_sidecar(path: Path, model: MorphableModel, **maps: LandmarkEmbedding) -> None:
    """Write landmark maps, by their names in MAPS, of `model`; OutputError where the file cannot be written."""
    content: dict[str, Any] = {
        "facefit_landmarks": VERSION,
        "vertices": model.n_vertices,
        "triangles": len(model.triangles),
    }
    for name, embedding in maps.items():
        weights = np.round(np.asarray(embedding.weights, dtype=np.float64), 6)
        content[name] = {"triangles": embedding.triangles.tolist(), "weights": weights.tolist()}
    with atomic_write(path) as file:
        file.write(json.dumps(content).encode())


def with_sidecar(model: MorphableModel, path: Path) -> MorphableModel:
    """Return `model` with the landmarks of the file `path`; ModelError names what is wrong with it."""
    content = _content(path)
    version, counts = content.pop("facefit_landmarks", None), [content.pop(k, None) for k in ("vertices", "triangles")]
    if version != VERSION:
        raise ModelError(f"{path}: facefit_landmarks: expected {VERSION}, got {version!r}")
    if counts != [model.n_vertices, len(model.triangles)]:
        own = f"{model.n_vertices} vertices and {len(model.triangles)} triangles"
        raise ModelError(f"{path}: expected landmarks of a model of {own}, got those of {counts[0]} and {counts[1]}")
    if not content or not content.keys() <= set(MAPS):
        raise ModelError(f"{path}: expected {' or '.join(MAPS)}, got {', '.join(map(str, content)) or 'neither'}")
    try:
        found = replace(model, **{name: _embedding(name, part) for name, part in content.items()})
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
    return LandmarkEmbedding(part["triangles"], part["weights"])


def _moved_between_the_eyes(model: MorphableModel) -> MorphableModel:
    """Return the model with its origin midway between the outer eye corners of its mean."""
    origin = model.landmark_positions(model.mean)[_OUTER_EYE_CORNERS].mean(axis=0)
    transform = model.source_transform.copy()
    transform[:3, 3] -= origin
    return replace(model, mean=model.mean - origin, source_transform=transform)
