"""Result files: what is saved comes back, and what is not a result is refused with a sentence."""

import io
import json
import os
import pickle
import zipfile
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
from scenes import random_scene, toy_model

import facefit
from facefit.fitting.detail_map import DetailMap
from facefit.fitting.result_files import load_result, save
from facefit.fitting.results import FitResult, StageReport
from facefit.fitting.status import FitStatus
from facefit.fitting.texture import Texture
from facefit.models.errors import InvalidInputError, OutputError
from facefit.models.morphable_model import UVMap
from facefit.render.cameras import Perspective, ScaledOrthographic, rotation_from_angles

ROTATION = rotation_from_angles(20.0, -5.0, 3.0)
CAMERAS = {
    "none": None,
    "scaled orthographic": ScaledOrthographic(ROTATION, np.array([1.5, -2.0]), 2.5),
    "perspective": Perspective(ROTATION, np.array([1.0, 2.0, 600.0]), 900.0, np.array([320.0, 240.0])),
}


def full_result(camera=CAMERAS["scaled orthographic"]):
    """A result in which every field that has a kind of its own is filled."""
    rng = np.random.default_rng(0)
    before, after = {"landmarks": 12.5, "identity": 0.0}, {"landmarks": 0.1, "identity": 1.5}
    report = StageReport("landmark", FitStatus.STALLED, 7, before, after, 2e-3)
    return FitResult(
        status=FitStatus.MAX_ITERATIONS,
        message="Ein Satz mit Umlaut: schöner Kiefer, 顔",
        camera=camera,
        identity=rng.standard_normal(5),
        expression=rng.random(4),
        albedo=rng.standard_normal(3),
        lighting=rng.standard_normal((9, 3)),
        reflectance=rng.random((6, 3)),
        identity_std=rng.random(5),
        expression_std=rng.random(4),
        landmarks=rng.standard_normal((68, 2)),
        landmark_sigma=np.append(np.full(67, 0.02), np.inf),
        landmarks_fitted=rng.standard_normal((68, 2)),
        landmarks_semantic=rng.standard_normal((68, 2)),
        vertices=rng.standard_normal((6, 3)),
        vertices_image=rng.standard_normal((6, 3)),
        triangles=np.array([[0, 1, 2], [3, 4, 5]], dtype=np.int32),
        box=np.array([1.0, 2.0, 3.0, 4.0]),
        face_index=2,
        detector="dlib-hog",
        detector_score=1.25,
        quality=0.75,
        texture=Texture(
            rng.integers(0, 256, (8, 8, 3), np.uint8),
            rng.integers(0, 256, (8, 8, 3), np.uint8),
            rng.integers(0, 256, (8, 8), np.uint8),
            UVMap(rng.random((7, 2)).astype(np.float32), np.array([[0, 1, 2], [3, 4, 6]], np.int32)),
        ),
        detail=DetailMap(
            *rng.standard_normal((1, 8, 8)).astype(np.float32),
            rng.random((8, 8)) < 0.5,
            rng.integers(0, 256, (8, 8), np.uint8),
            *rng.standard_normal((3, 8, 8)).astype(np.float32),
            True,
            UVMap(rng.random((7, 2)).astype(np.float32), np.array([[0, 1, 2], [3, 4, 6]], np.int32)),
        ),
        stages=(report, replace(report, name="photometric", status=FitStatus.CONVERGED)),
        provenance={"version": "0.1", "options": {"stages": ["landmark"], "max_seconds": None}, "name": "Łoś"},
    )


def assert_same(one, other):
    """Field by field, down to types and bits; a NumPy scalar counts as the number that it is."""
    assert type(one) is type(other) or (isinstance(one, float) and isinstance(other, float))
    if is_dataclass(one):
        for item in fields(one):
            assert_same(getattr(one, item.name), getattr(other, item.name))
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other, strict=True)
    elif isinstance(one, tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert one == other


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "fit.npz"
    save(full_result(), path)
    return path


# --- Round trips -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("camera", CAMERAS)
def test_every_field_comes_back(tmp_path, camera):
    result = full_result(CAMERAS[camera])
    save(result, tmp_path / "fit.npz")
    assert_same(load_result(tmp_path / "fit.npz"), result)
    empty = {item.name for item in fields(result) if getattr(result, item.name) is None} - {"camera"}
    assert not empty  # else this test forgot a field


@pytest.mark.parametrize("status", FitStatus)
def test_a_failure_comes_back_with_nothing_in_it(tmp_path, status):
    result = FitResult(status=status, message=status.value)
    save(result, str(tmp_path / "fit.npz"))
    assert_same(load_result(str(tmp_path / "fit.npz")), result)


def test_a_real_fit_comes_back(tmp_path):
    scene = random_scene(toy_model(), np.random.default_rng(0), sigma=0.02)
    sigma = np.full(68, 0.03)
    sigma[:3] = np.inf
    result = facefit.fit_landmarks(scene.landmarks, scene.model, options=facefit.FitOptions(landmark_sigma=sigma))
    assert result.status.usable
    save(result, tmp_path / "fit.npz")
    again = load_result(tmp_path / "fit.npz")
    assert_same(replace(again, provenance={}), replace(result, provenance={}))
    assert again.provenance["model"] == result.provenance["model"]
    assert again.landmark_error == result.landmark_error


def test_a_result_saved_again_holds_the_same(tmp_path, saved):
    save(load_result(saved), tmp_path / "again.npz")
    with np.load(saved, allow_pickle=False) as one, np.load(tmp_path / "again.npz", allow_pickle=False) as other:
        assert sorted(one.files) == sorted(other.files)
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name], strict=True)


def test_the_file_is_what_the_contract_says(saved):
    """Names with dots, texts as 0-d strings, JSON for stages and provenance, no pickles, nothing for None."""
    with np.load(saved, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    assert arrays["camera.kind"].shape == ()
    assert str(arrays["camera.kind"]) == "scaled_orthographic"
    np.testing.assert_array_equal(arrays["camera.rotation"], ROTATION)
    assert (arrays["status"].shape, str(arrays["status"])) == ((), "MAX_ITERATIONS")
    assert int(arrays["schema"]) == 1
    assert [stage["status"] for stage in json.loads(str(arrays["stages"]))] == ["STALLED", "CONVERGED"]
    assert json.loads(str(arrays["provenance"]))["name"] == "Łoś"
    assert {name for name in arrays if name.startswith("detail")} == {
        *(f"detail.{name}" for name in ("displacement", "coverage", "confidence", "person", "dynamic", "compression")),
        *("detail.guessed", "detail.uv.coordinates", "detail.uv.triangles"),
    }
    assert {name for name in arrays if name.startswith("texture")} == {
        "texture.photographed", "texture.albedo", "texture.confidence", "texture.uv.coordinates", "texture.uv.triangles"
    }  # fmt: skip
    assert not any(array.dtype.hasobject for array in arrays.values())


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_json_stays_strict_where_numbers_are_not_finite(tmp_path, value):
    report = StageReport("landmark", FitStatus.DIVERGED, 0, {"landmarks": value}, {"landmarks": np.float64(value)}, 0.0)
    options = {"landmark_sigma": [0.03, value], "nested": {"x": value}}
    save(replace(full_result(), stages=(report,), provenance=options), tmp_path / "fit.npz")

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    with np.load(tmp_path / "fit.npz", allow_pickle=False) as archive:
        for name in ("stages", "provenance"):
            json.loads(str(archive[name]), parse_constant=refuse)
    again = load_result(tmp_path / "fit.npz")
    np.testing.assert_array_equal(again.stages[0].energy_before["landmarks"], value)
    np.testing.assert_array_equal(again.stages[0].energy_after["landmarks"], value)
    assert again.provenance == {"landmark_sigma": [0.03, str(value)], "nested": {"x": str(value)}}


# --- Writing -----------------------------------------------------------------------------------------------------


def test_what_only_a_pickle_could_hold_is_refused(tmp_path):
    for wrong in ({"texture": object()}, {"detail": [None, 1.0]}, {"provenance": {"model": object()}}):
        with pytest.raises(InvalidInputError, match="expected"):
            save(replace(full_result(), **wrong), tmp_path / "fit.npz")
    assert list(tmp_path.iterdir()) == []


def test_missing_folder_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match=r"fit\.npz: cannot be written"):
        save(full_result(), tmp_path / "no such folder" / "fit.npz")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder_is_an_output_error(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    with pytest.raises(OutputError, match=r"fit\.npz: cannot be written"):
        save(full_result(), folder / "fit.npz")


def test_a_folder_in_the_way_is_an_output_error(tmp_path):
    (tmp_path / "fit.npz").mkdir()
    with pytest.raises(OutputError, match=r"fit\.npz: cannot be written"):
        save(full_result(), tmp_path / "fit.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["fit.npz"]


def test_an_older_file_is_replaced_whole_or_kept(saved):
    before = saved.read_bytes()
    with pytest.raises(InvalidInputError):
        save(replace(full_result(), texture=object()), saved)
    assert saved.read_bytes() == before
    save(replace(full_result(), message="new"), saved)
    assert load_result(saved).message == "new"
    assert [path.name for path in saved.parent.iterdir()] == ["fit.npz"]


# --- Files that are no results -----------------------------------------------------------------------------------


def assert_refused(path, message="not a readable"):
    with pytest.raises(OutputError, match=message) as caught:
        load_result(path)
    assert path.name in str(caught.value)


def rewritten(path, **changes):
    """Write the arrays of the file back, with some changed, or left out where None."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files} | changes
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})


def test_missing_file_is_refused(tmp_path):
    assert_refused(tmp_path / "none.npz", "no such file")
    assert_refused(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello\n" * 50, b"PK\x03\x04" + bytes(40), pickle.dumps({"status": 1})],
    ids=["empty", "text", "the start of an archive", "pickle"],
)
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "fit.npz").write_bytes(content)
    assert_refused(tmp_path / "fit.npz")


def test_a_single_array_is_refused(tmp_path):
    with (tmp_path / "fit.npz").open("wb") as file:
        np.save(file, np.arange(3))
    assert_refused(tmp_path / "fit.npz")


def test_a_truncated_file_is_refused_wherever_it_is_cut(saved):
    content = saved.read_bytes()
    for share in np.linspace(0.0, 0.999, 40):
        saved.write_bytes(content[: int(share * len(content))])
        assert_refused(saved)


def test_a_damaged_file_is_refused_or_read(saved, rng):
    content = saved.read_bytes()
    for _ in range(200):
        damaged = bytearray(content)
        for position in rng.integers(0, len(content), 3):
            damaged[position] ^= int(rng.integers(1, 256))
        saved.write_bytes(bytes(damaged))
        with suppress(OutputError):
            load_result(saved)


@pytest.mark.parametrize("name", ["status", "identity", "camera.rotation"])
def test_pickled_objects_are_refused_and_not_run(saved, name, tmp_path):
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(ran),)

    stream = io.BytesIO()
    np.save(stream, np.array([Evil()], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(saved) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    members[f"{name}.npy"] = stream.getvalue()
    with zipfile.ZipFile(saved, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    assert_refused(saved)
    assert not ran.exists()


@pytest.mark.parametrize("schema", [None, 0, 2, "one", np.arange(3)])
def test_another_schema_is_refused(saved, schema):
    rewritten(saved, schema=schema)
    assert_refused(saved, "expected a result of schema 1, got ")


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "SPLENDID"},
        {"status": None},
        {"stages": None},
        {"stages": "[{"},
        {"stages": "[3]"},
        {"stages": '[{"name": "landmark"}]'},
        {"stages": "[" * 100_000},
        {"provenance": "{'a': 1}"},
        {"camera.kind": "pinhole"},
        {"camera.kind": None},
        {"camera.scale": -1.0},
        {"camera.rotation": np.ones((3, 3))},
        {"camera.rotation": None},
        {"unknown": np.arange(3)},
        {"face_index": "first"},
        {"quality": np.arange(3)},
    ],
    ids=str,
)
def test_content_that_makes_no_result_is_refused(saved, changes):
    rewritten(saved, **changes)
    assert_refused(saved, "not a readable result")
