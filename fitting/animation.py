"""Another expression for a fitted face: its surface, and the wrinkles that come and go with it.

The surface keeps what the fit has beyond the model's own,

    vertices = fitted + model(identity, expression) - model(identity, fitted expression)        (N, 3) mm

Skin wrinkles where it is compressed. A map's heights at an expression that compresses the surface by c, relative to
the person's neutral surface (`detailing/compression.py`), are

    D(c) = person + dynamic a,        a = min(c / full, 1)                                      (S, S) mm

with `full` the greatest compression of those that were photographed: less takes part of a wrinkle away, more adds none
that nobody has seen.

One photo, of heights D and compression c, cannot tell the two parts. The guess is that compressed skin is wrinkled by
its compression,

    dynamic = s(c) D,        s(c) = x^2 (3 - 2 x),  x = min(c / WRINKLED, 1)

Several photos k of the person can: per texel, with weights w_k for how well each shows it, minimise

    sum_k w_k (D_k - person - dynamic a_k)^2  +  r (dynamic - guess)^2,        r = RIDGE / s(full)^2

where `guess` is s(full) times the mean of the compressed photos, sum w a^2 D / sum w a^2; with means weighted by w_k,

    dynamic = (cov(a, D) + r guess) / (var(a) + r),        person = mean(D) - dynamic mean(a)

(cov and var being sums over w_k). Where the photos are alike in a, or only one shows a texel, var(a) = 0 and the guess
remains, where nothing is compressed, nothing.

B. Bickel et al., Pose-space animation and transfer of facial details, SCA 2008 (fine wrinkles as a function of the
skin's local strain, between measured poses); C. Oat, Animated wrinkle maps, SIGGRAPH 2007 course notes (a wrinkle map
faded in by its region's compression).
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..models.arrays import checked_array
from ..models.errors import InvalidInputError, ModelError
from ..models.morphable_model import MorphableModel, UVMap, require_model
from ..models.store import model_with_hash
from ..render.cameras import Camera
from .detail_map import DetailMap, share_of
from .detailing.compression import compression_of_texels
from .results import FitResult
from .threads import single_threaded_blas

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

NEUTRAL = "neutral"
"""Stands for the expression of zeros."""

WRINKLED = 0.1
"""Compression from which a guess takes all of a texel's heights for wrinkles. Medians with the default model and with
ICT-FaceKit, all units at half their weight: 0.14 and 0.09 beside the mouth in a smile, 0.07 and 0.14 on the forehead
under raised brows, 0.13 and 0.09 between drawn brows; 0.00 and 0.04 below the eyes in a smile, where no line is."""

RIDGE = 0.02
"""Square of the deviation of measured heights, 0.05 mm, over that of the guess from the truth, 0.35 mm."""

MIRRORED, UNSEEN = 0.1, 1e-4
"""Weights of a photo that shows only a texel's mirror image, and of one that shows neither, relative to full sight."""

TOLD = 0.5
"""Share of the compressed skin's split that the photos must tell, else the split counts as a guess."""

A_GUESS = "wrinkles at other expressions are a guess from one photo"


def animate(
    result: FitResult, expression: Mapping[str, float] | ArrayLike, model: MorphableModel | None = None
) -> FitResult:
    """Return the fitted face with another expression: its expression, vertices and detail are the new ones.

    A mapping from names of units to weights changes these units and leaves the rest as fitted; a vector (E,) replaces
    all weights; "neutral" sets all to zero. The model that was fitted is looked up in the store if None. Landmarks,
    errors and stages stay those of the fit; the message says where the wrinkles are a guess.

    Raises InvalidInputError for a unit that the model has not (naming those alike), for a weight beyond its unit's
    bounds (naming them), and for a result without a face or of another model; ModelError where the store has no such
    model.
    """
    face = _Face.of(result, _model_of(result) if model is None else model)
    wanted = expression_vector(expression, face.model, face.expression)
    with single_threaded_blas():  # as in the fit: the same expression gives the same surface
        moved = face.vertices + (face.surface(wanted) - face.surface(face.expression))
        detail, message = result.detail, result.message
        if detail is not None:
            detail = detail.compressed_by(face.compression(detail.uv, detail.size, wanted))
            if detail.guessed and not message.endswith(A_GUESS):
                message = f"{message}; {A_GUESS}" if message else A_GUESS
    image = face.camera.project(moved)
    return replace(
        result, expression=wanted, vertices=moved, vertices_image=image, detail=detail, message=message
    )  # fmt: skip


def guessed_split(detail: DetailMap, result: FitResult, model: MorphableModel) -> DetailMap:
    """Return a map of one photo, split by the strain that the result's expression puts on the surface."""
    face = _Face.of(result, model)
    with single_threaded_blas():
        compression = face.compression(detail.uv, detail.size, face.expression)
    return replace(detail.split(wrinkled(compression) * detail.displacement, compression), guessed=True)


def separate_detail(results: Sequence[FitResult], model: MorphableModel | None = None) -> DetailMap:
    """Return the detail of one person from several photos: what is the person's own, and what the expression adds.

    All results are of one model, with detail of one size. The map's displacement is that of the first result, whose
    detail it can replace. It is `guessed` where the photos' expressions differ too little to tell half of the split
    (weighted by the skin's compression); where the photos are as good as one, the map is what one gives.

    Raises InvalidInputError for no results, and for some without a face, without detail, or of another model or size;
    ModelError where the store has no such model.
    """
    if not results:
        raise InvalidInputError("results: expected at least one, got none")
    model = _model_of(results[0]) if model is None else model
    maps, first = [_detail_of(k, result) for k, result in enumerate(results)], results[0].detail
    assert first is not None
    for k, found in enumerate(maps):
        if found.size != first.size or not np.array_equal(found.uv.triangles, first.uv.triangles):
            raise InvalidInputError(
                f"results[{k}]: expected detail of {first.size} x {first.size} texels on the same atlas as the first, "
                f"got {found.size} x {found.size}"
            )
    with single_threaded_blas():
        faces = [_Face.of(result, model) for result in results]
        compressions = np.stack([face.compression(first.uv, first.size, face.expression) for face in faces])
    covered = np.stack([found.coverage for found in maps])
    full = (compressions * covered).max(axis=0)
    person, dynamic, told = _separated(maps, compressions, full)
    confidence = np.max([found.confidence for found in maps], axis=0)
    known = float((told * full).sum()) > TOLD * float(full.sum())
    both = DetailMap(person, np.asarray(covered.any(axis=0)), confidence, person, dynamic, full, not known, first.uv)
    return both.compressed_by(compressions[0])


def wrinkled(compression: Floats) -> Floats:
    """Return which share of the heights (S, S) is taken for wrinkles where the skin is compressed by so much."""
    x = np.minimum(compression / np.float32(WRINKLED), np.float32(1.0))
    return x * x * (np.float32(3.0) - np.float32(2.0) * x)


def expression_vector(expression: Mapping[str, float] | ArrayLike, model: MorphableModel, current: ArrayLike) -> Array:
    """Return the weights (E,) that an expression stands for, see `animate`; a mapping changes `current` (E,)."""
    if isinstance(expression, str):
        if expression != NEUTRAL:
            raise InvalidInputError(f"expression: expected weights by name, or the word {NEUTRAL}, got {expression!r}")
        return np.zeros(model.n_expression)
    if isinstance(expression, Mapping):
        weights = np.array(current, np.float64)
        for name, weight in checked_weights(expression, model).items():
            weights[model.expression_names.index(name)] = weight
        return weights
    weights = checked_array("expression", expression, (model.n_expression,)).copy()
    checked_weights(dict(zip(model.expression_names, weights.tolist(), strict=True)), model)
    return weights


def checked_weights(weights: Mapping[str, float], model: MorphableModel) -> Mapping[str, float]:
    """Return weights by name of expression unit, or raise InvalidInputError where the model has none such."""
    names = model.expression_names
    for name, weight in weights.items():
        if name not in names:
            raise InvalidInputError(f"expression: expected {_units_like(str(name), names)}, got {name!r}")
        k = names.index(name)
        lower, upper = float(model.expression_lower[k]), float(model.expression_upper[k])
        number = isinstance(weight, int | float | np.number) and math.isfinite(weight)
        if not number or not lower <= weight <= upper:
            raise InvalidInputError(
                f"expression: {name}: expected a number from {lower:g} to {upper:g}, got {weight!r}"
            )
    return weights


@dataclass(frozen=True, eq=False)
class _Face:
    """The parts of a result that move, none of them None."""

    model: MorphableModel
    camera: Camera
    identity: Array  # (K,)
    expression: Array  # (E,)
    vertices: Array  # (N, 3) mm

    @classmethod
    def of(cls, result: FitResult, model: MorphableModel) -> "_Face":
        """Check that the result has a face, of this model."""
        if not isinstance(result, FitResult):
            raise InvalidInputError(f"result: expected a FitResult, got {type(result).__name__}")
        if result.camera is None or result.vertices is None:
            raise InvalidInputError(f"result: expected a camera and a mesh, got {result.status.name}: {result.message}")
        model = require_model(model)
        vertices = checked_array("result.vertices", result.vertices, (model.n_vertices, 3))
        identity = np.zeros(model.n_identity) if result.identity is None else result.identity
        expression = np.zeros(model.n_expression) if result.expression is None else result.expression
        return cls(
            model, result.camera, checked_array("result.identity", identity, (model.n_identity,)),
            checked_array("result.expression", expression, (model.n_expression,)), vertices,
        )  # fmt: skip

    def surface(self, expression: Array | None) -> Array:
        """Return the model's surface (N, 3) mm of this person."""
        return self.model.vertices(self.identity, expression)

    def compression(self, uv: UVMap, size: int, expression: Array) -> Floats:
        """Return the compression (S, S) that an expression puts on this person's surface."""
        if len(uv.triangles) != len(self.model.triangles):
            raise InvalidInputError(
                f"result.detail: expected an atlas of {len(self.model.triangles)} triangles, got {len(uv.triangles)}"
            )
        return compression_of_texels(self.model, uv, size, self.surface(None), self.surface(expression))


def _separated(maps: list[DetailMap], compressions: Floats, full: Floats) -> tuple[Floats, Floats, Array]:
    """Return the person's part and the dynamic one, (S, S) mm, and how far the photos tell them, (S, S) 0-1."""
    heights = np.stack([found.displacement for found in maps]).astype(np.float64)
    weights = np.stack([_sight(found) for found in maps])
    active = np.stack([share_of(compression, full) for compression in compressions]).astype(np.float64)
    total, share = weights.sum(axis=0), wrinkled(full).astype(np.float64)
    mean_a, mean_d = (weights * active).sum(axis=0) / total, (weights * heights).sum(axis=0) / total
    variance = (weights * (active - mean_a) ** 2).sum(axis=0)
    covariance = (weights * (active - mean_a) * (heights - mean_d)).sum(axis=0)
    strength = weights * active**2
    guess = share * (strength * heights).sum(axis=0) / np.maximum(strength.sum(axis=0), 1e-12)
    ridge = RIDGE / np.maximum(share, 1e-6) ** 2
    dynamic = (covariance + ridge * guess) / (variance + ridge)
    person = mean_d - dynamic * mean_a
    return person.astype(np.float32), dynamic.astype(np.float32), variance / (variance + ridge)


def _sight(detail: DetailMap) -> Array:
    """Return how well a photo shows each texel, (S, S) UNSEEN to 1."""
    return np.maximum(detail.confidence / 255.0, np.where(detail.coverage, MIRRORED, UNSEEN))


def _detail_of(k: int, result: FitResult) -> DetailMap:
    if not isinstance(result, FitResult):
        raise InvalidInputError(f"results[{k}]: expected a FitResult, got {type(result).__name__}")
    if result.detail is None:
        raise InvalidInputError(f"results[{k}]: expected one with detail, got none: fit it with the stage 'detail'")
    return result.detail


def _model_of(result: FitResult) -> MorphableModel:
    """Return the model that a result was fitted with, from the store."""
    if not isinstance(result, FitResult):
        raise InvalidInputError(f"result: expected a FitResult, got {type(result).__name__}")
    model = result.provenance.get("model") or {}
    if not model.get("hash"):
        raise InvalidInputError("model: expected one, since the result does not say which it was fitted with; got None")
    try:
        return model_with_hash(model["hash"])
    except ModelError as problem:
        raise ModelError(f"the model {model.get('name')!r} that the result was fitted with: {problem}") from None


def _units_like(name: str, names: tuple[str, ...]) -> str:
    """Return in words which expression unit may have been meant."""
    folded = {known.lower(): known for known in names}
    alike = [folded[match] for match in difflib.get_close_matches(name.lower(), folded, n=4, cutoff=0.5)]
    alike += [known for known in names if name.lower() in known.lower() and known not in alike and len(name) > 2]
    if alike:
        return f"a unit of the model, such as {', '.join(alike[:6])}"
    return f"a unit of the model ({', '.join(names[:6])}, ...)" if names else "a model with named expression units"
