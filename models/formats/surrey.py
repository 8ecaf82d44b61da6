"""The Surrey Face Model as the eos library stores it: `sfm_shape_3448.bin`, blendshapes beside it.

Little endian throughout, one thing after the other:

    u32       version, 0 or 1
    shape     the principal components of shape, then those of colour, which may be empty
    colour
    u64, f64  version 1 only: a count, then so many texture coordinates (u, v), v from the image's top

    components   matrices mean (3 N, 1), basis (3 N, K), variances (K, 1); u64 count, triangles i32 (count, 3)
    matrix       i32 rows, i32 columns, float32 column by column

    blendshapes  u64 count, then each: u64 length, name, matrix offsets (3 N, 1)

The basis is orthonormal: a mode is a column times the root of its variance. Coordinates are millimetres, +X to the
subject's left, +Y up, +Z out of the face; only the origin moves. Colours are sRGB 0-1.

Which vertices the iBUG landmarks are, and which can form the jaw's outline, are facts of eos's `share/ibug_to_sfm.txt`
and `share/sfm_model_contours.json` (Apache-2.0, see NOTICE). That map leaves out the jaw, since it slides, and the
inner mouth corners. Chosen here: for the jaw, the outline's vertices nearest to nine points at equal distances along
it, seen from the front, from the height of the outer eye corner to the chin; for the inner mouth corners, the vertex
of the upper lip's edge 2.4 mm inside the outer corner, 5 % of the mouth's width.

Source: P. Huber et al., "A multiresolution 3D morphable face model and fitting framework", VISAPP 2016.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import checked_indices
from ..errors import ModelError
from ..morphable_model import JawContour, LandmarkEmbedding, MorphableModel, UVMap
from .principal_components import (
    linear_albedo,
    scaled_modes,
    standard_deviations,
    to_frame,
    vertex_array,
    vertex_embedding,
)

LICENCE = "non-commercial (University of Surrey, Surrey Face Model licence)"
CITATION = (
    "P. Huber, G. Hu, R. Tena, P. Mortazavian, W. P. Koppen, W. J. Christmas, M. Rätsch, J. Kittler: A Multiresolution "
    "3D Morphable Face Model and Fitting Framework. VISAPP 2016."
)
EXPRESSION_SIGMA = 0.3
"""Prior standard deviation of a blendshape's weight, of bounds 0 and 1: a face shows a third of an emotion."""

MAX_BYTES = 2**30  # the model's largest mesh, with colour, takes a tenth of it
MAX_NAME = 256  # bytes of a blendshape's name
VERTICES = 3448
"""Number of vertices of the mesh whose landmarks are known."""

# fmt: off
LANDMARK_VERTICES = (
    356, 359, 365, 364, 391, 393, 11, 25, 33, 466, 454, 807, 805, 781, 782, 776, 773,  # jaw
    225, 229, 233, 2086, 157, 590, 2091, 666, 662, 658,  # brows
    2842, 379, 272, 114, 100, 2794, 270, 2797, 537,  # nose
    177, 172, 191, 181, 173, 174, 614, 624, 605, 610, 607, 606,  # eyes
    398, 315, 413, 329, 825, 736, 812, 841, 693, 411, 264, 431,  # outer lips
    410, 416, 423, 828, 823, 817, 442, 404,  # inner lips
)
RIGHT_CONTOUR = (380, 373, 356, 358, 359, 360, 365, 363, 364, 388, 391, 392, 393, 11, 21, 25, 22)
LEFT_CONTOUR = (795, 790, 773, 775, 776, 777, 782, 780, 781, 802, 805, 806, 807, 454, 464, 466, 465)
# fmt: on
OUTER_EYE_CORNERS = (36, 45)
CONTOUR_SIGMA = np.repeat([0.1, 0.025], [17, 51])
"""(68,) standard deviation of annotated points relative to the face's size.

The jaw's is loose: the mesh ends at the jaw, and its outline follows the drawn one loosely. On eighteen hand-marked
faces the jaw lay 0.08 (root mean square, across the outline) from that of a fit to the other points, which themselves
lay 0.015 from theirs; both are rounded up, since a fit follows its points.
"""


def recognises(path: Path) -> bool:
    """Tell by the first twelve bytes and the file's size whether `path` can be a model of this layout."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
        size = path.stat().st_size
    except (OSError, ValueError):
        return False
    if len(head) < 12:
        return False
    version, rows, columns = struct.unpack("<Iii", head)
    return version in (0, 1) and columns == 1 and rows > 0 and rows % 3 == 0 and 12 + 4 * rows <= size


def read_model(path: str | Path, *, blendshapes: str | Path | None = None) -> MorphableModel:
    """Read a model file; ModelError names the file and the field that is wrong.

    `blendshapes` is the file of its expressions; None means `expression_blendshapes_N.bin` in the model's folder, N
    being the number of vertices, and no expressions where there is no such file. Landmarks and contour are known of
    the mesh of 3448 vertices only.
    """
    path = Path(path)
    try:
        source = _Source(path)
        version = source.number("<I", "version")
        if version not in (0, 1):
            raise ModelError(f"version: expected 0 or 1, got {version}")
        shape, colour = _Components(source, "shape"), _Components(source, "colour")
        texture = source.table("texture coordinates", "<f8", 2) if version else np.zeros((0, 2))
        source.require_end()
        mean = vertex_array("shape mean", shape.mean)
    except ModelError as problem:
        raise ModelError(f"{path}: {problem}") from None
    beside = path.with_name(f"expression_blendshapes_{len(mean)}.bin") if blendshapes is None else Path(blendshapes)
    parts = _expressions(beside, len(mean)) if blendshapes is not None or beside.is_file() else {}
    try:
        return _model(mean, shape, colour, texture, parts)
    except ModelError as problem:
        raise ModelError(f"{path}: {problem}") from None


def _model(
    mean: NDArray[np.float64],
    shape: "_Components",
    colour: "_Components",
    texture: NDArray[Any],
    parts: dict[str, Any],
) -> MorphableModel:
    n = len(mean)
    checked_indices("shape triangles", shape.triangles, (None, 3), n, error=ModelError)
    origin = mean.mean(axis=0)
    if n == VERTICES and (embedded := vertex_embedding(np.array(LANDMARK_VERTICES), shape.triangles)) is not None:
        parts["landmarks"] = LandmarkEmbedding(*embedded)
        parts["landmarks_contour"] = LandmarkEmbedding(*embedded, CONTOUR_SIGMA)
        parts["contour"] = JawContour(np.array(RIGHT_CONTOUR), np.array(LEFT_CONTOUR))
        origin = mean[[LANDMARK_VERTICES[corner] for corner in OUTER_EYE_CORNERS]].mean(axis=0)
    if colour.mean.size:
        albedo = scaled_modes("colour basis", colour.basis, colour.deviations, n)
        parts["albedo_mean"], parts["albedo"] = linear_albedo(vertex_array("colour mean", colour.mean), albedo)
    if len(texture):
        if len(texture) != n:
            raise ModelError(f"texture coordinates: expected one for each of {n} vertices, got {len(texture)}")
        parts["uv"] = UVMap(np.stack([texture[:, 0], 1.0 - texture[:, 1]], axis=1), shape.triangles)
    return MorphableModel(
        name="surrey",
        licence=LICENCE,
        citation=CITATION,
        mean=mean - origin,
        identity=scaled_modes("shape basis", shape.basis, shape.deviations, n),
        triangles=shape.triangles,
        source_transform=to_frame(1.0, origin),
        **parts,
    )


def _expressions(path: Path, vertices: int) -> dict[str, Any]:
    """Return the arguments of a model's expressions."""
    names, offsets = [], []
    try:
        source = _Source(path)
        for _ in range(source.count("blendshapes", 16)):
            length = source.count("name of a blendshape", 1)
            if length > MAX_NAME:
                raise ModelError(f"name of a blendshape: expected at most {MAX_NAME} bytes, got {length}")
            names.append(source.take(length, "name of a blendshape").decode("utf-8", "replace"))
            offset = vertex_array(f"blendshape {names[-1]!r}", source.matrix(f"blendshape {names[-1]!r}"))
            if len(offset) != vertices:
                raise ModelError(f"blendshape {names[-1]!r}: expected {vertices} vertices, got {len(offset)}")
            offsets.append(offset.astype(np.float32))
        source.require_end()
    except ModelError as problem:
        raise ModelError(f"{path}: {problem}") from None
    count = len(names)
    return {
        "expression": np.array(offsets).reshape(count, vertices, 3),
        "expression_names": tuple(names),
        "expression_sigma": np.full(count, EXPRESSION_SIGMA),
        "expression_lower": np.zeros(count),
        "expression_upper": np.ones(count),
    }


class _Components:
    """One set of principal components, as it stands in the file."""

    def __init__(self, source: "_Source", name: str) -> None:
        self.mean = source.matrix(f"{name} mean")
        self.basis = source.matrix(f"{name} basis")
        self.deviations = standard_deviations(f"{name} variances", source.matrix(f"{name} variances"))
        self.triangles = source.table(f"{name} triangles", "<i4", 3)


class _Source:
    """A file's content, read from front to back; no count is believed that the rest of the file cannot hold."""

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                self._content = file.read(MAX_BYTES + 1)
        except (OSError, ValueError) as problem:  # ValueError: a NUL in the name
            raise ModelError(f"cannot be read ({getattr(problem, 'strerror', None) or problem})") from None
        if len(self._content) > MAX_BYTES:
            raise ModelError(f"expected at most {MAX_BYTES} bytes, got more")
        self._at = 0

    def take(self, size: int, field: str) -> bytes:
        left = len(self._content) - self._at
        if size > left:
            raise ModelError(f"{field}: expected {size} more bytes, got {left}")
        self._at += size
        return self._content[self._at - size : self._at]

    def number(self, kind: str, field: str) -> int:
        return int(struct.unpack(kind, self.take(struct.calcsize(kind), field))[0])

    def count(self, field: str, least: int) -> int:
        """Return a number of things of at least `least` bytes each."""
        number = self.number("<Q", f"count of {field}")
        left = len(self._content) - self._at
        if number * least > left:
            raise ModelError(f"{field}: expected {number} of them, got {left} bytes for all")
        return number

    def matrix(self, field: str) -> NDArray[np.float32]:
        rows, columns = self.number("<i", field), self.number("<i", field)
        if rows < 0 or columns < 0:
            raise ModelError(f"{field}: expected a number of rows and of columns, got {rows} and {columns}")
        return np.frombuffer(self.take(4 * rows * columns, field), "<f4").reshape(columns, rows).T

    def table(self, field: str, kind: str, columns: int) -> NDArray[Any]:
        width = columns * np.dtype(kind).itemsize
        rows = self.count(field, width)
        return np.frombuffer(self.take(rows * width, field), kind).reshape(rows, columns)

    def require_end(self) -> None:
        left = len(self._content) - self._at
        if left:
            raise ModelError(f"expected the file to end here, got {left} more bytes")
