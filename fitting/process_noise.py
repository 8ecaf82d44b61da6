"""How far a face moves from one frame of a video to the next.

Pose follows a damped velocity v,  x' = x + DAMPING v dt,  and all of it a random walk about that, whose standard
deviation per 1/30 s is that of RATES; over another time dt it grows with sqrt(30 dt). What is not a block of its own is
REST. Rotation and translation have velocities, scale and expression have none: they turn back as often as they go on.
A lid closes within two frames, the head takes ten to get going.

Some people move faster, and everybody does at times. With P' the covariance of the prediction and P that of the
estimate, a step d from the one to the other has the covariance P' - P if all is as thought. Where a block's mean of
d_j^2 / (P' - P)_jj exceeds SURPRISE, that block's noise is raised by that factor, in the frame at hand, which is solved
for again; the next frames keep a share KEPT each of what it was raised by.

R. E. Kalman, A new approach to linear filtering and prediction problems, 1960; the noise of a nearly constant velocity:
Y. Bar-Shalom et al., Estimation with applications to tracking and navigation, 2001, section 6.2; of matching it to the
innovations: R. K. Mehra, On the identification of variances and adaptive Kalman filtering, 1970.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..models.morphable_model import MorphableModel
from ._kernels import rotated
from .state_prior import PoseAndShape

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

SURPRISE = 4.0
"""Square of a block's step away from the prediction, relative to what is expected, above which its noise is raised."""

MOST = 100.0
"""Factor that a block's variances are raised by at most."""

KEPT = 0.7
"""Share of it that the next frame keeps."""

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
        step = before.step_to(now)[:5]
        return Motion((1.0 - FRESH) * self.velocity + FRESH * step / max(seconds, 1e-3))


@dataclass(frozen=True, eq=False)
class ProcessNoise:
    """The random walk of pose and expression, and how restless it is just now."""

    blocks: NDArray[np.intp]  # (6 + E,) of each entry: rotation, translation, scale, those of RATES, REST
    deviations: Array  # (6 + E,) per 1/30 s; translation relative to the face's size
    factors: Array  # (B,) of the blocks' variances, from 1

    @classmethod
    def usual(cls, model: MorphableModel) -> "ProcessNoise":
        """Return that of a calm face."""
        rates = [*RATES.items(), ("", REST)]
        own = [next(k for k, (part, _) in enumerate(rates) if part in name.lower()) for name in model.expression_names]
        deviations = np.array([rates[k][1] for k in own])
        if own:
            deviations *= model.expression_sigma / np.median(model.expression_sigma)
        pose = (*(ROTATION,) * 3, *(TRANSLATION,) * 2, SCALE)
        blocks = np.array([0, 0, 0, 1, 1, 2, *(3 + k for k in own)], dtype=np.intp)
        return cls(blocks, np.concatenate([pose, deviations]), np.ones(3 + len(rates)))

    @property
    def sizes(self) -> NDArray[np.intp]:
        """Number of entries (B,) of each block."""
        return np.bincount(self.blocks, minlength=len(self.factors))

    def sums(self, values: Array) -> Array:
        """Return the sums (B,) of values (6 + E,) over each block."""
        return np.bincount(self.blocks, values, len(self.factors)).astype(np.float64)

    def variance(self, size: float, seconds: float) -> Array:
        """Return the variance (6 + E,) that a time adds to a step's entries; size: the face's in the picture, px."""
        unit = np.where(self.blocks == 1, size, 1.0)
        frames = min(max(seconds, 1e-4), LONGEST) / FRAME
        return np.asarray((unit * self.deviations) ** 2 * self.factors[self.blocks] * frames)

    def calmer(self) -> "ProcessNoise":
        """Return that of the next frame, where nothing new happens."""
        return replace(self, factors=1.0 + KEPT * (self.factors - 1.0))

    def after(self, step: Array, expected: Array) -> "ProcessNoise | None":
        """Return what a step (6 + E,) from the prediction to the estimate tells, whose squares are expected to be
        (6 + E,); None where no block went much farther.
        """
        ratio = self.sums(step**2 / expected) / np.maximum(self.sizes, 1)
        factors = np.where(ratio > SURPRISE, np.minimum(self.factors * ratio, MOST), self.factors)
        return replace(self, factors=factors) if (factors > self.factors).any() else None
