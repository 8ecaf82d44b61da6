"""The Surrey Face Model: the real file, files written in its layout, and damaged ones."""

import contextlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import facefit
from facefit.fitting.landmark_files import read_landmarks
from facefit.models.errors import ModelError
from facefit.models.formats.surrey import read_model, recognises
from facefit.models.morphable_model import MorphableModel

N, K, A = 12, 3, 2


def matrix(values: Any) -> bytes:
    array = np.atleast_2d(np.asarray(values, dtype="<f4"))
    return struct.pack("<ii", *array.shape) + array.tobytes(order="F")


def components(mean: Any, basis: Any, variances: Any, triangles: Any) -> bytes:
    rows = np.asarray(triangles, dtype="<i4").reshape(-1, 3)
    column = np.asarray(variances, dtype="<f4").reshape(-1, 1)
    return (
        matrix(np.reshape(mean, (-1, 1))) + matrix(basis) + matrix(column) + struct.pack("<Q", len(rows))
    ) + rows.tobytes()


@pytest.fixture(scope="module")
def parts() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "mean": rng.normal(size=3 * N).astype(np.float32),
        "basis": np.linalg.qr(rng.normal(size=(3 * N, K)))[0].astype(np.float32),
        "variances": np.array([9.0, 4.0, 1.0], np.float32),
        "triangles": rng.permuted(np.tile(np.arange(N), (8, 1)), axis=1)[:, :3],
        "colour": rng.uniform(0.1, 0.9, 3 * N).astype(np.float32),
        "colour_basis": np.linalg.qr(rng.normal(size=(3 * N, A)))[0].astype(np.float32),
        "texture": rng.uniform(size=(N, 2)),
    }


def content(parts: dict[str, np.ndarray], version: int = 1) -> bytes:
    shape = components(parts["mean"], parts["basis"], parts["variances"], parts["triangles"])
    colour = components(parts["colour"], parts["colour_basis"], [0.04, 0.01], parts["triangles"])
    texture = struct.pack("<Q", N) + parts["texture"].astype("<f8").tobytes() if version == 1 else b""
    return struct.pack("<I", version) + shape + colour + texture


def blendshapes(names: list[str], offsets: np.ndarray) -> bytes:
    rows = [
        struct.pack("<Q", len(n)) + n.encode() + matrix(o.reshape(-1, 1)) for n, o in zip(names, offsets, strict=True)
    ]
    return struct.pack("<Q", len(names)) + b"".join(rows)


@pytest.fixture(scope="module")
def surrey(test_data: Path) -> MorphableModel:
    return read_model(test_data / "eos" / "share" / "sfm_shape_3448.bin")


def test_the_real_model(surrey: MorphableModel) -> None:
    assert (surrey.n_vertices, surrey.n_identity, len(surrey.triangles)) == (3448, 63, 6736)
    assert surrey.expression_names == ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
    assert "non-commercial" in surrey.licence
    np.testing.assert_array_equal([surrey.expression_lower, surrey.expression_upper], [np.zeros(6), np.ones(6)])
    points = surrey.landmark_positions(surrey.mean)
    np.testing.assert_allclose(points[[36, 45]].mean(axis=0), 0.0, atol=1e-5)
    gram = np.einsum("kvx,lvx->kl", surrey.identity, surrey.identity)
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-3 * gram.max())
    assert (np.diff(np.diag(gram)) < 0.0).all()
    a, b, c = np.moveaxis(surrey.mean[surrey.triangles], 1, 0)
    assert np.cross(b - a, c - a)[:, 2].sum() > 0.0  # outwards is towards the viewer


def test_the_real_landmarks_are_a_face(surrey: MorphableModel) -> None:
    """Left and right mirror each other to the mean's asymmetry; the jaw runs down to the chin and up again."""
    points = surrey.landmark_positions(surrey.mean)
    pairs = [(k, 16 - k) for k in range(8)] + [(17 + k, 26 - k) for k in range(5)]
    pairs += [(36, 45), (37, 44), (38, 43), (39, 42), (41, 46), (40, 47), (31, 35), (32, 34)]
    pairs += [(48, 54), (49, 53), (50, 52), (60, 64), (61, 63), (67, 65), (59, 55), (58, 56)]
    for right, left in pairs:
        assert np.linalg.norm(points[right] * [-1.0, 1.0, 1.0] - points[left]) < 3.0, (right, left)
        assert points[right, 0] < 0.0 < points[left, 0]
    assert (np.diff(points[:9, 1]) <= 0.0).all() and (np.diff(points[8:17, 1]) >= 0.0).all()
    assert points[:, 2].argmax() in (30, 33)
    assert surrey.contour is not None
    assert surrey.mean[surrey.contour.right, 0].max() < 0.0 < surrey.mean[surrey.contour.left, 0].min()


def test_the_example_photo_is_fitted(surrey: MorphableModel, test_data: Path) -> None:
    """At most eos 1.5.0's error of the same points, 7.11 px, with coefficients at most its largest, 1.07 (measured)."""
    points = read_landmarks(test_data / "eos" / "examples" / "image_0010.pts", origin=1)
    options = facefit.FitOptions(landmark_convention="contour")
    result = facefit.fit_landmarks(points, model=surrey, options=options)
    inner = np.array([k for k in range(17, 68) if k not in (60, 64)])
    error = np.linalg.norm(result.landmarks_fitted - points, axis=1)[inner]
    assert result.status is facefit.FitStatus.CONVERGED
    assert np.sqrt(np.mean(error**2)) <= 7.11
    assert np.abs(result.identity).max() <= 1.07


def test_a_written_file_is_read_exactly(parts: dict[str, np.ndarray], tmp_path: Path, rng: np.random.Generator) -> None:
    offsets = rng.normal(size=(2, N, 3)).astype(np.float32)
    (tmp_path / "any.bin").write_bytes(content(parts))
    (tmp_path / f"expression_blendshapes_{N}.bin").write_bytes(blendshapes(["joy", "awe"], offsets))
    assert recognises(tmp_path / "any.bin")
    model = read_model(tmp_path / "any.bin")
    mean = parts["mean"].reshape(-1, 3)
    np.testing.assert_allclose(model.mean + mean.mean(axis=0), mean, atol=1e-6)
    np.testing.assert_allclose(
        model.identity.reshape(K, -1).T, parts["basis"] * np.sqrt(parts["variances"]), rtol=1e-6, atol=1e-7
    )
    np.testing.assert_array_equal(model.triangles, parts["triangles"])
    np.testing.assert_array_equal(model.expression, offsets)
    assert model.expression_names == ("joy", "awe")
    assert model.uv is not None and model.albedo_mean is not None
    np.testing.assert_allclose(model.uv.coordinates * [1, -1] + [0, 1], parts["texture"], atol=1e-6)
    colour = parts["colour"].reshape(-1, 3)
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(model.albedo_mean, linear, rtol=1e-5)
    at_source = np.linalg.solve(model.source_transform, np.c_[model.mean, np.ones(N)].T)[:3].T
    np.testing.assert_allclose(at_source, mean, atol=1e-6)
    assert model.landmarks is None  # another mesh than Surrey's


def test_version_0_has_no_texture(parts: dict[str, np.ndarray], tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(content(parts, version=0))
    assert read_model(tmp_path / "a.bin").uv is None


@pytest.mark.parametrize(
    ("start", "patch", "message"),
    [
        (0, struct.pack("<I", 7), "version: expected 0 or 1, got 7"),
        (4, struct.pack("<i", -3), "shape mean: expected a number of rows"),
        (4, struct.pack("<ii", 2**31 - 1, 2**31 - 1), "shape mean: expected 18446744056529682436 more bytes"),
        (12, struct.pack("<f", np.nan), "shape mean: expected finite numbers"),
        (4 + 8 + 12 * N + 8 + 12 * N * K + 8, struct.pack("<f", -1.0), "shape variances: expected variances"),
        (4 + 8 + 12 * N + 8 + 12 * N * K + 8 + 4 * K, struct.pack("<Q", 2**60), "shape triangles: expected"),
        (
            4 + 8 + 12 * N + 8 + 12 * N * K + 8 + 4 * K + 8,
            struct.pack("<i", 2**31 - 1),
            "shape triangles: expected indices",
        ),
    ],
)
def test_wrong_content_is_named(
    parts: dict[str, np.ndarray], tmp_path: Path, start: int, patch: bytes, message: str
) -> None:
    whole = content(parts)
    path = tmp_path / "wrong.bin"
    path.write_bytes(whole[:start] + patch + whole[start + len(patch) :])
    with pytest.raises(ModelError) as refused:
        read_model(path)
    assert str(path) in str(refused.value) and message in str(refused.value)


def test_wrong_blendshapes_are_named(parts: dict[str, np.ndarray], tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(content(parts))
    for wrong in (b"", struct.pack("<Q", 2**62), blendshapes(["a"], np.zeros((1, N + 1, 3))), b"\0" * 9):
        (tmp_path / "b.bin").write_bytes(wrong)
        with pytest.raises(ModelError, match=r"b\.bin"):
            read_model(tmp_path / "a.bin", blendshapes=tmp_path / "b.bin")
    with pytest.raises(ModelError, match=r"none\.bin"):
        read_model(tmp_path / "a.bin", blendshapes=tmp_path / "none.bin")


@pytest.mark.parametrize("junk", [b"", b"PK\3\4" * 9, b"\0" * 99, b"\x89HDF\r\n\x1a\n" * 4])
def test_other_files_are_not_recognised(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "x").write_bytes(junk)
    assert not recognises(tmp_path / "x")
    assert not recognises(tmp_path)
    assert not recognises(tmp_path / "none")


COUNTS = st.sampled_from([b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x80", b"\0\0\xc0\x7f"])


@settings(max_examples=2000)
@given(
    places=st.lists(st.tuples(st.floats(0.0, 0.999), COUNTS | st.binary(min_size=1, max_size=9)), max_size=4),
    share=st.floats(0.0, 1.0) | st.just(1.0),
)
def test_mutated_files_are_refused_or_valid(
    parts: dict[str, np.ndarray],
    tmp_path_factory: pytest.TempPathFactory,
    places: list[tuple[float, bytes]],
    share: float,
) -> None:
    mutated = bytearray(content(parts))
    for place, patch in places:
        at = int(place * len(mutated))
        mutated[at : at + len(patch)] = patch
    path = tmp_path_factory.getbasetemp() / "mutated.bin"
    path.write_bytes(mutated[: int(share * len(mutated))])
    recognises(path)
    with contextlib.suppress(ModelError):
        assert np.isfinite(read_model(path).mean).all()
