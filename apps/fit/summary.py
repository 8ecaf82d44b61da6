"""What a fit has to say, in JSON types: the content of `summary.json` and of a line of `--json`.

Strict JSON: every number is finite. Where there is nothing to tell, the value is null.
"""

import math
from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import version
from typing import Any

import numpy as np

from ...fitting.detail_map import DetailMap
from ...fitting.dlib_detector import LICENCE_NOTE
from ...fitting.landmarks import box_size
from ...fitting.results import FitResult
from ...models.morphable_model import MorphableModel
from ...render.cameras import angles_from_rotation


def relative_error(result: FitResult) -> float | None:
    """Return the landmark error in per cent of the face's size, sqrt(w h) of the observed points' box."""
    if result.landmark_error is None or result.landmarks is None or result.landmark_sigma is None:
        return None
    size = box_size(result.landmarks[np.isfinite(result.landmark_sigma)])
    return 100.0 * result.landmark_error / size if size > 0.0 else None


def describe(result: FitResult, model: MorphableModel) -> dict[str, Any]:
    """Return what a result says of itself, of JSON types."""
    pose = None
    if result.camera is not None:
        pose = dict(zip(("yaw", "pitch", "roll"), angles_from_rotation(result.camera.rotation), strict=True))
    expression = None
    if result.expression is not None:
        expression = dict(zip(model.expression_names, result.expression, strict=True))
    by_dlib = (result.detector or "").startswith("dlib")
    return _strict(
        {
            "facefit": version("facefit"),
            "status": result.status.name,
            "usable": result.status.usable,
            "message": result.message,
            "face_index": result.face_index,
            "detector": result.detector,
            "detector_score": result.detector_score,
            "detector_licence": LICENCE_NOTE if by_dlib else None,
            "box": result.box,
            "quality": result.quality,
            "landmark_error_px": result.landmark_error,
            "landmark_error_percent": relative_error(result),
            "pose_degrees": pose,
            "camera": _fields(result.camera) if result.camera is not None else None,
            "identity": result.identity,
            "expression": expression,
            "albedo": result.albedo,
            "lighting": result.lighting,
            "detail": _heights(result.detail) if result.detail is not None else None,
            "stages": [_fields(stage) | {"status": stage.status.name} for stage in result.stages],
            "model": {"name": model.name, "hash": model.hash, "licence": model.licence},
            **{name: result.provenance.get(name) for name in ("image", "initializer", "options")},
        }
    )


def _heights(detail: DetailMap) -> dict[str, Any]:
    """Return what a few numbers tell of the heights."""
    lowest, highest = float(detail.displacement.min()), float(detail.displacement.max())
    return {"texels": detail.size, "lowest_mm": lowest, "highest_mm": highest, "guessed": detail.guessed}


def _fields(record: Any) -> dict[str, Any]:
    kind = {"kind": record.kind} if hasattr(record, "kind") else {}
    return kind | {field.name: getattr(record, field.name) for field in fields(record)}


def _strict(value: Any) -> Any:
    """Return a value as JSON types, NaN and infinities as null, which strict JSON does not know."""
    match value:
        case np.ndarray() | np.generic():
            return _strict(value.tolist())
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(key): _strict(item) for key, item in value.items()}
        case list() | tuple():
            return [_strict(item) for item in value]
        case _:
            return value
