"""Other expressions for a fitted face: weights of the model's units, read from a text and put in place of the fitted.

What they do to the surface and its wrinkles is told in `fitting/animation.py`.
"""

import math
from collections.abc import Mapping

from ...fitting.animation import animate, checked_weights
from ...fitting.results import FitResult
from ...models.errors import InvalidInputError
from ...models.morphable_model import MorphableModel


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


def with_expression(result: FitResult, model: MorphableModel, weights: Mapping[str, float]) -> FitResult:
    """Return the fitted face with some expression units set to other weights, and the rest as fitted: `animate`."""
    return animate(result, weights, model)
