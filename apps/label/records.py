"""The tables of a dataset, and how a fit becomes a row of one.

    faces-00000.parquet     a row per face that is exported
    images-00000.parquet    a row per image that went in
    timings-00000.parquet   seconds by image and step: what may differ from run to run stands here alone

Column types are fixed: a list holds float32, those of the camera float64; arrays are flattened row by row. Where there
is nothing, a value is null. The first two depend on the images and the options alone, to the byte: rows in the order of
the images, one compression. Each file's metadata hold the schema's version and the
provenance: `facefit.schema`, `facefit.table`, `facefit.provenance` (JSON) and its hash, which every row repeats.
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...fitting.status import FitStatus
from ...models.errors import InvalidInputError
from .arrow import pyarrow
from .labelled import Labelled, Outcome
from .sources import Item

if TYPE_CHECKING:
    from ...fitting.results import FitResult, StageReport

SCHEMA = 1
"""Version of the tables. It grows with every change of a column."""

SHARED = {
    "key": "string",  # the image's
    "sha256": "string",  # of the image's file, hexadecimal; null where it could not be read
}
"""Columns that both tables of records begin with."""

FACES = SHARED | {
    "face_index": "int32",  # 0 is the largest of its image
    "status": "string",  # name of a FitStatus
    "message": "string",
    "quality": "float32",  # 0-1
    "detector": "string",
    "detector_score": "float32",
    "box": "floats",  # (4,) px: x0, y0, x1, y1
    "landmarks": "floats",  # (68, 2) px, observed
    "landmark_convention": "string",  # contour or semantic: what the jaw's points mean
    "landmarks_fitted": "floats",  # (68, 2) px, the model's points as matched
    "landmarks_semantic": "floats",  # (68, 2) px, the model's fixed points
    "landmark_error": "float32",  # px, RMS
    "camera": "string",  # scaled_orthographic or perspective
    "rotation": "doubles",  # (3, 3) from the model's frame to the camera's
    "translation": "doubles",  # (2,) px, or (3,) mm of a perspective camera
    "scale": "float64",  # px/mm; null for a perspective camera
    "focal": "float64",  # px; null for an orthographic one
    "principal_point": "doubles",  # (2,) px; null for an orthographic one
    "yaw": "float32",  # degrees
    "pitch": "float32",  # degrees
    "roll": "float32",  # degrees
    "identity": "floats",  # (K,) standard deviations
    "identity_std": "floats",  # (K,) posterior
    "expression": "floats",  # (E,) units of each coefficient
    "expression_std": "floats",  # (E,) posterior
    "albedo": "floats",  # (A,) standard deviations
    "lighting": "floats",  # (9, 3) spherical harmonics
    "stages": "stages",  # name, status, iterations, and energies (term, before, after; nats)
    "provenance": "string",
}
"""Column -> type of `faces-*.parquet`."""

IMAGES = SHARED | {
    "width": "int32",  # px, upright; null where it could not be decoded
    "height": "int32",  # px
    "orientation": "int32",  # EXIF's, already applied to all coordinates
    "outcome": "string",  # ok, no_face, rejected or quarantined
    "status": "string",  # name of a FitStatus; null for a quarantined image
    "message": "string",
    "faces_found": "int32",  # by the detector
    "faces_exported": "int32",  # rows of the image in faces-*.parquet
    "provenance": "string",
}
"""Column -> type of `images-*.parquet`."""

TIMINGS = {"key": "string", "step": "string", "seconds": "float64"}
"""Column -> type of `timings-*.parquet`; the key is null for the step `write`, which is the shard's."""

TABLES = {"faces": FACES, "images": IMAGES, "timings": TIMINGS}

_OUTCOMES = {
    FitStatus.CONVERGED: Outcome.OK,
    FitStatus.MAX_ITERATIONS: Outcome.OK,
    FitStatus.NO_FACE: Outcome.NO_FACE,
    FitStatus.STALLED: Outcome.REJECTED,
    FitStatus.DIVERGED: Outcome.REJECTED,
    FitStatus.DEGENERATE: Outcome.REJECTED,
    FitStatus.BAD_INPUT: Outcome.REJECTED,
    FitStatus.TIMEOUT: Outcome.REJECTED,
}


def outcome_of(status: FitStatus) -> Outcome:
    """Return what an image counts as whose best face ended so."""
    return _OUTCOMES[status]


def face_record(result: "FitResult", convention: str) -> dict[str, Any]:
    """Return the row of a face, without the columns that all faces of an image share."""
    row: dict[str, Any] = {
        "face_index": result.face_index,
        "status": result.status.name,
        "message": result.message,
        "quality": result.quality,
        "detector": result.detector,
        "detector_score": result.detector_score,
        "landmark_convention": convention,
        "landmark_error": result.landmark_error,
        "stages": [_stage_record(report) for report in result.stages],
    }
    for name, kind in FACES.items():
        if kind == "floats":
            row[name] = _flat(getattr(result, name), "float32")
    return row | _camera_record(result)


def _camera_record(result: "FitResult") -> dict[str, Any]:
    camera = result.camera
    if camera is None:
        return {}
    from ...render.cameras import angles_from_rotation

    row: dict[str, Any] = dict(zip(("yaw", "pitch", "roll"), angles_from_rotation(camera.rotation), strict=True))
    row |= {"camera": camera.kind, "scale": getattr(camera, "scale", None), "focal": getattr(camera, "focal", None)}
    for name in ("rotation", "translation", "principal_point"):
        row[name] = _flat(getattr(camera, name, None), "float64")
    return row


def _stage_record(report: "StageReport") -> dict[str, Any]:
    terms = dict.fromkeys((*report.energy_before, *report.energy_after))
    energies = [
        {"term": term, "before": report.energy_before.get(term), "after": report.energy_after.get(term)}
        for term in terms
    ]
    return {"name": report.name, "status": report.status.name, "iterations": report.iterations, "energies": energies}


def _flat(values: Any, kind: str) -> Any:
    """Return an array's numbers in one row, None for None."""
    import numpy as np

    return None if values is None else np.asarray(values, dtype=kind).ravel()


def shared_columns(item: Item, sha256: str | None, provenance: str) -> dict[str, Any]:
    """Return the columns that an image's rows have in common."""
    return {"key": item.key, "sha256": sha256, "provenance": provenance}


def image_record(shared: Mapping[str, Any], labelled: Labelled) -> dict[str, Any]:
    """Return the row of an image."""
    return {
        **shared,
        **labelled.image,
        "outcome": labelled.outcome.value,
        "status": labelled.status,
        "message": labelled.message,
        "faces_exported": len(labelled.faces),
    }


def timing_records(key: str | None, seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return a row per step."""
    return [{"key": key, "step": step, "seconds": value} for step, value in seconds.items()]


def parquet_bytes(table: str, rows: Sequence[Mapping[str, Any]], metadata: Mapping[str, str]) -> bytes:
    """Return the Parquet file of a table of TABLES with these rows."""
    pa = pyarrow()
    types = _types()
    # `columns` tells a misspelt one, which Arrow would leave out without a word.
    columns = TABLES[table]
    if unknown := {name for row in rows for name in row} - set(columns):
        raise InvalidInputError(f"{table}: expected columns of the table, got {', '.join(sorted(unknown))}")
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()], {"facefit.table": table, **metadata})
    content = io.BytesIO()
    pyarrow("parquet").write_table(pa.Table.from_pylist(list(rows), schema), content, compression="zstd")
    return content.getvalue()


def file_metadata(provenance: Mapping[str, Any], digest: str) -> dict[str, str]:
    """Return what every table says of where it comes from."""
    text = json.dumps(provenance, sort_keys=True)
    return {"facefit.schema": str(SCHEMA), "facefit.provenance": text, "facefit.provenance_hash": digest}


def column_names(table: str) -> Iterable[str]:
    """Return the columns of a table of TABLES, in order."""
    return TABLES[table].keys()


def _types() -> dict[str, Any]:
    """Return Arrow's types by the names used in TABLES."""
    pa = pyarrow()
    energies = pa.struct([("term", pa.string()), ("before", pa.float64()), ("after", pa.float64())])
    stage = [
        ("name", pa.string()),
        ("status", pa.string()),
        ("iterations", pa.int32()),
        ("energies", pa.list_(energies)),
    ]
    return {
        "string": pa.string(),
        "int32": pa.int32(),
        "float32": pa.float32(),
        "float64": pa.float64(),
        "floats": pa.list_(pa.float32()),
        "doubles": pa.list_(pa.float64()),
        "stages": pa.list_(pa.struct(stage)),
    }
