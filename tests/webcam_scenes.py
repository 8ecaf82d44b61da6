"""Frames and tracked faces for the tests of what a webcam's run writes and sends, their numbers known."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from facefit.apps.webcam.frames import Frame
from facefit.fitting.results import FitResult
from facefit.fitting.status import FitStatus
from facefit.fitting.tracking import TrackedFace
from facefit.models.morphable_model import MorphableModel
from facefit.render.cameras import ScaledOrthographic, rotation_from_angles

HEIGHT, WIDTH = 48, 64


def frame(number: int, seconds: float, height: int = HEIGHT, width: int = WIDTH) -> Frame:
    return Frame(number, seconds, 100.0 + seconds, np.full((height, width, 3), 40, np.uint8))


def face(
    model: MorphableModel,
    seconds: float = 0.0,
    track: int = 0,
    angles: Sequence[float] = (0.0, 0.0, 0.0),
    place: Sequence[float] = (31.5, 23.5),
    scale: float = 0.25,
    expression: Any = None,
    identity: Any = None,
    **changes: Any,
) -> TrackedFace:
    """A face with a yaw, pitch and roll (degrees), its origin at a place (px), at px per mm."""
    rest, mean = np.zeros(model.n_expression), np.zeros(model.n_identity)
    camera = ScaledOrthographic(rotation_from_angles(*angles), np.array(place, np.float64), scale)
    parts = {
        "camera": camera,
        "expression": rest if expression is None else np.asarray(expression, np.float64),
        "identity": mean if identity is None else np.asarray(identity, np.float64),
        "landmarks": np.zeros((68, 2)),
        "landmarks_fitted": np.full((68, 2), [0.3, 0.4]),  # an error of half a pixel
        "landmark_sigma": np.full(68, 0.02),
        "triangles": model.triangles,
    }
    return TrackedFace(track, FitResult(FitStatus.CONVERGED, "made for a test", **parts | changes), seconds, {})


class Said(list[str]):
    """Keeps the sentences that a sink tells."""

    def __call__(self, sentence: str) -> None:
        self.append(sentence)
