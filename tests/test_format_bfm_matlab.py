"""BFM 2009: files written in its two MATLAB layouts, and damaged ones."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from facefit.models.errors import ModelError
from facefit.models.formats import bfm_matlab, matlab5
from facefit.models.formats.bfm_matlab import read_model, recognises

N, K, E, A = 90, 4, 3, 2


def parts(triangles: str) -> dict[str, Any]:
    """The arrays that both layouts share, and `triangles` numbered from 1."""
    rng = np.random.default_rng(0)
    cells = rng.permuted(np.tile(np.arange(N), (120, 1)), axis=1)[:, :3]
    cells[: N // 3] = np.arange(N).reshape(-1, 3)
    values: dict[str, Any] = {triangles: cells + 1.0}
    for kind, count, size in (("shape", K, 1e5), ("tex", A, 50.0)):
        values[f"{kind}MU"] = (rng.uniform(0.5, 2.0, (3 * N, 1)) * size).astype(np.float32)
        values[f"{kind}PC"] = np.linalg.qr(rng.normal(size=(3 * N, count)))[0].astype(np.float32)
        values[f"{kind}EV"] = np.linspace(9.0, 1.0, count)[:, None] * size
    return values


def whole(path: Path, compressed: bool = True, **changes: Any) -> dict[str, Any]:
    values = parts("tl") | {"segbin": np.eye(4)} | changes
    values = {name: value for name, value in values.items() if value is not None}
    scipy.io.savemat(path, appendmat=False, mdict=values, do_compression=compressed)
    return values


def cut_down(path: Path, compressed: bool = True, **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    values = parts("tri")
    values["tri"] = values["tri"].T
    values["expMU"] = rng.normal(size=(3 * N, 1)) * 1e3
    values["expPC"] = np.linalg.qr(rng.normal(size=(3 * N, E)))[0]
    values["expEV"] = np.linspace(3e4, 1e4, E)[:, None]
    values["kpt_ind"] = rng.permutation(N)[None, :68] + 1
    values = {name: value for name, value in (values | changes).items() if value is not None}
    scipy.io.savemat(path, appendmat=False, mdict={"model": values}, do_compression=compressed)
    return values


def expression_files(folder: Path, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Write the usual expression files; returns mean (3 M), components (E, 3 M) and deviations (E,)."""
    rng = np.random.default_rng(2)
    mean = (rng.normal(size=3 * len(chosen)) * 100.0).astype("<f4")
    components = rng.normal(size=(E, 3 * len(chosen))).astype("<f4")
    deviations = np.array([5e4, 2e4, 1e4])
    (folder / "Exp_Pca.bin").write_bytes(E.to_bytes(4, "little") + mean.tobytes() + components.tobytes())
    (folder / "std_exp.txt").write_text(" ".join(f"{d:g}" for d in deviations))
    scipy.io.savemat(folder / "BFM_exp_idx.mat", {"trimIndex": chosen[:, None] + 1})
    return mean, components, deviations


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as refused:
        read_model(path)
    assert str(path) in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("compressed", [False, True])
def test_the_whole_model(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "any name"
    source = whole(path, compressed)
    assert recognises(path)
    model = read_model(path)
    np.testing.assert_array_equal(model.triangles, source["tl"][:, [1, 0, 2]] - 1)
    mean = source["shapeMU"].astype(float).reshape(-1, 3)
    np.testing.assert_allclose(model.mean, 1e-3 * (mean - mean.mean(axis=0)), atol=1e-5)
    expected = 1e-3 * source["shapePC"] * source["shapeEV"].T
    np.testing.assert_allclose(model.identity.reshape(K, -1).T, expected, rtol=1e-5, atol=1e-6)
    moved = np.c_[mean, np.ones(N)] @ model.source_transform.T
    np.testing.assert_allclose(moved[:, :3], model.mean, atol=1e-4)
    assert model.albedo_mean is not None and model.albedo is not None
    colour = source["texMU"].astype(float).reshape(-1, 3) / 255.0
    np.testing.assert_allclose(model.albedo_mean, ((colour + 0.055) / 1.055) ** 2.4, rtol=1e-5)
    assert len(model.albedo) == A and model.n_expression == 0 and model.landmarks is None
    assert "research only" in model.licence


def test_the_usual_expressions(tmp_path: Path) -> None:
    """They move some vertices only: the model is cut to those, and only triangles between them stay."""
    source = whole(tmp_path / "01_MorphableModel.mat")
    chosen = np.random.default_rng(3).permutation(N)[:70]
    offset, components, deviations = expression_files(tmp_path, chosen)
    model = read_model(tmp_path / "01_MorphableModel.mat")
    assert (model.n_vertices, model.n_expression) == (70, E)
    expected = 1e-3 * components * deviations[:, None]
    np.testing.assert_allclose(model.expression.reshape(E, -1), expected, rtol=1e-5)
    mean = source["shapeMU"].reshape(-1, 3)[chosen] + offset.reshape(-1, 3)
    np.testing.assert_allclose(model.mean, 1e-3 * (mean - mean.mean(axis=0)), atol=1e-4)
    cells = source["tl"].astype(int)[:, [1, 0, 2]] - 1
    np.testing.assert_array_equal(chosen[model.triangles], cells[np.isin(cells, chosen).all(axis=1)])
    np.testing.assert_array_equal(model.expression_upper, np.full(E, np.inf))
    np.testing.assert_array_equal(model.expression_sigma, np.ones(E))
    assert model.citation.count(".") > 2


@pytest.mark.parametrize("compressed", [False, True])
def test_the_cut_down_model(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "BFM.mat"
    source = cut_down(path, compressed)
    assert recognises(path)
    model = read_model(path)
    assert (model.n_identity, model.n_expression, model.n_albedo) == (K, E, A)
    mean = 1e-3 * (source["shapeMU"] + source["expMU"]).reshape(-1, 3)
    points = mean[source["kpt_ind"].ravel() - 1]
    np.testing.assert_allclose(model.landmark_positions(model.mean), points - points[[36, 45]].mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(model.mean, mean - points[[36, 45]].mean(axis=0), atol=1e-4)
    expected = 1e-3 * source["expPC"] * source["expEV"].T
    np.testing.assert_allclose(model.expression.reshape(E, -1).T, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("order", [[0, 1, 2], [1, 0, 2]])
def test_cut_down_triangles_face_outwards(tmp_path: Path, order: list[int]) -> None:
    octants = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
    vertices = np.concatenate([octants, np.eye(3), -np.eye(3)])
    upper = [[8, 9, 10], [8, 10, 12], [8, 12, 13], [8, 13, 9]]
    hull = np.array([*upper, [11, 10, 9], [11, 12, 10], [11, 13, 12], [11, 9, 13]])
    changes = dict.fromkeys(("texMU", "texPC", "texEV", "expMU", "expPC", "expEV"))
    shape = {"shapeMU": 1e5 * vertices.reshape(-1, 1), "shapePC": np.zeros((42, 1)), "shapeEV": np.ones((1, 1))}
    kpt = np.tile([9, 10, 11, 12], 17) + 1
    cut_down(tmp_path / "a.mat", tri=hull[:, order].T + 1, kpt_ind=kpt, **shape, **changes)
    model = read_model(tmp_path / "a.mat")
    a, b, c = np.moveaxis((1e3 * model.mean - 1e3 * model.mean.mean(axis=0))[model.triangles], 1, 0)
    assert (np.einsum("tx,tx->t", a, np.cross(b, c)) > 0.0).all()
    assert model.n_expression == model.n_albedo == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shapeMU": None}, "shapeMU: expected these numbers, got none"),
        ({"tl": None}, "tl: expected these numbers, got none"),
        ({"shapeMU": np.full((3 * N, 1), np.nan)}, "shapeMU: expected finite numbers"),
        ({"shapeMU": np.zeros((4, 3))}, "shapeMU: expected 3 N numbers"),
        ({"shapePC": np.zeros((3 * N, K + 1))}, "shapePC: expected shape"),
        ({"shapePC": np.zeros((3 * N, K)) + 1j}, "shapePC: expected these numbers, got none"),
        ({"shapePC": "text"}, "shapePC: expected these numbers, got none"),
        ({"tl": np.zeros((5, 3))}, "tl: expected indices from 0 to 89, got -1"),
        ({"tl": np.full((5, 3), 1.5)}, "tl: expected numbers that int64 holds exactly"),
        ({"tl": np.full((5, 3), 1e15)}, "tl: expected"),
        ({"texMU": np.zeros((3, 1))}, "texMU: expected shape"),
        ({"model": np.array([{"a": 1}, {"a": 2}])}, ""),
    ],
)
def test_wrong_content_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    whole(tmp_path / "wrong.mat", **changes)
    if message:
        assert message in refusal(tmp_path / "wrong.mat")
    else:
        read_model(tmp_path / "wrong.mat")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kpt_ind": np.ones((1, 67))}, "kpt_ind: expected shape (68,)"),
        ({"kpt_ind": np.full((1, 68), N + 1)}, "kpt_ind: expected indices"),
        ({"tri": np.ones((5, 3))}, "tri: expected shape (3, any)"),
        ({"expMU": np.zeros((3, 1))}, "expMU: expected shape"),
        ({"expEV": None}, "expEV: expected these numbers"),
    ],
)
def test_wrong_cut_down_content_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    cut_down(tmp_path / "wrong.mat", **changes)
    assert message in refusal(tmp_path / "wrong.mat")


def test_wrong_expression_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "01_MorphableModel.mat"
    whole(path)
    chosen = np.arange(N)
    for name, wrong in {
        "Exp_Pca.bin": b"\xff\xff\xff\x7f" + bytes(100),
        "std_exp.txt": b"1 two 3",
        "BFM_exp_idx.mat": b"MATLAB",
    }.items():
        expression_files(tmp_path, chosen)
        (tmp_path / name).write_bytes(wrong)
        refusal(path)
    expression_files(tmp_path, np.zeros(4, dtype=int))
    assert "trimIndex: expected different vertices" in refusal(path)
    (tmp_path / "std_exp.txt").unlink()
    expression_files(tmp_path, chosen)
    (tmp_path / "std_exp.txt").unlink()
    refusal(path)


@pytest.mark.parametrize("junk", [b"", b"MATLAB 5.0" + bytes(200), b"\x89HDF\r\n\x1a\n", bytes(4096)])
def test_other_files_are_refused(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "x").write_bytes(junk)
    for path in (tmp_path / "x", tmp_path / "none", tmp_path):
        assert not recognises(path)
        refusal(path)


def test_variables_that_unpack_to_too_much_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole(tmp_path / "bomb.mat", shapePC=np.zeros((3 * N, 1000)))
    monkeypatch.setattr(matlab5, "MAX_BYTES", 10**6)
    assert "expected at most" in refusal(tmp_path / "bomb.mat")


@pytest.mark.parametrize("shape", [(2**31 - 1,) * 60, (0,) * 70, (1,) * 70, (2**20, 2**20)])
def test_dimensions_that_no_array_has_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """Whose product is no number, which are too many, or whose numbers, a byte each, would take eight times that."""
    parts = [(6, b"\6" + bytes(7)), (5, np.array(shape, "<i4").tobytes()), (1, b"shapeMU"), (2, b"\1")]
    body = b"".join(
        kind.to_bytes(4, "little") + len(data).to_bytes(4, "little") + data + bytes(-len(data) % 8)
        for kind, data in parts
    )
    path = tmp_path / "model.mat"
    path.write_bytes(bytes(124) + b"\x00\x01IM" + b"\x0e\0\0\0" + len(body).to_bytes(4, "little") + body)
    refusal(path)


def test_the_reader_agrees_with_scipy(tmp_path: Path, rng: np.random.Generator) -> None:
    kinds = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
    arrays = {f"a_{kind}": (100 * rng.uniform(size=(3, 5))).astype(kind) for kind in kinds}
    arrays |= {"scalar": np.array([[7.0]]), "empty": np.zeros((0, 3)), "cube": rng.normal(size=(2, 3, 4))}
    others = {"text": "abc", "cell": np.array([1, "a"], dtype=object), "s": {"x": np.eye(2), "t": "no"}}
    for compressed in (False, True):
        scipy.io.savemat(tmp_path / "a.mat", arrays | others, do_compression=compressed)
        read = matlab5.read_variables(tmp_path / "a.mat", [*arrays, *others])
        assert matlab5.variable_names(tmp_path / "a.mat") == [*arrays, *others]
        assert read.keys() == {*arrays, "s"}
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array)
        structure = read["s"]
        assert isinstance(structure, dict) and structure.keys() == {"x"}
        np.testing.assert_array_equal(structure["x"], np.eye(2))


SHARES = st.floats(0.0, 0.999) | st.floats(0.0, 0.02)  # most of the structure stands in front


@settings(max_examples=2000)
@given(
    layout=st.sampled_from(["whole", "whole plain", "cut", "cut plain"]),
    places=st.lists(
        st.tuples(st.floats(0.0, 0.999) | st.floats(0.0, 0.02), st.binary(min_size=1, max_size=5)), max_size=4
    ),
    share=st.floats(0.0, 1.0) | st.just(1.0),
)
def test_mutated_files_are_refused_or_valid(
    tmp_path_factory: pytest.TempPathFactory, layout: str, places: list[tuple[float, bytes]], share: float
) -> None:
    folder = tmp_path_factory.getbasetemp() / "mutated"
    folder.mkdir(exist_ok=True)
    original = folder / layout
    if not original.exists():
        (cut_down if layout.startswith("cut") else whole)(folder / layout, compressed="plain" not in layout)
    mutated = bytearray(original.read_bytes())
    for place, patch in places:
        at = int(place * len(mutated))
        mutated[at : at + len(patch)] = patch
    path = folder / "mutated.mat"
    path.write_bytes(mutated[: int(share * len(mutated))])
    recognises(path)
    with contextlib.suppress(ModelError):
        assert np.isfinite(read_model(path).mean).all()


def test_the_whole_models_tables() -> None:
    assert len(bfm_matlab.LANDMARK_VERTICES) == 18
    assert max(bfm_matlab.LANDMARK_VERTICES.values()) < bfm_matlab.VERTICES
