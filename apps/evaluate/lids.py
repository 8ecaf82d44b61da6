"""How far each eye is closed, by the 68 points and by the model's blink coefficients.

    opening   1 - o / w    o: mean distance of an eye's two pairs of upper and lower lid points, w: of its corners
                           (the eye aspect ratio of Soukupova & Cech, CVWW 2016, from 1 downwards)
    blink     the coefficient of the model's blink unit, where it has one: 0 open, 1 closed

Left and right are the subject's. Measures are compared with the truth by Pearson's correlation, which asks neither for
a unit nor for an origin.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...fitting.landmarks import LEFT_EYE, LEFT_EYELID_PAIRS, RIGHT_EYE, RIGHT_EYELID_PAIRS
from ...models.morphable_model import MorphableModel

Array = NDArray[np.float64]

BLINK_UNITS = {"L": ("eyeBlinkLeft", "eyeBlink_L"), "R": ("eyeBlinkRight", "eyeBlink_R")}
"""What models call the unit that closes an eye: ARKit's name, and ICT-FaceKit's."""

_EYES = {"L": (LEFT_EYE, LEFT_EYELID_PAIRS), "R": (RIGHT_EYE, RIGHT_EYELID_PAIRS)}


def closure_by_opening(landmarks: Array) -> dict[str, float]:
    """Return "L opening" and "R opening" of points (68, 2), px."""
    closure = {}
    for side, (eye, pairs) in _EYES.items():
        opening = np.linalg.norm(landmarks[pairs[:, 0]] - landmarks[pairs[:, 1]], axis=1).mean()
        width = np.linalg.norm(landmarks[eye[3]] - landmarks[eye[0]])
        closure[f"{side} opening"] = float(1.0 - opening / width) if width > 0.0 else 0.0
    return closure


def closure_by_blink(model: MorphableModel, expression: Array) -> dict[str, float]:
    """Return each side's coefficient among (E,), under side and unit's name; nothing for a model without such units."""
    columns = _blink_columns(model.expression_names)
    return {f"{side} {model.expression_names[k]}": float(expression[k]) for side, k in columns.items()}


def true_closure(names: Sequence[str], expression: Array) -> Mapping[str, Array] | None:
    """Return the columns of `expression` (F, E) in which each eye's closure is, by side; None where one is missing."""
    columns = _blink_columns(names)
    return {side: expression[:, k] for side, k in columns.items()} if len(columns) == len(BLINK_UNITS) else None


def _blink_columns(names: Sequence[str]) -> dict[str, int]:
    """Return which of some expression units closes each eye, for the sides that have one."""
    return {side: names.index(name) for side, known in BLINK_UNITS.items() for name in known if name in names}


def correlation(values: Sequence[float], truth: Sequence[float]) -> float | None:
    """Return Pearson's correlation; None where it is not defined: fewer than three values, or constant ones."""
    if len(values) < 3 or np.ptp(values) < 1e-12 or np.ptp(truth) < 1e-12:
        return None
    return float(np.corrcoef(values, truth)[0, 1])
