"""Landmarks beside a model file: they come back as written, belong to one model, and nothing else is taken for them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_model import embedding, landmark_places, small_model

from facefit.models.errors import ModelError, OutputError
from facefit.models.formats.npz import write_model
from facefit.models.morphable_model import LandmarkEmbedding, MorphableModel
from facefit.models.sidecar import MAPS, MAX_BYTES, sidecar_path, with_sidecar, write_sidecar
from facefit.models.store import load_model

FOUND = embedding(landmark_places(np.random.default_rng(7)))
OTHER = embedding(landmark_places(np.random.default_rng(8)))
OUTER_EYE_CORNERS = [36, 45]
WHOLE, BARE = small_model(), small_model(landmarks=None, landmarks_contour=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "face.npz.landmarks.json"


def assert_same(one: LandmarkEmbedding | None, other: LandmarkEmbedding) -> None:
    assert one is not None
    np.testing.assert_array_equal(one.triangles, other.triangles)
    np.testing.assert_array_equal(one.weights, other.weights)


# ----------------------------------------------------------------------------------------------------------- round trip


@pytest.mark.parametrize("maps", [{"landmarks"}, {"landmarks_contour"}, set(MAPS)])
@pytest.mark.parametrize("model", [WHOLE, BARE], ids=["whole", "bare"])
def test_maps_come_back_and_the_others_stay(model: MorphableModel, maps: set[str], path: Path) -> None:
    given = {name: found for name, found in zip(MAPS, (FOUND, OTHER), strict=True) if name in maps}
    write_sidecar(path, model, **given)
    again = with_sidecar(model, path)
    for name in MAPS:
        expected = given.get(name, getattr(model, name))
        if expected is None:
            assert getattr(again, name) is None
        else:
            assert_same(getattr(again, name), expected)
            assert (getattr(again, name).sigma is None) is (expected.sigma is None)


def test_points_off_the_triangle_by_rounding_are_read(path: Path) -> None:
    """As a rasteriser gives them for pixels on an edge."""
    edge = LandmarkEmbedding(FOUND.triangles, np.tile([-8e-7, 1.0 + 8e-7, 0.0], (68, 1)))
    write_sidecar(path, BARE, landmarks=edge)
    assert_same(with_sidecar(BARE, path).landmarks, edge)


def test_a_model_is_another_with_other_landmarks(path: Path) -> None:
    hashes = {BARE.hash}
    for found in (FOUND, OTHER):
        write_sidecar(path, BARE, landmarks=found)
        assert with_sidecar(BARE, path).hash == with_sidecar(BARE, path).hash
        hashes.add(with_sidecar(BARE, path).hash)
    assert len(hashes) == 3


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.json: cannot be written"):
        write_sidecar(tmp_path / "missing" / "a.json", BARE, landmarks=FOUND)
    (tmp_path / "a.json").mkdir()
    with pytest.raises(OutputError, match=r"a\.json: cannot be written"):
        write_sidecar(tmp_path / "a.json", BARE, landmarks=FOUND)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


# ---------------------------------------------------------------------------------------------------------------- frame


@pytest.mark.parametrize("shift", [np.zeros(3), np.array([3.0, -40.0, 250.0])])
def test_a_model_without_landmarks_is_moved_between_its_eyes(shift: np.ndarray, path: Path) -> None:
    """By a pure translation, which its source's transform follows: the same source point is the same vertex."""
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    transform = np.eye(4)
    transform[:3] = np.column_stack([10.0 * turn, shift])
    model = replace(BARE, mean=BARE.mean + shift, source_transform=transform)
    write_sidecar(path, model, landmarks=FOUND, landmarks_contour=OTHER)
    moved = with_sidecar(model, path)

    origin = moved.landmark_positions(moved.mean)[OUTER_EYE_CORNERS].mean(axis=0)
    np.testing.assert_allclose(origin, 0.0, atol=1e-9)
    by = moved.mean - model.mean
    np.testing.assert_allclose(by, np.broadcast_to(by[0], by.shape), atol=1e-9)
    source = np.linalg.solve(model.source_transform, np.column_stack([model.mean, np.ones(len(model.mean))]).T)
    np.testing.assert_allclose((moved.source_transform @ source)[:3].T, moved.mean, atol=1e-9)
    for name in ("identity", "expression", "triangles"):
        np.testing.assert_array_equal(getattr(moved, name), getattr(model, name))


def test_the_move_does_not_depend_on_where_the_model_was(path: Path) -> None:
    write_sidecar(path, BARE, landmarks=FOUND)
    far = replace(BARE, mean=BARE.mean + 512.0)
    np.testing.assert_allclose(with_sidecar(far, path).mean, with_sidecar(BARE, path).mean, atol=1e-9)


@pytest.mark.parametrize(
    ("model", "maps"),
    [
        (WHOLE, {"landmarks": FOUND}),
        (WHOLE, {"landmarks_contour": FOUND}),
        (replace(WHOLE, landmarks_contour=None), {"landmarks": FOUND, "landmarks_contour": OTHER}),
        (BARE, {"landmarks_contour": FOUND}),  # where its eye corners are is not known
    ],
)
def test_other_models_keep_their_frame(model: MorphableModel, maps: dict[str, LandmarkEmbedding], path: Path) -> None:
    write_sidecar(path, model, **maps)
    again = with_sidecar(model, path)
    np.testing.assert_array_equal(again.mean, model.mean)
    np.testing.assert_array_equal(again.source_transform, model.source_transform)


# -------------------------------------------------------------------------------------------------------------- loading


def test_loading_a_file_takes_the_landmarks_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "face.npz"
    write_model(file, BARE)
    assert load_model(file).landmarks is None
    assert sidecar_path(file) == tmp_path / "face.npz.landmarks.json"
    write_sidecar(sidecar_path(file), BARE, landmarks=FOUND)
    loaded = load_model(file)
    assert_same(loaded.landmarks, FOUND)
    assert loaded.hash != BARE.hash
    assert loaded.face_size > 0.0

    monkeypatch.chdir(tmp_path)
    assert load_model("face.npz").hash == loaded.hash
    monkeypatch.setenv("FACEFIT_MODELS", str(tmp_path))
    assert load_model("face").hash == loaded.hash


def test_options_of_the_reader_may_make_another_mesh_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_model(path: Path, *, part: str = "all") -> MorphableModel:
        return BARE

    file = tmp_path / "face.npz"
    write_model(file, BARE)
    write_sidecar(sidecar_path(file), BARE, landmarks=FOUND)
    monkeypatch.setattr("facefit.models.formats.npz.read_model", read_model)
    assert load_model(file).landmarks is not None
    assert load_model(file, part="face").landmarks is None


def test_loading_a_folder_takes_the_landmarks_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads_folders: Callable[[Path], None]
) -> None:
    folder = tmp_path / "head"
    (folder / "inner").mkdir(parents=True)
    reads_folders(folder)
    write_sidecar(sidecar_path(folder), BARE, landmarks=FOUND)
    assert sidecar_path(folder) == tmp_path / "head.landmarks.json"
    loaded = load_model(folder)
    assert_same(loaded.landmarks, FOUND)
    monkeypatch.setenv("FACEFIT_MODELS", str(tmp_path))
    assert load_model("head").hash == loaded.hash

    for here, name in ((folder, "."), (folder / "inner", ".."), (tmp_path, "head/"), (folder, "../head")):
        monkeypatch.chdir(here)
        assert load_model(name).hash == loaded.hash


@pytest.fixture
def reads_folders(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Lets the store read one folder as the bare model; where it is told by what it is, not by what it is called."""
    from facefit.models.formats import npz

    def allow(folder: Path) -> None:
        monkeypatch.setattr(npz, "recognises", lambda path: path.is_dir() and path.samefile(folder))
        monkeypatch.setattr(npz, "read_model", lambda path: BARE)

    return allow


def test_a_file_of_another_model_is_refused_when_its_model_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "face.npz"
    write_model(file, BARE)
    write_sidecar(sidecar_path(file), load_model("default"), landmarks=FOUND)
    with pytest.raises(ModelError, match=r"face\.npz\.landmarks\.json: vertices: expected 169, got \d+$"):
        load_model(file)


# ------------------------------------------------------------------------------------------------------------ hostility


def content(**changes: Any) -> dict[str, Any]:
    """A valid file's content with some of it changed; None leaves it out."""
    part = {"triangles": FOUND.triangles.tolist(), "weights": FOUND.weights.tolist()}
    valid = {"facefit_landmarks": 1, "vertices": 169, "triangles": 288, "landmarks": part}
    return {key: value for key, value in (valid | changes).items() if value is not None}


def part(**changes: Any) -> dict[str, Any]:
    return content(landmarks={k: v for k, v in (content()["landmarks"] | changes).items() if v is not None})


def first(key: str, value: Any) -> dict[str, Any]:
    """A valid file's content with another first triangle or first row of weights."""
    return part(**{key: [value, *content()["landmarks"][key][1:]]})


def refused(path: Path) -> str:
    """The refusal of a file: one line, short, that begins with its path."""
    with pytest.raises(ModelError) as problem:
        with_sidecar(BARE, path)
    told = str(problem.value)
    assert told.startswith(f"{path}: ")
    assert len(told) < len(str(path)) + 300
    assert told.isprintable()
    return told


def test_the_valid_content_is_valid(path: Path) -> None:
    path.write_text(json.dumps(content()))
    assert_same(with_sidecar(BARE, path).landmarks, FOUND)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (content(facefit_landmarks=2), "facefit_landmarks: expected 1, got 2"),
        (content(facefit_landmarks=None), "facefit_landmarks: expected 1, got no whole number"),
        (content(facefit_landmarks="1\n"), "facefit_landmarks: expected 1, got no whole number"),
        (content(facefit_landmarks=True), "facefit_landmarks: expected 1, got no whole number"),
        (content(vertices=168), "vertices: expected 169, got 168"),
        (content(vertices=None), "vertices: expected 169, got no whole number"),
        (content(triangles=-288), "triangles: expected 288, got -288"),
        (content(triangles=[288]), "triangles: expected 288, got no whole number"),
        (content(landmarks=None), "expected landmarks or landmarks_contour, got neither"),
        (content(**{"mean\n\x1b": 0}), "expected landmarks or landmarks_contour, got others"),
        (content(landmarks=[]), "landmarks: expected triangles and weights"),
        (content(landmarks_contour=3), "landmarks_contour: expected triangles and weights"),
        (part(weights=None), "landmarks: expected triangles and weights"),
        (part(sigma=[0.01] * 68), "landmarks: expected triangles and weights"),
        (part(triangles=[]), r"landmarks.triangles: expected shape (68,), got (0,)"),
        (part(triangles=[0] * 69), r"landmarks.triangles: expected shape (68,), got (69,)"),
        (part(triangles=[[0]] * 68), "landmarks.triangles: expected a list of numbers"),
        (part(triangles=5), "landmarks.triangles: expected a list of numbers"),
        (first("triangles", -1), "landmarks.triangles: expected indices from 0 to 287, got -1 to "),
        (first("triangles", 288), "landmarks.triangles: expected indices from 0 to 287, got "),
        (first("triangles", 0.5), "landmarks.triangles: expected numbers that int32 holds exactly"),
        (first("triangles", 2**32), "landmarks.triangles: expected numbers that int32 holds exactly"),
        (first("triangles", 2**64), "landmarks.triangles: expected "),
        (first("triangles", 10**400), "landmarks.triangles: expected "),
        (first("triangles", np.inf), "landmarks.triangles: expected numbers that int32 holds exactly"),
        (first("triangles", np.nan), "landmarks.triangles: expected numbers that int32 holds exactly"),
        (first("triangles", False), "landmarks.triangles: expected a list of numbers"),
        (first("triangles", "0"), "landmarks.triangles: expected a list of numbers"),
        (first("triangles", "0" * 900_000), "landmarks.triangles: expected a list of numbers"),
        (part(weights=[]), "landmarks.weights: expected shape (68, 3), got (0,)"),
        (part(weights=[[0.5, 0.5]] * 68), "landmarks.weights: expected shape (68, 3), got (68, 2)"),
        (part(weights=[1.0] * 68), "landmarks.weights: expected rows of numbers from 0 to 1"),
        (first("weights", [1.0]), "landmarks.weights: expected an array of shape (68, 3)"),
        (first("weights", []), "landmarks.weights: expected an array of shape (68, 3)"),
        (first("weights", [0.5, 0.5, 0.1]), "landmarks.weights: expected rows that sum to 1, got one off by 0.1"),
        (first("weights", [2.0, -1.0, 0.0]), "landmarks.weights: expected rows of numbers from 0 to 1"),
        (first("weights", [np.nan, 0.5, 0.5]), "landmarks.weights: expected rows of numbers from 0 to 1"),
        (first("weights", [1e308, 1e308, -1e308]), "landmarks.weights: expected rows of numbers from 0 to 1"),
        (first("weights", [10**400, 0, 0]), "landmarks.weights: expected rows of numbers from 0 to 1"),
        (first("weights", [None, 0.5, 0.5]), "landmarks.weights: expected rows of numbers from 0 to 1"),
        (first("weights", ["1", 0, 0]), "landmarks.weights: expected rows of numbers from 0 to 1"),
    ],
)
def test_wrong_content_is_named(changed: dict[str, Any], told: str, path: Path) -> None:
    path.write_text(json.dumps(changed))
    assert told in refused(path)


@pytest.mark.parametrize(
    "written",
    [
        *(b"", b"{", b"[]", b"null", b"1e999", b'"landmarks"', b"\xff\xfe{", b"\x80\x04}q.", b"PK\x03\x04", b"{} {}"),
        b"9" * 5000,
        b"[" * MAX_BYTES,
        b'{"a":' * (MAX_BYTES // 5),
        json.dumps(content()).encode()[:-1],
        json.dumps(content()).encode().ljust(MAX_BYTES + 1),
    ],
    ids=lambda written: f"{written[:12]!r} {len(written)}",
)
def test_what_is_no_json_object_is_refused(written: bytes, path: Path) -> None:
    path.write_bytes(written)
    assert refused(path) == f"{path}: expected a JSON object of landmarks, got something else"


@pytest.mark.parametrize("depth", [50, 500, 900, 20_000])
@pytest.mark.parametrize("key", ["facefit_landmarks", "vertices", "other", "landmarks"])
def test_deep_nesting_is_refused(key: str, depth: int, path: Path) -> None:
    """Whether or not it is read: where the reader can go so deep, nothing after it has to."""
    nested = "[" * depth + "]" * depth
    path.write_text(json.dumps(content(**{key: "HERE"})).replace('"HERE"', nested))
    refused(path)
    path.write_text(json.dumps(part(weights="HERE")).replace('"HERE"', nested))
    refused(path)


def test_the_largest_file_is_read(path: Path) -> None:
    path.write_bytes(json.dumps(content()).encode().ljust(MAX_BYTES))
    assert_same(with_sidecar(BARE, path).landmarks, FOUND)


def test_what_cannot_be_read_is_named(path: Path) -> None:
    assert "cannot be read (No such file" in refused(path)
    path.mkdir()
    assert "cannot be read (" in refused(path)


def test_a_folder_of_that_name_beside_a_model_is_none_of_its_business(tmp_path: Path) -> None:
    file = tmp_path / "face.npz"
    write_model(file, BARE)
    sidecar_path(file).mkdir()
    assert load_model(file).hash == BARE.hash


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner), max_leaves=12
)
PLACES = (
    ("facefit_landmarks",),
    ("vertices",),
    ("triangles",),
    ("landmarks",),
    ("landmarks_contour",),
    ("landmarks", "triangles"),
    ("landmarks", "triangles", 3),
    ("landmarks", "weights"),
    ("landmarks", "weights", 3),
    ("landmarks", "weights", 3, 1),
    ("landmarks", "other"),
    ("other",),
)


@given(place=st.sampled_from(PLACES), value=VALUES)
def test_any_value_at_any_place_gives_a_model_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[Any, ...], value: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.landmarks.json"
    changed = json.loads(json.dumps(content()))
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path.write_text(json.dumps(changed))
    model_or_refusal(path)


@given(value=VALUES)
def test_any_json_gives_a_refusal(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any.landmarks.json"
    path.write_text(json.dumps(value))
    refused(path)


@given(data=st.data())
def test_damaged_bytes_give_a_model_or_a_refusal(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.landmarks.json"
    written = bytearray(json.dumps(content()).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        written[data.draw(st.integers(0, len(written) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(written[: data.draw(st.integers(len(written) // 2, len(written)))]))
    model_or_refusal(path)


def model_or_refusal(path: Path) -> None:
    """Whatever is accepted has all its landmarks on the surface."""
    try:
        model = with_sidecar(BARE, path)
    except ModelError:
        refused(path)
        return
    corners = model.mean[model.triangles[model.required_landmarks.triangles]]
    places = model.landmark_positions(model.mean)
    assert (places >= corners.min(axis=1) - 0.01).all()
    assert (places <= corners.max(axis=1) + 0.01).all()
