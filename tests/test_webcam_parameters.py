"""The numbers that a webcam's run writes: read back by csv and NumPy, whole after a kill, honest on a full disk."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scenes import toy_model
from small_model import small_model
from webcam_scenes import Said, face, frame

import facefit
from facefit.apps.webcam import parameters_file
from facefit.apps.webcam.head import head_of, unit_names
from facefit.apps.webcam.parameters_file import COLUMNS, SCHEMA, ParametersSink
from facefit.fitting.results import FitResult
from facefit.fitting.status import FitStatus
from facefit.fitting.tracking import TrackedFace
from facefit.models.errors import InvalidInputError, OutputError
from facefit.models.formats.ict import ARKIT
from facefit.models.morphable_model import MorphableModel
from facefit.render.cameras import Perspective, rotation_from_angles

only_posix = pytest.mark.skipif(os.name != "posix", reason="signals and /dev/full of POSIX")


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return small_model()


def run(sink: ParametersSink, model: MorphableModel) -> None:
    """Five frames, of which one was dropped, one has no face and one has two."""
    first = {"angles": (20.0, -10.0, 5.0), "place": (30.125, 20.5), "expression": (0.25, -1.5)}
    second = {"track": 3, "identity": (1.0, 2.0, -3.0), "scale": 0.5}
    sink.write(frame(0, 0.0), [face(model, 0.0, **first)], None)
    sink.write(frame(1, 0.04), [], None)
    sink.write(frame(3, 0.1), [face(model, 0.1, **first), face(model, 0.1, **second)], None)
    sink.write(frame(4, 0.15), [face(model, 0.15, identity=(0.5, 0.0, 0.0), landmarks=None)], None)
    sink.close()


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


# --- CSV -----------------------------------------------------------------------------------------------------------


def test_a_csv_has_a_row_per_face_and_frame(model: MorphableModel, tmp_path: Path) -> None:
    run(ParametersSink(tmp_path / "run.csv", model), model)
    rows = read_rows(tmp_path / "run.csv")
    assert list(rows[0]) == [*COLUMNS, "blink", "smile"]
    assert [(row["frame"], row["track"]) for row in rows] == [("0", "0"), ("1", ""), ("3", "0"), ("3", "3"), ("4", "0")]
    assert [float(row["seconds"]) for row in rows] == [0.0, 0.04, 0.1, 0.1, 0.15]
    assert [row["status"] for row in rows] == ["CONVERGED", "NO_FACE", "CONVERGED", "CONVERGED", "CONVERGED"]
    told = {name: float(rows[0][name]) for name in (*COLUMNS[4:], "blink", "smile")}
    expected = {
        "yaw": 20.0, "pitch": -10.0, "roll": 5.0, "translation_x": 30.125, "translation_y": 20.5, "scale": 0.25,
        "error": 0.5, "blink": 0.25, "smile": -1.5,
    }  # fmt: skip
    assert told == pytest.approx(expected, abs=1e-3)
    assert set(list(rows[1].values())[4:]) == {""}, "a frame without a face has no numbers"
    assert rows[4]["error"] == "", "what is not known is empty"
    assert "nan" not in (tmp_path / "run.csv").read_text().lower()
    assert [path.name for path in tmp_path.iterdir()] == ["run.csv"]


def test_columns_carry_arkits_names() -> None:
    names = unit_names(facefit.load_model("default"))
    assert len(set(names)) == len(names) == 51
    assert set(names) <= set(ARKIT.values())
    ict = small_model(expression_names=("mouthSmile_L", "browInnerUp_R"))
    assert unit_names(ict) == ["mouthSmileLeft", "browInnerUpRight"]


def test_names_with_commas_stay_whole(tmp_path: Path) -> None:
    model = small_model(expression_names=("a,b", 'c"d'))
    run(ParametersSink(tmp_path / "run.csv", model), model)
    assert list(read_rows(tmp_path / "run.csv")[0])[-2:] == ["a,b", 'c"d']


def test_a_csv_is_whole_after_every_frame(model: MorphableModel, tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    sink = ParametersSink(path, model)
    assert not path.exists()
    for k in range(4):
        sink.write(frame(k, k / 30.0), [face(model), face(model, track=1)], None)
        content = path.read_bytes()
        assert content.endswith(b"\n")
        assert len(content.splitlines()) == 1 + 2 * (k + 1), "nothing waits in a buffer"
    sink.close()
    assert path.read_bytes() == content


WRITER = """
import itertools, sys
from small_model import small_model
from webcam_scenes import face, frame
from facefit.apps.webcam.parameters_file import ParametersSink
model = small_model()
sink = ParametersSink(sys.argv[1], model)
faces = [face(model, track=k, expression=(0.5, 1.0)) for k in range(7)]
for k in itertools.count():
    sink.write(frame(k, k / 30.0), faces, None)
    if k == 20:
        print("running", flush=True)
"""


@only_posix
@pytest.mark.parametrize("frames", [0, 400])
def test_a_killed_run_leaves_a_readable_csv(tmp_path: Path, frames: int) -> None:
    path = tmp_path / "run.csv"
    tests = Path(__file__).resolve().parent
    environment = os.environ | {"PYTHONPATH": str(tests), "PYTHONSAFEPATH": ""}
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"running\n"
        while path.read_bytes().count(b"\n") < 7 * frames:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    rows = read_rows(path)
    assert len(rows) >= max(7 * 20, 7 * frames - 1)
    whole = [row for row in rows if None not in row and None not in row.values()]
    assert len(whole) >= len(rows) - 1
    assert [int(row["frame"]) for row in whole] == [k // 7 for k in range(len(whole))]
    assert {row["smile"] for row in whole[:-1]} == {"1.0000"}


@only_posix
def test_a_full_disk_is_told_and_costs_no_line(
    model: MorphableModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.csv"
    sink = ParametersSink(path, model)
    for k in range(3):
        sink.write(frame(k, k / 30.0), [face(model)], None)
    before, real = path.read_bytes(), os.write

    def filling_up(file: int, content: memoryview) -> int:
        if len(content) < 20:
            raise OSError(28, "No space left on device")
        return real(file, content[: len(content) // 2])

    monkeypatch.setattr(parameters_file.os, "write", filling_up)
    with pytest.raises(OutputError, match=r"run\.csv: cannot be written \(No space left on device\)"):
        sink.write(frame(3, 0.1), [face(model)], None)
    monkeypatch.undo()
    assert path.read_bytes() == before, "the half line is taken back"
    sink.close()


# --- .npz ----------------------------------------------------------------------------------------------------------


def test_an_npz_holds_the_same_and_who_it_was(model: MorphableModel, tmp_path: Path) -> None:
    run(ParametersSink(tmp_path / "run.npz", model), model)
    with np.load(tmp_path / "run.npz", allow_pickle=False) as data:
        arrays: dict[str, Any] = dict(data)
    assert arrays["schema"] == SCHEMA
    assert arrays["frame"].tolist() == [0, 3, 3, 4]
    assert arrays["track"].tolist() == [0, 0, 3, 0]
    assert arrays["seconds"].tolist() == [0.0, 0.1, 0.1, 0.15]
    assert arrays["status"].tolist() == ["CONVERGED"] * 4
    np.testing.assert_allclose(arrays["yaw"], [20.0, 20.0, 0.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(arrays["pitch"], [-10.0, -10.0, 0.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(arrays["roll"], [5.0, 5.0, 0.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(arrays["rotation"][0], rotation_from_angles(20.0, -10.0, 5.0))
    np.testing.assert_allclose(arrays["translation"][0], [30.125, 20.5])
    np.testing.assert_allclose(arrays["scale"], [0.25, 0.25, 0.5, 0.25])
    np.testing.assert_allclose(arrays["error"], [0.5, 0.5, 0.5, np.nan])
    np.testing.assert_allclose(arrays["expression"], [[0.25, -1.5], [0.25, -1.5], [0.0, 0.0], [0.0, 0.0]])
    assert arrays["expression_names"].tolist() == ["blink", "smile"]
    assert arrays["frames"].tolist() == [0, 1, 3, 4]
    assert arrays["frames_seconds"].tolist() == [0.0, 0.04, 0.1, 0.15]
    assert arrays["tracks"].tolist() == [0, 3]
    np.testing.assert_allclose(arrays["identity"], [[0.5, 0.0, 0.0], [1.0, 2.0, -3.0]], err_msg="as known at the end")
    assert (str(arrays["model"]), str(arrays["model_hash"])) == (model.name, model.hash)
    assert {name for name, array in arrays.items() if array.dtype.hasobject} == set()


def test_an_npz_gives_the_surface_back(tmp_path: Path) -> None:
    """What is in the file and the model is all that the tracker knew."""
    model = toy_model()
    identity, expression = np.linspace(-1.0, 1.0, model.n_identity), np.linspace(0.0, 0.5, model.n_expression)
    sink = ParametersSink(tmp_path / "run.npz", model)
    seen = face(model, identity=identity, expression=expression, angles=(12.0, 3.0, -40.0), place=(5.0, 9.0))
    sink.write(frame(0, 0.0), [seen], None)
    sink.close()
    data = np.load(tmp_path / "run.npz")
    vertices = model.vertices(data["identity"][0], data["expression"][0].astype(np.float64))
    projected = data["scale"][0] * (vertices @ data["rotation"][0].T)[:, :2] + data["translation"][0]
    assert seen.result.camera is not None
    expected = seen.result.camera.project(model.vertices(identity, expression))[:, :2]
    np.testing.assert_allclose(projected, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["run.csv", "run.npz"])
def test_frames_without_a_face_are_told(model: MorphableModel, tmp_path: Path, name: str) -> None:
    said = Said()
    sink = ParametersSink(tmp_path / name, model, say=said)
    for k in range(3):
        sink.write(frame(k, k / 30.0), [], None)
    sink.close()
    if name == "run.csv":
        assert [row["status"] for row in read_rows(tmp_path / name)] == ["NO_FACE"] * 3
    else:
        data = np.load(tmp_path / name)
        assert data["frames"].tolist() == [0, 1, 2]
        assert data["expression"].shape == (0, 2)
        assert data["rotation"].shape == (0, 3, 3)
        assert data["identity"].shape == (0, 3)
    assert said == []


@pytest.mark.parametrize("name", ["run.csv", "run.npz"])
def test_no_frame_makes_no_file(
    model: MorphableModel, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ParametersSink(tmp_path / name, model).close()
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", f"{name}: not written, there was no frame\n")


@pytest.mark.parametrize("name", ["run.csv", "run.npz"])
def test_an_older_file_stays_until_the_new_one_is_there(model: MorphableModel, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("older")
    sink = ParametersSink(tmp_path / name, model)
    assert (tmp_path / name).read_text() == "older"
    run(sink, model)
    assert (tmp_path / name).read_bytes() != b"older"
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["run.csv", "run.npz"])
def test_a_fit_without_a_pose_is_kept_as_such(model: MorphableModel, tmp_path: Path, name: str) -> None:
    sink = ParametersSink(tmp_path / name, model)
    nothing = TrackedFace(2, FitResult(FitStatus.DIVERGED, "made for a test"), 0.0, {})
    sink.write(frame(0, 0.0), [nothing], None)
    sink.close()
    if name == "run.csv":
        row = read_rows(tmp_path / name)[0]
        assert (row["track"], row["status"], row["yaw"], row["blink"]) == ("2", "DIVERGED", "", "")
    else:
        data = np.load(tmp_path / name)
        assert data["status"].tolist() == ["DIVERGED"]
        assert np.isnan(data["expression"]).all() and np.isnan(data["rotation"]).all()


@pytest.mark.parametrize("name", ["run.csv", "run.npz"])
def test_a_folder_that_cannot_be_written_is_found_at_once(model: MorphableModel, tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        ParametersSink(tmp_path / "nowhere" / name, model)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        ParametersSink(tmp_path / "file" / name, model)


def test_a_disk_that_is_full_at_the_end(model: MorphableModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **arrays: object) -> None:
        raise OSError(28, "No space left on device")

    sink = ParametersSink(tmp_path / "run.npz", model)
    sink.write(frame(0, 0.0), [face(model)], None)
    monkeypatch.setattr(parameters_file.np, "savez_compressed", full)
    with pytest.raises(OutputError, match=r"run\.npz: cannot be written \(No space left on device\)"):
        sink.close()
    assert list(tmp_path.iterdir()) == []


def test_another_ending(model: MorphableModel, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"expected a name that ends in \.csv or \.npz, got 'run\.txt'"):
        ParametersSink(tmp_path / "run.txt", model)
    assert list(tmp_path.iterdir()) == []


def test_a_perspective_camera_is_told_at_the_models_origin(model: MorphableModel) -> None:
    camera = Perspective(
        rotation_from_angles(0.0, 0.0, 0.0), np.array([10.0, 0.0, 500.0]), 800.0, np.array([32.0, 24.0])
    )
    head = head_of(face(model, camera=camera))
    assert head is not None
    assert head.place == pytest.approx((48.0, 24.0))
    assert head.scale == pytest.approx(1.6)
