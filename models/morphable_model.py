"""The morphable model: a face as an affine function of a few coefficients.

    vertices(a, e) = mean + sum_k a_k identity_k + sum_j e_j expression_j          (N, 3) mm, model frame
    albedo(b)      = albedo_mean + sum_k b_k albedo_k                               (N, 3) linear reflectance, 0-1

Identity and albedo modes are stored already multiplied by their standard deviation, so that a and b are in standard
deviations and their prior is 1/2 |a|^2 (Blanz & Vetter, SIGGRAPH 1999). Each expression coefficient has its own
`sigma`, `lower` and `upper`: a blendshape lies within 0 and 1, a principal component within -inf and inf.

The model frame: millimetres, right-handed, +X to the subject's left, +Y up, +Z out of the face, origin midway between
the outer eye corners of the mean. `source_transform` (4, 4) maps the source file's coordinates to it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import checked_array, checked_indices, read_only
from .contour import BAND_WIDTH, ContourBand, band_around, local_topology, unit_normals
from .errors import InvalidInputError, ModelError
from .point_basis import PointBasis

Floats = NDArray[np.floating]
Integers = NDArray[np.int32]

LANDMARKS = 68
"""Number of landmarks of the iBUG convention."""

MIN_SIGMA, MAX_SIGMA = 1e-6, 1.0
"""Range of a landmark's standard deviation relative to the face's size; outside it stands another unit."""


@dataclass(frozen=True, eq=False)
class LandmarkEmbedding:
    """The 68 iBUG landmarks as barycentric points of the surface, and how well annotators agree with them."""

    triangles: Integers  # (68,) index of the triangle that carries each landmark
    weights: Floats  # (68, 3) barycentric weights of its corners; rows sum to one
    sigma: Floats | None = None
    # (68,) standard deviation, per coordinate, of an annotator's point about the model's, relative to the face's size


@dataclass(frozen=True, eq=False)
class JawContour:
    """Vertices that may form the visible outline of the jaw and cheek, per side of the subject.

    Either a single row of vertices along the jaw, or a band of connected ones, in which the outline is looked for.
    """

    right: Integers  # (M,) vertex indices at x < 0: the subject's right, landmarks 0-8
    left: Integers  # (M',) vertex indices at x > 0: the subject's left, landmarks 8-16


@dataclass(frozen=True, eq=False)
class UVMap:
    """Texture coordinates with seams: a triangle's corners index their own list."""

    coordinates: Floats  # (U, 2) in 0-1, origin at the image's bottom left
    triangles: Integers  # (T, 3) indices into coordinates, one row per triangle of the model


@dataclass(frozen=True, eq=False)
class MorphableModel:
    """A linear 3D morphable model, validated when it is made (see the module's text for the equations)."""

    name: str
    licence: str  # one line, shown to users and written into every result's provenance
    citation: str
    mean: Floats  # (N, 3) mm
    identity: Floats  # (K, N, 3) mm per standard deviation
    triangles: Integers  # (T, 3) counter-clockwise seen from outside
    expression: Floats = field(default_factory=lambda: np.zeros(0))  # (E, N, 3) mm per unit
    expression_names: tuple[str, ...] = ()
    expression_sigma: Floats = field(default_factory=lambda: np.zeros(0))  # (E,) prior standard deviation, units
    expression_lower: Floats = field(default_factory=lambda: np.zeros(0))  # (E,) units, may be -inf
    expression_upper: Floats = field(default_factory=lambda: np.zeros(0))  # (E,) units, may be inf
    albedo_mean: Floats | None = None  # (N, 3) linear reflectance
    albedo: Floats | None = None  # (A, N, 3) linear reflectance per standard deviation
    uv: UVMap | None = None
    albedo_texture: NDArray[np.uint8] | None = None  # (H, W, 3) sRGB, laid out by uv: albedo_mean, finer
    landmarks: LandmarkEmbedding | None = None  # semantic: fixed points of the face, possibly hidden
    landmarks_contour: LandmarkEmbedding | None = None  # where 2D annotators and detectors put them; None: the same
    contour: JawContour | None = None
    regions: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)  # name -> (N,) mask
    mirror: Integers | None = None  # (N,) index of each vertex's left-right counterpart
    source_transform: Floats = field(default_factory=lambda: np.eye(4))  # (4, 4)

    def __post_init__(self) -> None:
        """Check every array once; after this the model can be trusted everywhere."""
        _validate(self)

    @property
    def n_vertices(self) -> int:
        """Number of vertices N."""
        return len(self.mean)

    @property
    def n_identity(self) -> int:
        """Number of identity coefficients K."""
        return len(self.identity)

    @property
    def n_expression(self) -> int:
        """Number of expression coefficients E."""
        return len(self.expression)

    @property
    def n_albedo(self) -> int:
        """Number of albedo coefficients A."""
        return 0 if self.albedo is None else len(self.albedo)

    def vertices(self, identity: ArrayLike | None = None, expression: ArrayLike | None = None) -> NDArray[np.float64]:
        """Return the surface (N, 3), mm, model frame.

        `identity` (K,) in standard deviations and `expression` (E,) in units; None stands for zeros.
        """
        points = np.array(self.mean, dtype=np.float64)
        for name, value, basis in (("identity", identity, self.identity), ("expression", expression, self.expression)):
            if value is not None and len(basis):
                coefficients = checked_array(name, value, (len(basis),))
                points += (coefficients.astype(basis.dtype) @ basis.reshape(len(basis), -1)).reshape(-1, 3)
            elif value is not None:
                checked_array(name, value, (0,))
        return points

    def linearised(
        self, identity: ArrayLike | None = None, expression: ArrayLike | None = None
    ) -> tuple[NDArray[np.float64], Floats, Floats]:
        """Return the surface (N, 3) and its derivatives (K, N, 3), (E, N, 3) at the given coefficients."""
        return self.vertices(identity, expression), self.identity, self.expression

    def reflectance(self, albedo: ArrayLike | None = None) -> Floats | None:
        """Return the linear reflectance (N, 3), clamped to 0-1; None for a model without albedo.

        `albedo` (A,) in standard deviations; None stands for zeros.
        """
        coefficients = None if albedo is None else checked_array("albedo", albedo, (self.n_albedo,))
        if self.albedo_mean is None or self.albedo is None or coefficients is None:
            return self.albedo_mean
        return np.clip(self.albedo_mean + np.tensordot(coefficients.astype(np.float32), self.albedo, 1), 0.0, 1.0)

    def landmark_positions(self, vertices: ArrayLike) -> NDArray[np.float64]:
        """Return the semantic landmarks (68, 3) of a surface `vertices` (N, 3), in the frame of the vertices."""
        points = checked_array("vertices", vertices, (self.n_vertices, 3), finite=False)
        embedding = self.required_landmarks
        return np.einsum("lc,lcx->lx", embedding.weights, points[self.triangles[embedding.triangles]])

    @property
    def required_contour_landmarks(self) -> LandmarkEmbedding:
        """The landmark embedding of the contour convention; the semantic one where the model has no other."""
        return self.required_landmarks if self.landmarks_contour is None else self.landmarks_contour

    @property
    def required_landmarks(self) -> LandmarkEmbedding:
        """The semantic landmark embedding; ModelError where the model has none."""
        if self.landmarks is None:
            raise ModelError(
                f"model {self.name!r} has no 68 landmarks, which fitting needs; `facefit model landmarks` finds them"
            )
        return self.landmarks

    def embedding_basis(self, embedding: LandmarkEmbedding) -> PointBasis:
        """Return the affine map from (identity, expression) to the embedding's points, in float64."""
        corners = self.triangles[embedding.triangles]
        return PointBasis.blended(self.mean, (self.identity, self.expression), corners, embedding.weights)

    @cached_property
    def semantic_basis(self) -> PointBasis:
        """Affine map to the 68 semantic landmarks."""
        return self.embedding_basis(self.required_landmarks)

    @cached_property
    def contour_landmark_basis(self) -> PointBasis:
        """Affine map to the 68 landmarks of the contour convention; the semantic ones where the model has no other."""
        return self.semantic_basis if self.landmarks_contour is None else self.embedding_basis(self.landmarks_contour)

    def vertex_basis(self, indices: ArrayLike) -> PointBasis:
        """Return the affine map from (identity, expression) to the vertices `indices` (M,), in float64."""
        chosen = checked_indices("indices", indices, (None,), self.n_vertices)[:, None]
        return PointBasis.blended(self.mean, (self.identity, self.expression), chosen, np.ones(chosen.shape))

    @cached_property
    def face_size(self) -> float:
        """Length (mm) that times the camera's scale is the face's size in px: sqrt(w h) of the mean's landmarks."""
        points = self.semantic_basis.mean[:, :2]
        width, height = points.max(axis=0) - points.min(axis=0)
        return float(np.sqrt(width * height))

    @cached_property
    def contour_candidates(self) -> JawContour:
        """The vertices of `contour`; where the model has none, a band of each side about its jaw line."""
        if self.contour is not None:
            return self.contour
        line, width = self.semantic_basis.mean[:17], BAND_WIDTH * self.face_size
        normals = unit_normals(self.mean, self.triangles)
        right, left = (band_around(line, self.mean, normals, width, side) for side in (-1.0, 1.0))
        return JawContour(right, left)

    @cached_property
    def contour_bands(self) -> tuple[ContourBand, ContourBand]:
        """Where the jaw's outline can lie on the subject's right and left, ready for the landmark solver."""
        candidates = self.contour_candidates
        bands = []
        for side in (candidates.right, candidates.left):
            chosen, triangles, searched = local_topology(side, self.triangles)
            basis, active = self.vertex_basis(chosen).single_precision().without_idle()
            bands.append(ContourBand(basis, active, len(side), triangles, searched))
        return bands[0], bands[1]

    def truncated(
        self, identity: int | None = None, expression: int | Sequence[str] | None = None, albedo: int | None = None
    ) -> "MorphableModel":
        """Return the model with its first modes alone, or the named expression units: see `subsets.truncated`."""
        from .subsets import truncated

        return truncated(self, identity, expression, albedo)

    def cropped(self, region: str | ArrayLike, *, landmarks: bool = True) -> "MorphableModel":
        """Return the part of the surface inside a region, by its name or a mask (N,): see `subsets.cropped`."""
        from .subsets import cropped

        return cropped(self, region, landmarks=landmarks)

    @cached_property
    def hash(self) -> str:
        """SHA-256, hexadecimal, over the names, shapes, types and bytes of all that the model holds."""
        digest = hashlib.sha256()
        for key, value in sorted(flatten(self).items()):
            array = np.ascontiguousarray(value)
            digest.update(f"{key}:{array.dtype.str}:{array.shape};".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()


def flatten(model: MorphableModel) -> dict[str, NDArray[Any]]:
    """Return the model as a flat dictionary of arrays, nested names joined by dots, absent parts left out."""
    flat: dict[str, NDArray[Any]] = {}
    for item in fields(model):
        value = getattr(model, item.name)
        if value is None:
            continue
        if isinstance(value, LandmarkEmbedding | JawContour | UVMap):
            parts = {part.name: getattr(value, part.name) for part in fields(value)}
            flat |= {f"{item.name}.{key}": part for key, part in parts.items() if part is not None}
        elif isinstance(value, Mapping):
            flat |= {f"{item.name}.{key}": mask for key, mask in value.items()}
        elif isinstance(value, tuple):
            flat[item.name] = np.array(value, dtype=np.str_)
        else:
            flat[item.name] = np.asarray(value)
    return flat


def _validate(model: MorphableModel) -> None:
    """Check and freeze every field of `model`; each violation raises a ModelError with its own sentence."""
    check = _Checks(f"model {model.name!r}: ")
    for name in ("name", "licence", "citation"):
        if not isinstance(getattr(model, name), str):
            raise check.failed(f"{name}: expected text, got {type(getattr(model, name)).__name__}")
    mean = check.array("mean", model.mean, (None, 3))
    n = len(mean)
    if n == 0:
        raise check.failed("mean: expected at least one vertex, got none")
    triangles = check.indices("triangles", model.triangles, (None, 3), n)
    t = len(triangles)
    if t == 0:
        raise check.failed("triangles: expected at least one triangle, got none")
    valid: dict[str, Any] = {"mean": mean, "triangles": triangles}
    valid["identity"] = check.array("identity", model.identity, (None, n, 3), np.float32)
    valid["source_transform"] = check.array("source_transform", model.source_transform, (4, 4))
    valid |= check.expression(model, n) | check.albedo(model, n)
    for name in ("landmarks", "landmarks_contour"):
        valid[name] = check.embedding(name, getattr(model, name), t)
    if model.contour is not None:
        valid["contour"] = JawContour(
            check.indices("contour.right", model.contour.right, (None,), n),
            check.indices("contour.left", model.contour.left, (None,), n),
        )
    if model.uv is not None:
        coordinates = check.array("uv.coordinates", model.uv.coordinates, (None, 2), np.float32)
        valid["uv"] = UVMap(coordinates, check.indices("uv.triangles", model.uv.triangles, (t, 3), len(coordinates)))
    if model.albedo_texture is not None:
        valid["albedo_texture"] = check.array("albedo_texture", model.albedo_texture, (None, None, 3), np.uint8)
        if model.uv is None:
            raise check.failed("albedo_texture: expected uv beside it, got None")
    regions = {str(key): check.array(f"regions[{key!r}]", mask, (n,), np.bool_) for key, mask in model.regions.items()}
    valid["regions"] = MappingProxyType(regions)
    if model.mirror is not None:
        mirror = valid["mirror"] = check.indices("mirror", model.mirror, (n,), n)
        if not np.array_equal(mirror[mirror], np.arange(n)):
            raise check.failed("mirror: expected its own inverse, got a map that is not")
    for name, value in valid.items():
        object.__setattr__(model, name, value)


@dataclass(frozen=True)
class _Checks:
    """The checks of one model's parts; each returns frozen arrays or raises a ModelError that begins with `label`."""

    label: str

    def failed(self, text: str) -> ModelError:
        return ModelError(self.label + text)

    def array(
        self, name: str, value: Any, shape: tuple[int | None, ...], dtype: Any = np.float64, finite: bool = True
    ) -> NDArray[Any]:
        return read_only(checked_array(self.label + name, value, shape, dtype, finite=finite, error=ModelError))

    def indices(self, name: str, value: Any, shape: tuple[int | None, ...], size: int) -> Integers:
        return read_only(checked_indices(self.label + name, value, shape, size, error=ModelError))

    def expression(self, model: MorphableModel, n: int) -> dict[str, Any]:
        basis = model.expression if np.size(model.expression) else np.zeros((0, n, 3))
        valid: dict[str, Any] = {"expression": self.array("expression", basis, (None, n, 3), np.float32)}
        e = len(valid["expression"])
        names = valid["expression_names"] = tuple(model.expression_names)
        if len(names) != e or len(set(names)) != e or not all(isinstance(name, str) for name in names):
            raise self.failed(
                f"expression_names: expected {e} different texts, got {len(names)}, {len(set(names))} of them different"
            )
        for name in ("expression_sigma", "expression_lower", "expression_upper"):
            valid[name] = self.array(name, getattr(model, name), (e,), finite=name == "expression_sigma")
        if not (valid["expression_sigma"] > 0.0).all():
            raise self.failed("expression_sigma: expected positive numbers, got others")
        if not ((valid["expression_lower"] <= 0.0) & (valid["expression_upper"] >= 0.0)).all():
            raise self.failed("expression bounds: expected lower <= 0 <= upper, got others")
        return valid

    def albedo(self, model: MorphableModel, n: int) -> dict[str, Any]:
        valid = {}
        if model.albedo_mean is not None:
            valid["albedo_mean"] = self.array("albedo_mean", model.albedo_mean, (n, 3), np.float32)
        if model.albedo is not None:
            valid["albedo"] = self.array("albedo", model.albedo, (None, n, 3), np.float32)
            if model.albedo_mean is None:
                raise self.failed("albedo: expected albedo_mean beside it, got None")
        return valid

    def embedding(self, name: str, given: LandmarkEmbedding | None, triangles: int) -> LandmarkEmbedding | None:
        if given is None:
            return None
        carriers = self.indices(f"{name}.triangles", given.triangles, (LANDMARKS,), triangles)
        weights = self.array(f"{name}.weights", given.weights, (LANDMARKS, 3))
        worst = float(np.abs(weights.sum(axis=1) - 1.0).max())
        if worst > 1e-5:
            raise self.failed(f"{name}.weights: expected rows that sum to 1, got one off by {worst:.2g}")
        sigma = None if given.sigma is None else self.array(f"{name}.sigma", given.sigma, (LANDMARKS,))
        if sigma is not None and not ((sigma >= MIN_SIGMA) & (sigma <= MAX_SIGMA)).all():
            raise self.failed(
                f"{name}.sigma: expected shares of the face's size from {MIN_SIGMA:g} to {MAX_SIGMA:g}, got others"
            )
        return LandmarkEmbedding(carriers, weights, sigma)


def require_model(value: Any) -> MorphableModel:
    """Return `value` if it is a MorphableModel, else raise InvalidInputError."""
    if not isinstance(value, MorphableModel):
        raise InvalidInputError(f"model: expected a MorphableModel, got {type(value).__name__}; see facefit.load_model")
    return value
