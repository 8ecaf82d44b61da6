import contextlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facefit.fitting.landmark_files import MAX_BYTES, read_landmarks
from facefit.models.errors import InvalidInputError, LandmarkError


@pytest.fixture
def points(rng):
    return rng.normal(200.0, 80.0, (68, 2))


def pts_text(points, newline="\n"):
    rows = [f"{x!r} {y!r}" for x, y in points.tolist()]
    return newline.join(["version: 1", f"n_points: {len(rows)}", "{", *rows, "}", ""])


def write(path, points):
    match path.suffix.lower():
        case ".pts":
            path.write_text(pts_text(points))
        case ".json":
            path.write_text(json.dumps(points.tolist()))
        case ".npy":
            with path.open("wb") as file:
                np.save(file, points)
    return path


SUFFIXES = [".pts", ".json", ".npy", ".PTS"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip_is_exact(tmp_path, points, suffix):
    read = read_landmarks(write(tmp_path / f"p{suffix}", points))
    assert read.dtype == np.float64
    assert read.shape == (68, 2)
    assert (read == points).all()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_origin_one_is_subtracted(tmp_path, points, suffix):
    path = write(tmp_path / f"p{suffix}", points)
    assert (read_landmarks(path, origin=1) == points - 1.0).all()
    assert (read_landmarks(str(path), origin=0) == points).all()


def test_json_may_name_its_origin_and_the_caller_decides(tmp_path, points):
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"landmarks": points.tolist(), "origin": 1}))
    assert (read_landmarks(path) == points - 1.0).all()
    assert (read_landmarks(path, origin=0) == points).all()
    path.write_text(json.dumps({"landmarks": points.tolist()}))
    assert (read_landmarks(path) == points).all()


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.float16])
def test_npy_of_any_real_type_and_transposed(tmp_path, points, dtype):
    array = points.astype(dtype)
    np.save(tmp_path / "p.npy", np.asfortranarray(array.T))
    assert (read_landmarks(tmp_path / "p.npy") == array.astype(np.float64)).all()


def test_pts_layout_is_taken_generously(tmp_path, points):
    rows = "\r\n".join(f"\t{x!r}   {y!r} " for x, y in points.tolist())
    (tmp_path / "p.pts").write_bytes(
        b"\xef\xbb\xbfversion:1\r\n n_points :  68\r\n\r\n{\r\n\r\n" + rows.encode() + b"}"
    )
    assert (read_landmarks(tmp_path / "p.pts") == points).all()
    (tmp_path / "bare.pts").write_text("{\n" + "\n".join(f"{x!r} {y!r}" for x, y in points.tolist()) + "\n}")
    assert (read_landmarks(tmp_path / "bare.pts") == points).all()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nan_and_infinity_are_data(tmp_path, points, suffix):
    points[7, 1], points[9, 0] = np.nan, np.inf
    np.testing.assert_array_equal(read_landmarks(write(tmp_path / f"p{suffix}", points)), points)


def test_json_null_is_nan(tmp_path, points):
    rows = points.tolist()
    rows[3] = [None, 4.0]
    (tmp_path / "p.json").write_text(json.dumps(rows))
    read = read_landmarks(tmp_path / "p.json")
    assert np.isnan(read[3, 0])
    assert np.isfinite(np.delete(read.ravel(), 6)).all()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_67_points_are_refused_by_number(tmp_path, points, suffix):
    path = write(tmp_path / f"p{suffix}", points[:67])
    with pytest.raises(LandmarkError, match=r"p\.\w+: .*\(68, 2\), got \(67, 2\)"):
        read_landmarks(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.pts", b"", "between { and }"),
        ("p.pts", b"version: 1\n{\n1 2\n", "between { and }"),
        ("p.pts", b"{\n1 2\n}\nmore", "between { and }"),
        ("p.pts", b"{}", r"got \(0, 2\)"),
        ("p.pts", b"n_points: 68\n{\n1 2\n}", "announced 68 points, got 1"),
        ("p.pts", b"{\n1 2 3\n}", "two numbers per line, got '1 2 3'"),
        ("p.pts", b"{\n1 x\n}", "expected numbers"),
        ("p.pts", b"\xff\xfe{}", "decode"),
        ("p.json", b"", "expected JSON"),
        ("p.json", b"[" * 100_000, "expected JSON"),
        ("p.json", b"{}", '"landmarks"'),
        ("p.json", b'{"landmarks": [], "origin": 2}', '"origin" 0 or 1, got 2'),
        ("p.json", b'{"landmarks": [], "origin": [0]}', '"origin" 0 or 1'),
        ("p.json", b"[[1, 2], [3]]", r"shape \(68, 2\)"),
        ("p.json", b'"text"', r"shape \(68, 2\)"),
        ("p.json", b"[[1" + b"0" * 400 + b", 2]]", "p.json"),
        ("p.json", b"12", r"got \(\)"),
        ("p.npy", b"", "NumPy array file"),
        ("p.npy", b"\x93NUMPY\x01\x00", "NumPy array file"),
        ("p.txt", b"1 2", "expected a .pts, .json or .npy file, got '.txt'"),
        ("p", b"1 2", "got 'no suffix'"),
        ("big.pts", b" " * (MAX_BYTES + 1), "at most"),
    ],
)
def test_malformed_files_are_explained(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(LandmarkError, match=message):
        read_landmarks(path)


@pytest.mark.parametrize(
    "array", [np.zeros((68, 2), complex), np.full((68, 2), "1"), np.full((68, 2), None), np.zeros(68, "f8,f8")]
)
def test_npy_of_another_kind_is_refused(tmp_path, array):
    np.save(tmp_path / "p.npy", array, allow_pickle=True)
    with pytest.raises(LandmarkError, match=r"pickle|real numbers"):
        read_landmarks(tmp_path / "p.npy")


def test_npy_that_announces_more_than_memory(tmp_path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000, 2)}"
    content = b"\x93NUMPY\x01\x00" + (128 - 10).to_bytes(2, "little") + header.ljust(117) + b"\n" + b"\0" * 64
    (tmp_path / "p.npy").write_bytes(content)
    with pytest.raises(LandmarkError, match=r"p\.npy"):
        read_landmarks(tmp_path / "p.npy")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(LandmarkError, match="No such file"):
        read_landmarks(tmp_path / "none.pts")
    (tmp_path / "folder.pts").mkdir()
    with pytest.raises(LandmarkError, match="directory"):
        read_landmarks(tmp_path / "folder.pts")
    with pytest.raises(LandmarkError, match="null"):
        read_landmarks("a\0b.pts")


@pytest.mark.parametrize("origin", [2, -1, 0.5, "1"])
def test_origin_is_zero_or_one(tmp_path, origin):
    with pytest.raises(InvalidInputError, match="expected 0 or 1"):
        read_landmarks(tmp_path / "p.pts", origin=origin)


@given(suffix=st.sampled_from([".pts", ".json", ".npy"]), cut=st.integers(0, 3000), noise=st.binary(max_size=30))
def test_damaged_files_give_points_or_a_landmark_error(tmp_path_factory, suffix, cut, noise):
    path = write(tmp_path_factory.getbasetemp() / f"fuzz{suffix}", np.arange(136.0).reshape(68, 2))
    content = path.read_bytes()
    path.write_bytes(content[:cut] + noise + content[cut + len(noise) :])
    with contextlib.suppress(LandmarkError):
        assert read_landmarks(path).shape == (68, 2)


def test_the_files_of_the_field(test_data):
    for name in ("landmarks68/einstein.pts", "eos/examples/image_0010.pts", "synthetic/s0000.pts"):
        points = read_landmarks(test_data / name)
        assert points.shape == (68, 2)
        assert np.isfinite(points).all()
    assert read_landmarks(test_data / "landmarks68/einstein.pts")[0].tolist() == [357.417253, 308.455774]
