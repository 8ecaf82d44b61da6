"""glTF 2.0 in one binary file (GLB): the person's neutral face, a texture, and every expression as a morph target.

    POSITION       0.001 * vertices(identity, 0)              metres: glTF's unit; y up, the face looks along +Z, as a
                                                              glTF asset should; so no axis changes, only the scale
    target k       0.001 * (vertices(identity, e_k) - vertices(identity, 0)),  and the difference of the normals
    mesh.weights   the fitted expression, within the model's bounds; mesh.extras.targetNames: ARKit's names
    TEXCOORD_0     (u, 1 - v): glTF counts v from the top row down
    TANGENT        with a normal map only (`render/tangents.py`); w is the sign of the bitangent
    COLOR_0        linear reflectance, where there is no texture

so that a viewer shows POSITION + sum_k weight_k target_k, which is the fitted face for a linear model. Vertices on a
seam of the texture are doubled; their normals are those of the whole surface, so that no seam is shaded. Most of a
target is zero: targets are sparse accessors over zeros, a few tenths of their plain size.

A fit's relief comes in two forms: as a normal map over the mesh above, and as a mesh of its own, cut fine enough to
have the heights in its vertices: the fitted surface, with its expression, without targets, so that no basis is passed
on with it. A normal map holds the relief of the fitted expression, whatever the targets' weights.

With a motion the node turns and moves, and the targets' weights change, by one animation of linear interpolation; at
rest it is as at the first moment.

An expression basis that can be read back from the targets is passed on with the file: `redistribution_warning` says
where a model's licence has something against it.

Sources: Khronos, "glTF 2.0 Specification", 3.6.2.3 (sparse), 3.7.2.2 (morph targets), 3.11 (animations);
Apple, `ARFaceAnchor.BlendShapeLocation`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...fitting.detailing.relief import detailed_mesh
from ...fitting.results import FitResult
from ...models.arrays import checked_array
from ...models.errors import InvalidInputError, MissingDependencyError
from ...models.files import atomic_write
from ...models.formats.ict import ARKIT
from ...models.morphable_model import MorphableModel, UVMap, require_model
from ...render.normals import vertex_normals
from ...render.tangents import SplitMesh, split_at_seams, vertex_tangents
from .checks import Array, checked_texture, encoded_jpeg, encoded_png, fitted_face

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


@dataclass(frozen=True, eq=False)
class Motion:
    """How a head moves: F moments, one row each."""

    seconds: Array  # (F,) rising as single-precision numbers
    weights: Array  # (F, E) of the expression units
    rotations: Array  # (F, 4) unit quaternions x, y, z, w: of the head, +Z out of an unturned face
    translations: Array  # (F, 3) m, of the model's origin

    def __post_init__(self) -> None:
        """Check the shapes."""
        count = len(checked_array("seconds", self.seconds, (None,)))
        checked_array("weights", self.weights, (count, None))
        checked_array("rotations", self.rotations, (count, 4))
        checked_array("translations", self.translations, (count, 3))
        if not count or (np.diff(np.asarray(self.seconds, np.float32)) <= 0.0).any():
            raise InvalidInputError("seconds: expected at least one moment, each later than the one before")


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
    motion: Motion | None = None,
) -> bytes:
    """Return the GLB of the fitted person of `result` with the expressions of `model`, which it was fitted with.

    `texture` (S, S', 3) uint8 sRGB and `normal_map` (S, S', 3) uint8 (tangent space, +Y along rising v) are laid out by
    `uv`, by default the model's. With a `motion` the head moves, from its first expression on. Raises InvalidInputError
    for a result without a face or of another model, a malformed texture, one without a map, or a motion of other units;
    MissingDependencyError without pygltflib.
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
    if motion is not None:
        weights = checked_array("weights", motion.weights, (None, model.n_expression))[0].tolist()
        scene.add_motion(motion)
    return scene.content(model, weights)


def detail_glb_bytes(
    result: FitResult, model: MorphableModel, texture: ArrayLike | None = None, uv: UVMap | None = None
) -> bytes:
    """Return the GLB of the fitted surface with its relief, as fitted: no targets, the relief's normals.

    `texture` (S, S', 3) uint8 sRGB is laid out by `uv`, by default as the relief is; without one the vertices carry the
    fitted reflectance. Raises InvalidInputError for a result without detail, or of another model, and for a malformed
    texture or map; MissingDependencyError without pygltflib.
    """
    require_model(model)
    face = fitted_face(result)
    if len(face.vertices) != model.n_vertices:
        raise InvalidInputError(f"model: expected {len(face.vertices)} vertices, got {model.n_vertices}")
    colours = None
    if texture is None and result.reflectance is not None:
        colours = checked_array("reflectance", result.reflectance, face.vertices.shape)
    fine = detailed_mesh(result, colours, uv)
    assert fine.uv is not None
    mesh = split_at_seams(fine.triangles, fine.uv)
    scene = _Scene(len(mesh.vertex))
    scene.add_surface(mesh, METRES_PER_MM * fine.vertices[mesh.vertex], _unit(fine.normals)[mesh.vertex])
    scene.add_coordinates(mesh.coordinates)
    if colours is not None:
        scene.add_attribute("COLOR_0", np.clip(fine.values[mesh.vertex], 0.0, 1.0))
    scene.add_material(texture, None)
    return scene.content(model, [])


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
        self.node = pygltflib.Node(name="face", mesh=0)
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

    def add_motion(self, motion: Motion) -> None:
        """Add the one animation, of the node's rotation and translation and of the targets' weights."""
        library = self.library
        self.node.rotation, self.node.translation = motion.rotations[0].tolist(), motion.translations[0].tolist()
        times = motion.seconds.astype(np.float32)
        moments = self._keys(times, "SCALAR", min=[float(times[0])], max=[float(times[-1])])
        tracks = {
            "rotation": self._keys(motion.rotations, "VEC4"),
            "translation": self._keys(motion.translations, "VEC3"),
        }
        if motion.weights.shape[1]:
            tracks["weights"] = self._keys(motion.weights.reshape(-1), "SCALAR")
        animation = library.Animation(name="motion")
        for path, values in tracks.items():
            target = library.AnimationChannelTarget(node=0, path=path)
            animation.channels.append(library.AnimationChannel(sampler=len(animation.samplers), target=target))
            animation.samplers.append(library.AnimationSampler(input=moments, output=values, interpolation="LINEAR"))
        self.gltf.animations.append(animation)

    def content(self, model: MorphableModel, weights: list[float]) -> bytes:
        """Return the file."""
        library, gltf = self.library, self.gltf
        mesh = library.Mesh(name="face", primitives=[self.primitive])
        if weights:
            mesh.weights = weights
            mesh.extras = {"targetNames": [arkit_name(name) for name in model.expression_names]}
        gltf.meshes, gltf.nodes = [mesh], [self.node]
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

    def _keys(self, values: NDArray[np.floating[Any]], kind: str, **limits: list[float]) -> int:
        """Add what an animation's samplers refer to, in single precision."""
        table = values.astype(np.float32)
        return self._accessor(
            componentType=self.library.FLOAT, count=len(table), type=kind, bufferView=self._view(table), **limits
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
