"""Who a person is, from several frames of a video: one identity, and a pose and expression for each frame.

A frame's fit has its optimum at x_k = (pose, expression, identity) and there the Gauss-Newton matrix H_k, light and
albedo eliminated. To second order the frames' joint energy, the prior of the shared identity counted once, is

    E(i) = sum_k [ min over pose and expression of 1/2 (x - x_k)' H_k (x - x_k)  -  1/2 |i|^2 ]  +  1/2 |i|^2

The minimum over a frame's own unknowns leaves its Schur complement S_k = H_ii - H_io H_oo^-1 H_oi: the shared block of
one normal system, whose solution is

    [ 1 + (1 / c) sum_k (S_k - 1) ] i  =  (1 / c) sum_k S_k i_k

Frames of one video err alike, so n of them count as n / c independent ones, with c = n^SHARED. B. Triggs et al., Bundle
adjustment - a modern synthesis, 2000, section 6.1.

A frame is worth keeping where it shows the face as no other kept frame does: turned by SPREAD or more from all of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .landmark_problem import POSE
from .state_prior import PoseAndShape, rotation_vector

Array = NDArray[np.float64]

SHARED = 0.5
"""How far frames' errors are the same: 0 not at all, 1 altogether."""

SPREAD = np.radians(5.0)
"""Least turn between the frames that are kept."""

MOST = 16
"""Frames that are kept."""


@dataclass(frozen=True, eq=False)
class Keyframe:
    """One frame's fit, of the whole model."""

    state: PoseAndShape  # identity, then expression
    information: Array  # (6 + K + E, 6 + K + E) priors included

    def identity_block(self, split: int) -> Array:
        """Return the Schur complement (K, K) of the first `split` coefficients."""
        own = np.zeros(len(self.information), dtype=bool)
        own[POSE : POSE + split] = True
        matrix = self.information
        cross = matrix[np.ix_(own, ~own)]
        block: Array = matrix[np.ix_(own, own)] - cross @ np.linalg.solve(matrix[np.ix_(~own, ~own)], cross.T)
        return 0.5 * (block + block.T)


def is_new(rotation: Array, kept: list[Keyframe]) -> bool:
    """Whether a face at such a rotation (3, 3) is turned by SPREAD from all kept ones, and there is room for it."""
    turns = [np.linalg.norm(rotation_vector(rotation @ frame.state.rotation.T)) for frame in kept]
    return len(kept) < MOST and all(turn > SPREAD for turn in turns)


def shared_identity(frames: list[Keyframe], split: int) -> Array:
    """Return the identity (K,) of one person seen in several frames; the first `split` coefficients are identity's."""
    if split == 0:
        return np.zeros(0)
    correlated = len(frames) ** SHARED
    matrix, vector = np.eye(split), np.zeros(split)
    for frame in frames:
        block = frame.identity_block(split)
        matrix += (block - np.eye(split)) / correlated
        vector += block @ frame.state.coefficients[:split] / correlated
    return np.asarray(np.linalg.solve(matrix, vector))
