"""The Basel Face Model 2009 in its two MATLAB layouts.

`01_MorphableModel.mat`, as the University of Basel gives it:

    shapeMU (3 N, 1)   shapePC (3 N, K) orthonormal   shapeEV (K, 1) standard deviations     micrometres
    texMU   (3 N, 1)   texPC   (3 N, A) orthonormal   texEV   (A, 1) standard deviations     sRGB 0-255
    tl      (T, 3)     triangles, vertices numbered from 1, clockwise: columns 1 and 2 are swapped here

It has no expressions. The usual ones are those of Guo et al. (IEEE TPAMI 2019), as Deep3DFaceReconstruction uses them:
`Exp_Pca.bin` (i32 E; float32 mean (3 M); float32 components (E, 3 M); micrometres), with `std_exp.txt` (E standard
deviations) and `BFM_exp_idx.mat` (trimIndex (M): the vertices they move, numbered from 1) beside it. The model is then
cut to these M vertices.

The cut-down `.mat` of many projects, one structure `model` (as the face3d library reads it): shapeMU, shapePC,
shapeEV, expMU, expPC, expEV, texMU, texPC, texEV as above, expressions alike, tri (3, T) and kpt_ind (68), both
numbered from 1. Its triangles are wound either way; here they are turned counter-clockwise from outside. The mean is
shapeMU + expMU.

Expressions are principal components: unbounded, sigma 1.

Landmarks of the whole model: 18 of them, and the outline, are facts of eos's `share/ibug_to_bfm2009.txt` and
`share/bfm2009_model_contours.json` (Apache-2.0, see NOTICE); the others are carried over (see landmark_transfer.py).

Source: P. Paysan et al., "A 3D face model for pose and illumination invariant face recognition", AVSS 2009.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import checked_array, checked_indices
from ..errors import ModelError
from ..morphable_model import JawContour, LandmarkEmbedding, MorphableModel
from .landmark_transfer import transferred_landmarks
from .matlab5 import is_mat5, read_variables, variable_names
from .principal_components import (
    linear_albedo,
    scaled_modes,
    to_frame,
    unbounded_expressions,
    vertex_array,
    vertex_embedding,
)

LICENCE = "research only, non-commercial (University of Basel, Basel Face Model licence)"
CITATION = (
    "P. Paysan, R. Knothe, B. Amberg, S. Romdhani, T. Vetter: A 3D Face Model for Pose and Illumination Invariant Face "
    "Recognition. AVSS 2009."
)
CITATION_EXPRESSION = (
    "Expressions: Y. Guo, J. Zhang, J. Cai, B. Jiang, J. Zheng: CNN-based Real-time Dense Face Reconstruction with "
    "Inverse-rendered Photo-realistic Face Images. IEEE TPAMI 2019."
)
SCALE = 1e-3  # mm per micrometre
WHOLE = ("shapeMU", "shapePC", "shapeEV", "texMU", "texPC", "texEV", "tl")
EXPRESSION_FILE, DEVIATIONS_FILE, INDEX_FILE = "Exp_Pca.bin", "std_exp.txt", "BFM_exp_idx.mat"
MAX_EXPRESSION_BYTES = 2**28
MAX_TEXT_BYTES = 2**16

VERTICES = 53490
# fmt: off
LANDMARK_VERTICES = {
    17: 38792, 19: 40087, 21: 40514, 22: 41091, 24: 41511, 26: 42825,  # brows
    30: 8319, 33: 8334,  # nose
    36: 2088, 39: 5959, 42: 10603, 45: 14472,  # eyes
    48: 5006, 51: 8344, 54: 11714, 57: 8374, 62: 8354, 66: 8366,  # lips
}
# fmt: on
RIGHT_CONTOUR = (27302, 46587, 45866, 2445, 1260, 721, 316, 27431)
LEFT_CONTOUR = (27689, 16312, 15943, 15450, 14313, 50480, 49788, 27818)
OUTER_EYE_CORNERS = (36, 45)

Arrays = dict[str, NDArray[Any]]


def recognises(path: Path) -> bool:
    """Tell by the names of its variables whether `path` is a MATLAB file in one of the two layouts."""
    try:
        names = variable_names(path) if is_mat5(path) else []
    except (ModelError, OSError):
        return False
    return "model" in names or {"shapeMU", "shapePC", "shapeEV", "tl"} <= set(names)


def read_model(path: str | Path, *, expression: str | Path | None = None) -> MorphableModel:
    """Read a model file of either layout; ModelError names the file and the field that is wrong.

    `expression` is the file `Exp_Pca.bin` for a whole model; None means the one in the model's folder, and no
    expressions where there is none.
    """
    path = Path(path)
    try:
        variables = read_variables(path, (*WHOLE, "model"))
        structure = variables.get("model")
        if isinstance(structure, dict):
            return _cut_down_model(structure)
        whole = {name: value for name, value in variables.items() if not isinstance(value, dict)}
        beside = path.with_name(EXPRESSION_FILE) if expression is None else Path(expression)
        with_expression = expression is not None or beside.is_file()
        return _whole_model(whole, beside if with_expression else None)
    except OSError as problem:
        raise ModelError(f"{path}: cannot be read ({problem.strerror or problem})") from None
    except ModelError as problem:
        raise ModelError(f"{path}: {problem}") from None


def _whole_model(source: Arrays, expression: Path | None) -> MorphableModel:
    numbered = _from_one("tl", _part(source, "tl"), (None, 3))[:, [1, 0, 2]]
    mean = vertex_array("shapeMU", _part(source, "shapeMU"))
    n = len(mean)
    triangles = checked_indices("tl", numbered, (None, 3), n, error=ModelError)
    modes = _modes(source, "shape", n, SCALE)
    colours = _albedo(source, n)
    known = dict(LANDMARK_VERTICES) if n == VERTICES else {}
    sides = [np.array(side) for side in (RIGHT_CONTOUR, LEFT_CONTOUR)] if n == VERTICES else []
    parts: dict[str, Any] = {}
    citation = CITATION
    if expression is not None:
        chosen, offset, moved = _read_expression(expression, n)
        parts |= unbounded_expressions(moved)
        place = np.full(n, -1, dtype=np.int32)
        place[chosen] = np.arange(len(chosen), dtype=np.int32)
        triangles = place[triangles]
        triangles = triangles[(triangles >= 0).all(axis=1)]
        mean, modes = mean[chosen] + offset, modes[:, chosen]
        colours = {name: values[..., chosen, :] for name, values in colours.items()}
        known = {k: int(place[vertex]) for k, vertex in known.items() if place[vertex] >= 0}
        sides = [place[side][place[side] >= 0] for side in sides]
        citation = f"{CITATION} {CITATION_EXPRESSION}"
    origin = mean[[known[k] for k in OUTER_EYE_CORNERS]].mean(axis=0) if known else mean.mean(axis=0)
    placed = SCALE * (mean - origin)
    if known:
        places: dict[tuple[int, ...], NDArray[np.float64]] = {(k,): placed[vertex] for k, vertex in known.items()}
        parts["landmarks"] = transferred_landmarks(places, placed, triangles)
        parts["contour"] = JawContour(*sides)
    return MorphableModel(
        name="bfm2009",
        licence=LICENCE,
        citation=citation,
        mean=placed,
        identity=modes,
        triangles=triangles,
        source_transform=to_frame(SCALE, origin),
        **colours,
        **parts,
    )


def _cut_down_model(source: Arrays) -> MorphableModel:
    mean = vertex_array("shapeMU", _part(source, "shapeMU"))
    n = len(mean)
    if "expMU" in source:
        mean = mean + checked_array("expMU", vertex_array("expMU", source["expMU"]), (n, 3), error=ModelError)
    numbered = _from_one("tri", _part(source, "tri"), (3, None)).T
    points = _from_one("kpt_ind", _part(source, "kpt_ind").ravel(), (68,))
    checked_indices("kpt_ind", points, (68,), n, error=ModelError)
    triangles = _outward(checked_indices("tri", numbered, (None, 3), n, error=ModelError), mean)
    embedded = vertex_embedding(points, triangles)
    if embedded is None:
        raise ModelError("kpt_ind: expected vertices of triangles, got others")
    origin = mean[points[list(OUTER_EYE_CORNERS)]].mean(axis=0)
    return MorphableModel(
        name="bfm2009-cut-down",
        licence=LICENCE,
        citation=CITATION,
        mean=SCALE * (mean - origin),
        identity=_modes(source, "shape", n, SCALE),
        triangles=triangles,
        landmarks=LandmarkEmbedding(*embedded),
        source_transform=to_frame(SCALE, origin),
        **(unbounded_expressions(_modes(source, "exp", n, SCALE)) if "expPC" in source else {}),
        **_albedo(source, n),
    )


def _read_expression(path: Path, vertices: int) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.float32]]:
    """Return the vertices (M,) of `vertices` that expressions move, their mean offset (M, 3) in micrometres, and the
    modes (E, M, 3) in mm.
    """
    index = read_variables(path.with_name(INDEX_FILE), ("trimIndex",)).get("trimIndex")
    if not isinstance(index, np.ndarray):
        raise ModelError(f"{INDEX_FILE}: trimIndex: expected these numbers, got none")
    chosen = _from_one(f"{INDEX_FILE}: trimIndex", index.ravel(), (None,))
    checked_indices(f"{INDEX_FILE}: trimIndex", chosen, (None,), vertices, error=ModelError)
    if len(np.unique(chosen)) < len(chosen):
        raise ModelError(f"{INDEX_FILE}: trimIndex: expected different vertices, got one twice")
    content = _bytes(path, MAX_EXPRESSION_BYTES)
    count, width = int.from_bytes(content[:4], "little", signed=True), 3 * len(chosen)
    if count < 0 or len(content) != 4 + 4 * width * (1 + count):
        raise ModelError(
            f"{path.name}: expected {count} components of {len(chosen)} vertices, got {len(content)} bytes"
        )
    numbers = np.frombuffer(content, "<f4", offset=4)
    try:
        words = _bytes(path.with_name(DEVIATIONS_FILE), MAX_TEXT_BYTES).split()
        deviations = checked_array(DEVIATIONS_FILE, [float(word) for word in words], (count,), error=ModelError)
    except ValueError as problem:
        raise ModelError(f"{DEVIATIONS_FILE}: expected numbers, got: {problem}") from None
    components = numbers[width:].reshape(count, width).T
    modes = scaled_modes(path.name, components, deviations, len(chosen), SCALE)
    return chosen, vertex_array(f"{path.name}: mean", numbers[:width]), modes


def _bytes(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ModelError(f"{path.name}: expected at most {most} bytes, got more")
    return content


def _part(source: Arrays, name: str) -> NDArray[Any]:
    if name not in source:
        raise ModelError(f"{name}: expected these numbers, got none")
    return source[name]


def _from_one(field: str, numbers: NDArray[Any], shape: tuple[int | None, ...]) -> NDArray[np.int64]:
    """Return indices counted from 1 as indices counted from 0."""
    return checked_array(field, numbers, shape, np.int64, error=ModelError) - 1


def _modes(source: Arrays, kind: str, vertices: int, scale: float) -> NDArray[np.float32]:
    deviations = checked_array(f"{kind}EV", _part(source, f"{kind}EV").ravel(), (None,), error=ModelError)
    return scaled_modes(f"{kind}PC", _part(source, f"{kind}PC"), deviations, vertices, scale)


def _albedo(source: Arrays, vertices: int) -> dict[str, Any]:
    """Return the arguments of a model's albedo, none where the file has no colours."""
    if "texMU" not in source:
        return {}
    colour = checked_array("texMU", vertex_array("texMU", source["texMU"]), (vertices, 3), error=ModelError) / 255.0
    mean, modes = linear_albedo(colour, _modes(source, "tex", vertices, 1.0 / 255.0))
    return {"albedo_mean": mean, "albedo": modes}


def _outward(triangles: NDArray[np.int32], vertices: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return the triangles, turned round if they face the middle of the vertices: the volume they enclose tells."""
    a, b, c = np.moveaxis((vertices - vertices.mean(axis=0))[triangles], 1, 0)
    return triangles if float((a * np.cross(b, c)).sum()) >= 0.0 else triangles[:, [1, 0, 2]]
