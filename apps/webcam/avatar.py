"""A head that makes the faces of the person before the camera: nobody's, or that of another fit.

Its surface at the person's expression e is the fitted one of the other person with its own expression exchanged,

    vertices = fitted + model(identity, e) - model(identity, fitted expression)        (N, 3) mm

as in `fitting/animation.py`, without wrinkles. Where the other fit is of another model, weights go by ARKit's names.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...fitting.results import FitResult
from ...models.errors import InvalidInputError, ModelError
from ...models.morphable_model import MorphableModel
from ...models.store import model_with_hash
from ...render.cameras import ScaledOrthographic, rotation_from_angles
from ..export.glb import arkit_name
from ..fit.window import HEAD_CENTRE, HEAD_RADIUS

Array = NDArray[np.float64]


class Avatar:
    """The head beside the picture."""

    def __init__(self, model: MorphableModel, other: FitResult | None = None) -> None:
        """`model` is the tracker's; `other` is a fit of any model that the store has, None for the mean head.

        Raises InvalidInputError for a fit without a face, ModelError for one of an unknown model.
        """
        self._model, self._identity, self._offset = model, None, np.zeros((1, 3))
        reflectance: NDArray[np.float64] | NDArray[np.float32] | None = None
        if other is not None:
            if other.vertices is None or other.identity is None or other.expression is None:
                raise InvalidInputError(f"--as: expected a fit with a face, got {other.status.name}: {other.message}")
            self._model = _model_of(other, model)
            self._identity, reflectance = other.identity, other.reflectance
            self._offset = other.vertices - self._model.vertices(other.identity, other.expression)
        self.triangles = self._model.triangles
        given = self._model.albedo_mean if reflectance is None else reflectance
        self.colours = None if given is None else np.asarray(given, np.float64)  # (N, 3) linear, None: clay
        places = {arkit_name(name): k for k, name in enumerate(self._model.expression_names)}
        pairs = [(k, places.get(arkit_name(name))) for k, name in enumerate(model.expression_names)]
        self._from = np.array([k for k, there in pairs if there is not None], int)
        self._to = np.array([there for _, there in pairs if there is not None], int)

    def vertices(self, expression: ArrayLike | None) -> Array:
        """Return the surface (N, 3) mm, model frame, at the tracker's expression; None is neutral."""
        weights = np.zeros(self._model.n_expression)
        if expression is not None:
            weights[self._to] = np.asarray(expression, np.float64)[self._from]
            weights = np.clip(weights, self._model.expression_lower, self._model.expression_upper)
        return self._model.vertices(self._identity, weights) + self._offset


def head_camera(rotation: Array | None, side: int) -> ScaledOrthographic:
    """Return the camera that shows a head in the middle of a square of `side` px; None: straight from the front."""
    turned = rotation_from_angles(0.0, 0.0, 0.0) if rotation is None else rotation
    scale = side / (2.0 * HEAD_RADIUS)
    centre = np.full(2, (side - 1) / 2.0)
    return ScaledOrthographic(turned, centre - scale * (turned @ np.array(HEAD_CENTRE))[:2], scale)


def _model_of(other: FitResult, model: MorphableModel) -> MorphableModel:
    told = other.provenance.get("model") or {}
    if told.get("hash") == model.hash:
        return model
    if not told.get("hash"):
        raise InvalidInputError("--as: expected a fit that says which model it is of, got one that does not")
    try:
        return model_with_hash(told["hash"])
    except ModelError as problem:
        raise ModelError(f"--as: the model {told.get('name')!r} of the fit: {problem}") from None
