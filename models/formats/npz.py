"""facefit's own model file: one `.npz`, versioned, without pickles.

Every array of the model stands under its own name, nested ones with dots (`landmarks.weights`, `regions.face`).
A basis may be stored quantised: `identity` as int16 (K, N, 3) beside `identity.scale` (K,), whose product it is; the
loss is at most half a step per mode. Names are 0-d string arrays. `schema` holds the version.
"""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..files import atomic_write
from ..morphable_model import JawContour, LandmarkEmbedding, MorphableModel, UVMap, flatten

SCHEMA = 1
_BASES = ("identity", "expression", "albedo")
_NESTED = {"landmarks": LandmarkEmbedding, "landmarks_contour": LandmarkEmbedding, "contour": JawContour, "uv": UVMap}
_TEXTS = ("name", "licence", "citation")


def write_model(path: str | Path, model: MorphableModel, *, quantised: bool = False) -> None:
    """Write `model` to `path`; with `quantised`, its bases as 16-bit integers (half the size, see the module's text)."""
    arrays = flatten(model) | {"schema": np.asarray(SCHEMA)}
    for name in _BASES if quantised else ():
        if name in arrays and len(arrays[name]):
            arrays |= _quantise(name, arrays[name])
    with atomic_write(path) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_model(path: str | Path) -> MorphableModel:
    """Read a model written by `write_model`; ModelError names the file and the field that is wrong."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise ModelError(f"{path}: no such model file") from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, NotImplementedError, MemoryError) as problem:
        raise ModelError(f"{path}: not a readable model file ({problem})") from None
    version = arrays.pop("schema", None)
    if version is None or version.shape != () or version.dtype.kind != "i" or int(version) != SCHEMA:
        raise ModelError(f"{path}: schema: expected {SCHEMA}, got {version}")
    try:
        return MorphableModel(**_fields(arrays))
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise ModelError(f"{path}: not a complete model file ({problem})") from None
    except ModelError as problem:
        raise ModelError(f"{path}: {problem}") from None


def _fields(arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    for name in _BASES:
        if f"{name}.scale" in arrays:
            scale = arrays.pop(f"{name}.scale").astype(np.float32)
            arrays[name] = arrays[name].astype(np.float32) * scale[:, None, None]
    found: dict[str, Any] = {"regions": {}}
    nested: dict[str, dict[str, Any]] = {}
    for name, value in arrays.items():
        head, _, tail = name.partition(".")
        if head == "regions":
            found["regions"][tail] = value
        elif head in _NESTED and tail:
            nested.setdefault(head, {})[tail] = value
        elif name in _TEXTS:
            found[name] = str(value)
        else:
            found[name] = value
    return found | {head: _NESTED[head](**parts) for head, parts in nested.items()}


def _quantise(name: str, basis: NDArray[np.floating]) -> dict[str, NDArray[Any]]:
    peak = np.abs(basis).max(axis=(1, 2))
    scale = (np.where(peak > 0.0, peak, 1.0) / 32767.0).astype(np.float32)
    return {name: np.round(basis / scale[:, None, None]).astype(np.int16), f"{name}.scale": scale}
