"""Results as files: one `.npz` without pickles, in which nested names are joined by dots.

Arrays stand under their field's name and are absent where the field is None; the camera is `camera.kind`,
`camera.rotation`, ..., texture and detail likewise; texts are 0-d string arrays; `stages` and `provenance` are JSON
texts; `schema` is the version. JSON knows no infinity: such numbers become the texts "inf", "-inf" and "nan".
"""

import json
import math
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models.archives import read_arrays
from ..models.errors import InvalidInputError, OutputError
from ..models.files import atomic_write
from ..models.morphable_model import UVMap
from ..render.cameras import Camera, Perspective, ScaledOrthographic
from .detail_map import DetailMap
from .results import FitResult, StageReport
from .status import FitStatus
from .texture import Texture

SCHEMA = 1
_CAMERAS = {camera.kind: camera for camera in (ScaledOrthographic, Perspective)}
_NUMBERS = {"face_index": int, "detector_score": float, "quality": float}
_TEXTS = ("message", "detector")


def save(result: FitResult, path: str | Path) -> None:
    """Write `result` to `path` (.npz); the file appears whole or not at all.

    OutputError where it cannot be written; InvalidInputError where a field holds what such a file cannot.
    """
    arrays: dict[str, Any] = {"schema": SCHEMA, "status": result.status.name}
    arrays["stages"] = _json([asdict(stage) | {"status": stage.status.name} for stage in result.stages])
    arrays["provenance"] = _json(result.provenance)
    for item in fields(result):
        value = getattr(result, item.name)
        if item.name in arrays or value is None:
            continue
        if item.name == "camera":
            arrays["camera.kind"] = value.kind
            arrays |= {f"camera.{part.name}": getattr(value, part.name) for part in fields(value)}
        elif isinstance(value, Texture | DetailMap):
            arrays |= {f"{item.name}.{part.name}": getattr(value, part.name) for part in fields(value)}
            del arrays[f"{item.name}.uv"]
            arrays |= {f"{item.name}.uv.{part.name}": getattr(value.uv, part.name) for part in fields(value.uv)}
        else:
            arrays[item.name] = value
    arrays = {name: _plain(name, value) for name, value in arrays.items()}
    with atomic_write(path) as file:
        np.savez_compressed(file, **arrays)


def load_result(path: str | Path) -> FitResult:
    """Read a result written by `save`; OutputError where the file is missing, damaged or of another version."""
    arrays = read_arrays(path, OutputError)
    version = str(arrays.pop("schema", None))
    if version != str(SCHEMA):
        raise OutputError(f"{path}: expected a result of schema {SCHEMA}, got {version}")
    try:
        return _result(arrays)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise OutputError(f"{path}: not a readable result ({type(problem).__name__}: {problem})") from None


def _plain(name: str, value: Any) -> NDArray[Any]:
    """Return `value` as an array of numbers or text: anything else could only be pickled."""
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise InvalidInputError(f"{name}: expected numbers or text, got {type(value).__name__}")
    return array


def _json(value: Any) -> str:
    try:
        return json.dumps(_finite(value), allow_nan=False)
    except (TypeError, ValueError) as problem:
        raise InvalidInputError(f"stages and provenance: expected JSON types, got {problem}") from None


def _finite(value: Any) -> Any:
    """Return `value` with the numbers that JSON lacks as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _result(arrays: dict[str, NDArray[Any]]) -> FitResult:
    values: dict[str, Any] = {
        "status": FitStatus[str(arrays.pop("status"))],
        "stages": tuple(_stage(stage) for stage in json.loads(str(arrays.pop("stages")))),
        "provenance": json.loads(str(arrays.pop("provenance"))),
        "camera": _camera(_part(arrays, "camera.")),
        "texture": _laid_out(Texture, _part(arrays, "texture.")),
        "detail": _laid_out(DetailMap, _part(arrays, "detail.")),
    }
    for name, value in arrays.items():
        if name in _TEXTS:
            values[name] = str(value)
        elif name in _NUMBERS:
            values[name] = _NUMBERS[name](value)
        else:
            values[name] = value
    return FitResult(**values)


def _stage(parts: dict[str, Any]) -> StageReport:
    energies = {
        name: {term: float(nats) for term, nats in parts[name].items()} for name in ("energy_before", "energy_after")
    }
    return StageReport(**parts | energies | {"status": FitStatus[parts["status"]]})


def _part(arrays: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """Take the arrays whose names begin with `prefix` out, and return them under the rest of their names."""
    return {name.removeprefix(prefix): arrays.pop(name) for name in list(arrays) if name.startswith(prefix)}


def _camera(parts: dict[str, Any]) -> Camera | None:
    if not parts:
        return None
    return _CAMERAS[str(parts.pop("kind"))](**parts)


def _laid_out(kind: type[Texture] | type[DetailMap], parts: dict[str, Any]) -> Any:
    """Return a texture or a detail map of its arrays, or None where there are none."""
    if not parts:
        return None
    if "guessed" in parts:
        parts["guessed"] = bool(parts["guessed"])
    return kind(uv=UVMap(**_part(parts, "uv.")), **parts)
