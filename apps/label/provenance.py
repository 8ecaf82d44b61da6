"""What records depend on besides the images and the options: the code, and the libraries it stands on."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_LAYERS = ("models", "render", "fitting", "apps/export", "apps/label")
_LIBRARIES = ("numpy", "scipy", "numba", "opencv-python-headless", "dlib-bin", "dlib", "Pillow")
"""Distributions that compute something a record holds."""


def code_description() -> dict[str, Any]:
    """Return facefit's version, a hash of its sources, and the versions of the libraries."""
    digest, root = hashlib.sha256(), Path(__file__).resolve().parents[2]
    for layer in _LAYERS:
        for source in sorted((root / layer).rglob("*.py")):
            digest.update(source.relative_to(root).as_posix().encode() + b"\0" + source.read_bytes() + b"\0")
    libraries = {}
    for name in _LIBRARIES:
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"version": version("facefit"), "sources": digest.hexdigest(), "libraries": libraries}


def plain(value: Any) -> Any:
    """Return a value in the types of strict JSON: dataclasses as objects, infinity as the text "inf"."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if hasattr(value, "tolist"):  # NumPy's arrays and numbers
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float) else str(value)
