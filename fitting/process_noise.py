"""How far a face moves from one frame of a video to the next.

Pose follows a damped velocity v,  x' = x + DAMPING v dt,  and all of it a random walk about that, whose standard
deviation per 1/30 s is that of RATES; over another time dt it grows with sqrt(30 dt). What is not a block of its own is
REST. Rotation and translation have velocities, scale and expression have none: they turn back as often as they go on.
A lid closes within two frames, the head takes ten to get going.

R. E. Kalman, A new approach to linear filtering and prediction problems, 1960; the noise of a nearly constant velocity:
Y. Bar-Shalom et al., Estimation with applications to tracking and navigation, 2001, section 6.2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..models.morphable_model import MorphableModel
from ._kernels import rotated
from .state_prior import PoseAndShape, StatePrior

Array = NDArray[np.float64]

FRAME = 1.0 / 30.0
"""s: what the rates below are per."""

DAMPING = 0.9
"""Share of its velocity that a head keeps."""

FRESH = 0.5
"""Share of the newest step in the velocity."""

ROTATION = np.radians(1.2)
TRANSLATION = 0.012
"""Relative to the face's size."""

SCALE = 0.005
"""Of its logarithm."""

RATES = {"blink": 0.5, "squint": 0.5, "eyewide": 0.5, "jaw": 0.3, "mouth": 0.12}
"""Of expression units whose name contains it, relative to their prior's deviation."""

REST = 0.1

LONGEST = 0.5
"""s: a longer pause tells no more about where a face may have gone."""


@dataclass(frozen=True, eq=False)
class Motion:
    """Where a face is going."""

    velocity: Array  # (5,) per s: rotation vector, then translation in px

    @classmethod
    def still(cls) -> "Motion":
        """Return no motion."""
        return cls(np.zeros(5))

    def predicted(self, state: PoseAndShape, seconds: float) -> PoseAndShape:
        """Return where a state is thought to be after some time."""
        step = DAMPING * min(seconds, 3.0 * FRAME) * self.velocity
        return state._replace(rotation=rotated(state.rotation, step[:3]), translation=state.translation + step[3:])

    def after(self, before: PoseAndShape, now: PoseAndShape, seconds: float) -> "Motion":
        """Return the motion with the newest step in it."""
        step = StatePrior(before, np.zeros((0, 0))).difference(now)[:5]
        return Motion((1.0 - FRESH) * self.velocity + FRESH * step / max(seconds, 1e-3))


def process_variance(model: MorphableModel, scale: float, seconds: float) -> Array:
    """Return the variance (6 + E,) that a time adds to a step's entries; scale: px/mm of the camera."""
    expression = np.array([
        max((rate for part, rate in RATES.items() if part in name.lower()), default=REST)
        for name in model.expression_names
    ])  # fmt: skip
    if len(expression):
        expression *= model.expression_sigma / np.median(model.expression_sigma)
    pose = (*(ROTATION,) * 3, *(TRANSLATION * scale * model.face_size,) * 2, SCALE)
    deviation = np.concatenate([pose, expression])
    return np.asarray(deviation**2 * min(max(seconds, 1e-4), LONGEST) / FRAME)
