"""Who a person is, from several frames of a video: one identity, and a pose and expression for each frame.

A frame's fit, some Gauss-Newton steps from where the track is, ends near its optimum x_k = (pose, expression,
identity), with the Gauss-Newton matrix H_k, light and albedo eliminated. The minimum over the frame's own unknowns
leaves its Schur complement for the identity,

    S_k = H_ii - H_io H_oo^-1 H_oi        B. Triggs et al., Bundle adjustment - a modern synthesis, 2000, section 6.1

to which the identity's prior contributed the unit matrix. Were frames' errors independent, the joint energy would be
the sum of 1/2 (i - i_k)' S_k (i - i_k), with that prior once instead of n times. They are not: light, the model and the
points' own idea of a face err alike in all frames of a video, so n frames together count as one, and

    i = [sum_k S_k]^-1 sum_k S_k i_k

With frames that count as sqrt n, or as n, identities grow with every frame and fit the person's neutral face less well
(docs/tracking.md).

A frame is worth keeping where it shows the face as no other kept frame does: turned by SPREAD or more from all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .landmark_problem import POSE
from .state_prior import PoseAndShape, rotation_vector

Array = NDArray[np.float64]

SPREAD = np.radians(3.0)
"""Least turn between the frames that are kept."""

MOST = 40
"""Frames that are kept."""


@dataclass(frozen=True, eq=False)
class Keyframe:
    """What one frame says of an identity."""

    rotation: Array  # (3, 3) model to camera
    identity: Array  # (K,) the frame's own
    information: Array  # (K, K) S_k, its prior included

    @classmethod
    def of_fit(cls, state: PoseAndShape, information: Array, split: int) -> Self:
        """Return that of a fit whose first `split` coefficients are identity's.

        information: (6 + K + E, 6 + K + E), priors included.
        """
        own = np.zeros(len(information), dtype=bool)
        own[POSE : POSE + split] = True
        cross = information[np.ix_(own, ~own)]
        block = information[np.ix_(own, own)] - cross @ np.linalg.solve(information[np.ix_(~own, ~own)], cross.T)
        return cls(state.rotation, state.coefficients[:split], 0.5 * (block + block.T))


def is_new(rotation: Array, kept: Sequence[Keyframe]) -> bool:
    """Whether a face at such a rotation (3, 3) is turned by SPREAD from all kept ones, and there is room for it."""
    turns = [np.linalg.norm(rotation_vector(rotation @ frame.rotation.T)) for frame in kept]
    return len(kept) < MOST and all(turn > SPREAD for turn in turns)


def shared_identity(frames: Sequence[Keyframe]) -> Array:
    """Return the identity (K,) of one person seen in several frames, at least one."""
    pull = np.sum([frame.information @ frame.identity for frame in frames], axis=0)
    return np.asarray(np.linalg.solve(np.sum([frame.information for frame in frames], axis=0), pull))
