"""Parsed models kept as facefit's own files, for formats that take seconds to read.

A source is known by its absolute path and by name, size and modification time of its files (of a folder's, to a depth
of two). Its cached file is named after the path, the reader and its options, and after all the rest, which leaves one
file per source: a new state replaces the old one. The cache is a convenience: where it cannot be read or written, the
source is read, in silence.
"""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .errors import ModelError, OutputError
from .formats.npz import SCHEMA, read_model, write_model
from .morphable_model import MorphableModel


def cache_folder() -> Path:
    """Return the user's folder for parsed models; it need not exist."""
    from platformdirs import user_cache_path

    return user_cache_path("facefit") / "models"


def cached_model(path: Path, read: Callable[[], MorphableModel], reader: str, **options: object) -> MorphableModel:
    """Return `read()`, the model in `path`, or what it returned earlier for the same source, reader and options.

    reader: name and version of the code behind `read`; another version reads the source again.
    """
    place = _place(path, reader, options)
    if place is None:
        return read()
    with suppress(ModelError):  # none yet, or a damaged one
        return read_model(place)
    model = read()
    with suppress(OutputError, OSError):
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_model(place, model, compressed=False)  # compressing would take longer than reading the source
        for older in place.parent.glob(f"{place.name.partition('.')[0]}.*.npz"):
            if older != place:
                older.unlink(missing_ok=True)
    return model


def _place(path: Path, reader: str, options: dict[str, object]) -> Path | None:
    """Return the file that holds, or would hold, the parsed source; None where the source cannot be looked at."""
    try:
        files = sorted([*path.glob("*"), *path.glob("*/*")]) if path.is_dir() else [path]
        entries = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        source = repr((str(path.resolve()), reader.partition(" ")[0], sorted(options.items())))
        state = repr((reader, SCHEMA, entries))
    except (OSError, ValueError):
        return None
    return cache_folder() / f"{_digest(source)}.{_digest(state)}.npz"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]
