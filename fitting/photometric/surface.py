"""The part of a model that the photometric stage looks at: its skin, ready to be posed and seen."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ...models.morphable_model import MorphableModel
from .albedo import AlbedoBasis, albedo_basis

Array = NDArray[np.float64]

NOT_SKIN = ("eyes", "teeth", "mouth", "sockets")
"""Regions whose appearance is not that of a matt surface in distant light."""

OPENINGS = (slice(36, 48), slice(60, 68))
"""Landmarks of eyelids and inner lips. Within OPENING_MARGIN mm of them, on the mean face, the photo shows now skin,
now eyes and teeth, which the skin's motion does not explain: landmarks and measured eyelids tell how wide they open."""

OPENING_MARGIN = 5.0

FACE_PRIOR, HEAD_PRIOR = 0.9, 0.05
"""How likely a pixel shows the skin that the model has there: in the face, and where hair and collars are. A bald head
makes itself known (`outliers.py`)."""


@dataclass(frozen=True, eq=False)
class Surface:
    """A model's skin."""

    model: MorphableModel
    chosen: NDArray[np.intp]  # (N,) its vertices among the model's
    triangles: NDArray[np.int32]  # (T, 3) indices into `chosen`
    mean: Array  # (N, 3) mm
    basis: NDArray[np.floating]  # (N, 3, P) mm per unit: identity, then expression
    albedo: AlbedoBasis  # of all vertices of the model
    prior: Array  # (N,) probability that skin is what is seen

    def points(self, coefficients: Array, rows: NDArray[np.intp] | slice = slice(None)) -> Array:
        """Return the vertices (M, 3) of the given rows, mm, model frame."""
        return self.mean[rows] + self.basis[rows] @ coefficients.astype(self.basis.dtype)


@lru_cache(maxsize=2)
def skin_surface(model: MorphableModel, deviation: float, length: float) -> Surface:
    """Return a model's skin with the albedo of `albedo_basis`; kept for the last two models."""
    return make_surface(model, deviation, length)


def make_surface(
    model: MorphableModel, deviation: float, length: float, dtype: type[np.floating] = np.float32
) -> Surface:
    """Return a model's skin, its basis in the given precision; all of a model that does not name its regions."""
    everywhere = np.ones(model.n_vertices, dtype=bool)
    skin = model.regions.get("skin", everywhere).copy()
    for name in NOT_SKIN:
        skin &= ~model.regions.get(name, ~everywhere)
    skin &= ~_openings(model)
    face = model.regions.get("face", everywhere) & skin
    inside = skin[model.triangles].all(axis=1)
    chosen, local = np.unique(model.triangles[inside], return_inverse=True)
    bases = [np.moveaxis(basis[:, chosen], 0, 2) for basis in (model.identity, model.expression)]
    return Surface(
        model=model,
        chosen=chosen.astype(np.intp),
        triangles=np.ascontiguousarray(local.reshape(-1, 3).astype(np.int32)),
        mean=np.asarray(model.mean[chosen], dtype=np.float64),
        basis=np.ascontiguousarray(np.concatenate(bases, axis=2).astype(dtype)),
        albedo=albedo_basis(model, face, deviation, length),
        prior=np.where(face[chosen], FACE_PRIOR, HEAD_PRIOR),
    )


def _openings(model: MorphableModel) -> NDArray[np.bool_]:
    """Return (N,): the vertices close to the eyelids' and inner lips' landmarks."""
    landmarks = model.semantic_basis.mean
    points = np.concatenate([landmarks[group] for group in OPENINGS])
    return np.asarray(cKDTree(points).query(model.mean)[0] < OPENING_MARGIN)


def personal_surface(surface: Surface, person: MorphableModel) -> Surface:
    """Return the skin of a person's own model, which has no identity left; albedo is as for the whole model."""
    basis = np.ascontiguousarray(surface.basis[:, :, surface.basis.shape[2] - person.n_expression :])
    return replace(surface, model=person, mean=np.asarray(person.mean[surface.chosen], np.float64), basis=basis)
