"""Results as files: one `.npz` without pickles, in which nested names are joined by dots.

Arrays stand under their field's name and are absent where the field is None; the camera is `camera.kind`,
`camera.rotation`, ...; texts are 0-d string arrays; `stages` and `provenance` are JSON texts; `schema` is the version.
"""

import json
import zipfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models.errors import FacefitError, OutputError
from ..models.files import atomic_write
from ..render.cameras import Camera, Perspective, ScaledOrthographic
from .results import FitResult, StageReport
from .status import FitStatus

SCHEMA = 1
_CAMERAS = {camera.kind: camera for camera in (ScaledOrthographic, Perspective)}
_NUMBERS = {"face_index": int, "detector_score": float, "quality": float}
_TEXTS = ("message", "detector")


def save(result: FitResult, path: str | Path) -> None:
    """Write `result` to `path` (.npz); the file appears whole or not at all. OutputError where it cannot be written."""
    arrays: dict[str, Any] = {"schema": SCHEMA, "status": result.status.name}
    arrays["stages"] = json.dumps([asdict(stage) | {"status": stage.status.name} for stage in result.stages])
    arrays["provenance"] = json.dumps(result.provenance)
    for item in fields(result):
        value = getattr(result, item.name)
        if item.name in arrays or value is None:
            continue
        if item.name == "camera":
            arrays["camera.kind"] = value.kind
            arrays |= {f"camera.{part.name}": getattr(value, part.name) for part in fields(value)}
        else:
            arrays[item.name] = value
    with atomic_write(path) as file:
        np.savez_compressed(file, allow_pickle=False, **{name: np.asarray(value) for name, value in arrays.items()})


def load_result(path: str | Path) -> FitResult:
    """Read a result written by `save`; OutputError where the file is missing, damaged or of another version."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        if int(arrays.pop("schema")) != SCHEMA:
            raise OutputError(f"{path}: expected a result of schema {SCHEMA}, got another")
        return _result(arrays)
    except FacefitError:
        raise
    except FileNotFoundError:
        raise OutputError(f"{path}: no such file") from None
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as problem:
        raise OutputError(f"{path}: not a readable result ({type(problem).__name__}: {problem})") from None


def _result(arrays: dict[str, NDArray[Any]]) -> FitResult:
    values: dict[str, Any] = {
        "status": FitStatus[str(arrays.pop("status"))],
        "stages": tuple(
            StageReport(**stage | {"status": FitStatus[stage["status"]]})
            for stage in json.loads(str(arrays.pop("stages")))
        ),
        "provenance": json.loads(str(arrays.pop("provenance"))),
        "camera": _camera({name: arrays.pop(name) for name in list(arrays) if name.startswith("camera.")}),
    }
    for name, value in arrays.items():
        if name in _TEXTS:
            values[name] = str(value)
        elif name in _NUMBERS:
            values[name] = _NUMBERS[name](value)
        else:
            values[name] = value
    return FitResult(**values)


def _camera(arrays: dict[str, NDArray[Any]]) -> Camera | None:
    if not arrays:
        return None
    parts = {name.removeprefix("camera."): value for name, value in arrays.items()}
    return _CAMERAS[str(parts.pop("kind"))](**parts)  # type: ignore[arg-type]
