"""Model files: exact round trips, hostile content, the store, and files that appear whole or not at all."""

import contextlib
import io
import os
import pickle
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_model import small_model

from facefit.models import archives
from facefit.models.errors import ModelError, OutputError
from facefit.models.files import atomic_write
from facefit.models.formats.npz import SCHEMA, read_model, write_model
from facefit.models.morphable_model import MorphableModel, flatten
from facefit.models.store import load_model

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return small_model()


class Content(bytes):
    """Bytes whose repr is short: hypothesis prints its arguments."""

    def __repr__(self) -> str:
        return f"Content({len(self)} bytes)"


@pytest.fixture(scope="module")
def written(model: MorphableModel, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The content of a quantised file: it has every kind of member."""
    path = tmp_path_factory.mktemp("model") / "small.npz"
    write_model(path, model, quantised=True)
    return Content(path.read_bytes())


def archive(arrays: Arrays) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def refusal(path: Path) -> str:
    """The message with which a file is refused; it names the file."""
    with pytest.raises(ModelError) as refused:
        read_model(path)
    assert str(path) in str(refused.value)
    return str(refused.value)


# --------------------------------------------------------------------------------------------------------- round trips


def test_round_trip_is_exact(model: MorphableModel, tmp_path: Path) -> None:
    write_model(tmp_path / "a.npz", model)
    again = read_model(tmp_path / "a.npz")
    before, after = flatten(model), flatten(again)
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, strict=True)
    assert again.hash == model.hash
    assert again.citation == model.citation
    assert again.expression_names == model.expression_names


def test_round_trip_of_the_least_model(tmp_path: Path) -> None:
    mean = np.eye(3)
    least = MorphableModel("", "", "", mean, np.zeros((0, 3, 3)), np.array([[0, 1, 2]]))
    for quantised in (False, True):
        write_model(tmp_path / "least.npz", least, quantised=quantised)
        again = read_model(tmp_path / "least.npz")
        assert again.hash == least.hash
        assert again.landmarks is again.uv is again.albedo is again.mirror is None


def test_files_without_landmark_sigma_are_read(model: MorphableModel, written: bytes, tmp_path: Path) -> None:
    path = tmp_path / "older.npz"
    path.write_bytes(changed(written, drop("landmarks.sigma")))
    older = read_model(path)
    assert older.landmarks is not None and older.landmarks_contour is not None
    assert older.landmarks.sigma is None
    assert older.landmarks_contour.sigma is not None
    assert older.hash != model.hash
    assert flatten(older).keys() == flatten(model).keys() - {"landmarks.sigma"}


def test_quantised_round_trip_is_exact_to_half_a_step(model: MorphableModel, tmp_path: Path) -> None:
    write_model(tmp_path / "a.npz", model, quantised=True)
    again = read_model(tmp_path / "a.npz")
    before, after = flatten(model), flatten(again)
    assert before.keys() == after.keys()
    for name, array in before.items():
        if name in ("identity", "expression", "albedo"):
            half_step = np.abs(array).max(axis=(1, 2), keepdims=True) / 32767.0 / 2.0
            assert (np.abs(after[name] - array) <= 1.001 * half_step).all()  # and the rounding of float32
        else:
            np.testing.assert_array_equal(after[name], array, strict=True)


def test_modes_of_any_size_survive_quantisation(model: MorphableModel, tmp_path: Path) -> None:
    """Zero, subnormal, tiny and huge ones side by side: each has its own step."""
    sizes = np.array([0.0, 1e-42, 1e-30, 1.0, 1e30])
    identity = np.sign(model.identity[:1]) * sizes[:, None, None]
    write_model(tmp_path / "a.npz", small_model(identity=identity), quantised=True)
    again = read_model(tmp_path / "a.npz").identity
    np.testing.assert_allclose(again, identity, rtol=2e-5, atol=1e-38)


def test_hash_does_not_depend_on_where_the_file_lies(written: bytes, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for path in (tmp_path / "a.npz", tmp_path / "b" / "any name ü"):
        path.write_bytes(written)
    assert read_model(tmp_path / "a.npz").hash == load_model(str(tmp_path / "b" / "any name ü")).hash


def test_files_hold_no_pickles(written: bytes) -> None:
    with np.load(io.BytesIO(written), allow_pickle=False) as loaded:
        kinds = {name: loaded[name].dtype.kind for name in loaded.files}
    assert set(kinds.values()) <= set("biufU")
    assert kinds["schema"] == "i"


# -------------------------------------------------------------------------------------------------------- wrong content


def changed(written: bytes, change: Callable[[Arrays], Any]) -> bytes:
    with np.load(io.BytesIO(written)) as loaded:
        arrays = dict(loaded)
    change(arrays)
    return archive(arrays)


def put(name: str, value: Any) -> Callable[[Arrays], Any]:
    return lambda arrays: arrays.update({name: np.asarray(value)})


def drop(name: str) -> Callable[[Arrays], Any]:
    return lambda arrays: arrays.pop(name)


def poke(name: str, value: float) -> Callable[[Arrays], Any]:
    """Change the first entry of an array."""
    return lambda arrays: arrays[name].flat.__setitem__(0, value)


CHANGES: dict[str, tuple[Callable[[Arrays], Any], str]] = {
    "no schema": (drop("schema"), f"schema: expected {SCHEMA}, got None"),
    "newer schema": (put("schema", SCHEMA + 1), f"schema: expected {SCHEMA}, got {SCHEMA + 1}"),
    "schema of text": (put("schema", "1"), f"schema: expected {SCHEMA}, got 1"),
    "two schemas": (put("schema", [SCHEMA, SCHEMA]), "schema: expected"),
    "no mean": (drop("mean"), "mean: expected this field, got none"),
    "no licence": (drop("licence"), "licence: expected this field, got none"),
    "half an embedding": (drop("landmarks.weights"), "landmarks.weights: expected this field, got none"),
    "unknown field": (put("shape", 1.0), "shape: expected the fields of a model only, got this one too"),
    "unknown part": (put("uv.seams", 1.0), "uv.seams: expected the fields of a model only, got this one too"),
    "parts that are one array": (put("landmarks", np.zeros(68)), "landmarks: expected its parts"),
    "regions that are one array": (put("regions", np.zeros(68)), "regions: expected its parts"),
    "name of numbers": (put("name", 7), "name: expected text with 0 axes, got int64 with 0"),
    "two names": (put("name", ["a", "b"]), "name: expected text with 0 axes, got <U1 with 1"),
    "unit names that are one text": (put("expression_names", "ab"), "expression_names: expected text with 1 axes"),
    "NaN": (poke("mean", np.nan), "mean: expected finite numbers"),
    "index out of range": (poke("triangles", 9999), "triangles: expected indices from 0 to 168, got 0 to 9999"),
    "steps without scale": (drop("identity.scale"), ""),  # valid: whole millimetres
    "scale without steps": (drop("identity"), "identity: expected int16"),
    "steps of float": (put("identity", np.zeros((3, 169, 3))), "identity: expected int16"),
    "flat steps": (put("identity", np.zeros(3, np.int16)), "identity: expected int16"),
    "one scale for all": (put("identity.scale", np.ones(1)), "identity.scale: expected shape (3,), got (1,)"),
    "scale without axes": (put("identity.scale", 1.0), "identity.scale: expected shape (3,), got ()"),
    "NaN for a scale": (poke("identity.scale", np.nan), "identity.scale: expected finite numbers"),
    "scale that overflows": (poke("identity.scale", 3e38), "identity: expected finite numbers"),
    "basis without axes": (put("expression", 1.0), "expression"),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=list(CHANGES))
def test_wrong_content_is_named(written: bytes, tmp_path: Path, change: Callable[[Arrays], Any], message: str) -> None:
    path = tmp_path / "wrong.npz"
    path.write_bytes(changed(written, change))
    if message:
        assert message in refusal(path)
    else:
        read_model(path)


# -------------------------------------------------------------------------------------------------------- damaged files


@pytest.mark.parametrize("share", np.linspace(0.0, 0.98, 10).tolist())
def test_truncated_files_are_refused(written: bytes, tmp_path: Path, share: float) -> None:
    (tmp_path / "cut.npz").write_bytes(written[: int(share * len(written))])
    refusal(tmp_path / "cut.npz")


def test_a_file_short_of_its_last_byte_is_refused(written: bytes, tmp_path: Path) -> None:
    (tmp_path / "cut.npz").write_bytes(written[:-1])
    refusal(tmp_path / "cut.npz")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"name = default\n" * 100, id="text"),
        pytest.param(b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (0,)}", id="a lone npy"),
        pytest.param(pickle.dumps({"mean": 1}), id="pickle"),
        pytest.param(b"PK\x05\x06" + bytes(18), id="zip without members"),
        pytest.param(bytes(4096), id="zeros"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.npz").write_bytes(content)
    refusal(tmp_path / "other.npz")


@settings(max_examples=400)
@given(places=st.lists(st.tuples(st.floats(0.0, 1.0, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8))
def test_mutated_files_are_refused_or_valid(
    written: bytes, tmp_path_factory: pytest.TempPathFactory, places: list[tuple[float, int]]
) -> None:
    content = bytearray(written)
    for share, byte in places:
        content[int(share * len(content))] = byte
    refused_or_valid(bytes(content), tmp_path_factory)


@settings(max_examples=200)
@given(tail=st.binary(min_size=1, max_size=60), share=st.floats(0.0, 1.0))
def test_mutated_directories_are_refused_or_valid(
    written: bytes, tmp_path_factory: pytest.TempPathFactory, tail: bytes, share: float
) -> None:
    """A zip's structure is at its end, where few random mutations fall."""
    directory = written.index(b"PK\x01\x02")
    place = directory + int(share * (len(written) - directory))
    refused_or_valid((written[:place] + tail + written[place + len(tail) :])[: len(written)], tmp_path_factory)


@pytest.mark.filterwarnings("ignore:Reading .* created on Python 2")
@settings(max_examples=400)
@given(
    name=st.sampled_from(["mean", "identity", "landmarks.weights", "name", "schema"]),
    place=st.floats(0.0, 1.0, exclude_max=True),
    insert=st.binary(max_size=6) | st.sampled_from([b"L", b"((((", b"<O8", b"'", b"99999999999999999999", b"-1"]),
)
def test_members_with_mutated_headers_are_refused_or_valid(
    written: bytes, tmp_path_factory: pytest.TempPathFactory, name: str, place: float, insert: bytes
) -> None:
    """With a right checksum, so that they reach the parser."""
    content = member(written, name)
    k = int(place * 128)
    refused_or_valid(with_member(written, name, content[:k] + insert + content[k + len(insert) :]), tmp_path_factory)


def refused_or_valid(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated.npz"
    path.write_bytes(content)
    with contextlib.suppress(ModelError):
        model = read_model(path)
        assert np.isfinite(model.vertices(np.ones(model.n_identity))).all()


def member(written: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(written)) as source:
        return source.read(f"{name}.npy")


def with_member(written: bytes, name: str, content: bytes, extension: str = ".npy") -> bytes:
    """The archive with one member put in another's place."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(written)) as source, zipfile.ZipFile(result, "w") as target:
        for info in source.infolist():
            if info.filename != f"{name}.npy":
                target.writestr(info.filename, source.read(info))
        target.writestr(f"{name}{extension}", content)
    return result.getvalue()


# ------------------------------------------------------------------------------------------------------ malicious files


class Payload:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["mean", "name", "extra"])
def test_pickles_are_refused_and_not_executed(written: bytes, tmp_path: Path, name: str) -> None:
    executed = tmp_path / "executed"
    content = io.BytesIO()
    np.save(content, np.array([Payload(executed)], dtype=object), allow_pickle=True)
    np.load(io.BytesIO(content.getvalue()), allow_pickle=True)  # the payload is alive
    executed.unlink()
    path = tmp_path / "pickled.npz"
    path.write_bytes(with_member(written, name, content.getvalue()))
    assert "not a readable .npz file (Object arrays cannot be loaded" in refusal(path)
    assert not executed.exists()


def header(shape: tuple[int, ...], descr: str) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": descr, "fortran_order": False, "shape": shape})
    return content.getvalue()


@pytest.mark.parametrize(
    "shape", [(10**15, 3), (2**40, 2**40), (2**32, 2**32, 3), (-5, 3), (10**30,), (10**10, 3)], ids=str
)
@pytest.mark.parametrize("descr", ["<f8", "<U1000", "|V0"])
def test_declared_shapes_beyond_memory_are_refused(
    written: bytes, tmp_path: Path, shape: tuple[int, ...], descr: str
) -> None:
    path = tmp_path / "huge.npz"
    path.write_bytes(with_member(written, "mean", header(shape, descr) + bytes(64)))
    refusal(path)


def test_archives_that_unpack_to_too_much_are_refused(
    written: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.npz"
    path.write_bytes(archive({"mean": np.zeros(10**6)}))
    monkeypatch.setattr(archives, "MAX_BYTES", 10**6)
    assert "expected at most 1000000 bytes unpacked, got 8000128" in refusal(path)


@pytest.mark.parametrize(
    ("name", "descr", "shape"),
    [("expression_names", "<U0", (2**31,)), ("expression_names", "<U0", (2**27,)), ("mean", "|V0", (2**40, 3))],
)
def test_numbers_and_texts_without_a_size_are_refused(
    written: bytes, tmp_path: Path, name: str, descr: str, shape: tuple[int, ...]
) -> None:
    """Which take no byte in the file, and as many as they like where they are used."""
    path = tmp_path / "model.npz"
    path.write_bytes(with_member(written, name, header(shape, descr)))
    assert name in refusal(path)


def test_members_that_lie_about_their_size_are_refused(written: bytes, tmp_path: Path) -> None:
    """The directory says 1000 bytes, the deflated stream holds megabytes: only the first are ever unpacked."""
    content = bytearray(archive({"mean": np.zeros(10**6)}))
    entry = content.index(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = (1000).to_bytes(4, "little")
    (tmp_path / "liar.npz").write_bytes(bytes(content))
    refusal(tmp_path / "liar.npz")


def test_members_that_are_no_arrays_are_refused(written: bytes, tmp_path: Path) -> None:
    path = tmp_path / "readme.npz"
    path.write_bytes(with_member(written, "readme", b"hello", extension=".txt"))
    assert "expected stored or deflated .npy members, got 'readme.txt'" in refusal(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(written: bytes, tmp_path: Path, method: int) -> None:
    path = tmp_path / "packed.npz"
    with zipfile.ZipFile(path, "w", method) as target:
        target.writestr("mean.npy", member(written, "mean"))
    assert "expected stored or deflated .npy members" in refusal(path)


def test_encrypted_archives_are_refused(written: bytes, tmp_path: Path) -> None:
    content = bytearray(written)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    (tmp_path / "secret.npz").write_bytes(bytes(content))
    assert "encrypted" in refusal(tmp_path / "secret.npz")


# ---------------------------------------------------------------------------------------------------------------- store


def test_store_loads_a_name_or_a_path(written: bytes, tmp_path: Path) -> None:
    path = tmp_path / "small.npz"
    path.write_bytes(written)
    assert load_model(path).name == load_model(str(path)).name == "small"
    assert load_model().hash == load_model("default").hash
    assert load_model().name == "default"


@pytest.mark.parametrize(
    "name", ["defaultt", "", "no/such/folder/model.npz", "a" * 300, "nul\0byte", "../default.npz", "💀.npz"]
)
def test_unknown_names_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError) as refused:
        load_model(name)
    if name:
        assert "expected one of the names default, or an existing file; got neither" in str(refused.value)


def test_folders_and_unreadable_files_are_refused(tmp_path: Path) -> None:
    assert "Is a directory" in refusal(tmp_path)
    assert "no such file" in refusal(tmp_path / "missing.npz")
    (tmp_path / "file").touch()
    refusal(tmp_path / "file" / "below.npz")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refusal(tmp_path / "loop")


def test_the_name_default_is_not_shadowed_by_a_file(
    written: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default").write_bytes(written)
    assert load_model("default").name == "default"
    assert load_model("./default").name == "small"


# --------------------------------------------------------------------------------------------------------- atomic write


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    with atomic_write(target) as file:
        file.write(b"first")
        file.flush()
        assert not target.exists()
    assert target.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["file.bin"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError])
def test_nothing_is_left_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")

    def write_half() -> None:
        with atomic_write(target) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write_half()
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file.bin"]


def test_readers_of_the_old_file_are_not_disturbed(tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")
    with target.open("rb") as reader:
        with atomic_write(target) as file:
            file.write(b"new")
        assert reader.read() == b"old"
    assert target.read_bytes() == b"new"


def test_a_disk_that_fills_up_is_an_output_error(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="cannot be written"),
        atomic_write(tmp_path / "file.bin"),
    ):
        raise OSError(28, "No space left on device")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_the_umask_is_respected(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with atomic_write(tmp_path / "file.bin"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file.bin").stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("name", ["a" * 255, "ü" * 127, "💀" * 63, ".hidden", "-o", " "])
def test_any_name_that_the_file_system_takes(tmp_path: Path, name: str) -> None:
    with atomic_write(tmp_path / name) as file:
        file.write(b"x")
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["missing/file.bin", "file/below.bin", "folder", "a" * 256, "nul\0byte"])
def test_places_that_cannot_be_written_are_output_errors(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError), atomic_write(tmp_path / name) as file:
        file.write(b"x")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_places_without_a_name_are_output_errors(name: str) -> None:
    with pytest.raises(OutputError, match="expected the name of a file"), atomic_write(name):
        pass


def test_a_model_that_cannot_be_written_is_an_output_error(model: MorphableModel, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file or directory"):
        write_model(tmp_path / "missing" / "a.npz", model)
