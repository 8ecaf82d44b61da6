"""ICT-FaceKit light: the folder `FaceXModel/`, one holding it, or an archive of either (.tar.xz, .tar.gz, .zip, ...).

    generic_neutral_mesh.obj    the mean: 26719 vertices in centimetres, y up, z forward; quads with texture coordinates
    identityNNN.obj             mean + one standard deviation of principal component NNN, from 000 on
    eyeBlink_L.obj, ...         mean + expression unit at weight 1
    vertex_indices.json         `idx_to_landmark_verts`: the vertices that are the 68 landmarks, fixed points (semantic)

so each basis is a difference of two files. Mode 000 is almost pure size. Vertices are ordered by part (the table in the
project's README), so that a topology is a prefix of them, and published vertex indices hold in all of them:

    face    face, ears and the front of the neck: skin with holes for the eyes and the mouth
    head    the same with the rest of head and neck
    full    the same with eye and mouth sockets, gums, tongue, teeth and eyeballs: no holes

`full` is not quite all of the file: the last parts (tear film, occlusion shells, lashes) are to be drawn transparent,
and opaque they would hide the eyes, so they are left out.

The file's texture coordinates name one picture per material (UDIM tiles, and the eyes' four apart); here they are laid
out in one: the face takes the lower left three quarters, the others a quarter each, to its right and above it.

Source: R. Li et al., "Learning Formation of Physically-Based Face Attributes", CVPR 2020, and the files themselves.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..arrays import checked_indices
from ..cache import cached_model
from ..contour import BAND_WIDTH, band_around, unit_normals
from ..errors import InvalidInputError, ModelError
from ..morphable_model import LANDMARKS, JawContour, LandmarkEmbedding, MorphableModel, UVMap
from ._members import DAMAGE, first_names, read_members
from ._wavefront import read_faces, read_rows
from .principal_components import to_frame, vertex_embedding

Array = NDArray[np.float64]
Indices = NDArray[np.int32]
Topology = Literal["face", "head", "full"]

VERTICES: Mapping[Topology, int] = MappingProxyType({"face": 9409, "head": 11248, "full": 24591})
"""How many of the file's vertices each topology has: the first ones."""

ALL_VERTICES = 26719
READER = "ict 1"
"""Name and version of this reader; another version outdates what is cached."""

MM_PER_CM = 10.0
EXPRESSION_SIGMA = MappingProxyType({"eyeBlink_L": 0.4, "eyeBlink_R": 0.4})
OTHER_SIGMA = 0.3
"""Prior standard deviations of the weights, which lie in 0-1; the source has none. Lids close all the way."""

REGIONS: Mapping[str, tuple[tuple[int, int], ...]] = MappingProxyType(
    {
        "face": ((0, 6706),),  # without ears and neck: ICT's narrow face area
        "full_face": ((0, 9409),),
        "skin": ((0, 11248),),
        "head_and_neck": ((9409, 11248),),
        "mouth": ((11248, 13294), (14062, 17039)),  # socket; gums and tongue
        "sockets": ((13294, 14062),),  # of the eyes
        "teeth": ((17039, 21451),),
        "eyes": ((21451, 24591),),
    }
)
"""Ranges of vertices, start and end."""

ARKIT: Mapping[str, str] = MappingProxyType(
    {f"{name}_{side}": name + word
     for name in ("browDown", "browOuterUp", "cheekSquint", "eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut",
                  "eyeLookUp", "eyeSquint", "eyeWide", "mouthDimple", "mouthFrown", "mouthLowerDown", "mouthPress",
                  "mouthSmile", "mouthStretch", "mouthUpperUp", "noseSneer")
     for side, word in (("L", "Left"), ("R", "Right"))}
    | {name: name
       for name in ("jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthFunnel", "mouthLeft",
                    "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower",
                    "mouthShrugUpper")}
    | {f"{name}_{side}": name for name in ("browInnerUp", "cheekPuff") for side in "LR"}
)  # fmt: skip
"""ICT's expression units by Apple's names (`ARFaceAnchor.BlendShapeLocation`).

Two halves of `browInnerUp` and `cheekPuff` share a name: give both ARKit's weight. `tongueOut` has no unit here;
`cheekRaiser_L/R` and `PupilDilate_L/R` have no name there.
"""

_NEUTRAL, _INDICES, _FOLDER = "generic_neutral_mesh", "vertex_indices.json", "FaceXModel"
_MAX_MESHES = 512
_MAX_CM = 1e3  # of a coordinate: beyond stands another unit
_SYMMETRY_MM = 0.5  # how far a vertex may lie from the mirror image of its counterpart; the tongue's are 0.3 off
_MIRROR_ROUNDS = 5
_EYE_PARTS = (21451, 22221, 23021, 23791)  # first vertices of sclera and iris, left and right: materials 4-7
_TILES = np.array(
    [[0.0, 0.0, 0.75], *([0.75, y, 0.25] for y in (0.0, 0.25, 0.5, 0.75)), *([x, 0.75, 0.25] for x in (0.0, 0.25, 0.5))]
)  # u, v, side of each material's square: face, head, gums, teeth, the eyes' four


def recognises(path: Path) -> bool:
    """Return whether `path` is such a folder or archive, by the names in it."""
    try:
        if path.is_dir():
            return any((folder / f"{_NEUTRAL}.obj").is_file() for folder in (path, path / _FOLDER))
        names = (name for name in first_names(path) if _is_part(name))
        return any(re.fullmatch(rf"identity\d\d\d|{_NEUTRAL}", name.stem) for name in names)
    except DAMAGE:
        return False


def read_model(path: str | Path, *, topology: Topology = "full", cached: bool = True) -> MorphableModel:
    """Read ICT-FaceKit; expressions keep ICT's names (see ARKIT), those that move nothing of `topology` are left out.

    cached: keep what was read in the user's cache folder, and look there first. ModelError names the file, the member
    and the field that is wrong.
    """
    if topology not in VERTICES:
        raise InvalidInputError(f"topology: expected one of {', '.join(VERTICES)}, got {topology!r}")
    place = Path(path)
    if not cached:
        return _read(place, topology)
    return cached_model(place, lambda: _read(place, topology), READER, topology=topology)


def _read(path: Path, topology: Topology) -> MorphableModel:
    meshes: dict[str, Array] = {}
    texts: dict[str, bytes] = {}
    for name, content in read_members(path, _is_part):
        key = name.name if name.name == _INDICES else name.stem
        if key in meshes or key in texts or len(meshes) == _MAX_MESHES:
            raise ModelError(f"{path}: {name}: expected each file once, and at most {_MAX_MESHES}, got more")
        if key in (_NEUTRAL, _INDICES):
            texts[key] = content
        if key != _INDICES:
            try:
                meshes[key] = _positions(content, VERTICES[topology])
            except ModelError as problem:
                raise ModelError(f"{path}: {name}: {problem}") from None
    try:
        return _model(meshes, texts, topology)
    except ModelError as problem:
        raise ModelError(f"{path}: {problem}") from None


def _is_part(name: PurePosixPath) -> bool:
    """Return whether a file can be one of the model's: an OBJ or the indices, in FaceXModel or at the top."""
    hidden = name.name.startswith(".")  # a Mac puts its own `._NAME` beside each file
    return name.parent.name in ("", _FOLDER) and not hidden and (name.suffix == ".obj" or name.name == _INDICES)


def _positions(content: bytes, count: int) -> Array:
    """Return the first `count` vertices of an OBJ, mm."""
    rows = read_rows(content, "v", 3, expected=ALL_VERTICES, first=count)
    if np.abs(rows).max() > _MAX_CM:
        raise ModelError(f"v: expected centimetres, {_MAX_CM:g} at most, got {np.abs(rows).max():g}")
    return MM_PER_CM * rows


def _model(meshes: dict[str, Array], texts: Mapping[str, bytes], topology: Topology) -> MorphableModel:
    """Return the model of all meshes by name, mm, in the source's frame, and of the files that say how they connect."""
    for wanted in (_NEUTRAL, _INDICES):
        if wanted not in texts:
            raise ModelError(f"{wanted}: expected this file, got none")
    neutral = meshes.pop(_NEUTRAL)
    units = sorted(name for name in meshes if not re.fullmatch(r"identity\d+", name))
    modes = [f"identity{k:03d}" for k in range(len(meshes) - len(units))]
    if missing := [name for name in modes if name not in meshes]:
        raise ModelError(f"{missing[0]}.obj: expected identity000 to {modes[-1]} without gaps, got no such file")
    units = [name for name in units if not np.array_equal(meshes[name], neutral)]
    mirror = mirror_map(neutral, _SYMMETRY_MM)
    triangles, uv = _surface(texts[_NEUTRAL], neutral, mirror)
    corners = _landmark_vertices(texts[_INDICES], len(neutral))
    origin = 0.5 * (neutral[corners[36]] + neutral[corners[45]])  # between the outer eye corners
    model = MorphableModel(
        name=f"ICT-FaceKit {topology}",
        licence="MIT (ICT-FaceKit light, USC Institute for Creative Technologies)",
        citation='Li et al., "Learning Formation of Physically-Based Face Attributes", CVPR 2020',
        mean=neutral - origin,
        identity=_basis(meshes, modes, neutral),
        triangles=triangles,
        expression=_basis(meshes, units, neutral),
        expression_names=tuple(units),
        expression_sigma=np.array([EXPRESSION_SIGMA.get(name, OTHER_SIGMA) for name in units]),
        expression_lower=np.zeros(len(units)),
        expression_upper=np.ones(len(units)),
        uv=uv,
        landmarks=_at_vertices(corners, triangles),
        regions=_regions(len(neutral)),
        mirror=mirror,
        source_transform=to_frame(MM_PER_CM, origin / MM_PER_CM),
    )
    return replace(model, contour=_jaw_contour(model))


def _basis(meshes: Mapping[str, Array], names: list[str], neutral: Array) -> NDArray[np.float32]:
    basis = np.empty((len(names), *neutral.shape), dtype=np.float32)
    for row, name in zip(basis, names, strict=True):
        row[:] = meshes[name] - neutral
    return basis


def _surface(content: bytes, points: Array, mirror: Indices | None) -> tuple[Indices, UVMap]:
    """Return the triangles between `points` (n, 3), and their texture coordinates."""
    faces, texture = read_faces(content)
    kept = (faces < len(points)).all(axis=1)
    faces, texture = faces[kept], texture[kept]
    coordinates = read_rows(content, "vt", 2)
    if not len(faces) or texture.max() >= len(coordinates):
        raise ModelError(f"f: expected faces with texture coordinates 1 to {len(coordinates)}, got none or others")
    # A quad is split along its shorter diagonal: on a symmetrised shape, so that triangles mirror onto triangles.
    symmetric = points if mirror is None else points + points[mirror] * (-1.0, 1.0, 1.0)
    diagonals = [np.linalg.norm(symmetric[faces[:, k]] - symmetric[faces[:, k + 2]], axis=1) for k in (0, 1)]
    quads = faces[:, 3] >= 0
    turned = quads & (diagonals[1] < diagonals[0])
    packed, corners = _packed(coordinates, faces, texture)
    split: list[Indices] = []
    for table in (faces, corners):
        table = np.where(turned[:, None], np.roll(table, -1, axis=1), table)
        halves = np.stack([table[:, [0, 1, 2]], table[:, [0, 2, 3]]], axis=1)
        split.append(halves[np.stack([np.ones_like(quads), quads], axis=1)].astype(np.int32))
    return split[0], UVMap(packed, split[1])


def _packed(
    coordinates: Array, faces: NDArray[np.int64], texture: NDArray[np.int64]
) -> tuple[Array, NDArray[np.int64]]:
    """Return texture coordinates of all materials side by side, and the corners (F, 4) that index them.

    A face's material is the tile its coordinates lie in; the eyes, all in the first tile, tell theirs by the vertex.
    """
    problem = f"vt: expected coordinates of each face within one of {len(_TILES)} squares, got others"
    if coordinates.min() < 0.0 or coordinates.max() > len(_TILES):
        raise ModelError(problem)
    material = np.floor(coordinates[texture[:, :3], 0].mean(axis=1)).astype(np.int64)
    origin = np.stack([material, np.zeros_like(material)], axis=1)
    eyes = faces[:, 0] >= _EYE_PARTS[0]
    material[eyes] = 3 + np.searchsorted(_EYE_PARTS, faces[eyes, 0], side="right")
    # One entry for each pair of a material and a coordinate that is in use.
    keys = material[:, None] * len(coordinates) + np.where(texture < 0, texture[:, :1], texture)
    used, first, corners = np.unique(keys, return_index=True, return_inverse=True)
    face = first // 4
    inside = coordinates[used % len(coordinates)] - origin[face]
    if material.max() >= len(_TILES) or inside.min() < 0.0 or inside.max() > 1.0:
        raise ModelError(problem)
    corner, side = np.split(_TILES[material[face]], [2], axis=1)
    return corner + side * inside, corners.reshape(keys.shape)


def mirror_map(points: Array, tolerance: float) -> Indices | None:
    """Return each point's counterpart (n,) under x -> -x, its own inverse; None where one is farther than `tolerance`.

    Points that are each the nearest to the other's mirror image are counterparts; the rest are matched among
    themselves, in the same way, and so on for a few rounds. Coincident points cannot be told apart: None.
    """
    from scipy.spatial import cKDTree

    if len(np.unique(points, axis=0)) < len(points):  # and so many of them would take the tree for ever
        return None
    mirror = np.full(len(points), -1, dtype=np.int32)
    left = np.arange(len(points))
    for _ in range(_MIRROR_ROUNDS):
        away, nearest = cKDTree(points[left]).query(points[left] * (-1.0, 1.0, 1.0))
        mutual = nearest[nearest] == np.arange(len(left))
        if not mutual.any() or away[mutual].max() > tolerance:
            return None
        mirror[left[mutual]] = left[nearest[mutual]]
        left = left[~mutual]
        if not len(left):
            return mirror
    return None


def _landmark_vertices(content: bytes, count: int) -> Indices:
    try:
        table: Any = json.loads(content)
        values = table["idx_to_landmark_verts"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ModelError(f"{_INDICES}: expected JSON with idx_to_landmark_verts, got something else") from None
    return checked_indices(f"{_INDICES}: idx_to_landmark_verts", values, (LANDMARKS,), count, error=ModelError)


def _at_vertices(vertices: Indices, triangles: Indices) -> LandmarkEmbedding:
    embedded = vertex_embedding(vertices, triangles)
    if embedded is None:
        raise ModelError(f"{_INDICES}: idx_to_landmark_verts: expected vertices of faces, got others")
    return LandmarkEmbedding(*embedded)


def _regions(count: int) -> dict[str, NDArray[np.bool_]]:
    """Return the masks (count,) of the parts that are there."""
    index = np.arange(count)
    masks = {name: np.any([(index >= a) & (index < b) for a, b in parts], axis=0) for name, parts in REGIONS.items()}
    return {name: mask for name, mask in masks.items() if mask.any()}


def _jaw_contour(model: MorphableModel) -> JawContour:
    """Return the band about the jaw line, of the skin only: teeth and tongue lie near the jaw as well."""
    outside = model.triangles[model.regions["skin"][model.triangles].all(axis=1)]
    normals, jaw = unit_normals(model.mean, outside), model.semantic_basis.mean[:17]
    right, left = (band_around(jaw, model.mean, normals, BAND_WIDTH * model.face_size, side) for side in (-1.0, 1.0))
    return JawContour(right, left)
