"""facefit's own model file: one `.npz`, versioned, without pickles.

Every array of the model stands under its own name, nested ones with dots (`landmarks.weights`, `regions.face`).
A basis may be stored quantised: `identity` as int16 (K, N, 3) beside `identity.scale` (K,), whose product it is; the
loss is at most half a step per mode. Names are arrays of strings. `schema` holds the version. What a model may lack,
such as `landmarks.sigma`, a file may lack too.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..archives import array_names, read_arrays
from ..arrays import checked_array
from ..errors import ModelError
from ..files import atomic_write
from ..morphable_model import JawContour, LandmarkEmbedding, MorphableModel, UVMap, flatten

SCHEMA = 1
MAX_TEXT_BYTES = 2**22  # of one text, or one list of texts
_BASES = ("identity", "expression", "albedo")
_NESTED = {"landmarks": LandmarkEmbedding, "landmarks_contour": LandmarkEmbedding, "contour": JawContour, "uv": UVMap}
_TEXTS = {"name": 0, "licence": 0, "citation": 0, "expression_names": 1}  # number of axes


def write_model(path: str | Path, model: MorphableModel, *, quantised: bool = False, compressed: bool = True) -> None:
    """Write `model` to `path`; with `quantised`, its bases as 16-bit integers (half the size, see the module's text).

    Not `compressed`, it is written and read several times faster, and takes more room.

    OutputError where the file cannot be written.
    """
    arrays: dict[str, Any] = flatten(model) | {"schema": np.asarray(SCHEMA)}
    for name in _BASES if quantised else ():
        if name in arrays and len(arrays[name]):
            arrays |= _quantise(name, arrays[name])
    with atomic_write(path) as file:
        (np.savez_compressed if compressed else np.savez)(file, **arrays)


def recognises(path: Path) -> bool:
    """Tell whether `path` is such a file, by the names of its members."""
    return {"mean", "identity", "triangles"} <= array_names(path)


def read_model(path: str | Path) -> MorphableModel:
    """Read a model written by `write_model`; ModelError names the file and the field that is wrong."""
    arrays = read_arrays(path, ModelError)
    version = arrays.pop("schema", None)
    if version is None or version.shape != () or version.dtype.kind not in "iu" or int(version) != SCHEMA:
        raise ModelError(f"{path}: schema: expected {SCHEMA}, got {version}")
    try:
        return _model(arrays)
    except ModelError as problem:
        raise ModelError(f"{path}: {problem}") from None


def _model(arrays: dict[str, NDArray[Any]]) -> MorphableModel:
    for name in _BASES:
        if f"{name}.scale" in arrays:
            arrays[name] = _dequantised(name, arrays.get(name), arrays.pop(f"{name}.scale"))
    plain: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {"regions": {}}
    for key, value in arrays.items():
        head, dot, tail = key.partition(".")
        if dot and (head in _NESTED or head == "regions"):
            nested.setdefault(head, {})[tail] = value
        elif key in _NESTED or key == "regions":
            raise ModelError(f"{key}: expected its parts, named {key}.PART, got one array")
        else:
            plain[key] = _text(key, value) if key in _TEXTS else value
    regions = nested.pop("regions")
    parts = {head: _made(_NESTED[head], values, f"{head}.") for head, values in nested.items()}
    return _made(MorphableModel, plain | parts | {"regions": regions})


def _made(kind: type[Any], values: Mapping[str, Any], prefix: str = "") -> Any:
    """Return the dataclass `kind` made of `values`; ModelError for a missing or an unknown one."""
    for item in fields(kind):
        if item.name not in values and item.default is MISSING and item.default_factory is MISSING:
            raise ModelError(f"{prefix}{item.name}: expected this field, got none")
    unknown = sorted(values.keys() - {item.name for item in fields(kind)})
    if unknown:
        raise ModelError(f"{prefix}{unknown[0]}: expected the fields of a model only, got this one too")
    return kind(**values)


def _text(name: str, value: NDArray[Any]) -> Any:
    if value.dtype.kind != "U" or value.ndim != _TEXTS[name]:
        raise ModelError(f"{name}: expected text with {_TEXTS[name]} axes, got {value.dtype} with {value.ndim}")
    if max(value.nbytes, value.size) > MAX_TEXT_BYTES:
        raise ModelError(f"{name}: expected texts of at most {MAX_TEXT_BYTES} bytes, got more")
    return value.tolist()


def _quantise(name: str, basis: NDArray[np.floating]) -> dict[str, NDArray[Any]]:
    peak = np.abs(basis).max(axis=(1, 2))
    scale = np.maximum(peak / np.float32(32767.0), np.finfo(np.float32).tiny)
    return {name: np.round(basis / scale[:, None, None]).astype(np.int16), f"{name}.scale": scale}


def _dequantised(name: str, steps: NDArray[Any] | None, scale: NDArray[Any]) -> NDArray[np.float32]:
    if steps is None or steps.dtype != np.int16 or steps.ndim != 3:
        raise ModelError(f"{name}: expected int16 (modes, vertices, 3) beside {name}.scale, got something else")
    factors = checked_array(f"{name}.scale", scale, (len(steps),), np.float32, error=ModelError)
    with np.errstate(over="ignore"):  # infinity is refused with the rest of the model
        return steps * factors[:, None, None]
