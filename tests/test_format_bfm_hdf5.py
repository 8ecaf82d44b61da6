"""BFM 2017 and 2019: the real HDF5 file of that layout, files written in it, and hostile ones."""

import contextlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facefit.models.errors import ModelError
from facefit.models.formats.bfm_hdf5 import NAMED_LANDMARKS, read_model, recognises
from facefit.models.formats.landmark_transfer import TEMPLATE
from facefit.models.morphable_model import MorphableModel

SIDE, K, E, A = 21, 4, 3, 2
N = SIDE * SIDE


def surface() -> tuple[np.ndarray, np.ndarray]:
    """A bowl under a face: vertices (N, 3) mm and triangles (T, 3) counter-clockwise from +Z."""
    y, x = np.meshgrid(np.linspace(-130.0, 60.0, SIDE), np.linspace(-90.0, 90.0, SIDE), indexing="ij")
    vertices = np.stack([x, y, 40.0 - (x / 13.0) ** 2 - ((y + 35.0) / 20.0) ** 2], axis=2).reshape(-1, 3)
    a = (np.arange(SIDE - 1)[:, None] * SIDE + np.arange(SIDE - 1)).ravel()
    return vertices, np.concatenate([np.stack([a, a + 1, a + SIDE + 1], 1), np.stack([a, a + SIDE + 1, a + SIDE], 1)])


def write(path: Path, *, compressed: bool = False, named: str = "json", **changes: Any) -> dict[str, Any]:
    """Write a file in the layout; `changes` replace data sets, None leaves one out. Returns what was written."""
    rng = np.random.default_rng(0)
    mean, triangles = surface()
    reference = mean + 0.2
    parts: dict[str, Any] = {
        "shape/representer/cells": triangles.T.astype("u4"),
        "shape/representer/points": reference.T,
    }
    means = {"shape": mean.ravel(), "color": rng.uniform(0.1, 0.9, 3 * N), "expression": rng.normal(size=3 * N)}
    for kind, count in {"shape": K, "color": A, "expression": E}.items():
        parts[f"{kind}/model/mean"] = means[kind].astype("f4")
        parts[f"{kind}/model/pcaBasis"] = np.linalg.qr(rng.normal(size=(3 * N, count)))[0].astype("f4")
        parts[f"{kind}/model/pcaVariance"] = np.linspace(9.0, 1.0, count).astype("f4")
    places = {}
    for name, members in NAMED_LANDMARKS.items():
        away = np.linalg.norm(reference - TEMPLATE[list(members)].mean(axis=0), axis=1)
        places[name] = reference[away.argmin()]
    if named == "json":
        entries = [{"id": name, "coordinates": place.tolist()} for name, place in places.items()]
        parts["metadata/landmarks/json"] = json.dumps([*entries, {"id": "other", "coordinates": [0, 0, 0]}])
    elif named == "text":
        parts["metadata/landmarks/text"] = "\n".join(f"{name} 1 {x} {y} {z}" for name, (x, y, z) in places.items())
    parts |= changes
    with h5py.File(path, "w") as file:
        for name, value in parts.items():
            if value is not None:
                options = {"compression": "gzip", "shuffle": True} if compressed and np.ndim(value) else {}
                file.create_dataset(name, data=value, **options)
    return parts


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as refused:
        read_model(path)
    assert str(path) in str(refused.value)
    return str(refused.value)


@pytest.fixture(scope="module")
def real(test_data: Path) -> Path:
    return test_data / "statismo" / "random-l4.h5"


def test_the_real_file(real: Path) -> None:
    assert recognises(real)
    model = read_model(real)
    with h5py.File(real) as file:
        mean, basis = file["shape/model/mean"][()], file["shape/model/pcaBasis"][()]
        variance, cells = file["shape/model/pcaVariance"][()], file["shape/representer/cells"][()]
    assert (model.n_vertices, model.n_identity, model.n_albedo, model.n_expression) == (1529, 19, 19, 0)
    coefficients = np.linspace(-2.0, 2.0, 19)
    expected = (mean + basis @ (np.sqrt(variance) * coefficients)).reshape(-1, 3)
    moved = np.c_[expected, np.ones(1529)] @ model.source_transform.T
    np.testing.assert_allclose(model.vertices(coefficients), moved[:, :3], atol=1e-4)
    np.testing.assert_array_equal(model.triangles, cells.T)
    assert model.albedo_mean is not None and 0.0 <= model.albedo_mean.min() <= model.albedo_mean.max() <= 1.0
    assert_is_a_face(model)


def assert_is_a_face(model: MorphableModel) -> None:
    points = model.landmark_positions(model.mean)
    np.testing.assert_allclose(points[[36, 45]].mean(axis=0), 0.0, atol=2.0)
    assert (points[:8, 0] < 0.0).all() and (points[9:17, 0] > 0.0).all()
    assert points[8, 1] < points[57, 1] < points[51, 1] < points[30, 1] < points[27, 1]
    assert (points[17:22, 1] > points[36:42, 1].max()).all()
    assert np.linalg.norm(points - TEMPLATE, axis=1).max() < 25.0


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("named", ["json", "text"])
def test_written_files_are_read(tmp_path: Path, compressed: bool, named: str) -> None:
    path = tmp_path / "any name"
    parts = write(path, compressed=compressed, named=named)
    assert recognises(path)
    model = read_model(path)
    assert (model.n_identity, model.n_expression, model.n_albedo) == (K, E, A)
    np.testing.assert_array_equal(model.triangles, parts["shape/representer/cells"].T)
    for ours, kind in ((model.identity, "shape"), (model.expression, "expression")):
        expected = parts[f"{kind}/model/pcaBasis"] * np.sqrt(parts[f"{kind}/model/pcaVariance"])
        np.testing.assert_allclose(ours.reshape(len(ours), -1).T, expected, atol=1e-6)
    source = (parts["shape/model/mean"] + parts["expression/model/mean"]).reshape(-1, 3)
    np.testing.assert_allclose(model.mean, source + model.source_transform[:3, 3], atol=1e-4)
    np.testing.assert_array_equal(model.expression_lower, np.full(E, -np.inf))
    np.testing.assert_array_equal(model.expression_sigma, np.ones(E))
    assert model.landmarks is not None
    assert "ask its source" in model.licence


def test_optional_parts_may_be_absent(tmp_path: Path) -> None:
    members = ("mean", "pcaBasis", "pcaVariance")
    absent = {f"{kind}/model/{member}": None for kind in ("color", "expression") for member in members}
    write(tmp_path / "a", named="", **absent)
    model = read_model(tmp_path / "a")
    assert model.n_expression == model.n_albedo == 0
    assert model.landmarks is model.albedo_mean is None


def test_lengths_are_millimetres(tmp_path: Path) -> None:
    write(tmp_path / "mm")
    write(tmp_path / "m", **{"shape/representer/length-unit": np.float32(0.01)})
    mm, m = read_model(tmp_path / "mm"), read_model(tmp_path / "m")
    np.testing.assert_allclose(m.mean, 10.0 * mm.mean, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(m.identity, 10.0 * mm.identity, rtol=1e-5)


def test_albedo_modes_are_derivatives(tmp_path: Path) -> None:
    """A small step along a mode, in sRGB, is the same step in linear reflectance to first order."""
    parts = write(tmp_path / "a")
    model = read_model(tmp_path / "a")
    assert model.albedo is not None and model.albedo_mean is not None
    mode = (parts["color/model/pcaBasis"][:, 0] * 3.0).reshape(-1, 3).astype(float)
    colour, step = parts["color/model/mean"].reshape(-1, 3).astype(float), 1e-4
    moved = ((colour + step * mode + 0.055) / 1.055) ** 2.4 - ((colour - step * mode + 0.055) / 1.055) ** 2.4
    np.testing.assert_allclose(model.albedo[0], moved / (2.0 * step), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape/model/mean": None}, "shape/model/mean: expected this data set, got none"),
        ({"shape/model/mean": np.full(3 * N, np.nan)}, "shape/model/mean: expected finite numbers"),
        ({"shape/model/mean": np.zeros(7)}, "shape/model/mean: expected 3 N numbers"),
        ({"shape/model/pcaVariance": np.full(K, -1.0)}, "shape/model/pcaVariance: expected variances"),
        ({"shape/model/pcaBasis": np.zeros((3 * N, K + 1))}, "shape/model/pcaBasis: expected shape"),
        ({"shape/representer/cells": np.full((3, 5), N)}, "triangles: expected indices"),
        ({"shape/representer/cells": np.full((3, 5), 2**40)}, "shape/representer/cells: expected numbers"),
        ({"shape/representer/cells": np.zeros((3, 5))}, "shape/representer/cells: expected numbers of kind iu"),
        ({"color/model/mean": np.zeros(3)}, "color/model/mean: expected shape"),
        ({"shape/representer/length-unit": 0.0}, "shape/representer/length-unit: expected metres"),
        ({"metadata/landmarks/json": "{"}, "metadata/landmarks: expected named points"),
        ({"metadata/landmarks/json": "[" * 10000}, "metadata/landmarks: expected named points"),
        ({"metadata/landmarks/json": '[{"id": "center.nose.tip", "coordinates": [1, 2]}]'}, "expected shape (3,)"),
        ({"metadata/landmarks/json": 1.5}, "metadata/landmarks/json: expected text"),
    ],
)
def test_wrong_content_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write(tmp_path / "wrong.h5", **changes)
    assert message in refusal(tmp_path / "wrong.h5")


# ---------------------------------------------------------------------------------------------------------- hostile


def test_links_out_of_the_tree_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "other.h5")
    for link in (h5py.ExternalLink("other.h5", "/shape/model/mean"), h5py.SoftLink("/color/model/mean")):
        path = tmp_path / "linked.h5"
        write(path, **{"shape/model/mean": None})
        with h5py.File(path, "a") as file:
            file["shape/model/mean"] = link
        assert "shape/model/mean: expected it in the file itself" in refusal(path)
        assert recognises(path)  # so that the store says this too


def test_storage_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(12 * N))
    for kind in ("external", "virtual"):
        path = tmp_path / f"{kind}.h5"
        write(path, **{"shape/model/mean": None})
        with h5py.File(path, "a") as file:
            if kind == "external":
                where = [(str(tmp_path / "secret"), 0, 12 * N)]
                file.create_dataset("shape/model/mean", (3 * N,), "f4", external=where)
            else:
                layout = h5py.VirtualLayout((3 * N,), "f4")
                layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (3 * N,))
                file.create_virtual_dataset("shape/model/mean", layout)
        assert "shape/model/mean: expected a data set in the file itself" in refusal(path)


def test_huge_and_hollow_data_sets_are_refused(tmp_path: Path) -> None:
    for shape, message in (((2**40,), f"bytes, got {8 * 2**40}"), ((10**8,), "expected its content in the file")):
        path = tmp_path / "huge.h5"
        write(path, **{"shape/model/mean": None})
        with h5py.File(path, "a") as file:
            file.create_dataset("shape/model/mean", shape, "f4", chunks=(1000,))
        assert message in refusal(path)


def test_what_unpacks_to_more_than_it_says_is_refused(tmp_path: Path) -> None:
    """A piece far larger than the data set, and numbers of a byte each, which take eight in use."""
    path = tmp_path / "model.h5"
    for change in ({"shape": (K,), "maxshape": (None,), "chunks": (2**28,)}, {"shape": (2**29,), "chunks": (2**20,)}):
        write(path)
        with h5py.File(path, "r+") as file:
            del file["shape/model/pcaVariance"]
            file.create_dataset("shape/model/pcaVariance", dtype="u1", compression=9, **change)
        assert "shape/model/pcaVariance: expected at most" in refusal(path)


def test_object_references_and_groups_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "reference.h5"
    write(path, **{"shape/model/mean": None})
    with h5py.File(path, "a") as file:
        file.create_dataset("shape/model/mean", (3 * N,), h5py.ref_dtype)
    assert "shape/model/mean: expected" in refusal(path)
    write(path, **{"shape/model/mean": None, "shape/model/mean/x": 1.0})
    assert "got a group" in refusal(path)


@pytest.mark.parametrize("junk", [b"", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(4096), b"text"])
def test_other_files_are_refused(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(junk)
    assert not recognises(path)
    refusal(path)


def test_folders_and_missing_files_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        assert not recognises(path)
        refusal(path)


@settings(max_examples=300)
@given(
    places=st.lists(st.tuples(st.integers(0, 6000), st.binary(min_size=1, max_size=4)), max_size=4),
    share=st.floats(0.0, 1.0) | st.just(1.0),
)
def test_mutated_files_are_refused_or_valid(
    tmp_path_factory: pytest.TempPathFactory, places: list[tuple[int, bytes]], share: float
) -> None:
    """The structure of such a file stands mostly in its first thousands of bytes."""
    whole = tmp_path_factory.getbasetemp() / "whole.h5"
    if not whole.exists():
        write(whole)
    mutated = bytearray(whole.read_bytes())
    for at, patch in places:
        mutated[at : at + len(patch)] = patch
    path = tmp_path_factory.getbasetemp() / "mutated.h5"
    path.write_bytes(mutated[: int(share * len(mutated))])
    recognises(path)
    with contextlib.suppress(ModelError):
        assert np.isfinite(read_model(path).mean).all()
