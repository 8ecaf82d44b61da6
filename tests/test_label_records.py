"""Rows and tables: fixed types, the same bytes for the same records, every status an outcome."""

import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scenes import random_scenes

import facefit
from facefit.apps.label import records
from facefit.apps.label.labelled import Labelled, Outcome, quarantined
from facefit.apps.label.records import FACES, IMAGES, TABLES, face_record, image_record, outcome_of, parquet_bytes
from facefit.apps.label.sources import Item
from facefit.fitting.results import FitResult
from facefit.fitting.status import FitStatus
from facefit.models.errors import InvalidInputError
from facefit.render.cameras import Perspective

DOCS = Path(__file__).resolve().parent.parent / "docs" / "labels.md"
SHARED = records.shared_columns(Item("a.png", "/in/a.png"), "ab" * 32, "cd" * 32)


@pytest.fixture(scope="module")
def result() -> FitResult:
    model = facefit.load_model("default")
    scene = next(iter(random_scenes(model, 1, 3)))
    options = facefit.FitOptions(landmark_convention="semantic")
    return facefit.fit_landmarks(scene.landmarks, model, options=options)


def table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    return pq.read_table(io.BytesIO(parquet_bytes(name, rows, {"facefit.schema": "1"})))


@pytest.mark.parametrize("status", list(FitStatus))
def test_every_status_is_one_outcome(status: FitStatus) -> None:
    outcome = outcome_of(status)
    assert (outcome is Outcome.OK) == status.usable
    assert (outcome is Outcome.NO_FACE) == (status is FitStatus.NO_FACE)
    assert outcome is not Outcome.QUARANTINED, "no fit returns from there"


def test_a_row_holds_what_the_fit_found(result: FitResult) -> None:
    row = table("faces", [{**SHARED, **face_record(result, "semantic")}]).to_pylist()[0]
    assert (row["key"], row["status"], row["landmark_convention"]) == ("a.png", result.status.name, "semantic")
    for name, kind in FACES.items():
        value = getattr(result, name, None)
        if kind == "floats":
            assert (row[name] is None) == (value is None)
            if value is not None:
                assert np.array_equal(np.array(row[name], "float32"), np.asarray(value, "float32").ravel())
    assert result.camera is not None
    assert np.array_equal(np.reshape(row["rotation"], (3, 3)), result.camera.rotation), "in double precision"
    assert row["scale"] == result.camera.scale
    assert row["focal"] is row["principal_point"] is None
    assert row["landmark_error"] == pytest.approx(result.landmark_error)
    stage = row["stages"][0]
    assert (stage["name"], stage["status"]) == ("landmark", result.stages[0].status.name)
    assert {e["term"]: (e["before"], e["after"]) for e in stage["energies"]} == {
        term: (before, result.stages[0].energy_after[term]) for term, before in result.stages[0].energy_before.items()
    }


def test_a_row_is_enough_to_draw_the_face_again(result: FitResult) -> None:
    row = table("faces", [{**SHARED, **face_record(result, "semantic")}]).to_pylist()[0]
    model = facefit.load_model("default")
    camera = facefit.ScaledOrthographic(np.reshape(row["rotation"], (3, 3)), row["translation"], row["scale"])
    vertices = model.vertices(np.array(row["identity"]), np.array(row["expression"]))
    points = camera.project(model.landmark_positions(vertices))[:, :2]
    assert np.abs(points - np.reshape(row["landmarks_semantic"], (68, 2))).max() < 1e-2
    assert result.vertices_image is not None
    assert np.abs(camera.project(vertices) - result.vertices_image).max() < 1e-2


def test_a_perspective_camera_has_its_own_columns(result: FitResult) -> None:
    assert result.camera is not None
    camera = Perspective(result.camera.rotation, np.array([1.0, 2.0, 600.0]), 800.0, np.array([320.0, 240.0]))
    row = table("faces", [face_record(dataclasses.replace(result, camera=camera), "contour")]).to_pylist()[0]
    assert (row["camera"], row["focal"], row["scale"]) == ("perspective", 800.0, None)
    assert (row["translation"], row["principal_point"]) == ([1.0, 2.0, 600.0], [320.0, 240.0])


def test_a_failed_fit_has_nulls() -> None:
    row = table("faces", [face_record(FitResult(FitStatus.DEGENERATE, "no"), "contour")]).to_pylist()[0]
    assert {name for name, value in row.items() if value not in (None, [])} == {
        "status", "message", "face_index", "landmark_convention"
    }  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_types_do_not_depend_on_the_rows(name: str) -> None:
    """Not even where there are none, or every value is null."""
    empty, nulls = table(name, []), table(name, [{}])
    assert empty.schema.equals(nulls.schema)
    assert empty.schema.names == list(TABLES[name])
    assert empty.schema.metadata[b"facefit.table"] == name.encode()


def test_list_types_are_as_told() -> None:
    schema = table("faces", []).schema
    assert schema.field("identity").type == pa.list_(pa.float32())
    assert schema.field("rotation").type == pa.list_(pa.float64())


def test_the_same_records_are_the_same_bytes(result: FitResult) -> None:
    rows = [{**SHARED, **face_record(result, "semantic")} for _ in range(3)]
    assert parquet_bytes("faces", rows, {}) == parquet_bytes("faces", list(map(dict, rows)), {})
    assert parquet_bytes("faces", rows, {}) != parquet_bytes("faces", rows[:2], {})


def test_a_misspelt_column_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="expected columns of the table, got identify"):
        parquet_bytes("faces", [{"identify": [1.0]}], {})


def test_images_have_their_outcome() -> None:
    fine = Labelled(Outcome.OK, "CONVERGED", "the fit converged", {"width": 3, "height": 2}, ({}, {}))
    lost = quarantined("crashed (SIGSEGV) twice")
    rows = table("images", [image_record(SHARED, fine), image_record(SHARED, lost)]).to_pylist()
    assert [(row["outcome"], row["status"], row["faces_exported"], row["width"]) for row in rows] == [
        ("ok", "CONVERGED", 2, 3),
        ("quarantined", None, 0, None),
    ]
    assert rows[1]["message"] == "crashed (SIGSEGV) twice"


def test_metadata_tell_where_records_come_from() -> None:
    metadata = records.file_metadata({"b": 1, "a": {"c": "é"}}, "ff")
    assert json.loads(metadata["facefit.provenance"]) == {"a": {"c": "é"}, "b": 1}
    assert (metadata["facefit.schema"], metadata["facefit.provenance_hash"]) == ("1", "ff")


@pytest.mark.parametrize(("name", "columns"), TABLES.items())
def test_every_column_is_documented(name: str, columns: dict[str, str]) -> None:
    section = DOCS.read_text(encoding="utf-8").partition(f"### `{name}-")[2].partition("\n### ")[0]
    told = re.findall(r"^\| `(\w+)` \| ([\w<>, ]+) \|", section, flags=re.MULTILINE)
    schema = table(name, []).schema
    names = {"floats": "list<float32>", "doubles": "list<float64>", "stages": "list<struct>"}
    assert told == [(column, names.get(kind, kind)) for column, kind in columns.items()]
    assert set(IMAGES) == set(schema.names) or name != "images"
