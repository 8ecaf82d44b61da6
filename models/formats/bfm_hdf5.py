"""The HDF5 layout of the Basel Face Models 2017 and 2019, which is that of the statismo library.

    shape/model/mean         (3 N,)    x, y, z of a vertex next to each other
    shape/model/pcaBasis     (3 N, K)  orthonormal columns
    shape/model/pcaVariance  (K,)
    shape/representer/cells  (3, T)    triangles
    shape/representer/points (3, N)    the reference, on which the named points lie
    shape/representer/length-unit      metres per unit; without it a unit is a millimetre
    color/model/...          as shape; sRGB 0-1. May be absent
    expression/model/...     as shape, but the mean is an offset. May be absent
    metadata/landmarks/json  a list of {"id": name, "coordinates": [x, y, z], ...}
    metadata/landmarks/text  lines: name, visibility, x, y, z

A mode is a column times the root of its variance. Expressions are principal components: unbounded, sigma 1.

The landmarks are those named points that are iBUG's, the others carried over (see landmark_transfer.py); a file that
names too few has none. The outline of the variant of 53149 vertices is that of eos's
`share/bfm2017-1_bfm_nomouth_model_contours.json` (Apache-2.0, see NOTICE).

A file is data that nobody vouches for: of HDF5 only what stands in the file itself is read, as numbers, of bounded
size: no soft or external links, no external or virtual storage, no object references, no filters but the usual ones.

Source: T. Gerig et al., "Morphable face models: an open framework", FG 2018.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import checked_array
from ..errors import MissingDependencyError, ModelError
from ..morphable_model import JawContour, MorphableModel
from .landmark_transfer import transferred_landmarks
from .principal_components import (
    linear_albedo,
    scaled_modes,
    standard_deviations,
    to_frame,
    unbounded_expressions,
    vertex_array,
)

LICENCE_BASEL = "research only, non-commercial (University of Basel, Basel Face Model licence)"
LICENCE_OTHER = "not stated in the file: ask its source"
CITATION_BASEL = (
    "T. Gerig, A. Morel-Forster, C. Blumer, B. Egger, M. Lüthi, S. Schönborn, T. Vetter: Morphable Face Models - An "
    "Open Framework. FG 2018."
)
BASEL_VERTICES = {
    53149: "bfm2017",
    28588: "bfm2017-face12",
    47439: "bfm2019",
    27657: "bfm2019-face12",
    58203: "bfm2019-fullhead",
}
NOMOUTH_VERTICES = 53149
RIGHT_CONTOUR = (22451, 22463, 22231, 21961, 21591, 21737, 23037, 43151, 44368, 45617, 46999)
LEFT_CONTOUR = (31991, 32002, 32272, 32795, 33069, 33088, 32329, 52325, 50233, 49299, 48560)

NAMED_LANDMARKS = {
    "center.chin.tip": (8,),
    "center.nose.tip": (30,),
    "center.nose.attachement_to_philtrum": (33,),
    "right.eye.corner_outer": (36,),
    "right.eye.top": (37, 38),
    "right.eye.corner_inner": (39,),
    "right.eye.bottom": (40, 41),
    "left.eye.corner_inner": (42,),
    "left.eye.top": (43, 44),
    "left.eye.corner_outer": (45,),
    "left.eye.bottom": (46, 47),
    "right.lips.corner": (48,),
    "right.lips.philtrum_ridge": (50,),
    "center.lips.upper.outer": (51,),
    "left.lips.philtrum_ridge": (52,),
    "left.lips.corner": (54,),
    "center.lips.lower.outer": (57,),
    "center.lips.upper.inner": (62, 66),
}
"""Which iBUG landmarks, numbered from 0, have their middle at a named point."""
OUTER_EYE_CORNERS = ("right.eye.corner_outer", "left.eye.corner_outer")

MAX_BYTES = 2**31  # of all that is read, at eight a number; the largest of these models takes a third of it
MAX_TEXT = 2**20
MAX_RATIO = 1100  # bytes unpacked per byte stored: deflate cannot reach it
FILTERS = frozenset([1, 2, 3, 32000])  # deflate, shuffle, checksum, LZF
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError)  # of the HDF5 library
SIGNATURE = b"\x89HDF\r\n\x1a\n"


def recognises(path: Path) -> bool:
    """Tell whether `path` is an HDF5 file with a statistical model of shape."""
    try:
        with path.open("rb") as file:
            if file.read(len(SIGNATURE)) != SIGNATURE:
                return False
        with _opened(path) as file:
            return all(_member(file, f"shape/model/{name}") is not None for name in ("mean", "pcaBasis", "pcaVariance"))
    except ModelError:  # a link out of the file: `read_model` says which
        return True
    except (*_DAMAGE, MissingDependencyError):
        return False


def read_model(path: str | Path) -> MorphableModel:
    """Read a model file; ModelError names the file and the field, MissingDependencyError says what to install."""
    path = Path(path)
    try:
        with _opened(path) as file:
            return _model(file)
    except ModelError as problem:
        raise ModelError(f"{path}: {problem}") from None
    except _DAMAGE as problem:
        raise ModelError(f"{path}: not a readable HDF5 file ({problem or type(problem).__name__})") from None


def _opened(path: Path) -> Any:
    try:
        import h5py
    except ImportError:
        raise MissingDependencyError("reading .h5 models needs h5py: pip install h5py") from None
    return h5py.File(path, "r", locking=False)


def _model(file: Any) -> MorphableModel:
    budget = _Budget()
    mean = vertex_array("shape/model/mean", budget.array(file, "shape/model/mean"))
    n = len(mean)
    scale = 1000.0 * _length_unit(budget, file)
    triangles = budget.array(file, "shape/representer/cells", "iu")
    if triangles.ndim != 2 or triangles.shape[0] != 3:
        raise ModelError(f"shape/representer/cells: expected shape (3, any), got {triangles.shape}")
    triangles = triangles.T
    parts: dict[str, Any] = {}
    if _member(file, "expression/model") is not None:
        offset = vertex_array("expression/model/mean", budget.array(file, "expression/model/mean"))
        mean = mean + checked_array("expression/model/mean", offset, (n, 3), error=ModelError)
        parts |= unbounded_expressions(_modes(budget, file, "expression", n, scale))
    if _member(file, "color/model") is not None:
        colour = vertex_array("color/model/mean", budget.array(file, "color/model/mean"))
        colour = checked_array("color/model/mean", colour, (n, 3), error=ModelError)
        parts["albedo_mean"], parts["albedo"] = linear_albedo(colour, _modes(budget, file, "color", n, 1.0))
    named = _named_vertices(budget, file, mean)
    corners = [named[name] for name in OUTER_EYE_CORNERS if name in named]
    origin = mean[corners].mean(axis=0) if len(corners) == 2 else mean.mean(axis=0)
    identity = _modes(budget, file, "shape", n, scale)
    transform = to_frame(scale, origin)
    placed = scale * (mean - origin)
    indices = checked_array("shape/representer/cells", triangles, (None, 3), np.int32, error=ModelError)
    if len(corners) == 2 and len(indices) and indices.min() >= 0 and indices.max() < n:
        known = {NAMED_LANDMARKS[name]: placed[vertex] for name, vertex in named.items()}
        parts["landmarks"] = transferred_landmarks(known, placed, indices)
    if n == NOMOUTH_VERTICES:
        parts["contour"] = JawContour(np.array(RIGHT_CONTOUR), np.array(LEFT_CONTOUR))
    return MorphableModel(
        name=BASEL_VERTICES.get(n, "statismo"),
        licence=LICENCE_BASEL if n in BASEL_VERTICES else LICENCE_OTHER,
        citation=CITATION_BASEL if n in BASEL_VERTICES else "",
        mean=placed,
        identity=identity,
        triangles=indices,
        source_transform=transform,
        **parts,
    )


def _modes(budget: "_Budget", file: Any, kind: str, vertices: int, scale: float) -> NDArray[np.float32]:
    variances = budget.array(file, f"{kind}/model/pcaVariance")
    deviations = standard_deviations(f"{kind}/model/pcaVariance", variances)
    field = f"{kind}/model/pcaBasis"
    return scaled_modes(field, budget.array(file, field), deviations, vertices, scale)


def _length_unit(budget: "_Budget", file: Any) -> float:
    name = "shape/representer/length-unit"
    if _member(file, name) is None:
        return 0.001
    unit = budget.array(file, name)
    if unit.size != 1 or not 1e-7 <= float(unit.ravel()[0]) <= 10.0:
        raise ModelError(f"{name}: expected metres per unit, 1e-7 to 10, got {unit.ravel()[:1]}")
    return float(f"{float(unit.ravel()[0]):.6g}")  # 0.001 stands there in single precision


def _named_vertices(budget: "_Budget", file: Any, mean: NDArray[np.float64]) -> dict[str, int]:
    """Return the vertices at the named points that are landmarks: those nearest to them on the reference."""
    places = _named_points(budget, file)
    if not places:
        return {}
    reference = mean
    if _member(file, "shape/representer/points") is not None:
        points = budget.array(file, "shape/representer/points").T
        reference = checked_array("shape/representer/points", points, (len(mean), 3), error=ModelError)
    return {name: int(np.linalg.norm(reference - place, axis=1).argmin()) for name, place in places.items()}


def _named_points(budget: "_Budget", file: Any) -> dict[str, NDArray[np.float64]]:
    """Return the places (3,) of the points named in the file that are landmarks, in the source's frame."""
    rows: list[tuple[Any, Any]] = []
    try:
        if _member(file, "metadata/landmarks/json") is not None:
            entries = json.loads(budget.text(file, "metadata/landmarks/json"))
            rows = [(entry["id"], entry["coordinates"]) for entry in entries]
        elif _member(file, "metadata/landmarks/text") is not None:
            lines = [line.split() for line in budget.text(file, "metadata/landmarks/text").splitlines()]
            rows = [(words[0], [float(word) for word in words[2:5]]) for words in lines if words]
        return {
            name: checked_array(f"metadata/landmarks: {name}", place, (3,), error=ModelError)
            for name, place in rows
            if isinstance(name, str) and name in NAMED_LANDMARKS
        }
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as problem:
        raise ModelError(
            f"metadata/landmarks: expected named points, got {type(problem).__name__}: {problem}"
        ) from None


def _member(file: Any, name: str) -> Any:
    """Return the group or data set `name`, or None; ModelError where a link on the way leaves the file's own tree."""
    import h5py

    place = file
    for part in name.split("/"):
        link = place.get(part, getlink=True) if isinstance(place, h5py.Group) else None
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise ModelError(f"{name}: expected it in the file itself, got a soft or external link")
        place = place[part]
    return place


class _Budget:
    """Reads data sets, at most MAX_BYTES of them."""

    def __init__(self) -> None:
        self._left = MAX_BYTES

    def array(self, file: Any, name: str, kinds: str = "fiu") -> NDArray[Any]:
        """Return a data set of numbers whose type is one of `kinds`."""
        found = self._checked(file, name, MAX_BYTES)
        if found.dtype.kind not in kinds:
            raise ModelError(f"{name}: expected numbers of kind {kinds}, got {found.dtype}")
        return np.asarray(found[()])

    def text(self, file: Any, name: str) -> str:
        """Return a text, stored as one string or as bytes."""
        import h5py

        found = self._checked(file, name, MAX_TEXT)
        if (h5py.check_string_dtype(found.dtype) is None and found.dtype.kind not in "iu") or found.size > MAX_TEXT:
            raise ModelError(f"{name}: expected text, got {found.dtype}")
        value = found[()]
        value = value if isinstance(value, bytes) else np.asarray(value).ravel().tolist()
        if isinstance(value, list):
            value = bytes(byte & 255 for byte in value) if found.dtype.kind in "iu" else b"".join(value)
        return bytes(value).decode("utf-8", "replace").rstrip("\0")

    def _checked(self, file: Any, name: str, most: int) -> Any:
        """Return the data set `name`, whose content stands in the file and is of at most `most` bytes."""
        import h5py

        found = _member(file, name)
        if not isinstance(found, h5py.Dataset):
            raise ModelError(f"{name}: expected this data set, got {'a group' if found is not None else 'none'}")
        if found.shape is None or found.is_virtual or found.external:
            raise ModelError(f"{name}: expected a data set in the file itself, got another kind")
        plan = found.id.get_create_plist()
        if not {plan.get_filter(k)[0] for k in range(plan.get_nfilters())} <= FILTERS:
            raise ModelError(f"{name}: expected deflate, LZF, shuffle and checksum as filters, got another")
        # A piece ("chunk") is unpacked whole, however little of it is used; a small number takes eight bytes later on.
        size = max(found.size, math.prod(found.chunks or ())) * max(found.dtype.itemsize, 8)
        if size > min(self._left, most):
            raise ModelError(f"{name}: expected at most {min(self._left, most)} bytes, got {size}")
        stored, whole = found.id.get_storage_size(), found.size * found.dtype.itemsize
        if whole > MAX_RATIO * stored:
            raise ModelError(f"{name}: expected its content in the file, got {stored} bytes of {whole}")
        self._left -= size
        return found
