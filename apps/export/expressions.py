"""Other expressions for a fitted face: weights of the model's units, read from a text and put in place of the fitted.

    vertices = fitted + model(identity, new) - model(identity, fitted)         (N, 3) mm

so that what the fitted surface has beyond the model's own stays on it.
"""

import difflib
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ...fitting.results import FitResult
from ...models.errors import InvalidInputError
from ...models.morphable_model import MorphableModel
from .checks import fitted_face


def parse_expression(text: str, model: MorphableModel) -> dict[str, float]:
    """Return the weights that a text such as "jawOpen=0.6,eyeBlinkLeft=1" gives to a model's expression units.

    Raises InvalidInputError for another form, for a unit that the model has not (naming those alike), for one named
    twice, and for a weight beyond its unit's bounds (naming them).
    """
    weights: dict[str, float] = {}
    for part in (part.strip() for part in text.split(",") if part.strip()):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not equals or not math.isfinite(weight):
            raise InvalidInputError(f"expression: expected NAME=NUMBER, such as jawOpen=0.6, got {part!r}")
        if name in weights:
            raise InvalidInputError(f"expression: expected each unit once, got {name} twice")
        weights[name] = weight
    if not weights:
        raise InvalidInputError(f"expression: expected NAME=NUMBER, such as jawOpen=0.6, got {text!r}")
    checked_weights(weights, model)
    return weights


def checked_weights(weights: Mapping[str, float], model: MorphableModel) -> Mapping[str, float]:
    """Return weights by name of expression unit, or raise InvalidInputError where the model has none such."""
    names = model.expression_names
    for name, weight in weights.items():
        if name not in names:
            raise InvalidInputError(f"expression: expected {_units_like(name, names)}, got {name!r}")
        k = names.index(name)
        lower, upper = float(model.expression_lower[k]), float(model.expression_upper[k])
        if not (lower <= weight <= upper and math.isfinite(weight)):
            raise InvalidInputError(
                f"expression: {name}: expected a number from {lower:g} to {upper:g}, got {weight!r}"
            )
    return weights


def with_expression(result: FitResult, model: MorphableModel, weights: Mapping[str, float]) -> FitResult:
    """Return the fitted face with some expression units set to other weights, and the rest as fitted.

    Its expression and vertices are the new ones; landmarks, errors, stages and message stay those of the fit. Raises
    InvalidInputError as `checked_weights` does, and for a result without a face.
    """
    face = fitted_face(result)
    checked_weights(weights, model)
    expression = np.zeros(model.n_expression) if result.expression is None else result.expression.copy()
    before = model.vertices(result.identity, expression)
    for name, weight in weights.items():
        expression[model.expression_names.index(name)] = weight
    moved = face.vertices + (model.vertices(result.identity, expression) - before)
    return replace(result, expression=expression, vertices=moved, vertices_image=face.camera.project(moved))


def _units_like(name: str, names: tuple[str, ...]) -> str:
    """Return in words which expression unit may have been meant."""
    folded = {known.lower(): known for known in names}
    alike = [folded[match] for match in difflib.get_close_matches(name.lower(), folded, n=4, cutoff=0.5)]
    alike += [known for known in names if name.lower() in known.lower() and known not in alike and len(name) > 2]
    if alike:
        return f"a unit of the model, such as {', '.join(alike[:6])}"
    return f"a unit of the model ({', '.join(names[:6])}, ...)" if names else "a model with named expression units"
