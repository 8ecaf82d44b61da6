"""Smaller models cut out of a model: fewer coefficients, fewer vertices.

Whatever is left keeps its meaning. A coefficient moves a vertex that is left exactly as before, since rows and columns
of the bases are taken, never recomputed; so coefficients fitted with the small model go into the large one, zeros in
place of those it lacks. The name, licence and citation stay, the hash does not.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import checked_array
from .errors import InvalidInputError, ModelError
from .morphable_model import JawContour, LandmarkEmbedding, MorphableModel, UVMap

Mask = NDArray[np.bool_]


def truncated(
    model: MorphableModel,
    identity: int | None = None,
    expression: int | Sequence[str] | None = None,
    albedo: int | None = None,
) -> MorphableModel:
    """Return the model with its first `identity`, `expression` and `albedo` modes; None keeps all.

    `expression` may also be names, whose units are kept in the order given. InvalidInputError where the model has
    fewer modes, or no unit of a name.
    """
    modes = slice(_checked_count("identity", identity, model.n_identity))
    units = _chosen_units(model, expression)
    parts = {name: getattr(model, name)[units] for name in ("expression_sigma", "expression_lower", "expression_upper")}
    return replace(
        model,
        identity=model.identity[modes],
        expression=model.expression[units],
        expression_names=tuple(model.expression_names[k] for k in units),
        albedo=None if model.albedo is None else model.albedo[: _checked_count("albedo", albedo, model.n_albedo)],
        **parts,
    )


def cropped(model: MorphableModel, region: str | ArrayLike, *, landmarks: bool = True) -> MorphableModel:
    """Return the part of the surface inside `region`, the name of one or a mask (N,): its whole triangles.

    With `landmarks`, the triangles that carry landmarks stay too, wherever they are, so that the model can still be
    fitted; without, an embedding that is not wholly inside is dropped. The contour's candidates, the other regions,
    texture coordinates and, where both sides are left, the mirror map follow; a contour that loses all candidates of
    a side is dropped.

    InvalidInputError where the model has no such region; ModelError where no triangle is inside.
    """
    inside = _mask(model, region)
    kept: Mask = np.all(inside[model.triangles], axis=1)
    if not kept.any():
        raise ModelError(f"model {model.name!r}: expected a region with whole triangles inside, got none")
    for embedding in (model.landmarks, model.landmarks_contour) if landmarks else ():
        if embedding is not None:
            kept[embedding.triangles] = True
    vertices = np.zeros(model.n_vertices, dtype=bool)
    vertices[model.triangles[kept]] = True
    return _restricted(model, vertices, kept)


def landmark_view(model: MorphableModel) -> MorphableModel:
    """Return the few vertices that the landmark stage reads: those of the landmarks and of the jaw's outline.

    A landmark fit to it is the same as to the whole model, with a fraction of the memory: made for many fits of
    landmarks alone. ModelError where the model has no landmarks.
    """
    embeddings, contour = (model.required_landmarks, model.required_contour_landmarks), model.contour_candidates
    vertices = np.zeros(model.n_vertices, dtype=bool)
    vertices[contour.right] = vertices[contour.left] = True
    kept: Mask = np.any(vertices[model.triangles], axis=1)  # with the ring around the candidates, see models/contour.py
    for embedding in embeddings:
        kept[embedding.triangles] = True
    vertices[model.triangles[kept]] = True
    return _restricted(replace(model, contour=contour), vertices, kept)


def _restricted(model: MorphableModel, vertices: Mask, triangles: Mask) -> MorphableModel:
    """Return the model with the `vertices` (N,) and `triangles` (T,) alone, the latter between the former."""
    chosen = np.flatnonzero(vertices)
    place = _places(vertices)

    def rows(values: NDArray[np.floating] | None) -> NDArray[np.floating] | None:
        return None if values is None else values[..., chosen, :]

    return replace(
        model,
        mean=model.mean[chosen],
        identity=model.identity[:, chosen],
        expression=model.expression[:, chosen],
        albedo_mean=rows(model.albedo_mean),
        albedo=rows(model.albedo),
        triangles=place[model.triangles[triangles]],
        landmarks=_embedding(model.landmarks, triangles),
        landmarks_contour=_embedding(model.landmarks_contour, triangles),
        contour=_contour(model.contour, place),
        uv=_uv(model.uv, triangles),
        regions={name: mask[chosen] for name, mask in model.regions.items()},
        mirror=_mirror(model.mirror, chosen, place),
    )


def _places(kept: Mask) -> NDArray[np.int32]:
    """Return the new index of each item kept, -1 of the others."""
    return np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int32)


def _embedding(given: LandmarkEmbedding | None, triangles: Mask) -> LandmarkEmbedding | None:
    if given is None or not triangles[given.triangles].all():
        return None
    return replace(given, triangles=_places(triangles)[given.triangles])


def _contour(given: JawContour | None, place: NDArray[np.int32]) -> JawContour | None:
    if given is None:
        return None
    right, left = (place[side][place[side] >= 0] for side in (given.right, given.left))
    return JawContour(right, left) if len(right) and len(left) else None


def _uv(given: UVMap | None, triangles: Mask) -> UVMap | None:
    if given is None:
        return None
    used, corners = np.unique(given.triangles[triangles], return_inverse=True)
    return UVMap(given.coordinates[used], corners.reshape(-1, 3).astype(np.int32))


def _mirror(
    given: NDArray[np.int32] | None, chosen: NDArray[np.intp], place: NDArray[np.int32]
) -> NDArray[np.int32] | None:
    if given is None or (place[given[chosen]] < 0).any():
        return None
    return place[given[chosen]]


def _mask(model: MorphableModel, region: str | ArrayLike) -> Mask:
    if not isinstance(region, str):
        return checked_array("region", region, (model.n_vertices,), np.bool_)
    if region not in model.regions:
        names = ", ".join(model.regions) or "none"
        raise InvalidInputError(f"region: expected one of model {model.name!r} ({names}), got {region!r}")
    return model.regions[region]


def _chosen_units(model: MorphableModel, expression: int | Sequence[str] | None) -> list[int]:
    """Return the indices of the expression units to keep."""
    if expression is None or isinstance(expression, int | np.integer):
        return list(range(_checked_count("expression", expression, model.n_expression)))
    names = [expression] if isinstance(expression, str) else list(expression)
    places = {name: k for k, name in enumerate(model.expression_names)}
    if len(set(names)) != len(names) or not places.keys() >= set(names):
        raise InvalidInputError(
            f"expression: expected different units of model {model.name!r} (see `facefit model info`), got {names}"
        )
    return [places[name] for name in names]


def _checked_count(name: str, count: int | None, available: int) -> int:
    if count is None:
        return available
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or not 0 <= count <= available:
        raise InvalidInputError(f"{name}: expected a number of modes from 0 to {available}, got {count!r}")
    return int(count)
