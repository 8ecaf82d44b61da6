"""The store: formats told by content, the user's models by name, the catalogue, and what is no model."""

import pickle
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from small_model import small_model

from facefit.apps.model.description import commercial_use
from facefit.models import store
from facefit.models.catalogue import CATALOGUE, find_entry
from facefit.models.errors import InvalidInputError, ModelError
from facefit.models.formats.npz import recognises, write_model
from facefit.models.morphable_model import MorphableModel
from facefit.models.store import Format, find_model, load_model, model_with_hash, models_folder, stored_models

NPZ = Format("facefit .npz", "npz")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of models, empty."""
    place = tmp_path / "models"
    place.mkdir()
    monkeypatch.setenv("FACEFIT_MODELS", str(place))
    monkeypatch.chdir(tmp_path)
    return place


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return small_model()


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two made-up formats, told by their first letters; the list holds which was asked, in order."""
    asked: list[str] = []

    def module(letters: bytes) -> ModuleType:
        made = ModuleType(letters.decode())

        def recognises(path: Path) -> bool:
            asked.append(letters.decode())
            return path.is_file() and path.read_bytes().startswith(letters)

        def read_model(path: Path, *, topology: str = "face") -> MorphableModel:
            return small_model(name=f"{letters.decode()}-{topology}")

        made.recognises, made.read_model = recognises, read_model  # type: ignore[attr-defined]
        return made

    for name in ("aa", "bb"):
        monkeypatch.setitem(sys.modules, f"facefit.models.formats.{name}", module(name.encode()))
    monkeypatch.setattr(store, "FORMATS", (Format("A", "aa"), Format("B", "bb"), NPZ))
    return asked


# ------------------------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize(("content", "name"), [(b"aa..", "aa-face"), (b"bb..", "bb-face")])
@pytest.mark.parametrize("file", ["x.npz", "x.h5", "x", "x.pkl"])
def test_the_content_decides_and_not_the_name(
    fakes: list[str], tmp_path: Path, content: bytes, name: str, file: str
) -> None:
    (tmp_path / file).write_bytes(content)
    assert load_model(tmp_path / file).name == load_model(file).name == name


def test_formats_are_tried_in_order_until_one_recognises(fakes: list[str], tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"aa")
    load_model("x")
    assert fakes == ["aa"]
    write_model(tmp_path / "x", small_model())
    assert load_model("x").name == "small"
    assert fakes == ["aa", "aa", "bb"]


def test_options_go_to_the_reader(fakes: list[str], tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"bb")
    assert load_model("x", topology="head").name == "bb-head"
    with pytest.raises(InvalidInputError, match=r"x: options of B: .*'colour'"):
        load_model("x", colour="red")
    with pytest.raises(InvalidInputError, match=r"default\.npz: options of facefit \.npz: .*'topology'"):
        load_model("default", topology="head")


def test_every_format_has_a_module_of_the_right_form() -> None:
    assert len({kind.module for kind in store.FORMATS}) == len(store.FORMATS)
    for kind in store.FORMATS:
        module = store._module(kind)
        assert callable(module.recognises) and callable(module.read_model)


def test_npz_is_recognised_by_its_members(model: MorphableModel, tmp_path: Path) -> None:
    write_model(tmp_path / "a", model)
    content = (tmp_path / "a").read_bytes()
    assert recognises(tmp_path / "a")
    for wrong in (content[:-30], content[:100], b"", b"PK\x03\x04" + bytes(100)):
        (tmp_path / "b").write_bytes(wrong)
        assert not recognises(tmp_path / "b")
    assert not recognises(tmp_path)
    assert not recognises(tmp_path / "missing")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "an empty file"),
        (b"hello\n", r"one that begins with b'hello\n'"),
        (b"PK\x03\x04....", "a zip archive, damaged or of another content"),
        (b"\x89HDF\r\n\x1a\n....", "an HDF5 file, damaged or of another layout"),
        (b"\x93NUMPY\x01\x00", "a single NumPy array"),
        (pickle.dumps({"shapedirs": 1}), "a Python pickle, which is refused"),
        (pickle.dumps({"shapedirs": 1}, protocol=2), "a Python pickle, which is refused"),
        (pickle.dumps({"shapedirs": 1}, protocol=0), "a Python pickle, which is refused"),
        (pickle.dumps({"shapedirs": 1}, protocol=1), "a Python pickle, which is refused"),
    ],
)
def test_files_of_no_format_are_refused(
    content: bytes, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "generic_model.pkl").write_bytes(content)
    with pytest.raises(ModelError) as refused:
        load_model("generic_model.pkl")
    assert str(refused.value).startswith("generic_model.pkl: expected a model file (facefit .npz; ")
    assert f"), got {told}" in str(refused.value)


class Payload:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_pickle_is_executed(tmp_path: Path, protocol: int) -> None:
    executed = tmp_path / "executed"
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Payload(executed), protocol))
    with pytest.raises(ModelError):
        load_model("model.pkl")
    assert not executed.exists()


def test_folders_and_devices_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="got a folder of other files"):
        load_model("empty")
    if Path("/dev/zero").exists():
        with pytest.raises(ModelError, match="got something that is neither file nor folder"):
            load_model("/dev/zero")


# -------------------------------------------------------------------------------------------------- the user's folder


def test_the_folder_is_the_users_data_folder_or_the_named_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert models_folder() == folder
    monkeypatch.setenv("FACEFIT_MODELS", "")
    assert models_folder().parts[-2:] == ("facefit", "models")
    assert models_folder().is_absolute()


def test_a_name_stands_for_a_file_or_a_folder_with_one(model: MorphableModel, folder: Path) -> None:
    assert stored_models() == {}
    write_model(folder / "mine.npz", model)
    (folder / "theirs" / "deep").mkdir(parents=True)
    write_model(folder / "theirs" / "a.npz", replace(model, name="a"))
    (folder / "theirs" / "LICENSE.txt").write_text("free")
    (folder / "version.2").mkdir()
    write_model(folder / "version.2" / "b.npz", replace(model, name="b"))
    for beside in ("mine.json", "gone.npz.part", "notes.txt", ".hidden.npz", "broken.npz"):
        (folder / beside).write_bytes(b"no model")
    assert stored_models() == {
        "mine": folder / "mine.npz",
        "theirs": folder / "theirs" / "a.npz",
        "version.2": folder / "version.2" / "b.npz",
    }
    assert [load_model(name).name for name in ("mine", "theirs", "version.2")] == ["small", "a", "b"]
    for name in ("gone", "broken", "deep", "a", "../models/mine", ""):
        with pytest.raises(ModelError):
            load_model(name)
    with pytest.raises(ModelError, match=r"expected one of the names default, mine, theirs, version\.2, or an"):
        load_model("gone")


def test_an_archives_two_suffixes_are_not_of_its_name(model: MorphableModel, folder: Path) -> None:
    write_model(folder / "ict.tar.xz", model)
    assert stored_models() == {"ict": folder / "ict.tar.xz"}


def test_a_format_may_be_a_folder(folder: Path, fakes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["facefit.models.formats.aa"], "recognises", lambda path: path.name == "FaceXModel")
    (folder / "ict" / "FaceXModel").mkdir(parents=True)
    assert find_model("ict") == folder / "ict" / "FaceXModel"
    assert load_model("ict", topology="head").name == "aa-head"


def test_names_go_before_paths_and_the_embedded_before_all(model: MorphableModel, folder: Path, tmp_path: Path) -> None:
    for name in ("mine", "default"):
        write_model(tmp_path / name, replace(model, name="path"))
        write_model(folder / f"{name}.npz", replace(model, name="stored"))
    assert load_model("mine").name == "stored"
    assert load_model("./mine").name == "path"
    assert load_model("default").name == "default"
    assert load_model("./default").name == "path"
    assert stored_models().keys() == {"mine"}


def test_a_model_is_found_by_its_hash(model: MorphableModel, folder: Path) -> None:
    assert model_with_hash(load_model().hash).name == "default"
    with pytest.raises(ModelError, match="expected that of a model in the store"):
        model_with_hash(model.hash)
    np.savez(folder / "first.npz", mean=0, identity=0, triangles=0)
    with pytest.raises(ModelError, match="schema"):
        load_model("first")
    write_model(folder / "mine.npz", model)
    assert model_with_hash(model.hash).name == "small"


# ------------------------------------------------------------------------------------------------------ the catalogue


def test_the_catalogue_is_consistent() -> None:
    assert len({entry.name for entry in CATALOGUE} | {"default"}) == len(CATALOGUE) + 1
    for entry in CATALOGUE:
        assert find_entry(entry.name) is entry
        assert commercial_use(entry.licence) is not None
        assert bool(entry.obtain) == (entry.download is None)
        if entry.download is not None:
            assert commercial_use(entry.licence), "only free models are downloaded"
            assert entry.download.url.startswith("https://")
            assert len(bytes.fromhex(entry.download.sha256)) == 32
            assert entry.download.size > 0
    assert find_entry("default") is None


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_a_known_model_that_is_not_here_tells_how_to_get_it(entry: Any, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as refused:
        load_model(entry.name)
    problem = "is not here" if entry.readable else "has no reader"
    assert str(refused.value) == f"model {entry.name!r} {problem}: {store.how_to_get(entry)}"
    told = store.how_to_get(entry)
    assert "{" not in told
    assert f"facefit model get {entry.name}" in told or str(folder / entry.name) in told or "refuses" in told
    write_model(tmp_path / entry.name, small_model())
    assert load_model(entry.name).name == "small"  # a path of that name


@pytest.mark.parametrize(
    ("name", "file"), [("ict", "ict/ict_facekit.tar.xz"), ("surrey", "eos/share/sfm_shape_3448.bin")]
)
def test_the_catalogue_tells_what_the_readers_give(test_data: Path, name: str, file: str) -> None:
    entry, model = find_entry(name), load_model(test_data / file)
    assert entry is not None
    sizes = (model.n_vertices, model.n_identity, model.n_expression, model.n_albedo)
    assert sizes == (entry.vertices, entry.identity, entry.expression, entry.albedo)
    assert commercial_use(model.licence) is commercial_use(entry.licence)


@pytest.mark.parametrize("file", ["ict/ict_facekit.tar.xz", "eos/share/sfm_shape_3448.bin", "statismo/random-l4.h5"])
def test_real_models_round_trip(test_data: Path, file: str, folder: Path) -> None:
    model = load_model(test_data / file)
    write_model(folder / "again.npz", model)
    again = load_model("again")
    assert again.hash == model.hash
    a = np.random.default_rng(0).standard_normal(model.n_identity)
    assert np.abs(again.vertices(a) - model.vertices(a)).max() < 1e-4
