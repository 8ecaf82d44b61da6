"""glTF 2.0 in one binary file (GLB): the person's neutral face, a texture, and every expression as a morph target.

    POSITION       0.001 * vertices(identity, 0)              metres: glTF's unit; y up, the face looks along +Z, as a
                                                              glTF asset should; so no axis changes, only the scale
    target k       0.001 * (vertices(identity, e_k) - vertices(identity, 0)),  and the difference of the normals
    mesh.weights   the fitted expression, within the model's bounds; mesh.extras.targetNames: ARKit's names
    TEXCOORD_0     (u, 1 - v): glTF counts v from the top row down
    TANGENT        with a normal map only; w is the sign of the bitangent
    COLOR_0        linear reflectance, where there is no texture

so that a viewer shows POSITION + sum_k weight_k target_k, which is the fitted face for a linear model. Vertices on a
seam of the texture are doubled; their normals are those of the whole surface, so that no seam is shaded. Most of a
target is zero: targets are sparse accessors over zeros, a few tenths of their plain size.

Tangents, from the derivatives of the position by u and v over a triangle with edges e1, e2 and (du, dv):

    T = (dv2 e1 - dv1 e2) / det,    B = (du1 e2 - du2 e1) / det,    det = du1 dv2 - du2 dv1

summed over a vertex's triangles by their corner angles, orthogonalised against the normal, w = sign((N x T) . B), v up:
MikkTSpace's rule, but for its splitting of vertices where the mapping is mirrored.

An expression basis that can be read back from the targets is passed on with the file: `redistribution_warning` says
where a model's licence has something against it.

Sources: Khronos, "glTF 2.0 Specification", 3.6.2.3 (sparse), 3.7.2.2 (morph targets); M. Mikkelsen, "Simulation of
Wrinkled Surfaces Revisited", 2008; Apple, `ARFaceAnchor.BlendShapeLocation`.
"""

import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...fitting.results import FitResult
from ...models.arrays import checked_array
from ...models.errors import InvalidInputError, MissingDependencyError
from ...models.files import atomic_write
from ...models.formats.ict import ARKIT
from ...models.morphable_model import MorphableModel, UVMap, require_model
from ...render.normals import normalised, vertex_normals
from .checks import Array, SplitMesh, checked_texture, encoded_jpeg, encoded_png, fitted_face, split_at_seams

METRES_PER_MM = 1e-3
ROUGHNESS = 0.7
"""Of the material; skin's, roughly. Metallic is 0."""

_STILL_MM, _STILL_TURN = 1e-4, 1e-3
"""What a vertex moves at least, mm, and its unit normal, to be stored in a target: less is not to be seen."""

_LINEAR = 1e-3  # mm; of a sum of single-precision modes
_PERMISSIVE = re.compile(
    r"\bCC0\b|public domain|\bMIT\b|\bApache\b|\bBSD\b|\bISC\b|\bUnlicense\b|\bCC[- ]BY\b|creative commons attribution",
    re.IGNORECASE,
)
_RESTRICTED = re.compile(
    r"non-?\s?commercial|\bresearch\b|academic|agreement|registration|proprietary|no ?derivatives|[- ](NC|ND)\b",
    re.IGNORECASE,
)


def arkit_name(name: str) -> str:
    """Return ARKit's name of an expression unit; its own name where ARKit has none.

    Of units named as ICT-FaceKit's, `mouthSmile_L` is `mouthSmileLeft`. The two halves of a unit that ARKit has whole
    (`browInnerUp_L`, `_R`) get its name and their side, `browInnerUpLeft`: names are not to repeat.
    """
    known = ARKIT.get(name, name)
    return {f"{known}_L": f"{known}Left", f"{known}_R": f"{known}Right"}.get(name, known)


def forbids_redistribution(licence: str) -> bool:
    """Return whether a model under `licence` (one line of text) must not be passed on, as its basis in a file is.

    The rule: it may be passed on where the text names CC0, the public domain, MIT, Apache, BSD, ISC, the Unlicense or
    CC BY (SA too) and nothing that restricts use: non-commercial, research, academic, NC, ND, agreement, registration,
    proprietary. Anything else is taken to forbid it, an unknown or unstated licence too.
    """
    return _RESTRICTED.search(licence) is not None or _PERMISSIVE.search(licence) is None


def redistribution_warning(model: MorphableModel) -> str | None:
    """Return one line to show beside a GLB of `model`; None where its licence allows passing its bases on."""
    if not forbids_redistribution(model.licence):
        return None
    return (
        f"mesh.glb holds the expression basis of model {model.name!r}, whose licence does not allow passing it on "
        f"({model.licence}): keep the file to yourself"
    )


def write_glb(
    path: str | Path,
    result: FitResult,
    model: MorphableModel,
    texture: ArrayLike | None = None,
    uv: UVMap | None = None,
    normal_map: ArrayLike | None = None,
) -> None:
    """Write `glb_bytes` to `path` (.glb); OutputError where it cannot be written, else errors as there."""
    content = glb_bytes(result, model, texture, uv, normal_map)
    with atomic_write(path) as file:
        file.write(content)


def glb_bytes(
    result: FitResult,
    model: MorphableModel,
    texture: ArrayLike | None = None,
    uv: UVMap | None = None,
    normal_map: ArrayLike | None = None,
) -> bytes:
    """Return the GLB of the fitted person of `result` with the expressions of `model`, which it was fitted with.

    `texture` (S, S', 3) uint8 sRGB and `normal_map` (S, S', 3) uint8 (tangent space, +Y along rising v) are laid out by
    `uv`, by default the model's. Raises InvalidInputError for a result without a face or of another model, a malformed
    texture, or one without a map; MissingDependencyError without pygltflib.
    """
    require_model(model)
    face = fitted_face(result)
    layout = model.uv if uv is None else uv
    if layout is None and (texture is not None or normal_map is not None):
        raise InvalidInputError("uv: expected the map that the texture is laid out by, got None")
    if not np.array_equal(face.triangles, model.triangles):
        raise InvalidInputError(
            f"result: expected the {len(model.triangles)} triangles of model {model.name!r}, got other ones"
        )
    weights = _weights(result, model)
    mesh = _unsplit(model) if layout is None else split_at_seams(model.triangles, layout)
    scene = _Scene(len(mesh.vertex))
    neutral = model.vertices(result.identity)
    normals = _unit(vertex_normals(neutral, model.triangles))
    scene.add_surface(mesh, METRES_PER_MM * neutral[mesh.vertex], normals[mesh.vertex])
    if layout is not None:
        scene.add_coordinates(mesh.coordinates)
    if texture is None and result.reflectance is not None:
        reflectance = checked_array("reflectance", result.reflectance, neutral.shape)
        scene.add_attribute("COLOR_0", np.clip(reflectance[mesh.vertex], 0.0, 1.0))
    if normal_map is not None:
        scene.add_attribute("TANGENT", vertex_tangents(neutral[mesh.vertex], normals[mesh.vertex], mesh), "VEC4")
    for moved in _differences_by_unit(model, result.identity, neutral):
        turned = _unit(vertex_normals(neutral + moved, model.triangles)) - normals
        scene.add_target(
            METRES_PER_MM * _moving(moved, _STILL_MM)[mesh.vertex], _moving(turned, _STILL_TURN)[mesh.vertex]
        )
    scene.add_material(texture, normal_map)
    return scene.content(model, weights)


def vertex_tangents(points: Array, normals: Array, mesh: SplitMesh) -> Array:
    """Return tangents (M, 4) of split vertices `points` (M, 3) with unit `normals` (M, 3): a unit vector and a sign.

    A vertex without a usable texture coordinate gets any direction that is at right angles to its normal.
    """
    corners, texels = points[mesh.triangles], mesh.coordinates[mesh.triangles]
    (e1, e2), (d1, d2) = (np.moveaxis(table[:, 1:] - table[:, :1], 1, 0) for table in (corners, texels))
    flipped = np.sign(d1[:, 0] * d2[:, 1] - d2[:, 0] * d1[:, 1])[:, None]
    along_u = normalised((d2[:, 1:] * e1 - d1[:, 1:] * e2) * flipped)
    along_v = normalised((d1[:, :1] * e2 - d2[:, :1] * e1) * flipped)
    sides = [normalised(np.roll(corners, -k, axis=1) - corners) for k in (1, 2)]
    angles = np.arccos(np.clip(np.einsum("tcx,tcx->tc", *sides), -1.0, 1.0))
    tangent, bitangent = np.zeros_like(points), np.zeros_like(points)
    for k in range(3):
        np.add.at(tangent, mesh.triangles[:, k], angles[:, k, None] * along_u)
        np.add.at(bitangent, mesh.triangles[:, k], angles[:, k, None] * along_v)
    tangent = normalised(_across(tangent, normals))
    lost = (tangent == 0.0).all(axis=1)
    tangent[lost] = normalised(_across(np.eye(3)[np.abs(normals[lost]).argmin(axis=1)], normals[lost]))
    right_handed = np.einsum("mx,mx->m", np.cross(normals, tangent), bitangent) >= 0.0
    return np.column_stack([tangent, np.where(right_handed, 1.0, -1.0)])


def _across(vectors: Array, normals: Array) -> Array:
    """Return the part of vectors (M, 3) at right angles to unit normals (M, 3)."""
    return vectors - np.einsum("mx,mx->m", vectors, normals)[:, None] * normals


def _differences_by_unit(model: MorphableModel, identity: ArrayLike | None, neutral: Array) -> Iterator[Array]:
    """Yield what each expression unit at 1 adds to the neutral face (N, 3), mm.

    One look at all units together tells whether they just add up, as in a linear model, whose basis they then are;
    in any other model each is asked for.
    """
    half = np.full(model.n_expression, 0.5)
    together = model.vertices(identity, half) - neutral
    if model.n_expression and np.abs(together - 0.5 * model.expression.sum(axis=0)).max() < _LINEAR:
        yield from model.expression.astype(np.float64)
    else:
        yield from (model.vertices(identity, unit) - neutral for unit in np.eye(model.n_expression))


def _weights(result: FitResult, model: MorphableModel) -> list[float]:
    """Return the fitted expression within the model's bounds; zeros for a result without one."""
    if result.expression is None:
        return [0.0] * model.n_expression
    expression = checked_array("expression", result.expression, (model.n_expression,))
    return np.clip(expression, model.expression_lower, model.expression_upper).tolist()


def _unsplit(model: MorphableModel) -> SplitMesh:
    return SplitMesh(np.arange(model.n_vertices), np.zeros((model.n_vertices, 2)), model.triangles)


def _unit(normals: Array) -> Array:
    """Return the normals, +Z where there is none: a file must hold unit vectors."""
    lost = np.abs(normals).max(axis=1, keepdims=True) == 0.0
    return np.where(lost, [0.0, 0.0, 1.0], normals)


def _moving(differences: Array, least: float) -> Array:
    """Return differences (N, 3), exactly zero at vertices where no coordinate changes by more than `least`."""
    moves = np.abs(differences).max(axis=1, keepdims=True) > least
    return np.where(moves, differences, 0.0)


class _Scene:
    """One mesh of one primitive, put together accessor by accessor over one binary buffer."""

    def __init__(self, vertex_count: int) -> None:
        try:
            import pygltflib
        except ImportError:
            raise MissingDependencyError("writing GLB needs pygltflib: pip install pygltflib") from None
        self.library = pygltflib
        self.vertex_count = vertex_count
        self.gltf = pygltflib.GLTF2()
        self.primitive = pygltflib.Primitive(attributes=pygltflib.Attributes(), targets=[], material=0)
        self.buffer = bytearray()

    def add_surface(self, mesh: SplitMesh, positions: Array, normals: Array) -> None:
        """Add the triangles, positions (M, 3) in metres and unit normals (M, 3)."""
        small = self.vertex_count <= np.iinfo(np.uint16).max  # the highest index of a type is not allowed
        indices = mesh.triangles.ravel().astype(np.uint16 if small else np.uint32)
        self.primitive.indices = self._accessor(
            componentType=self._component(indices),
            count=indices.size,
            type="SCALAR",
            bufferView=self._view(indices, self.library.ELEMENT_ARRAY_BUFFER),
        )
        self.add_attribute("POSITION", positions)
        self.add_attribute("NORMAL", normals)

    def add_coordinates(self, coordinates: Array) -> None:
        """Add texture coordinates (M, 2), given with v up."""
        self.add_attribute("TEXCOORD_0", np.column_stack([coordinates[:, 0], 1.0 - coordinates[:, 1]]), "VEC2")

    def add_attribute(self, name: str, values: Array, kind: str = "VEC3") -> None:
        """Add one row of float32 per vertex."""
        table = values.astype(np.float32)
        view = self._view(table, self.library.ARRAY_BUFFER)
        limits = _limits(table) if name == "POSITION" else {}
        index = self._accessor(componentType=self.library.FLOAT, count=len(table), type=kind, bufferView=view, **limits)
        setattr(self.primitive.attributes, name, index)

    def add_target(self, positions: Array, normals: Array) -> None:
        """Add a morph target: differences (M, 3) of positions, in metres, and of normals."""
        target = self.library.Attributes(
            POSITION=self._differences(positions, with_limits=True), NORMAL=self._differences(normals)
        )
        self.primitive.targets.append(target)

    def add_material(self, texture: ArrayLike | None, normal_map: ArrayLike | None) -> None:
        """Add the one material, with the pictures that there are."""
        library = self.library
        surface = library.PbrMetallicRoughness(metallicFactor=0.0, roughnessFactor=ROUGHNESS)
        material = library.Material(name="skin", pbrMetallicRoughness=surface, doubleSided=True)
        if texture is not None:
            picture = checked_texture("texture", texture)
            index = self._picture(encoded_jpeg(picture), "image/jpeg", "texture")
            surface.baseColorTexture = library.TextureInfo(index=index)
        if normal_map is not None:
            picture = checked_texture("normal_map", normal_map)
            index = self._picture(encoded_png(picture), "image/png", "normals")
            material.normalTexture = library.NormalMaterialTexture(index=index)
        self.gltf.materials.append(material)

    def content(self, model: MorphableModel, weights: list[float]) -> bytes:
        """Return the file."""
        library, gltf = self.library, self.gltf
        mesh = library.Mesh(name="face", primitives=[self.primitive])
        if weights:
            mesh.weights = weights
            mesh.extras = {"targetNames": [arkit_name(name) for name in model.expression_names]}
        gltf.meshes, gltf.nodes = [mesh], [library.Node(name="face", mesh=0)]
        gltf.scenes, gltf.scene = [library.Scene(nodes=[0])], 0
        gltf.asset = library.Asset(
            generator=f"facefit {version('facefit')}",
            copyright=f"Face model: {model.name}. Licence: {model.licence}. Source: {model.citation}",
        )
        gltf.buffers = [library.Buffer(byteLength=len(self.buffer))]
        gltf.set_binary_blob(bytes(self.buffer))
        return b"".join(gltf.save_to_bytes())

    def _differences(self, values: Array, with_limits: bool = False) -> int:
        """Add rows (M, 3) of float32 as a sparse accessor over zeros; without any data where all are zero."""
        table = values.astype(np.float32)
        rows = np.flatnonzero(table.any(axis=1))
        sparse: dict[str, Any] = {}
        if len(rows):
            indices = rows.astype(np.uint16 if self.vertex_count <= np.iinfo(np.uint16).max else np.uint32)
            sparse["sparse"] = self.library.Sparse(
                count=len(rows),
                indices=self.library.AccessorSparseIndices(
                    bufferView=self._view(indices), componentType=self._component(indices)
                ),
                values=self.library.AccessorSparseValues(bufferView=self._view(table[rows])),
            )
        limits = _limits(table) if with_limits else {}
        return self._accessor(
            byteOffset=None, componentType=self.library.FLOAT, count=len(table), type="VEC3", **sparse, **limits
        )

    def _picture(self, content: bytes, kind: str, name: str) -> int:
        """Add a picture and a texture that shows it; return the texture's index."""
        gltf, library = self.gltf, self.library
        if not gltf.samplers:
            repeated = library.CLAMP_TO_EDGE
            gltf.samplers.append(
                library.Sampler(
                    magFilter=library.LINEAR, minFilter=library.LINEAR_MIPMAP_LINEAR, wrapS=repeated, wrapT=repeated
                )
            )
        view = self._view(np.frombuffer(content, np.uint8))
        gltf.images.append(library.Image(bufferView=view, mimeType=kind, name=name))
        gltf.textures.append(library.Texture(source=len(gltf.images) - 1, sampler=0))
        return len(gltf.textures) - 1

    def _component(self, indices: NDArray[Any]) -> int:
        small: int = self.library.UNSIGNED_SHORT
        large: int = self.library.UNSIGNED_INT
        return small if indices.dtype == np.uint16 else large

    def _accessor(self, **parts: Any) -> int:
        self.gltf.accessors.append(self.library.Accessor(**parts))
        return len(self.gltf.accessors) - 1

    def _view(self, table: NDArray[Any], target: int | None = None) -> int:
        """Append the bytes of an array, padded to the four bytes that every view starts at."""
        content = table.astype(table.dtype.newbyteorder("<")).tobytes()
        self.gltf.bufferViews.append(
            self.library.BufferView(buffer=0, byteOffset=len(self.buffer), byteLength=len(content), target=target)
        )
        self.buffer += content + bytes(-len(content) % 4)
        return len(self.gltf.bufferViews) - 1


def _limits(table: NDArray[np.float32]) -> dict[str, list[float]]:
    return {"min": table.min(axis=0).tolist(), "max": table.max(axis=0).tolist()}
