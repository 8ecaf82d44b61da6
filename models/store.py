"""Where models come from: the embedded default, the user's own by name, and any supported file by its path.

The user's models lie in one folder (`models_folder`). Under a name it holds a file NAME.*, or a folder NAME that is a
model or has one in it. A file's format is told by its content, never by its name: the first of FORMATS that recognises
it reads it. Pickles are refused: loading one can run any code.
"""

import inspect
import os
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module, resources
from importlib.resources.abc import Traversable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from platformdirs import user_data_dir

from .catalogue import CatalogueEntry, find_entry
from .errors import InvalidInputError, MissingDependencyError, ModelError
from .morphable_model import MorphableModel
from .sidecar import sidecar_path, with_sidecar

EMBEDDED = ("default",)
"""Names of the models that ship with facefit."""


class Format(NamedTuple):
    """A kind of model file: its module has `recognises(path) -> bool` and `read_model(path, **options)`."""

    title: str
    module: str  # in models/formats/, imported when a file is looked at


FORMATS = (
    Format("facefit .npz", "npz"),
    Format("ICT-FaceKit folder or archive", "ict"),
    Format("Surrey Face Model .bin", "surrey"),
    Format("Basel Face Model 2017 or 2019 .h5", "bfm_hdf5"),
    Format("Basel Face Model 2009 .mat", "bfm_matlab"),
)

_SIGNATURES = (
    (b"PK\x03\x04", "a zip archive, damaged or of another content"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, damaged or of another layout"),
    (b"MATLAB 5.0", "a MATLAB file, damaged or of another content"),
    (b"\x93NUMPY", "a single NumPy array"),
    (b"\xfd7zXZ", "an xz archive, damaged or of another content"),
    (b"\x1f\x8b", "a gzip file"),
)
"""First bytes of files that are known, but are no model that can be read."""

_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"ccopy_reg\n", b"(dp", b"(lp", b"}q", b"]q")
"""First bytes of pickles: of protocols 2 to 5, of protocols 0 and 1 those that containers begin with."""

_BESIDE = (".part", ".json", ".txt", ".md")
"""Suffixes of files that lie beside models: unfinished downloads, landmarks, licences."""


def load_model(name_or_path: str | Path = "default", **options: Any) -> MorphableModel:
    """Load a morphable model: a name in the store, or a path to a model file or folder.

    `options` go to the reader of the file's format, such as `topology` of ICT-FaceKit. Landmarks that were found for a
    file (see `sidecar.py`) are taken from beside it, unless there are options: those may make another mesh of it.

    ModelError where there is no such name or file, or the file is not a valid model; InvalidInputError for an option
    that the format does not have.
    """
    name = str(name_or_path)
    if name in EMBEDDED:
        with resources.as_file(embedded_file(name)) as path:
            return _read(path, options)
    return _read(find_model(name_or_path), options)


def find_model(name_or_path: str | Path) -> Path:
    """Return where a model lies that is not embedded: a name in the user's folder, else a path that exists."""
    name = str(name_or_path)
    stored = stored_models(name)
    if stored:
        return stored[name]
    path = Path(name_or_path)
    if os.path.exists(path):  # unlike Path.exists, false for names that no file can have
        return path
    entry = find_entry(name)
    if entry is not None:
        raise ModelError(f"model {name!r} {'is not here' if entry.readable else 'has no reader'}: {how_to_get(entry)}")
    names = ", ".join((*EMBEDDED, *stored_models()))
    raise ModelError(f"model {name!r}: expected one of the names {names}, or an existing file; got neither")


def model_with_hash(wanted: str) -> MorphableModel:
    """Return the model of the store that has this hash, reading them one by one; ModelError where none has it."""
    for name in (*EMBEDDED, *stored_models()):
        with suppress(ModelError, MissingDependencyError):  # another model that cannot be read is no matter here
            if (model := load_model(name)).hash == wanted:
                return model
    raise ModelError(f"hash {wanted!r}: expected that of a model in the store, got another; name the model or its file")


def embedded_file(name: str) -> Traversable:
    """Return the file of an embedded model, which need not lie in a folder of its own (it may be in a zip)."""
    return resources.files(__package__) / "default" / f"{name}.npz"


def models_folder() -> Path:
    """Return the folder of the user's models, which need not exist; the variable FACEFIT_MODELS names another."""
    return Path(os.environ.get("FACEFIT_MODELS") or Path(user_data_dir("facefit", appauthor=False)) / "models")


def stored_models(only: str | None = None) -> dict[str, Path]:
    """Return the user's models by name, or the one of the name `only`; of files that share one the first counts."""
    found: dict[str, Path] = {}
    for place in _entries(models_folder()):
        name = place.name if place.is_dir() else place.stem.removesuffix(".tar")  # of NAME.tar.xz
        if name in EMBEDDED or name in found or only not in (None, name):
            continue
        model = next((path for path in _candidates(place) if format_of(path) is not None), None)
        if model is not None:
            found[name] = model
    return found


def how_to_get(entry: CatalogueEntry) -> str:
    """Return what the user does to have a model of the catalogue under its name."""
    if entry.download is not None:
        lacking = "" if entry.readable else ", but facefit cannot read it yet"
        return f"`facefit model get {entry.name}` downloads it{lacking}"
    return entry.obtain.format(place=models_folder() / entry.name)


def format_of(path: Path) -> Format | None:
    """Return the format of a file or folder by its content, None where none recognises it."""
    if not (path.is_file() or path.is_dir()):  # no pipes, no devices
        return None
    return next((kind for kind in FORMATS if _module(kind).recognises(path)), None)


def _read(path: Path, options: dict[str, Any]) -> MorphableModel:
    kind = format_of(path)
    if kind is None:
        raise ModelError(_unrecognised(path))
    read_model = _module(kind).read_model
    try:
        inspect.signature(read_model).bind(path, **options)
    except TypeError as problem:
        raise InvalidInputError(f"{path}: options of {kind.title}: {problem}") from None
    model: MorphableModel = read_model(path, **options)
    beside = sidecar_path(path)
    return with_sidecar(model, beside) if beside.is_file() and not options else model


def _module(kind: Format) -> ModuleType:
    return import_module(f".formats.{kind.module}", __package__)


def _entries(folder: Path) -> list[Path]:
    """Return what a folder holds, in the order of the alphabet; nothing where it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _candidates(place: Path) -> Iterator[Path]:
    """Yield what may be the model in an entry of the user's folder: itself, or what it holds."""
    for path in (place, *(_entries(place) if place.is_dir() else ())):
        if not path.name.startswith(".") and path.suffix not in _BESIDE:
            yield path


def _unrecognised(path: Path) -> str:
    """Return the refusal of a file that no format recognises; it says what the file seems to be."""
    if path.is_dir():
        found = "a folder of other files"
    elif not path.is_file():
        found = "something that is neither file nor folder"
    else:
        try:
            with path.open("rb") as file:
                found = _described(file.read(16))
        except OSError as problem:
            found = f"one that cannot be read ({problem.strerror})"
    titles = "; ".join(kind.title for kind in FORMATS)
    return f"{path}: expected a model file ({titles}), got {found}"


def _described(start: bytes) -> str:
    if start.startswith(_PICKLES):
        return "a Python pickle, which is refused, since loading one can run any code"
    known = next((text for magic, text in _SIGNATURES if start.startswith(magic)), None)
    return known or (f"one that begins with {start!r}" if start else "an empty file")
