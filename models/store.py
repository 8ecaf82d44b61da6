"""Where models come from: the embedded default by its name, any supported file by its path."""

import os
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from .errors import ModelError
from .formats.npz import read_model
from .morphable_model import MorphableModel

EMBEDDED = ("default",)
"""Names of the models that ship with facefit."""


def embedded_file(name: str) -> Traversable:
    """Return the file of an embedded model, which need not lie in a folder of its own (it may be in a zip)."""
    return resources.files(__package__) / "default" / f"{name}.npz"


def load_model(name_or_path: str | Path = "default") -> MorphableModel:
    """Load a morphable model: a name in the store, or a path to a model file.

    ModelError where there is no such name or file, or the file is not a valid model.
    """
    if str(name_or_path) in EMBEDDED:
        with resources.as_file(embedded_file(str(name_or_path))) as path:
            return read_model(path)
    path = Path(name_or_path)
    if not os.path.exists(path):  # unlike Path.exists, false for names that no file can have
        names = ", ".join(EMBEDDED)
        raise ModelError(
            f"model {str(name_or_path)!r}: expected one of the names {names}, or an existing file; got neither"
        )
    return read_model(path)
